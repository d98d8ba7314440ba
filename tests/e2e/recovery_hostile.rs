//! Recovery codes under someone who has the task hub: none but those that were accepted are
//! set, on no other account, and none that was accepted is dropped.

use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;
use countersign_enrollment::sealed::SealKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::support::{App, Caller, PATIENCE, SEED_URI};

async fn set(admin: &Caller, account: &str, codes: &[&str]) -> String {
    let path = format!("/api/accounts/{account}/recovery-codes");
    let request = admin.request(Method::PUT, &path);
    let answer = admin.send(request.json(&json!({ "codes": codes }))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.id()
}

async fn until(admin: &Caller, request: &str, stage: &str) {
    let begun = std::time::Instant::now();
    loop {
        let answer = admin.get(&format!("/api/requests/{request}?wait=1")).await;
        if answer.body["stage"] == stage {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not {stage}: {answer:?}");
    }
}

async fn total(admin: &Caller, account: &str) -> Value {
    let path = format!("/api/accounts/{account}/recovery-codes");
    admin.get(&path).await.body["total"].clone()
}

#[tokio::test]
async fn only_the_codes_that_were_accepted_are_set() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("approver", "approver");
    let adversary = Adversary::new(&format!(
        "Endpoint={};TaskHub=default;Authentication=Token;TokenFile={}",
        app.hub_endpoint(),
        app.data_dir().join("hub-token").display()
    ));
    let mut accounts = Vec::new();
    for _ in 0..2 {
        let id = admin.enroll(SEED_URI, false).await;
        admin.ended(&id).await;
        accounts.push(id);
    }
    let [account, other] = [&accounts[0], &accounts[1]];
    let first = set(&admin, account, &["one", "two"]).await;
    until(&admin, &first, "Done").await;

    // One that waits for someone to agree, since it destroys codes.
    let waiting = set(&admin, account, &["three"]).await;
    until(&admin, &waiting, "AwaitingApproval").await;
    let (done, open) = (
        adversary.input(&first).await,
        adversary.input(&waiting).await,
    );
    let key = admin.get("/api/system").await.body["sealKey"].clone();
    let key = SealKey::from_text(key.as_str().unwrap()).unwrap();
    let sealed = |account: &str| {
        let id: EnrollmentId = account.parse().unwrap();
        let codes = RecoveryCodes::new(["mallory"]).unwrap();
        serde_json::to_value(key.seal(&id, &codes).unwrap()).unwrap()
    };
    let input = |mandate: &Value, request: &str, codes: Value| json!({ "mandate": mandate, "request": request, "decisions": [], "codes": codes });
    for (name, wrong) in [
        (
            "not agreed to",
            input(&open["mandate"], &waiting, open["codes"].clone()),
        ),
        (
            "other codes",
            input(&open["mandate"], &waiting, sealed(account)),
        ),
        (
            "other codes, once done",
            input(&done["mandate"], &waiting, sealed(account)),
        ),
        (
            "another's mandate",
            input(&done["mandate"], &waiting, done["codes"].clone()),
        ),
        ("no mandate", input(&json!(""), &waiting, sealed(account))),
    ] {
        let refused = adversary.call("set-recovery-codes", &wrong).await;
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    // What is done is not done again, whatever codes come with it.
    let again = input(&done["mandate"], &first, sealed(account));
    let again = adversary.call("set-recovery-codes", &again).await;
    assert_eq!(again, Ok(json!({ "state": "inUse" })));
    assert_eq!(total(&admin, account).await, 2);
    assert_eq!(total(&admin, other).await, 0);

    // Agreed to, it is exactly what was requested.
    let path = format!("/api/requests/{waiting}/approval");
    approver.post(&path, &json!({ "approved": true })).await;
    until(&admin, &waiting, "Done").await;
    let take = admin.request(
        Method::POST,
        &format!("/api/accounts/{account}/recovery-code"),
    );
    assert_eq!(
        admin.send(take).await.body,
        json!({ "code": "three", "left": 0 })
    );

    // An enrollment keeps the codes that came with it, or is not stored.
    let body = json!({ "uri": SEED_URI, "recoveryCodes": ["four"] });
    let started = admin
        .post("/api/enrollments?approval=required", &body)
        .await;
    let started_id = started.id();
    approver.until_stage(&started_id, "AwaitingApproval").await;
    let mut input = adversary.input(&started_id).await;
    assert!(input["recovery"].is_string(), "{input}");
    assert!(input.as_object_mut().unwrap().remove("recovery").is_some());
    adversary.forget(&started_id).await;
    let stripped = adversary.start("enroll", &started_id, &input);
    let decide = async {
        // It has to be there again first.
        let path = format!("/api/enrollments/{started_id}");
        let begun = std::time::Instant::now();
        while approver.get(&path).await.status == 404 {
            assert!(begun.elapsed() < PATIENCE, "it does not start");
        }
        approver.until_stage(&started_id, "AwaitingApproval").await;
        approver.decide(&started_id, true, "yes").await;
    };
    let (stripped, ()) = tokio::join!(stripped, decide);
    assert!(stripped.is_err(), "{stripped:?}");
    let missing = admin.get(&format!("/api/accounts/{started_id}")).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    adversary.stop().await;
}
