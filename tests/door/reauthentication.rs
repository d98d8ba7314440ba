//! A waiting caller is authenticated again before it gets an answer, and a stream
//! counts among its caller's requests for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign::access::{Grant, Grantee, NewKey, Reads, Role};
use countersign::clock::{Clock as _, ManualClock};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::Server;
use crate::support::{PATIENCE, SEED_URI};

fn key(server: &Server, name: &str, role: Role) -> String {
    let (_, key) = server
        .keys()
        .create(NewKey::new(name, role), Utc::now())
        .unwrap();
    key.to_string()
}

/// An event stream whose first part has arrived.
async fn stream(server: &Server, path: &str, key: &str) -> Response {
    let request = server
        .request(Method::GET, path)
        .header("accept", "text/event-stream");
    let mut answer = request.bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.chunk().await.unwrap().is_some());
    answer
}

/// Starts an enrollment that waits for approval; returns the path of its status.
async fn waiting(server: &Server, key: &str) -> String {
    let start = server.request(Method::POST, "/api/enrollments?approval=required");
    let start = start.bearer_auth(key).json(&json!({ "uri": SEED_URI }));
    let started: Value = start.send().await.unwrap().json().await.unwrap();
    let path = started["statusQueryGetUri"].as_str().unwrap().to_owned();
    timeout(PATIENCE, async {
        loop {
            let answer = server.get(&format!("{path}?wait=5"), key).await;
            let state: Value = answer.json().await.unwrap();
            if state["stage"] == "AwaitingApproval" {
                return;
            }
        }
    })
    .await
    .expect("it comes to its approval");
    path
}

#[tokio::test]
async fn a_stream_keeps_its_callers_place_until_it_ends() {
    let server = Server::start_with(|config| config.limits.concurrency_per_caller = 2).await;
    let admin = server.admin.clone();
    let path = waiting(&server, &admin).await;
    let approver = key(&server, "approver", Role::Approver);
    let inbox = stream(&server, "/api/approvals", &approver).await;
    let status = stream(&server, &path, &approver).await;
    let refused = server.get("/api/session", &approver).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let other = server.get("/api/session", &admin).await;
    assert_eq!(other.status(), StatusCode::OK);
    drop((inbox, status));
    timeout(PATIENCE, async {
        while server.get("/api/session", &approver).await.status() != StatusCode::OK {}
    })
    .await
    .expect("their places are free again");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let server = Server::start_with(|_| ()).await;
    let path = waiting(&server, &server.admin.clone()).await;
    let (gone, stays) = (
        key(&server, "gone", Role::Approver),
        key(&server, "stays", Role::Approver),
    );
    let mut ending = Vec::new();
    for path in ["/api/approvals", path.as_str()] {
        ending.push(stream(&server, path, &gone).await);
    }
    let mut living = stream(&server, "/api/approvals", &stays).await;
    server.keys().revoke("gone", Utc::now()).unwrap();
    // Both would live for a minute and more.
    timeout(Duration::from_secs(20), async {
        for mut answer in ending {
            while let Ok(Some(_)) = answer.chunk().await {}
        }
    })
    .await
    .expect("they end");
    let more = timeout(Duration::from_millis(100), living.chunk()).await;
    assert!(more.is_err(), "another caller's goes on: {more:?}");
    server.stop().await;
}

/// Sends a request that waits, and revokes its key as soon as it does.
async fn revoked_while_waiting(server: &Server, name: &str, key: &str, path: &str) -> Response {
    let request = server.request(Method::GET, path).bearer_auth(key);
    let waiting = tokio::spawn(async move {
        loop {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            // It came while its caller was being looked at.
            if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
        }
    });
    timeout(PATIENCE, async {
        while server.get("/api/session", key).await.status() != StatusCode::TOO_MANY_REQUESTS {}
    })
    .await
    .expect("it waits");
    server.keys().revoke(name, Utc::now()).unwrap();
    timeout(PATIENCE, waiting)
        .await
        .expect("an answer")
        .unwrap()
}

#[tokio::test]
async fn a_caller_that_waits_is_authenticated_again() {
    let clock = ManualClock::new(Utc::now());
    let server = Server::start_on(Arc::new(clock.clone()), |config| {
        config.limits.concurrency_per_caller = 1;
    })
    .await;
    let account = server.account().await;
    let reader = key(&server, "reader", Role::Reader);
    let follower = key(&server, "follower", Role::Approver);
    let path = waiting(&server, &server.admin.clone()).await;
    // Three seconds before the next step begins.
    let step = DateTime::from_timestamp((clock.now().timestamp() / 30 + 2) * 30 - 3, 0).unwrap();
    clock.set(step);
    let token = format!("/api/accounts/{account}/token?minValidity=20");
    let answer = revoked_while_waiting(&server, "reader", &reader, &token).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let poll = format!("{path}?wait=3&since=AwaitingApproval");
    let answer = revoked_while_waiting(&server, "follower", &follower, &poll).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    server.stop().await;
}

#[tokio::test]
async fn what_was_granted_for_a_time_or_by_number_is_one_code_each() {
    let clock = ManualClock::new(Utc::now());
    let server = Server::start_on(Arc::new(clock.clone()), |_| ()).await;
    let account = server.account().await;
    let new = NewKey {
        granted_only: true,
        ..NewKey::new("bot", Role::Reader)
    };
    let (_, bot) = server.keys().create(new, Utc::now()).unwrap();
    let grant = |until: Option<TimeDelta>, reads: Option<u32>| {
        let grant = Grant {
            to: Grantee::Caller("bot".to_owned()),
            account: account.clone(),
            until: until.map(|time| clock.now() + time),
            reads: reads.map(Reads::new),
        };
        server.keys().grant(&grant).unwrap();
    };
    let read = async |query: &str| {
        let path = format!("/api/accounts/{account}/token{query}");
        let answer = server.get(&path, &bot).await;
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    // Ten seconds before the next step.
    let step = DateTime::from_timestamp((clock.now().timestamp() / 30 + 2) * 30 - 10, 0).unwrap();
    clock.set(step);

    grant(None, None);
    let (status, token) = read("").await;
    assert!(status == 200 && token["nextToken"].is_string(), "{token}");
    for (until, reads) in [
        (None, Some(3)),
        (Some(TimeDelta::hours(1)), None),
        (Some(TimeDelta::hours(1)), Some(3)),
    ] {
        grant(until, reads);
        let (status, token) = read("").await;
        assert_eq!(status, 200, "{token}");
        assert!(
            token["token"].is_string() && token["nextToken"].is_null(),
            "{token}"
        );
        let (_, next) = read("?minValidity=20&whenShort=next").await;
        assert!(
            next["token"].is_string() && next["nextToken"].is_null(),
            "{next}"
        );
    }
    // What ends in two seconds gives the present code, and none that begins later.
    for reads in [None, Some(1)] {
        grant(Some(TimeDelta::seconds(2)), reads);
        let (status, later) = read("?minValidity=20&whenShort=next").await;
        assert_eq!((status, &later["code"]), (400, &json!("invalid-parameter")));
        let (status, token) = read("").await;
        assert_eq!(status, 200, "{token}");
    }
    assert_eq!(read("").await.0, 403);
    server.stop().await;
}
