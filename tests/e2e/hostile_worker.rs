//! A front door whose only worker is an adversary's: it gives out no code, URI or package,
//! and takes no decision, on that worker's claims.

use std::path::Path;

use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::RaisedDecision;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::sealed::{OpenKey, OtpauthText, Sealed};
use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, Client, Event, Failure, Orchestration, OrchestrationContext, Registry,
};
use reqwest::{Method, StatusCode};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::separate_processes::SeparateProcesses;
use crate::support::{Answer, Caller, PATIENCE, SEED_URI};

const OTHER_URI: &str = "otpauth://totp/ACME:a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=ACME";
/// A moment that no test gets to.
const NEVER: &str = "2199-01-02T03:04:05Z";

/// What the adversary makes an instance say next.
#[derive(Clone, Serialize, Deserialize)]
enum Lie {
    Status(Value),
    End(Value),
}

const LIE: Event<Lie> = Event::new("adversary-lies");

/// Stands in for every orchestration of the product: it reports what the test tells it to.
async fn puppet(ctx: OrchestrationContext, _input: Value) -> Result<Value, Failure> {
    loop {
        match ctx.wait_for_event(&LIE).await? {
            Lie::Status(status) => ctx.set_custom_status(&status)?,
            Lie::End(output) => return Ok(output),
        }
    }
}

fn adversary(apart: &SeparateProcesses) -> Adversary {
    let names = ["enroll", "import", "account-request"];
    let registry = names.into_iter().fold(Registry::new(), |registry, name| {
        registry.orchestration(&Orchestration::<Value, Value>::new(name), puppet)
    });
    Adversary::with(&apart.hub(), registry)
}

async fn lie(hub: &Client, id: &str, lie: Lie) {
    hub.raise_event(id, &LIE, &lie).await.unwrap();
}

/// An installation whose honest worker has enrolled one account, and is gone.
async fn house() -> (SeparateProcesses, Caller, Caller, String) {
    let mut apart = SeparateProcesses::start(&[]).await;
    let admin = apart.admin();
    let approver = apart.new_caller("second-pair-of-eyes", "approver");
    let account = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&account).await.body["stage"], "Enrolled");
    apart.stop_worker().await;
    (apart, admin, approver, account)
}

/// One number of the ledger.
fn count(data: &Path, query: &str) -> i64 {
    let file = data.join("ledger.sqlite3");
    let ledger = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    ledger.query_row(query, [], |row| row.get(0)).unwrap()
}

