//! The server is killed, not stopped, at random moments.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{App, Caller, SEED_URI};

const KILLS: usize = 8;
const ENROLLMENTS_PER_RUN: usize = 12;

/// Submits one enrollment until the server has accepted it or is gone.
async fn submit(caller: Caller, key: usize) -> Option<String> {
    let request = caller
        .request(Method::POST, "/api/enrollments")
        .header("idempotency-key", format!("\"key-{key}\""))
        .json(&json!({ "uri": format!("otpauth://totp/account-{key}?secret=2FASTEST") }));
    let response = request.send().await.ok()?;
    let status = response.status();
    let body: serde_json::Value = response.json().await.ok()?;
    assert!(status.is_success(), "{status} {body}");
    Some(body["id"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_enrollments_survive_kill_9_and_end_once() {
    let mut app = App::start().await;
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let waiting = app.admin().enroll(SEED_URI, true).await;
    app.admin().until_stage(&waiting, "AwaitingApproval").await;

    let mut accepted = Vec::new();
    for run in 0..KILLS {
        let admin = app.admin();
        let submits: Vec<_> = (0..ENROLLMENTS_PER_RUN)
            .map(|n| tokio::spawn(submit(admin.clone(), run * ENROLLMENTS_PER_RUN + n)))
            .collect();
        // Somewhere between "nothing accepted yet" and "some of it done".
        tokio::time::sleep(Duration::from_millis(u64::from(rand::random::<u8>() / 4))).await;
        app.kill();
        for (n, submit) in submits.into_iter().enumerate() {
            if let Some(id) = submit.await.unwrap() {
                accepted.push((run * ENROLLMENTS_PER_RUN + n, id));
            }
        }
        app.launch().await;
    }

    // A caller without an answer retries with the same key.
    let admin = app.admin();
    let all = KILLS * ENROLLMENTS_PER_RUN;
    for key in 0..all {
        let id = submit(admin.clone(), key).await.expect("the server runs");
        if let Some((_, before)) = accepted.iter().find(|(accepted, _)| *accepted == key) {
            assert_eq!(&id, before, "key {key} keeps its enrollment");
        }
        let ended = admin.ended(&id).await;
        assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    }
    let accounts = admin.get(&format!("/api/accounts?limit={}", 2 * all)).await;
    assert_eq!(
        accounts.body["accounts"].as_array().unwrap().len(),
        all,
        "exactly one secret for each enrollment"
    );

    // The one that waited for approval all the while still does.
    let state = admin.get(&format!("/api/enrollments/{waiting}")).await;
    assert_eq!(state.body["stage"], "AwaitingApproval", "{state:?}");
    // Ports changed with every start; the key did not.
    let approver = app.with_token_of(&approver);
    assert!(
        approver
            .decide(&waiting, true, "")
            .await
            .status
            .is_success()
    );
    assert_eq!(admin.ended(&waiting).await.body["stage"], "Enrolled");
}

#[tokio::test]
async fn a_stop_is_clean_and_the_next_start_continues() {
    let mut app = App::start().await;
    let id = app.admin().enroll(SEED_URI, true).await;
    app.admin().until_stage(&id, "AwaitingApproval").await;
    assert_eq!(app.stop().await, Some(0), "{}", app.logs());
    assert!(!app.data_dir().join("serve.json").exists());
    app.launch().await;
    let state = app.admin().get(&format!("/api/enrollments/{id}")).await;
    assert_eq!(state.body["stage"], "AwaitingApproval", "{state:?}");
}
