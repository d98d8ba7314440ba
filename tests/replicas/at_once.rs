//! The same thing at both front doors at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use countersign_database::testing::Postgres;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::installation::{ADMIN, Door, Installation, PATIENCE, SECRET, at};

async fn start() -> Option<Installation> {
    let server = tokio::task::block_in_place(Postgres::shared)?;
    let at = at(
        server.port(),
        &tokio::task::block_in_place(|| server.make()),
    );
    Some(Installation::start(&at, &at).await)
}

/// Lost updates: a change says only what changes, and leaves the rest as another change has left it.
#[tokio::test(flavor = "multi_thread")]
async fn of_changes_of_one_account_at_both_front_doors_none_is_lost() {
    const ROUNDS: usize = 12;
    let Some(both) = start().await else { return };
    let doors = [&both.one, &both.other];
    let account = both.one.account("at once").await;
    let path = format!("/api/accounts/{account}");
    for round in 0..ROUNDS {
        let wanted = [
            json!({"issuer": format!("issuer {round}")}),
            json!({"accountName": format!("name {round}")}),
            json!({"group": format!("group {round}")}),
            json!({"tags": [format!("tag {round}")]}),
        ];
        let mut changes = JoinSet::new();
        for (number, body) in wanted.iter().enumerate() {
            let request = doors[(round + number) % 2].request(Method::PATCH, &path);
            let request = request.bearer_auth(ADMIN).json(body);
            changes.spawn(async move { request.send().await.unwrap().status() });
        }
        for status in changes.join_all().await {
            assert_eq!(status, StatusCode::OK);
        }
        let now = doors[round % 2].get(&path, ADMIN).await;
        let now: Value = now.json().await.unwrap();
        for wanted in &wanted {
            for (member, value) in wanted.as_object().unwrap() {
                assert_eq!(&now[member], value, "round {round}: {now}");
            }
        }
    }

    // Nor is one recorded with another old value than the change before it has left.
    let page = both.one.get("/api/audit?limit=200", ADMIN).await;
    let page: Value = page.json().await.unwrap();
    let mut entries = page["entries"].as_array().unwrap().clone();
    entries.sort_by_key(|entry| entry["sequence"].as_u64());
    // Entries are written after the changes, so not always in their order: the values say it.
    let mut values: BTreeMap<String, BTreeSet<[String; 2]>> = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|it| it["subject"] == account.as_str())
    {
        for change in entry["changes"].as_array().into_iter().flatten() {
            let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
            let steps = values.entry(text("field")).or_default();
            steps.insert([text("from"), text("to")]);
        }
    }
    for field in ["issuer", "accountName", "group", "tags"] {
        let steps = &values[field];
        assert_eq!(steps.len(), ROUNDS, "{field}: {steps:?}");
        let reached: BTreeSet<&String> = steps.iter().map(|[_, to]| to).collect();
        let left = steps.iter().filter(|[from, _]| !reached.contains(from));
        assert_eq!(left.count(), 1, "{field}: one chain of values: {steps:?}");
    }
    both.stop().await;
}

/// How an enrollment has ended.
async fn ended(door: &Door, id: &str, key: &str) -> Value {
    let begun = Instant::now();
    loop {
        let seen = door
            .get(&format!("/api/enrollments/{id}?wait=5"), key)
            .await;
        let seen: Value = seen.json().await.unwrap();
        if !["Pending", "Running"].contains(&seen["runtimeStatus"].as_str().unwrap()) {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{seen}");
    }
}

/// A phantom: nothing is there yet when each of them looks.
#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_at_both_front_doors_at_once_starts_one_enrollment() {
    let Some(both) = start().await else { return };
    let doors = [&both.one, &both.other];
    let enroller = both.one.key("phone", "enroller", false).await;
    for round in 0..4 {
        let uri = format!("otpauth://totp/{round}?secret={SECRET}");
        let mut starts = JoinSet::new();
        for number in 0..10 {
            let request = doors[number % 2].request(Method::POST, "/api/enrollments");
            let request = request.bearer_auth(&enroller).json(&json!({ "uri": uri }));
            let request = request.header("idempotency-key", format!("round-{round}"));
            starts.spawn(async move {
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.status());
                let answer: Value = answer.json().await.unwrap();
                answer["id"].as_str().unwrap().to_owned()
            });
        }
        let ids: BTreeSet<String> = starts.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let id = ids.first().unwrap();
        for door in doors {
            assert_eq!(ended(door, id, &enroller).await["stage"], "Enrolled");
        }
        // It is the same request only with the same content.
        let other = json!({"uri": format!("otpauth://totp/other?secret={SECRET}")});
        let request = both.other.request(Method::POST, "/api/enrollments");
        let request = request.bearer_auth(&enroller).json(&other);
        let reused = request.header("idempotency-key", format!("round-{round}"));
        let reused = reused.send().await.unwrap().status();
        assert!(reused.is_client_error(), "another body: {reused}");
    }
    let listed = both.other.get("/api/accounts?limit=200", ADMIN).await;
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed["accounts"].as_array().unwrap().len(), 4, "{listed}");
    both.stop().await;
}
