//! Nothing leaves the vault or is destroyed in it without another person's approval.

use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::RaisedDecision;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::request_helpers::{ask, decide, enrolled, until, use_it};
use crate::support::{Answer, App, Caller};

/// Asks for something, and has it approved.
async fn approved(asker: &Caller, approver: &Caller, account: &str, body: Value) -> String {
    let id = ask(asker, account, body).await;
    until(approver, &id, "AwaitingApproval").await;
    let answer = decide(approver, &id, true).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    id
}

#[tokio::test]
async fn a_guarded_account_is_read_as_often_as_was_approved() {
    let app = App::start().await;
    let admin = app.admin();
    let reader = app.new_caller("deploy-bot", "reader");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;
    let token = format!("/api/accounts/{account}/token");
    assert_eq!(reader.get(&token).await.status, StatusCode::OK);

    let guard = admin
        .request(Method::PATCH, &format!("/api/accounts/{account}"))
        .json(&json!({ "readApproval": true }));
    let guarded = admin.send(guard).await;
    assert_eq!(guarded.body["readApproval"], true, "{guarded:?}");
    assert_eq!(guarded.body["issuer"], "2FAS");
    for caller in [&reader, &admin] {
        for path in [
            &token,
            &format!("/api/tokens?id={account}"),
            &format!("/v1/totp/code/{account}"),
        ] {
            let refused = caller.get(path).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
            assert_eq!(refused.body["code"], "approval-needed");
        }
    }

    let body = json!({ "kind": "read", "reads": 2, "reason": "nightly deploy" });
    let id = ask(&reader, &account, body).await;
    let shown = until(&approver, &id, "AwaitingApproval").await;
    assert_eq!(shown.body["account"]["issuer"], "2FAS");
    assert_eq!(shown.body["reason"], "nightly deploy");
    assert_eq!(shown.body["kind"], "read");
    use_it(&reader, &id, "code")
        .await
        .assert_problem(409, "not-granted");
    decide(&reader, &id, true)
        .await
        .assert_problem(403, "role-missing");
    let listed = approver.get("/api/requests?stage=AwaitingApproval").await;
    assert_eq!(listed.body["requests"][0]["id"], id.as_str(), "{listed:?}");
    assert_eq!(decide(&approver, &id, true).await.status, 202);
    let granted = until(&reader, &id, "Granted").await;
    assert_eq!(granted.body["readsLeft"], 2);

    // What was granted to one is of no use to another, not even to an administrator.
    for other in [&admin, &app.new_caller("another", "reader")] {
        use_it(other, &id, "code")
            .await
            .assert_problem(404, "request-unknown");
    }
    // Both reads at once: each is someone's, and there is no third.
    let all = tokio::join!(
        use_it(&reader, &id, "code"),
        use_it(&reader, &id, "code"),
        use_it(&reader, &id, "code"),
    );
    let statuses = [all.0.status, all.1.status, all.2.status].map(|s| s.as_u16());
    let given = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(given, 2, "{all:?}");
    assert!(statuses.contains(&409), "{all:?}");
    until(&reader, &id, "Done").await;
    reader
        .get(&token)
        .await
        .assert_problem(403, "approval-needed");

    let audit = admin
        .get(&format!("/api/audit?subject={account}&caller=deploy-bot"))
        .await;
    let told: Vec<_> = audit.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["outcome"] == "done" && entry["action"] == "read-code")
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    let why = format!("{id}: nightly deploy");
    assert_eq!(told, [why.as_str(), why.as_str()]);
}

