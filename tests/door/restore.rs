//! After a rejection an account is brought back on its own for a day, and by hand after that.

use std::sync::Arc;
use std::time::Instant;

use chrono::{SubsecRound as _, TimeDelta, Utc};
use countersign::access::{NewKey, Role};
use countersign::clock::ManualClock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::PATIENCE;

async fn post(server: &Server, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
    let request = server.request(Method::POST, path).bearer_auth(token);
    let answer = request.json(&body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn state(server: &Server, path: &str) -> Value {
    let answer = server.get(path, &server.admin).await;
    answer.json().await.unwrap()
}

async fn until(server: &Server, id: &str, stage: &str) {
    let begun = Instant::now();
    loop {
        let shown = state(server, &format!("/api/requests/{id}?wait=1")).await;
        if shown["stage"] == stage {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not {stage}: {shown}");
    }
}

/// Asks for an account's end, agrees to it, and rejects, all at a front door whose clock is
/// this late; the worker's is right.
async fn objected(late: TimeDelta) -> (Server, String, String) {
    let clock = ManualClock::new((Utc::now() - late).trunc_subsecs(0));
    let server = Server::start_on(Arc::new(clock), |_| ()).await;
    let new = NewKey::new("second-pair-of-eyes", Role::Approver);
    let (_, approver) = server.keys().create(new, Utc::now() - late).unwrap();
    let account = server.account().await;
    let path = format!("/api/accounts/{account}/requests");
    let body = json!({ "kind": "delete", "seconds": 3600 });
    let (status, asked) = post(&server, &path, &server.admin, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
    let id = asked["id"].as_str().unwrap().to_owned();
    let path = format!("/api/requests/{id}/approval");
    for (approved, stage) in [(true, "AwaitingApproval"), (false, "Removing")] {
        until(&server, &id, stage).await;
        let (status, answer) =
            post(&server, &path, &approver, json!({ "approved": approved })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
    (server, account, id)
}

#[tokio::test]
async fn a_rejection_restores_an_account_within_a_day_and_not_later() {
    let (server, account, id) = objected(TimeDelta::hours(23)).await;
    until(&server, &id, "Rejected").await;
    let path = format!("/api/accounts/{account}");
    assert_eq!(state(&server, &path).await["state"], "active");
    server.stop().await;

    // Someone else may have taken it out of use since, for another reason.
    let (server, account, id) = objected(TimeDelta::hours(25)).await;
    until(&server, &id, "Failed").await;
    let path = format!("/api/accounts/{account}");
    assert_eq!(state(&server, &path).await["state"], "removed");
    let by_hand = format!("{path}/restore");
    let (status, answer) = post(&server, &by_hand, &server.admin, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(state(&server, &path).await["state"], "active");
    server.stop().await;
}
