//! Recovery codes go where their account goes, and each is given out by one of the places.

use std::collections::BTreeSet;

use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::{MovedCodes, RecoveryCodes};
use countersign_enrollment::sealed::{OtpauthText, SealKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller, PATIENCE, SEED_URI};

const CODES: [&str; 6] = ["code-a", "code-b", "code-c", "-code-d", "+code-e", "code f"];

async fn account(admin: &Caller) -> String {
    let body = json!({"uri": SEED_URI, "recoveryCodes": CODES});
    let answer = admin.post("/api/accounts", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["secretName"].as_str().unwrap().to_owned()
}

async fn take(caller: &Caller, id: &str) -> Answer {
    let path = format!("/api/accounts/{id}/recovery-code");
    caller.send(caller.request(Method::POST, &path)).await
}

async fn left(caller: &Caller, id: &str) -> Value {
    let path = format!("/api/accounts/{id}/recovery-codes");
    caller.get(&path).await.body
}

async fn until(caller: &Caller, request: &str, stage: &str) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(&format!("/api/requests/{request}?wait=2")).await;
        if answer.body["stage"] == stage {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not {stage}: {answer:?}");
    }
}

/// A request that someone else has agreed to.
async fn agreed(app: &App, account: &str, body: &Value) -> String {
    let admin = app.admin();
    let path = format!("/api/accounts/{account}/requests");
    let asked = admin.post(&path, body).await.id();
    until(&admin, &asked, "AwaitingApproval").await;
    let approver = app.new_caller(&format!("agrees-to-{}", &asked[8..16]), "approver");
    let path = format!("/api/requests/{asked}/approval");
    approver.post(&path, &json!({"approved": true})).await;
    asked
}

#[tokio::test]
async fn a_transfer_takes_them_along_with_which_were_given_out() {
    let (here, there) = (App::start().await, App::start().await);
    let (admin, receiver) = (here.admin(), there.admin());
    let id = account(&admin).await;
    let mut taken = BTreeSet::new();
    let mut took = |answer: &Answer| {
        let code = answer.body["code"].as_str().unwrap().to_owned();
        assert!(taken.insert(code), "given out twice: {answer:?}");
    };
    took(&take(&admin, &id).await);

    let system = receiver.get("/api/system").await;
    let body = json!({"kind": "transfer", "to": system.body["sealKey"]});
    let request = agreed(&here, &id, &body).await;
    // Someone takes codes for as long as there is something to take.
    let mut refused = 0;
    while refused == 0 {
        let answer = take(&admin, &id).await;
        match answer.status {
            StatusCode::OK => took(&answer),
            _ => refused += 1,
        }
    }
    let done = until(&admin, &request, "Done").await;
    let package = done.body["package"].as_str().unwrap();
    for code in CODES {
        assert!(!package.contains(code), "{package}");
    }
    assert_eq!(package.matches('+').count(), 1, "two envelopes: {package}");
    let sent = json!({"id": id, "package": package});
    let answer = receiver.post("/api/transfers", &sent).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(receiver.ended(&id).await.body["stage"], "Enrolled");

    let count = left(&receiver, &id).await;
    let expected = CODES.len() - taken.len();
    assert_eq!(count, json!({"total": CODES.len(), "left": expected}));
    for _ in 0..expected {
        let answer = take(&receiver, &id).await;
        let code = answer.body["code"].as_str().unwrap().to_owned();
        assert!(taken.insert(code), "given out twice: {answer:?}");
    }
    assert_eq!(taken.len(), CODES.len());
    take(&receiver, &id)
        .await
        .assert_problem(409, "no-recovery-code");
    // Restored here, as after a lost package: what was sealed is not given out here too.
    admin
        .post(&format!("/api/accounts/{id}/restore"), &json!({}))
        .await;
    assert_eq!(left(&admin, &id).await, json!({"total": 6, "left": 0}));
    take(&admin, &id)
        .await
        .assert_problem(409, "no-recovery-code");
}

#[tokio::test]
async fn a_package_whose_recovery_codes_do_not_open_adds_nothing() {
    let (here, there) = (App::start().await, App::start().await);
    let (admin, receiver) = (here.admin(), there.admin());
    let id = account(&admin).await;
    let system = receiver.get("/api/system").await;
    let body = json!({"kind": "transfer", "to": system.body["sealKey"]});
    let request = agreed(&here, &id, &body).await;
    let done = until(&admin, &request, "Done").await;
    let package = done.body["package"].as_str().unwrap();
    let (rest, end) = package.split_at(package.len() - 20);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    let damaged = format!("{rest}{other}{}", &end[1..]);
    let damaged = json!({"id": id, "package": damaged});
    let answer = receiver.post("/api/transfers", &damaged).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let ended = receiver.ended(&id).await;
    assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
    assert_eq!(ended.body["problem"]["code"], "package-unreadable");
    let token = receiver.get(&format!("/api/accounts/{id}/token")).await;
    token.assert_problem(404, "account-unknown");
    for (wrong, text) in [("no envelope", "+"), ("three of them", "+s1.x+s1.y")] {
        let wrong_one = json!({"id": id, "package": format!("{package}{text}")});
        let answer = receiver.post("/api/transfers", &wrong_one).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{wrong}: {answer:?}"
        );
    }
    let sent = json!({"id": id, "package": package});
    receiver.post("/api/transfers", &sent).await;
    assert_eq!(receiver.ended(&id).await.body["stage"], "Enrolled");
    assert_eq!(left(&receiver, &id).await, json!({"total": 6, "left": 6}));
}