#[tokio::test]
async fn a_lease_ends_by_its_time_and_can_be_taken_back() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;

    let brief = json!({ "kind": "read", "reads": 5, "seconds": 1 });
    let id = approved(&admin, &approver, &account, brief).await;
    until(&admin, &id, "Lapsed").await;
    use_it(&admin, &id, "code")
        .await
        .assert_problem(409, "not-granted");

    // By who asked for it, and by someone who has to be asked.
    for (by, stage) in [(&admin, "Withdrawn"), (&approver, "Rejected")] {
        let body = json!({ "kind": "read", "reads": 5, "seconds": 3600 });
        let id = approved(&admin, &approver, &account, body).await;
        until(&admin, &id, "Granted").await;
        assert_eq!(use_it(&admin, &id, "code").await.status, 200);
        let answer = by.delete(&format!("/api/requests/{id}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        until(&admin, &id, stage).await;
        use_it(&admin, &id, "code")
            .await
            .assert_problem(409, "not-granted");
        by.delete(&format!("/api/requests/{id}"))
            .await
            .assert_problem(409, "already-ended");
        // The audit log says which of both it was, also of what was refused.
        let log = admin.get(&format!("/api/audit?subject={id}")).await.body;
        let ended: Vec<Value> = log["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["action"] == "cancel-request" || entry["action"] == "reject")
            .map(|entry| json!([entry["caller"], entry["action"], entry["outcome"]]))
            .collect();
        let (caller, action) = match stage {
            "Rejected" => ("second-pair-of-eyes", "reject"),
            _ => ("admin", "cancel-request"),
        };
        let expected = [
            json!([caller, action, "done"]),
            json!([caller, action, "refused"]),
        ];
        assert_eq!(ended, expected);
    }
}

#[tokio::test]
async fn no_requester_and_no_event_from_elsewhere_grants_a_request() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;
    let id = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &id, "AwaitingApproval").await;
    decide(&admin, &id, true)
        .await
        .assert_problem(403, "self-approval-forbidden");
    for signed in ["", "e30.e30.AAAA"] {
        let claimed: RaisedDecision = serde_json::from_value(json!({
            "approved": true,
            "by": "second-pair-of-eyes",
            "decidedAt": "2026-01-02T03:04:05Z",
            "signed": signed,
        }))
        .unwrap();
        let hub = app.task_hub();
        hub.raise_event(&id, &APPROVAL, &claimed).await.unwrap();
    }
    app.until_logged("ignored an invalid decision").await;
    let still = admin.get(&format!("/api/requests/{id}")).await;
    assert_eq!(still.body["stage"], "AwaitingApproval", "{still:?}");
    assert_eq!(decide(&approver, &id, false).await.status, 202);
    until(&admin, &id, "Rejected").await;
}

#[tokio::test]
async fn a_key_that_the_requester_created_approves_nothing() {
    let app = App::start().await;
    let admin = app.admin();
    let account = enrolled(&admin).await;
    let made = async |maker: &Caller, name: &str, role: &str| {
        let key = json!({ "name": name, "role": role });
        let key = maker.post("/api/keys", &key).await;
        app.caller(Some(key.body["key"].as_str().unwrap()))
    };
    let second_self = made(&admin, "second-self", "admin").await;
    let third_self = made(&second_self, "third-self", "approver").await;
    let other = app.new_caller("second-pair-of-eyes", "approver");
    for asker in [&admin, &second_self] {
        let id = ask(asker, &account, json!({ "kind": "export" })).await;
        until(asker, &id, "AwaitingApproval").await;
        for decider in [&admin, &second_self, &third_self] {
            decide(decider, &id, true)
                .await
                .assert_problem(403, "self-approval-forbidden");
        }
        decide(&other, &id, true).await;
        until(asker, &id, "Granted").await;
        // What was agreed to can be taken back by anyone who decides.
        decide(&third_self, &id, false).await;
        until(asker, &id, "Rejected").await;
    }
}

#[tokio::test]
async fn what_may_not_be_seen_or_asked_for_is_refused() {
    let app = App::start().await;
    let admin = app.admin();
    let reader = app.new_caller("deploy-bot", "reader");
    let enroller = app.new_caller("build-server", "enroller");
    let account = enrolled(&admin).await;
    let path = format!("/api/accounts/{account}/requests");
    let read = json!({ "kind": "read" });
    enroller
        .post(&path, &read)
        .await
        .assert_problem(403, "role-missing");
    for kind in ["export", "delete"] {
        reader
            .post(&path, &json!({ "kind": kind }))
            .await
            .assert_problem(403, "role-missing");
    }
    let unknown = "/api/accounts/totp-67e55044-10b1-426f-9247-bb680e5fe0c8/requests";
    admin
        .post(unknown, &read)
        .await
        .assert_problem(404, "account-unknown");
    for wrong in [
        json!({ "kind": "borrow" }),
        json!({ "kind": "read", "reads": 0 }),
        json!({ "kind": "read", "seconds": 31_536_000 }),
        json!({ "kind": "delete", "reads": 1 }),
        json!({ "kind": "transfer" }),
        json!({ "kind": "transfer", "to": "somebody" }),
        json!({ "kind": "read", "reason": "x".repeat(501) }),
    ] {
        admin
            .post(&path, &wrong)
            .await
            .assert_problem(400, "invalid-parameter");
    }
    let id = ask(&admin, &account, read).await;
    reader
        .get(&format!("/api/requests/{id}"))
        .await
        .assert_problem(404, "request-unknown");
    let listed = reader.get("/api/requests").await;
    assert_eq!(listed.body["requests"], json!([]), "{listed:?}");
    let again = |reads: u32| {
        admin
            .request(Method::POST, &path)
            .header("idempotency-key", "the-same")
            .json(&json!({ "kind": "read", "reads": reads }))
    };
    let first = admin.send(again(3)).await;
    assert_eq!(admin.send(again(3)).await.id(), first.id());
    admin
        .send(again(4))
        .await
        .assert_problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn an_account_is_exported_once() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;
    let id = approved(&admin, &approver, &account, json!({ "kind": "export" })).await;
    until(&admin, &id, "Granted").await;
    let handed = use_it(&admin, &id, "export").await;
    assert_eq!(handed.status, StatusCode::OK, "{handed:?}");
    let uri = handed.body["uri"].as_str().unwrap();
    assert!(uri.contains("secret=2FASTEST"), "{uri}");
    assert!(handed.body["qrSvg"].as_str().unwrap().contains("<svg"));
    assert_eq!(handed.headers["cache-control"], "no-store");
    use_it(&admin, &id, "export")
        .await
        .assert_problem(409, "not-granted");
    until(&admin, &id, "Done").await;
}

