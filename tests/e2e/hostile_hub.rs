//! An adversary with the task hub can delay and lose work, but nothing else: no activity and no
//! handler acts on what the hub says.

use std::collections::BTreeMap;

use countersign_enrollment::account_request::Claim;
use countersign_enrollment::contract::{APPROVAL, CLAIM};
use countersign_enrollment::decision::RaisedDecision;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::sealed::{OpenKey, OtpauthText, SealKey};
use countersign_ledger::{Ledger as _, Outcome, SqliteLedger};
use durabletask::Orchestration;
use durabletask::client::{Recursive, RestartAs};
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::request_helpers::{ask, decided, enrolled, until};
use crate::support::{App, Caller, SEED_URI};

const OTHER_URI: &str = "otpauth://totp/ACME:a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=ACME";

/// The accounts that the vault has, removed ones too.
async fn accounts(app: &App, ids: &[&str]) -> BTreeMap<String, Value> {
    let admin = app.admin();
    let mut all = BTreeMap::new();
    for id in ids {
        let mut answer = admin.get(&format!("/api/accounts/{id}")).await;
        // Which request it was answered to.
        answer.body.as_object_mut().unwrap().remove("instance");
        all.insert(
            (*id).to_owned(),
            json!([answer.status.as_u16(), answer.body]),
        );
    }
    let listed = admin.get("/api/accounts").await;
    all.insert("list".to_owned(), listed.body);
    all
}

async fn refusals(app: &App) -> Vec<(String, String)> {
    let ledger = SqliteLedger::open(&app.data_dir()).unwrap();
    let entries = ledger.journal_after(0, 10_000).await.unwrap();
    entries
        .into_iter()
        .filter(|it| it.entry.outcome == Outcome::Refused)
        .map(|it| (it.entry.action, it.entry.reason.unwrap_or_default()))
        .collect()
}

/// Each way in which a mandate can be wrong.
fn wrong_mandates(right: &str, others: &[String]) -> Vec<(&'static str, Value)> {
    let mut flipped = right.to_owned().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let (_, rest) = right.split_once('.').unwrap();
    let mut wrong = vec![
        ("none", Value::Null),
        ("empty", json!("")),
        ("nonsense", json!("e30.e30.AAAA")),
        ("changed", json!(String::from_utf8(flipped).unwrap())),
        (
            "without a signature",
            json!(format!("eyJhbGciOiJub25lIn0.{rest}")),
        ),
    ];
    wrong.extend(others.iter().map(|other| ("another's", json!(other))));
    wrong
}

