//! Accounts that are in use only once their requester has proved them.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{App, Caller, PATIENCE};

/// Enrolls an account and waits for the end; answers its id.
async fn enrolled(caller: &Caller, uri: &str, query: &str) -> String {
    let path = format!("/api/enrollments{query}");
    let started = caller.post(&path, &json!({ "uri": uri })).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{started:?}");
    let id = started.id();
    let ended = caller.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(ended.body["proofRequired"], true, "{ended:?}");
    id
}

fn accepted(codes: &Value) -> Value {
    json!({"accepted": true, "codes": [codes["token"], codes["nextToken"]]})
}

#[tokio::test]
async fn an_account_is_in_use_once_two_codes_are_accepted() {
    let mut app = App::start().await;
    let requester = app.new_caller("requester", "enroller");
    let uri = "otpauth://totp/Bank:ann?secret=2FASTEST&issuer=Bank&period=2";
    let id = enrolled(&requester, uri, "?proof=required").await;
    let (account, proof) = (
        format!("/api/accounts/{id}"),
        format!("/api/accounts/{id}/proof"),
    );

    // Neither a restart nor anyone else's wish makes it one that is in use.
    app.kill();
    app.launch().await;
    let (requester, reader) = (
        app.with_token_of(&requester),
        app.new_caller("pipeline", "reader"),
    );
    let pending = reader.get(&account).await;
    assert_eq!(pending.body["state"], "pending", "{pending:?}");
    assert_eq!(pending.body["pendingFor"], "requester");
    for path in [format!("{account}/token"), format!("/api/tokens?id={id}")] {
        reader
            .get(&path)
            .await
            .assert_problem(409, "account-pending");
    }
    let vault = reader.get(&format!("/v1/totp/code/{id}")).await;
    assert_eq!(vault.status, StatusCode::CONFLICT, "{vault:?}");
    assert_eq!(vault.body["code"], "account-pending", "{vault:?}");
    reader
        .post(&format!("{account}/verify"), &json!({"token": "123456"}))
        .await
        .assert_problem(409, "account-pending");
    let batch = reader.get(&format!("/api/tokens?id={id}&id={id}")).await;
    assert_eq!(batch.body["tokens"][0]["problem"], "account-pending");
    reader.get(&proof).await.assert_problem(403, "role-missing");
    let other = app.new_caller("other", "enroller");
    other
        .get(&proof)
        .await
        .assert_problem(404, "account-unknown");
    let admin = app.admin();
    assert_eq!(admin.get(&proof).await.status, StatusCode::OK);

    for wrong in [
        json!({"accepted": true}),
        json!({"accepted": true, "codes": ["1"]}),
    ] {
        let refused = requester.post(&proof, &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
    }
    let guess = json!({"accepted": true, "codes": ["000000", "000000"]});
    requester
        .post(&proof, &guess)
        .await
        .assert_problem(422, "proof-wrong");
    let begun = Instant::now();
    let active = loop {
        let codes = requester.get(&proof).await;
        assert_eq!(codes.status, StatusCode::OK, "{codes:?}");
        // Until the second code's time has begun; on a slow machine it may be over, then
        // with the next two.
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let proved = requester.post(&proof, &accepted(&codes.body)).await;
        if proved.status == StatusCode::OK {
            break proved;
        }
        proved.assert_problem(422, "proof-wrong");
        assert!(begun.elapsed() < PATIENCE, "it is never proved");
    };
    assert_eq!(active.body["state"], "active", "{active:?}");
    assert!(active.body["pendingFor"].is_null());
    let token = reader.get(&format!("{account}/token")).await;
    assert_eq!(token.status, StatusCode::OK, "{token:?}");
    admin
        .get(&proof)
        .await
        .assert_problem(409, "already-proved");
    requester
        .get(&proof)
        .await
        .assert_problem(404, "account-unknown");
    let entries = admin.get("/api/audit?action=prove&limit=200").await;
    let done = entries.body["entries"].as_array().unwrap().iter();
    assert_eq!(done.filter(|entry| entry["outcome"] == "done").count(), 1);
}

#[tokio::test]
async fn a_code_whose_time_has_not_come_proves_nothing() {
    let app = App::start_with(&["--require-proof"]).await;
    let admin = app.admin();
    // Asked for or not, with steps of a day.
    let uri = "otpauth://totp/Day?secret=2FASTEST&period=86400";
    let output = app.command(&["enroll", uri, "--idempotency-key", "day"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("until it is proved"), "{told}");
    let id = enrolled(&admin, uri, "").await;
    let proof = format!("/api/accounts/{id}/proof");
    let codes = admin.get(&proof).await.body;
    let early = admin.post(&proof, &accepted(&codes)).await;
    let later = admin.get(&proof).await;
    // Unless midnight was between, and that was its time.
    if later.body["token"] == codes["token"] {
        early.assert_problem(422, "proof-wrong");
    }

    let uri = "otpauth://totp/Wrong?secret=2FASTEST&period=86400";
    let body = json!({ "uri": uri });
    let added = admin.post("/api/accounts", &body).await;
    assert_eq!(added.body["state"], "pending", "{added:?}");
    let id = added.body["secretName"].as_str().unwrap();
    let path = format!("/api/accounts/{id}");
    let refused = admin
        .post(&format!("{path}/proof"), &json!({"accepted": false}))
        .await;
    assert_eq!(refused.status, StatusCode::NO_CONTENT, "{refused:?}");
    admin
        .get(&format!("{path}/proof"))
        .await
        .assert_problem(404, "account-unknown");
    // Brought back, it still has to be proved.
    let back = admin.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!(back.body["state"], "pending", "{back:?}");
}