async fn until(caller: &Caller, path: &str, stage: &str) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(path).await;
        if answer.body["stage"] == stage {
            return answer;
        }
        let late = begun.elapsed() > PATIENCE;
        assert!(!late, "it never shows {stage}: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn ask(caller: &Caller, account: &str, body: &Value) -> String {
    let path = format!("/api/accounts/{account}/requests");
    let answer = caller.post(&path, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.id()
}

fn assert_refused(answer: &Answer, why: &str) {
    let status = answer.status;
    assert!(status == 404 || status == 409, "{why}: {answer:?}");
    let text = answer.body.to_string();
    for given in ["\"token\"", "otpauth", "\"package\"", "secret="] {
        assert!(!text.contains(given), "{why}: {answer:?}");
    }
}

/// That nobody is shown as having decided.
fn assert_undecided(approval: &Value) {
    assert!(approval.get("decision").is_none(), "{approval}");
    let agreed = approval.get("approvedBy").and_then(Value::as_array);
    assert!(agreed.is_none_or(Vec::is_empty), "{approval}");
}

#[tokio::test]
async fn what_a_worker_says_of_a_request_gives_out_nothing() {
    let (apart, admin, approver, account) = house().await;
    let adversary = adversary(&apart);
    let reader = apart.new_caller("deploy-bot", "reader");
    let attacker = OpenKey::generate().unwrap();
    let to = attacker.seal_key().to_text();
    let sealed = attacker
        .seal_key()
        .seal(
            &account.parse::<EnrollmentId>().unwrap(),
            &OtpauthText::new(OTHER_URI.to_owned().into()),
        )
        .unwrap();
    let decision = json!({
        "approved": true, "by": "second-pair-of-eyes", "decidedAt": "2026-01-02T03:04:05Z",
    });
    for act in [
        json!({ "kind": "read", "reads": 2 }),
        json!({ "kind": "export" }),
        json!({ "kind": "transfer", "to": to }),
        json!({ "kind": "delete", "seconds": 0 }),
    ] {
        let kind = act["kind"].as_str().unwrap();
        let id = ask(&admin, &account, &act).await;
        let path = format!("/api/requests/{id}");
        // Something harmless, asked for by someone else.
        let asked = json!({
            "account": "totp-00000000-0000-4000-8000-000000000001",
            "act": { "kind": "read", "reads": 1, "seconds": 1 },
            "preview": { "accountName": "test", "algorithm": "SHA1", "digits": 6, "period": 30 },
            "fingerprint": "f", "requestedBy": "deploy-bot", "reason": "only a test",
        });
        let told = |stage: &str, member: &str, moment: &str| {
            let mut status = json!({
                "stage": stage, "asked": asked, "approvals": [decision], "claims": [],
            });
            status[member] = json!(moment);
            Lie::Status(status)
        };
        let done = json!({
            "outcome": "Done", "asked": asked, "approvals": [decision], "claims": ["c"],
            "package": sealed,
        });
        for (stage, said) in [
            ("Acting", told("Acting", "at", NEVER)),
            ("Removing", told("Removing", "at", NEVER)),
            ("Granted", told("Granted", "until", NEVER)),
            (
                "AwaitingApproval",
                told("AwaitingApproval", "deadline", NEVER),
            ),
            ("Granted", told("Granted", "until", NEVER)),
            ("Done", Lie::End(done)),
        ] {
            lie(&adversary.client, &id, said).await;
            let shown = until(&admin, &path, stage).await;
            let why = format!("{kind}, {stage}");
            // People see what was requested, and by whom: that is what they decide on.
            assert_eq!(shown.body["kind"], kind, "{why}: {shown:?}");
            assert_eq!(shown.body["requestedBy"], "admin", "{why}: {shown:?}");
            assert_eq!(shown.body["account"]["id"], account, "{why}: {shown:?}");
            assert_ne!(shown.body["account"]["accountName"], "test", "{why}");
            assert_eq!(shown.body["reason"], Value::Null, "{why}: {shown:?}");
            let listed = approver.get("/api/requests").await;
            let listed = listed.body["requests"].as_array().unwrap();
            let listed = listed.iter().find(|it| it["id"] == id.as_str()).unwrap();
            for shown in [&shown.body, listed] {
                assert_undecided(&shown["approval"]);
                assert!(shown.get("package").is_none(), "{why}: {shown}");
                assert_eq!(shown["kind"], kind, "{why}");
            }
            for use_it in ["code", "export"] {
                let used = admin.post(&format!("{path}/{use_it}"), &json!({})).await;
                assert_refused(&used, &why);
            }
            // Nobody else sees it as theirs.
            reader
                .get(&path)
                .await
                .assert_problem(404, "request-unknown");
            assert_refused(
                &reader.post(&format!("{path}/code"), &json!({})).await,
                &why,
            );
            assert_refused(&reader.delete(&path).await, &why);
        }
    }
    // The account is as it was.
    let there = admin.get(&format!("/api/accounts/{account}")).await;
    assert_eq!(there.body["state"], "active", "{there:?}");
    let data = apart.data_dir();
    assert_eq!(count(&data, "SELECT count(*) FROM decisions"), 0);
    let uses = "SELECT count(*) FROM uses WHERE deed <> 'store'";
    assert_eq!(count(&data, uses), 0);
    let open = "SELECT count(*) FROM matters WHERE about LIKE 'request-%' AND status = 'open'";
    assert_eq!(count(&data, open), 4);
    adversary.stop().await;
    apart.stop().await;
}

#[tokio::test]
async fn activities_that_lie_to_the_products_own_orchestrations_give_out_nothing() {
    let (apart, admin, _, account) = house().await;
    let attacker = OpenKey::generate().unwrap();
    let package = attacker
        .seal_key()
        .seal(
            &account.parse::<EnrollmentId>().unwrap(),
            &OtpauthText::new(OTHER_URI.to_owned().into()),
        )
        .unwrap();
    let reading = adversary(&apart);
    let kept = reading.texts(&account, "k1.").await.pop().unwrap();
    reading.stop().await;
    let adversary = Adversary::with(&apart.hub(), lying(&account, &package, &kept));
    let claimed: RaisedDecision = serde_json::from_value(json!({
        "approved": true, "by": "second-pair-of-eyes", "decidedAt": "2026-01-02T03:04:05Z",
        "signed": "e30.e30.AAAA",
    }))
    .unwrap();
    let agree = async |id: &str| {
        let hub = &adversary.client;
        hub.raise_event(id, &APPROVAL, &claimed).await.unwrap();
    };
    let to = attacker.seal_key().to_text();
    for (act, stage) in [
        (json!({ "kind": "read", "reads": 2 }), "Granted"),
        (json!({ "kind": "export" }), "Granted"),
        (json!({ "kind": "transfer", "to": to }), "Done"),
        (json!({ "kind": "delete", "seconds": 0 }), "Done"),
    ] {
        let id = ask(&admin, &account, &act).await;
        let path = format!("/api/requests/{id}");
        until(&admin, &path, "AwaitingApproval").await;
        agree(&id).await;
        let shown = until(&admin, &path, stage).await;
        assert_undecided(&shown.body["approval"]);
        assert!(shown.body.get("package").is_none(), "{act}: {shown:?}");
        for use_it in ["code", "export"] {
            let used = admin.post(&format!("{path}/{use_it}"), &json!({})).await;
            assert_refused(&used, stage);
        }
    }
    let enrollment = admin.enroll(OTHER_URI, true).await;
    let path = format!("/api/enrollments/{enrollment}");
    until(&admin, &path, "AwaitingApproval").await;
    agree(&enrollment).await;
    let shown = until(&admin, &path, "Enrolled").await;
    assert_undecided(&shown.body["approval"]);
    for path in [
        format!("/api/accounts/{enrollment}/token"),
        format!("/api/tokens?id={enrollment}"),
    ] {
        assert_refused(&admin.get(&path).await, &path);
    }
    // The account is as it was.
    let token = admin.get(&format!("/api/accounts/{account}/token")).await;
    assert_eq!(token.status, StatusCode::OK, "{token:?}");
    let data = apart.data_dir();
    assert_eq!(count(&data, "SELECT count(*) FROM decisions"), 0);
    let uses = "SELECT count(*) FROM uses WHERE deed <> 'store'";
    assert_eq!(count(&data, uses), 0);
    adversary.stop().await;
    apart.stop().await;
}

#[tokio::test]
async fn what_a_worker_says_of_a_request_keeps_no_rejection_out() {
    let (mut apart, admin, approver, account) = house().await;
    let adversary = adversary(&apart);
    let data = apart.data_dir();
    let status = |id: &str| {
        let refused = format!(
            "SELECT count(*) FROM matters WHERE about = '{id}' AND status IN ('refused', 'withdrawn')"
        );
        count(&data, &refused) == 1
    };
    // Shown as begun, as over, and as one that nobody knows.
    let acting = ask(&admin, &account, &json!({ "kind": "export" })).await;
    let over = ask(&admin, &account, &json!({ "kind": "export" })).await;
    let hidden = ask(&admin, &account, &json!({ "kind": "export" })).await;
    let asked = json!({
        "account": account, "act": { "kind": "export", "seconds": 1 },
        "preview": { "accountName": "test", "algorithm": "SHA1", "digits": 6, "period": 30 },
        "fingerprint": "f", "requestedBy": "admin",
    });
    let status_of = json!({ "stage": "Acting", "asked": asked });
    lie(&adversary.client, &acting, Lie::Status(status_of)).await;
    until(&admin, &format!("/api/requests/{acting}"), "Acting").await;
    let lapsed = json!({ "outcome": "Lapsed", "asked": asked });
    lie(&adversary.client, &over, Lie::End(lapsed)).await;
    until(&admin, &format!("/api/requests/{over}"), "Lapsed").await;
    adversary.forget(&hidden).await;
    let object = json!({ "approved": false, "comment": "no" });
    for (id, by, answers) in [
        (&acting, &approver, 202),
        (&over, &approver, 409),
        (&hidden, &approver, 404),
    ] {
        let path = format!("/api/requests/{id}/approval");
        let answer = by.post(&path, &object).await;
        assert_eq!(answer.status.as_u16(), answers, "{answer:?}");
        assert!(status(id), "the objection is lost: {answer:?}");
    }
    // Taken back by its requester, while the hub shows another one's.
    let own = ask(&admin, &account, &json!({ "kind": "export" })).await;
    let mut input = adversary.input(&own).await;
    adversary.forget(&own).await;
    input["requestedBy"] = json!("deploy-bot");
    let request = Orchestration::<Value, Value>::new("account-request");
    let started = adversary.client.start(&request, &input).instance_id(&own);
    started.send().await.unwrap();
    let reader = apart.new_caller("deploy-bot", "reader");
    let path = format!("/api/requests/{own}");
    reader
        .delete(&path)
        .await
        .assert_problem(404, "request-unknown");
    assert!(
        !status(&own),
        "it is ended by somebody who did not ask for it"
    );
    let answer = admin.delete(&path).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert!(status(&own));
    // With an honest worker, nothing comes of any of them.
    adversary.stop().await;
    apart.start_worker(&data).await;
    for id in [&acting, &over, &own] {
        let used = admin
            .post(&format!("/api/requests/{id}/export"), &json!({}))
            .await;
        assert_refused(&used, id);
    }
    apart.stop().await;
}

#[tokio::test]
async fn what_a_worker_says_of_an_enrollment_enrolls_nothing() {
    let (mut apart, admin, approver, account) = house().await;
    let adversary = adversary(&apart);
    let data = apart.data_dir();
    let enroller = apart.new_caller("build-server", "enroller");
    let preview = json!({
        "issuer": "Harmless", "accountName": "test", "algorithm": "SHA1", "digits": 6, "period": 30,
    });
    let decision = json!({
        "approved": true, "by": "second-pair-of-eyes", "decidedAt": "2026-01-02T03:04:05Z",
    });

    // It says that accounts are enrolled, approved by whom it likes.
    let claimed = enroller.enroll(OTHER_URI, true).await;
    let enrolled = json!({
        "outcome": "Enrolled", "id": claimed, "preview": preview, "approval": decision,
        "earlierApprovals": [decision],
    });
    lie(&adversary.client, &claimed, Lie::End(enrolled)).await;
    let shown = until(&admin, &format!("/api/enrollments/{claimed}"), "Enrolled").await;
    assert_undecided(&shown.body["approval"]);
    let import = enroller
        .request(Method::POST, "/api/imports")
        .header("content-type", "text/plain")
        .body(OTHER_URI);
    let import = enroller.send(import).await.id();
    let planned = "totp-00000000-0000-4000-8000-000000000001";
    let outcome = json!({ "dryRun": false, "accounts": [{
        "position": 1, "id": planned, "preview": preview, "result": "enrolled",
    }] });
    lie(&adversary.client, &import, Lie::End(outcome)).await;
    until(&enroller, &format!("/api/imports/{import}"), "Done").await;
    for id in [claimed.as_str(), planned] {
        for caller in [&admin, &enroller] {
            let path = format!("/api/accounts/{id}");
            assert_refused(&caller.get(&format!("{path}/proof")).await, id);
            let accepted = json!({ "accepted": true, "codes": ["000000", "000001"] });
            assert_refused(&caller.post(&format!("{path}/proof"), &accepted).await, id);
        }
        for path in [
            format!("/api/accounts/{id}"),
            format!("/api/accounts/{id}/token"),
            format!("/api/tokens?id={id}"),
            format!("/v1/totp/code/{id}"),
        ] {
            assert_refused(&admin.get(&path).await, &path);
        }
    }

    // It shows something other than what was sent, and someone agrees to that.
    let waiting = enroller.enroll(OTHER_URI, true).await;
    let awaiting = json!({
        "stage": "AwaitingApproval", "preview": preview, "requestedBy": "second-pair-of-eyes",
        "deadline": NEVER, "fingerprint": "f", "approvedBy": ["another-pair-of-eyes"],
    });
    lie(&adversary.client, &waiting, Lie::Status(awaiting)).await;
    let path = format!("/api/enrollments/{waiting}");
    let shown = until(&approver, &path, "AwaitingApproval").await;
    assert_eq!(shown.body["requestedBy"], "build-server", "{shown:?}");
    assert_undecided(&shown.body["approval"]);
    let deceived = approver.decide(&waiting, true, "harmless").await;
    assert_eq!(deceived.status, StatusCode::ACCEPTED, "{deceived:?}");
    assert_eq!(count(&data, "SELECT count(*) FROM decisions"), 1);

    // What nobody has asked for cannot be decided on.
    let invented = "totp-00000000-0000-4000-8000-000000000002";
    let input = adversary.input(&waiting).await;
    let enroll = Orchestration::<Value, Value>::new("enroll");
    let started = adversary
        .client
        .start(&enroll, &input)
        .instance_id(invented);
    started.send().await.unwrap();
    let awaiting = json!({
        "stage": "AwaitingApproval", "preview": preview, "requestedBy": "build-server",
        "deadline": NEVER, "fingerprint": "f",
    });
    lie(&adversary.client, invented, Lie::Status(awaiting)).await;
    until(
        &approver,
        &format!("/api/enrollments/{invented}"),
        "AwaitingApproval",
    )
    .await;
    for approved in [true, false] {
        let answer = approver.decide(invented, approved, "").await;
        answer.assert_problem(409, "mandate-refused");
    }
    assert_eq!(count(&data, "SELECT count(*) FROM decisions"), 1);

    // Shown as another's, it is not theirs to see or to end.
    let mut input = adversary.input(invented).await;
    input["requestedBy"] = json!("another-enroller");
    let owned = enroller.enroll(OTHER_URI, false).await;
    adversary.forget(&owned).await;
    let started = adversary.client.start(&enroll, &input).instance_id(&owned);
    started.send().await.unwrap();
    let another = apart.new_caller("another-enroller", "enroller");
    let path_of_owned = format!("/api/enrollments/{owned}");
    let unknown = another.get(&path_of_owned).await;
    unknown.assert_problem(404, "enrollment-unknown");
    let unknown = another.delete(&path_of_owned).await;
    unknown.assert_problem(404, "enrollment-unknown");
    let listed = another.get("/api/enrollments").await;
    assert_eq!(listed.body["enrollments"], json!([]), "{listed:?}");

    // The honest worker is back, and gets the enrollment with what was decided: a decision on
    // something else has no effect.
    let signed = adversary.texts(&waiting, "eyJ").await;
    let input = adversary.input(&waiting).await;
    adversary.forget(&waiting).await;
    adversary.stop().await;
    apart.start_worker(&data).await;
    let hub = Client::new(&durabletask::Connection::parse(&apart.hub()).unwrap()).unwrap();
    let started = hub.start(&enroll, &input).instance_id(&waiting);
    started.send().await.unwrap();
    assert!(
        signed.len() >= 2,
        "the mandate and the decision: {signed:?}"
    );
    for text in signed {
        let mut raised = decision.clone();
        raised["signed"] = json!(text);
        let raised: RaisedDecision = serde_json::from_value(raised).unwrap();
        hub.raise_event(&waiting, &APPROVAL, &raised).await.unwrap();
    }
    let begun = std::time::Instant::now();
    loop {
        let shown = approver.get(&path).await;
        if shown.body["preview"]["issuer"] == "ACME" {
            assert_eq!(shown.body["stage"], "AwaitingApproval", "{shown:?}");
            break;
        }
        let state = hub.get(&waiting, Payloads::Include).await.unwrap().unwrap();
        let goes_on = state.status != Status::Failed && begun.elapsed() < PATIENCE;
        assert!(goes_on, "{:?}\n{}", state.failure, apart.worker_log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    admin
        .get(&format!("/api/accounts/{waiting}"))
        .await
        .assert_problem(404, "account-unknown");
    let stored = "SELECT count(*) FROM uses WHERE deed = 'store'";
    assert_eq!(count(&data, stored), 1, "only {account} is stored");
    // Someone who sees what it is agrees, and it is enrolled.
    let other = apart.new_caller("third-pair-of-eyes", "approver");
    let agreed = other.decide(&waiting, true, "").await;
    assert_eq!(agreed.status, StatusCode::ACCEPTED, "{agreed:?}");
    let ended = until(&admin, &path, "Enrolled").await;
    assert_eq!(
        ended.body["approval"]["decision"]["by"],
        "third-pair-of-eyes"
    );
    apart.stop().await;
}

/// The product's own orchestrations, with activities that say whatever brings them on.
fn lying(account: &str, package: &Sealed<OtpauthText>, kept: &str) -> Registry {
    let decided = json!({
        "approved": true, "by": "second-pair-of-eyes", "decidedAt": "2026-01-02T03:04:05Z",
    });
    let preview = json!({ "accountName": "test", "algorithm": "SHA1", "digits": 6, "period": 30 });
    let registry = countersign_orchestrations::register(Registry::new());
    [
        (
            "verify-request-decision",
            json!({ "result": "authentic", "decision": decided }),
        ),
        (
            "verify-decision",
            json!({ "result": "authentic", "decision": decided }),
        ),
        (
            "validate-uri",
            json!({ "result": "valid", "preview": preview, "account": kept, "fingerprint": "f" }),
        ),
        ("store-secret", json!({ "id": account })),
        (
            "describe-account",
            json!({ "result": "found", "preview": preview, "fingerprint": "f" }),
        ),
        (
            "seal-account",
            json!({ "result": "sealed", "package": package }),
        ),
        ("disable-account", json!({ "state": "disabled" })),
        ("purge-account", json!({ "state": "gone" })),
    ]
    .into_iter()
    .fold(registry, |registry, (name, answer)| {
        let activity = Activity::<Value, Value>::new(name);
        registry.activity(&activity, move |_, _| {
            let answer = answer.clone();
            async move { Ok(answer) }
        })
    })
}