#[tokio::test]
async fn no_activity_acts_on_what_the_hub_passes_to_it() {
    let app = App::start().await;
    let elsewhere = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = Adversary::of(&app);
    let account = enrolled(&admin).await;

    // What an adversary finds in histories: real mandates, decisions and sealed values.
    let refused = admin.enroll(OTHER_URI, true).await;
    approver.until_stage(&refused, "AwaitingApproval").await;
    let waiting = admin.enroll(OTHER_URI, true).await;
    approver.until_stage(&waiting, "AwaitingApproval").await;
    approver.decide(&refused, false, "not ours").await;
    admin.ended(&refused).await;
    let elsewhere_id = elsewhere.admin().enroll(SEED_URI, false).await;
    elsewhere.admin().ended(&elsewhere_id).await;
    let deletion = ask(&admin, &account, json!({ "kind": "delete", "seconds": 0 })).await;
    until(&admin, &deletion, "AwaitingApproval").await;
    let export = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &export, "AwaitingApproval").await;
    decided(&approver, &export, true).await;
    until(&admin, &export, "Granted").await;
    let transfer = {
        let system = elsewhere.admin().get("/api/system").await;
        let to = &system.body["sealKey"];
        ask(&admin, &account, json!({ "kind": "transfer", "to": to })).await
    };
    until(&admin, &transfer, "AwaitingApproval").await;

    let mandate_of = async |adversary: &Adversary, id: &str| -> String {
        adversary.input(id).await["mandate"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let own = mandate_of(&adversary, &waiting).await;
    let rejected = mandate_of(&adversary, &refused).await;
    let theirs = {
        let other = Adversary::of(&elsewhere);
        let mandate = mandate_of(&other, &elsewhere_id).await;
        other.stop().await;
        mandate
    };
    let deleting = mandate_of(&adversary, &deletion).await;
    let exporting = mandate_of(&adversary, &export).await;
    let moving = mandate_of(&adversary, &transfer).await;
    let kept = adversary.texts(&waiting, "k1.").await.pop().unwrap();
    let kept_of_refused = adversary.texts(&refused, "k1.").await.pop().unwrap();
    // The adversary knows the public key, and seals what it likes.
    let seal_key = admin.get("/api/system").await.body["sealKey"]
        .as_str()
        .unwrap()
        .to_owned();
    let seal_key = SealKey::from_text(&seal_key).unwrap();
    let id: EnrollmentId = waiting.parse().unwrap();
    let own_source = seal_key
        .seal(&id, &OtpauthText::new(SEED_URI.to_owned().into()))
        .unwrap();
    let consent = adversary.texts(&export, "eyJ").await;
    let before = accounts(&app, &[&account, &waiting, &refused]).await;

    let others = [
        rejected.clone(),
        theirs.clone(),
        deleting.clone(),
        exporting.clone(),
    ];
    let mut tried = Vec::new();
    // Activities of enrollments and imports, under every wrong mandate.
    for (why, mandate) in wrong_mandates(&own, &others) {
        for (activity, input) in [
            (
                "validate-uri",
                json!({ "mandate": mandate, "enrollment": waiting,
                "uri": { "sent": own_source } }),
            ),
            (
                "store-secret",
                json!({ "mandate": mandate, "enrollment": waiting,
                "account": kept, "decisions": consent }),
            ),
            (
                "decode-qr",
                json!({ "mandate": mandate, "enrollment": waiting, "image": own_source }),
            ),
            (
                "read-codes",
                json!({ "mandate": mandate,
                "import": waiting.replace("totp-", "import-"), "image": own_source }),
            ),
            (
                "plan-import",
                json!({ "mandate": mandate,
                "import": waiting.replace("totp-", "import-"), "lists": [], "key": own_source }),
            ),
        ] {
            tried.push((activity, why, input));
        }
    }
    // Under the right one: what it does not name, and without the consent that it asks for.
    for (why, input) in [
        (
            "a source of the adversary's",
            json!({ "mandate": own, "enrollment": waiting,
            "uri": { "sent": own_source } }),
        ),
        (
            "a kept value of another",
            json!({ "mandate": own, "enrollment": waiting,
            "uri": { "read": kept_of_refused } }),
        ),
    ] {
        tried.push(("validate-uri", why, input));
    }
    for (why, input) in [
        (
            "nobody agreed",
            json!({ "mandate": own, "enrollment": waiting, "account": kept }),
        ),
        (
            "consent to something else",
            json!({ "mandate": own, "enrollment": waiting,
            "account": kept, "decisions": consent }),
        ),
        (
            "another's account",
            json!({ "mandate": own, "enrollment": waiting,
            "account": kept_of_refused }),
        ),
        (
            "it was refused",
            json!({ "mandate": rejected, "enrollment": refused,
            "account": kept_of_refused, "decisions": consent }),
        ),
        (
            "another id",
            json!({ "mandate": own, "enrollment": refused, "account": kept }),
        ),
    ] {
        tried.push(("store-secret", why, input));
    }
    // Activities on accounts, under the mandates of all requests and of none.
    for mandate in [
        &own,
        &deleting,
        &exporting,
        &moving,
        &theirs,
        &String::new(),
    ] {
        for request in [&deletion, &export, &transfer] {
            for activity in [
                "seal-account",
                "disable-account",
                "restore-account",
                "purge-account",
            ] {
                tried.push((
                    activity,
                    "without consent or cover",
                    json!({
                        "mandate": mandate, "request": request, "decisions": consent,
                    }),
                ));
            }
        }
    }
    for (activity, why, input) in &tried {
        let outcome = adversary.call(activity, input).await;
        assert!(outcome.is_err(), "{activity}, {why}: {outcome:?}");
    }
    assert_eq!(
        accounts(&app, &[&account, &waiting, &refused]).await,
        before
    );
    let noted = refusals(&app).await;
    assert!(noted.len() >= 20, "{noted:?}");

    // What was agreed to still is: nothing was lost.
    let fetched = admin
        .post(&format!("/api/requests/{export}/export"), &json!({}))
        .await;
    assert_eq!(fetched.status, 200, "{fetched:?}");
    approver.decide(&waiting, true, "").await;
    assert_eq!(admin.ended(&waiting).await.body["stage"], "Enrolled");
    adversary.stop().await;
}

#[tokio::test]
async fn no_orchestration_that_someone_else_starts_does_anything() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = Adversary::of(&app);
    let account = enrolled(&admin).await;
    let refused = admin.enroll(OTHER_URI, true).await;
    approver.until_stage(&refused, "AwaitingApproval").await;
    approver.decide(&refused, false, "not ours").await;
    admin.ended(&refused).await;
    let before = accounts(&app, &[&account, &refused]).await;

    // Asked for on the hub, past the front door: each act, by someone and for nobody.
    let attacker = OpenKey::generate().unwrap();
    let real = adversary.input(&refused).await;
    for (number, act) in (1..).zip([
        json!({ "kind": "transfer", "to": attacker.seal_key().to_text() }),
        json!({ "kind": "delete", "seconds": 0 }),
        json!({ "kind": "export", "seconds": 3600 }),
        json!({ "kind": "read", "reads": 1000, "seconds": 3600 }),
    ]) {
        let id = format!("request-00000000-0000-4000-8000-00000000000{number}");
        for mandate in [json!(""), real["mandate"].clone()] {
            let input = json!({
                "mandate": mandate, "account": account, "act": act, "approval": "notRequired",
                "requestedBy": "admin", "fingerprint": "f",
            });
            let outcome = adversary.start("account-request", &id, &input).await;
            assert!(outcome.is_err(), "{act}: {outcome:?}");
            for use_it in ["code", "export"] {
                let answer = admin
                    .post(&format!("/api/requests/{id}/{use_it}"), &json!({}))
                    .await;
                assert_ne!(answer.status, 200, "{act}: {answer:?}");
            }
        }
    }
    // Enrolled again under the id of a refused one, with a source of one's own.
    let seal_key = admin.get("/api/system").await.body["sealKey"]
        .as_str()
        .unwrap()
        .to_owned();
    let id: EnrollmentId = refused.parse().unwrap();
    let source = SealKey::from_text(&seal_key)
        .unwrap()
        .seal(&id, &OtpauthText::new(SEED_URI.to_owned().into()))
        .unwrap();
    for mandate in [json!(""), real["mandate"].clone()] {
        let input = json!({
            "mandate": mandate, "source": { "uri": source }, "approval": "notRequired",
            "requestedBy": "admin", "fingerprint": "f",
        });
        let outcome = adversary.start("enroll", &refused, &input).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
    // The refused one as it was, once more, without the approval.
    let mut again = real.clone();
    again["approval"] = json!("notRequired");
    let outcome = adversary.start("enroll", &refused, &again).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(accounts(&app, &[&account, &refused]).await, before);
    adversary.stop().await;
}

#[tokio::test]
async fn an_approver_is_shown_what_was_signed_whatever_the_hub_says() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = Adversary::of(&app);
    let account = enrolled(&admin).await;
    let other = enrolled(&admin).await;
    let asked = json!({ "kind": "delete", "seconds": 3600, "reason": "it is over" });
    let id = ask(&admin, &account, asked).await;
    until(&admin, &id, "AwaitingApproval").await;

    // The same instance again, with the real mandate under harmless words.
    let mut input = adversary.input(&id).await;
    adversary.forget(&id).await;
    input["account"] = json!(other);
    input["act"] = json!({ "kind": "read", "reads": 1, "seconds": 60 });
    input["reason"] = json!("nightly deploy");
    input["requestedBy"] = json!("build-server");
    let orchestration = Orchestration::<Value, Value>::new("account-request");
    let start = adversary.client.start(&orchestration, &input);
    start.instance_id(&id).send().await.unwrap();

    until(&approver, &id, "AwaitingApproval").await;
    let shown = approver.get(&format!("/api/requests/{id}")).await.body;
    let waiting = approver.get("/api/approvals").await.body;
    for shown in [&shown, &waiting["requests"][0]] {
        assert_eq!(shown["id"], id, "{shown}");
        assert_eq!(shown["kind"], "delete", "{shown}");
        assert_eq!(shown["account"]["id"], account, "{shown}");
        assert_eq!(shown["reason"], "it is over", "{shown}");
        assert_eq!(shown["requestedBy"], "admin", "{shown}");
    }
    adversary.stop().await;
}