#[tokio::test]
async fn an_account_is_out_of_use_at_once_and_destroyed_later_unless_someone_objects() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let kept = enrolled(&admin).await;
    let token = format!("/api/accounts/{kept}/token");

    let id = approved(&admin, &approver, &kept, json!({ "kind": "delete" })).await;
    let removing = until(&admin, &id, "Removing").await;
    assert!(removing.body["removalAt"].is_string(), "{removing:?}");
    admin
        .get(&token)
        .await
        .assert_problem(404, "account-unknown");
    let objection = approver.delete(&format!("/api/requests/{id}")).await;
    assert_eq!(objection.status, StatusCode::ACCEPTED, "{objection:?}");
    until(&admin, &id, "Rejected").await;
    assert_eq!(admin.get(&token).await.status, StatusCode::OK);

    let now = json!({ "kind": "delete", "seconds": 0 });
    let id = approved(&admin, &approver, &kept, now).await;
    until(&admin, &id, "Done").await;
    admin
        .post(&format!("/api/accounts/{kept}/restore"), &json!({}))
        .await
        .assert_problem(404, "account-unknown");
}

/// That an enrollment has ended since its package does not open, with words of what to do.
fn assert_told_of_package(ended: &Answer) {
    assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
    let problem = &ended.body["problem"];
    assert_eq!(problem["code"], "package-unreadable", "{ended:?}");
    for words in ["detail", "nextStep"] {
        assert!(problem[words].as_str().unwrap().len() > 20, "{ended:?}");
    }
}

#[tokio::test]
async fn an_account_moves_to_the_installation_that_it_was_sealed_for() {
    let (here, there) = (App::start().await, App::start().await);
    let (admin, receiver) = (here.admin(), there.admin());
    let approver = here.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;
    let system = receiver.get("/api/system").await;
    let body = json!({ "kind": "transfer", "to": system.body["sealKey"] });
    let id = approved(&admin, &approver, &account, body).await;
    let done = until(&admin, &id, "Done").await;
    admin
        .get(&format!("/api/accounts/{account}/token"))
        .await
        .assert_problem(404, "account-unknown");

    let package = json!({ "id": account, "package": done.body["package"] });
    admin
        .post("/api/transfers", &package)
        .await
        .assert_problem(400, "invalid-parameter");
    // A damaged package does not keep the whole one out.
    let text = done.body["package"].as_str().unwrap();
    let (whole, rest) = text.split_at(text.len() - 20);
    let other = if rest.starts_with('A') { 'B' } else { 'A' };
    let damaged = format!("{whole}{other}{}", &rest[1..]);
    let damaged = json!({ "id": account, "package": damaged });
    let answer = receiver.post("/api/transfers", &damaged).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_told_of_package(&receiver.ended(&account).await);
    // Neither does it open under another account's id.
    let other = account.replace("totp-", "");
    let (first, rest) = other.split_at(1);
    let first = if first == "0" { "1" } else { "0" };
    let other = format!("totp-{first}{rest}");
    let mixed_up = json!({ "id": other, "package": text });
    let answer = receiver.post("/api/transfers", &mixed_up).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_told_of_package(&receiver.ended(&other).await);
    let taken = receiver.post("/api/transfers", &package).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
    assert_eq!(taken.id(), account);
    assert_eq!(receiver.ended(&account).await.body["stage"], "Enrolled");
    let again = receiver.post("/api/transfers", &package).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    receiver
        .post("/api/transfers", &damaged)
        .await
        .assert_problem(409, "id-taken");
    let token = receiver
        .get(&format!("/api/accounts/{account}/token"))
        .await;
    assert_eq!(token.status, StatusCode::OK, "{token:?}");
}

#[tokio::test]
async fn a_repeat_says_where_the_request_is_also_once_it_has_ended() {
    let app = App::start().await;
    let admin = app.admin();
    let account = enrolled(&admin).await;
    let path = format!("/api/accounts/{account}/recovery-codes");
    let put = async || {
        let request = admin.request(Method::PUT, &path);
        let request = request.header("idempotency-key", "codes-1");
        admin.send(request.json(&json!({ "codes": ["a"] }))).await
    };
    let first = put().await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    until(&admin, &first.id(), "Done").await;
    let again = put().await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    assert_eq!(again.headers["location"], first.headers["location"]);
}