#[tokio::test]
async fn a_package_that_was_cut_or_put_together_adds_nothing() {
    let (here, there) = (App::start().await, App::start().await);
    let (admin, receiver) = (here.admin(), there.admin());
    let key = receiver.get("/api/system").await.body["sealKey"].clone();
    let key = SealKey::from_text(key.as_str().unwrap()).unwrap();
    let id = account(&admin).await;
    let body = json!({"kind": "transfer", "to": key.to_text()});
    let request = agreed(&here, &id, &body).await;
    let done = until(&admin, &request, "Done").await;
    let package = done.body["package"].as_str().unwrap();
    let (without, codes) = package.split_once('+').unwrap();
    // What anyone can seal with the key that is public.
    let scope: EnrollmentId = id.parse().unwrap();
    let forged = RecoveryCodes::new(["mallory"]).unwrap();
    let forged = key
        .seal(&scope, &MovedCodes::new(forged, vec![false]))
        .unwrap();
    let uri = OtpauthText::new(SEED_URI.to_owned().into());
    let earlier = key.seal(&scope, &uri).unwrap();
    for (name, wrong) in [
        ("cut", without.to_owned()),
        ("other codes", format!("{without}+{}", forged.as_text())),
        ("codes added", format!("{}+{codes}", earlier.as_text())),
    ] {
        let sent = json!({"id": id, "package": wrong});
        let answer = receiver.post("/api/transfers", &sent).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{name}: {answer:?}");
        let ended = receiver.ended(&id).await;
        assert_eq!(ended.body["stage"], "Invalid", "{name}: {ended:?}");
        assert_eq!(
            ended.body["problem"]["code"], "package-incomplete",
            "{name}"
        );
        let said = ended.body["problem"].to_string();
        assert!(
            said.contains("recovery codes") && said.contains("whole package"),
            "{said}"
        );
        let token = receiver.get(&format!("/api/accounts/{id}/token")).await;
        token.assert_problem(404, "account-unknown");
    }
    let sent = json!({"id": id, "package": package});
    receiver.post("/api/transfers", &sent).await;
    assert_eq!(receiver.ended(&id).await.body["stage"], "Enrolled");
    assert_eq!(left(&receiver, &id).await, json!({"total": 6, "left": 6}));

    // One without recovery codes, as earlier releases have sealed it.
    let other = format!("totp-{}", "01234567-89ab-4def-8123-456789abcdef");
    let scope: EnrollmentId = other.parse().unwrap();
    let earlier = key.seal(&scope, &uri).unwrap();
    let sent = json!({"id": other, "package": earlier.as_text()});
    receiver.post("/api/transfers", &sent).await;
    assert_eq!(receiver.ended(&other).await.body["stage"], "Enrolled");
    assert_eq!(left(&receiver, &other).await["total"], 0);
}

#[tokio::test]
async fn an_export_gives_out_what_is_left() {
    let app = App::start().await;
    let admin = app.admin();
    let id = account(&admin).await;
    assert_eq!(take(&admin, &id).await.body["code"], CODES[0]);
    let request = agreed(&app, &id, &json!({"kind": "export"})).await;
    until(&admin, &request, "Granted").await;
    let path = format!("/api/requests/{request}/export");
    let handed = admin.send(admin.request(Method::POST, &path)).await;
    assert_eq!(
        handed.body["recoveryCodes"],
        json!(CODES[1..]),
        "{handed:?}"
    );
    assert_eq!(left(&admin, &id).await, json!({"total": 6, "left": 0}));
    let log = app.command(&["audit", "export"]);
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.contains("with 5 recovery codes"), "{log}");
    assert!(!log.contains("code-b"), "{log}");

    // The command line writes them beside the account.
    let more = json!({"codes": ["new-1", "new-2"]});
    let put = admin
        .request(Method::PUT, &format!("/api/accounts/{id}/recovery-codes"))
        .json(&more);
    let asked = admin.send(put).await.id();
    until(&admin, &asked, "AwaitingApproval").await;
    let approver = app.new_caller("sets-codes", "approver");
    let path = format!("/api/requests/{asked}/approval");
    approver.post(&path, &json!({"approved": true})).await;
    until(&admin, &asked, "Done").await;
    let request = agreed(&app, &id, &json!({"kind": "export"})).await;
    until(&admin, &request, "Granted").await;
    let file = app.folder().join("account.txt");
    let beside = app.folder().join("account.txt.recovery-codes");
    std::fs::write(&beside, "in the way").unwrap();
    let export = ["export", &request, "--output", file.to_str().unwrap()];
    assert_eq!(app.command(&export).status.code(), Some(2));
    std::fs::remove_file(&beside).unwrap();
    assert_eq!(app.command(&export).status.code(), Some(0));
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("otpauth://")
    );
    let codes = std::fs::read_to_string(&beside).unwrap();
    assert_eq!(codes, "new-1\nnew-2\n");
}