#[tokio::test]
async fn nothing_is_used_twice_whatever_is_restarted_replayed_or_purged() {
    let mut app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = Adversary::of(&app);
    let account = enrolled(&admin).await;

    let export = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &export, "AwaitingApproval").await;
    decided(&approver, &export, true).await;
    until(&admin, &export, "Granted").await;
    // A copy of the hub's database as it is before anything was used.
    let older = tempfile::tempdir().unwrap();
    adversary.stop().await;
    app.stop().await;
    let copied: Vec<String> = std::fs::read_dir(app.data_dir())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("scheduler.sqlite3"))
        .collect();
    for file in &copied {
        std::fs::copy(app.data_dir().join(file), older.path().join(file)).unwrap();
    }
    app.launch().await;
    let admin = app.admin();
    let approver = app.with_token_of(&approver);
    let adversary = Adversary::of(&app);
    let fetch = format!("/api/requests/{export}/export");
    assert_eq!(admin.post(&fetch, &json!({})).await.status, 200);
    until_ended(&admin, &export).await;

    // A deletion that one agreed to and another objected to.
    let deletion = ask(
        &admin,
        &account,
        json!({ "kind": "delete", "seconds": 3600 }),
    )
    .await;
    until(&admin, &deletion, "AwaitingApproval").await;
    decided(&approver, &deletion, true).await;
    until(&admin, &deletion, "Removing").await;
    let other = app.new_caller("third-pair-of-eyes", "approver");
    decided(&other, &deletion, false).await;
    until_ended(&admin, &deletion).await;
    let in_use = admin.get(&format!("/api/accounts/{account}")).await;
    assert_eq!(in_use.body["state"], "active", "{in_use:?}");

    let replay = async |adversary: &Adversary| {
        for id in [&export, &deletion] {
            let events: Vec<Value> = adversary
                .texts(id, "eyJ")
                .await
                .into_iter()
                .map(|signed| {
                    json!({
                        "approved": true, "by": "second-pair-of-eyes",
                        "decidedAt": "2026-01-02T03:04:05Z", "signed": signed,
                    })
                })
                .collect();
            adversary
                .client
                .restart(id, RestartAs::SameInstance)
                .await
                .unwrap();
            for event in &events {
                let raised = serde_json::from_value::<RaisedDecision>(event.clone());
                if let Ok(raised) = raised {
                    adversary
                        .client
                        .raise_event(id, &APPROVAL, &raised)
                        .await
                        .unwrap();
                }
            }
            let claim = Claim {
                id: "anything".to_owned(),
            };
            drop(adversary.client.raise_event(id, &CLAIM, &claim).await);
            let outcome = adversary.outcome(id).await;
            assert!(outcome.is_err(), "{id}: {outcome:?}");
        }
    };
    replay(&adversary).await;
    let spent = async |admin: &Caller| {
        let answer = admin.post(&fetch, &json!({})).await;
        assert!(answer.status == 409 || answer.status == 404, "{answer:?}");
        let there = admin.get(&format!("/api/accounts/{account}")).await;
        assert_eq!(there.body["state"], "active", "{there:?}");
    };
    spent(&admin).await;

    // The same after the hub has forgotten both, and started them again under their ids.
    let inputs = [
        adversary.input(&export).await,
        adversary.input(&deletion).await,
    ];
    for (id, input) in [&export, &deletion].into_iter().zip(&inputs) {
        adversary.client.purge(id, Recursive::No).await.unwrap();
        let outcome = adversary.start("account-request", id, input).await;
        assert!(outcome.is_err(), "{id}: {outcome:?}");
    }
    spent(&admin).await;

    // And after the end of the process, with a copy of the hub's database from before.
    adversary.stop().await;
    app.kill();
    for suffix in ["", "-wal", "-shm"] {
        let file = app.data_dir().join(format!("scheduler.sqlite3{suffix}"));
        drop(std::fs::remove_file(file));
    }
    for file in &copied {
        std::fs::copy(older.path().join(file), app.data_dir().join(file)).unwrap();
    }
    app.launch().await;
    let admin = app.admin();
    let adversary = Adversary::of(&app);
    // The hub thinks that nothing was fetched yet.
    until(&admin, &export, "Granted").await;
    spent(&admin).await;
    adversary.forget(&export).await;
    for (id, input) in [&export, &deletion].into_iter().zip(&inputs) {
        let outcome = adversary.start("account-request", id, input).await;
        assert!(outcome.is_err(), "{id}: {outcome:?}");
    }
    spent(&admin).await;
    adversary.stop().await;
}

