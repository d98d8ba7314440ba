//! Enrolling an account and asking for something on it, as most tests of requests begin.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, PATIENCE, SEED_URI};

/// Enrolls the example and answers its id.
pub(crate) async fn enrolled(admin: &Caller) -> String {
    let id = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    id
}

/// Asks for something that is accepted; answers the request's id.
pub(crate) async fn ask(caller: &Caller, account: &str, body: Value) -> String {
    let answer = caller
        .post(&format!("/api/accounts/{account}/requests"), &body)
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(
        answer.headers["location"],
        format!("/api/requests/{}", answer.id()),
    );
    answer.id()
}

/// Follows a request until it is at a stage.
pub(crate) async fn until(caller: &Caller, id: &str, stage: &str) -> Answer {
    let begun = std::time::Instant::now();
    let mut wait = 0;
    loop {
        let answer = caller.get(&format!("/api/requests/{id}?wait={wait}")).await;
        if answer.body["stage"] == stage {
            return answer;
        }
        assert!(
            answer.status == StatusCode::ACCEPTED && begun.elapsed() < PATIENCE,
            "it does not come to {stage}: {answer:?}"
        );
        wait = 1;
    }
}

/// Decides on a request.
pub(crate) async fn decide(caller: &Caller, id: &str, approved: bool) -> Answer {
    caller
        .post(
            &format!("/api/requests/{id}/approval"),
            &json!({ "approved": approved, "comment": "seen" }),
        )
        .await
}

/// Decides on a request, which is taken.
pub(crate) async fn decided(caller: &Caller, id: &str, approved: bool) {
    let answer = decide(caller, id, approved).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

/// Makes use of what a request has granted: `code` or `export`.
pub(crate) async fn use_it(caller: &Caller, id: &str, what: &str) -> Answer {
    caller
        .post(&format!("/api/requests/{id}/{what}"), &json!({}))
        .await
}