async fn until_ended(caller: &Caller, id: &str) {
    for _ in 0..60 {
        let answer = caller.get(&format!("/api/requests/{id}?wait=1")).await;
        if answer.status == 200 {
            return;
        }
    }
    panic!("{id} does not end");
}

#[tokio::test]
async fn what_ended_without_being_done_is_not_done_later() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = Adversary::of(&app);
    let account = enrolled(&admin).await;
    let restore = format!("/api/accounts/{account}/restore");
    let deletion = ask(&admin, &account, json!({ "kind": "delete", "seconds": 3 })).await;
    until(&admin, &deletion, "AwaitingApproval").await;
    decided(&approver, &deletion, true).await;
    until(&admin, &deletion, "Removing").await;
    assert_eq!(admin.post(&restore, &json!({})).await.status, 200);
    until_ended(&admin, &deletion).await;
    let kept = admin.get(&format!("/api/requests/{deletion}")).await;
    assert_eq!(kept.body["stage"], "Kept", "{kept:?}");

    // Taken out of use by hand, for another reason and recoverably.
    let path = format!("/api/accounts/{account}");
    assert_eq!(admin.delete(&path).await.status, 204);
    let input = json!({
        "mandate": adversary.input(&deletion).await["mandate"],
        "request": deletion,
        "decisions": adversary.texts(&deletion, "eyJ").await,
    });
    for activity in ["purge-account", "disable-account", "restore-account"] {
        drop(adversary.call(activity, &input).await);
        let there = admin.get(&path).await;
        assert_eq!(there.body["state"], "removed", "{activity}: {there:?}");
    }
    assert_eq!(admin.post(&restore, &json!({})).await.status, 200);
    adversary.stop().await;
}

#[tokio::test]
async fn an_import_is_planned_from_all_that_was_sent_in_its_order() {
    let app = App::start().await;
    let admin = app.admin();
    let adversary = Adversary::of(&app);
    let file = |uri: &str| reqwest::multipart::Part::text(uri.to_owned()).file_name("codes.txt");
    let form = reqwest::multipart::Form::new()
        .part("file", file(SEED_URI))
        .part("file", file(OTHER_URI));
    // Nothing is stored before someone agrees, so the plan could be made again.
    let request = admin
        .request(
            reqwest::Method::POST,
            "/api/imports?pick=1&approval=required",
        )
        .multipart(form);
    let import = admin.send(request).await;
    assert_eq!(import.status, 202, "{import:?}");
    let import = import.id();
    let input = adversary.input(&import).await;
    let lists: Vec<Value> = input["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| json!({ "sent": source["list"] }))
        .collect();
    assert_eq!(lists.len(), 2, "{input}");
    let plan = |lists: &[&Value]| {
        json!({
            "mandate": input["mandate"], "import": import, "lists": lists, "key": input["key"],
        })
    };
    for lists in [
        vec![&lists[1]],
        vec![&lists[1], &lists[0]],
        vec![&lists[0], &lists[0]],
        vec![],
    ] {
        let planned = adversary.call("plan-import", &plan(&lists)).await;
        assert!(planned.is_err(), "{planned:?}");
    }
    let right = plan(&[&lists[0], &lists[1]]);
    let planned = adversary.call("plan-import", &right).await.unwrap();
    assert_eq!(
        planned["accounts"][0]["step"]["plan"], "enroll",
        "{planned}"
    );
    assert_eq!(planned["accounts"][1]["step"]["plan"], "left", "{planned}");
    adversary.stop().await;
}
