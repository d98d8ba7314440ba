//! What the ledger holds stands, whatever an adversary with the task hub cuts off, leaves out
//! or makes an instance say.

use std::time::Instant;

use durabletask::client::{Payloads, Recursive};
use durabletask::{Event, Failure, Orchestration, OrchestrationContext, Registry};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::request_helpers::{ask, decided, enrolled, until};
use crate::support::{App, PATIENCE, SEED_URI};
use crate::webhook::Receiver;

/// An orchestration that ends with the given result.
const PUPPET: &str = "adversary-says";
const SAY: Event<Value> = Event::new("adversary-say");

async fn puppet(ctx: OrchestrationContext, _input: Value) -> Result<Value, Failure> {
    Ok(ctx.wait_for_event(&SAY).await?)
}

fn adversary(app: &App) -> Adversary {
    let says = Orchestration::<Value, Value>::new(PUPPET);
    Adversary::also(
        &app.hub_connection(),
        Registry::new().orchestration(&says, puppet),
    )
}

/// What an activity of a request is called with, as the history has it.
async fn reference(adversary: &Adversary, id: &str) -> Value {
    json!({
        "mandate": adversary.input(id).await["mandate"],
        "request": id,
        "decisions": adversary.texts(id, "eyJ").await,
    })
}

#[tokio::test]
async fn a_transfer_without_an_account_finishes_and_is_not_carried_out_later() {
    let (app, there) = (App::start().await, App::start().await);
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = adversary(&app);
    let account = enrolled(&admin).await;
    let path = format!("/api/accounts/{account}");
    let to = there.admin().get("/api/system").await.body["sealKey"].clone();
    let transfer = ask(&admin, &account, json!({ "kind": "transfer", "to": to })).await;
    until(&admin, &transfer, "AwaitingApproval").await;
    assert_eq!(admin.delete(&path).await.status, 204);
    decided(&approver, &transfer, true).await;
    until(&admin, &transfer, "Unavailable").await;

    // It is back, for another reason, and the hub has all that it had then.
    let restored = admin.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!(restored.status, StatusCode::OK, "{restored:?}");
    let input = reference(&adversary, &transfer).await;
    for activity in ["seal-account", "disable-account"] {
        let outcome = adversary.call(activity, &input).await;
        assert!(outcome.is_err(), "{activity}: {outcome:?}");
    }
    let again = adversary.input(&transfer).await;
    let outcome = adversary.start("account-request", &transfer, &again).await;
    let why = outcome.expect_err("it is over");
    assert!(why.contains("it has finished already"), "{why}");
    let account = admin.get(&path).await;
    assert_eq!(account.body["state"], "active", "{account:?}");
    let shown = admin.get(&format!("/api/requests/{transfer}")).await;
    assert!(shown.body["package"].is_null(), "{shown:?}");
    adversary.stop().await;
}

#[tokio::test]
async fn a_package_is_shown_only_after_the_account_is_disabled() {
    let (app, there) = (App::start().await, App::start().await);
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let adversary = adversary(&app);
    let account = enrolled(&admin).await;
    let to = there.admin().get("/api/system").await.body["sealKey"].clone();
    let transfer = ask(&admin, &account, json!({ "kind": "transfer", "to": to })).await;
    until(&admin, &transfer, "AwaitingApproval").await;
    // The approval is recorded, and the instance does not continue.
    adversary.client.suspend(&transfer, "").await.unwrap();
    decided(&approver, &transfer, true).await;
    let begun = Instant::now();
    let input = loop {
        let input = reference(&adversary, &transfer).await;
        let decisions = input["decisions"].as_array().unwrap();
        // The mandate is one of these texts; the decision is another.
        if decisions.iter().any(|text| *text != input["mandate"]) {
            break input;
        }
        assert!(begun.elapsed() < PATIENCE, "no decision: {input}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let request = adversary.input(&transfer).await;
    let state = adversary.client.get(&transfer, Payloads::Include).await;
    let progress: Value = state.unwrap().unwrap().custom_status().unwrap();
    let sealed = adversary.call("seal-account", &input).await.unwrap();
    let package = sealed["package"].clone();
    assert!(package.is_string(), "{sealed}");

    // The hub says that all of it is done, with the very package.
    adversary.forget(&transfer).await;
    let says = Orchestration::<Value, Value>::new(PUPPET);
    let start = adversary.client.start(&says, &request);
    start.instance_id(&transfer).send().await.unwrap();
    let done = json!({
        "outcome": "Done", "asked": progress["asked"], "approvals": [], "claims": [],
        "package": package,
    });
    adversary
        .client
        .raise_event(&transfer, &SAY, &done)
        .await
        .unwrap();
    let shown = until(&admin, &transfer, "Done").await;
    assert!(shown.body["package"].is_null(), "{shown:?}");
    let path = format!("/api/accounts/{account}");
    assert_eq!(admin.get(&path).await.body["state"], "active");

    adversary.call("disable-account", &input).await.unwrap();
    let shown = admin.get(&format!("/api/requests/{transfer}")).await;
    assert_eq!(shown.body["package"], package, "{shown:?}");
    assert_eq!(admin.get(&path).await.body["state"], "removed");
    adversary.stop().await;
}

#[tokio::test]
async fn a_notice_reports_the_ledger_even_if_the_hub_omits_something() {
    let (receiver, address) = Receiver::start(&[]).await;
    let url = format!("http://{address}/hook");
    let app = App::start_with(&["--webhook-url", &url, "--request-approvals", "2"]).await;
    let admin = app.admin();
    let (one, other) = (
        app.new_caller("second-pair-of-eyes", "approver"),
        app.new_caller("third-pair-of-eyes", "approver"),
    );
    let adversary = adversary(&app);
    let account = enrolled(&admin).await;
    let export = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &export, "AwaitingApproval").await;
    decided(&one, &export, true).await;
    receiver.until(1).await;
    // The instance hears nothing of the rejection, so no one is notified.
    adversary.client.suspend(&export, "").await.unwrap();
    decided(&other, &export, false).await;

    let mandate = adversary.input(&export).await["mandate"].clone();
    // As a hub would have it: approved, by the one only, or by nobody.
    let texts = adversary.texts(&export, "eyJ").await;
    let notice = json!({
        "mandate": mandate, "about": export, "event": "decided", "decisions": &texts[..1],
    });
    adversary.call("send-notice", &notice).await.unwrap();
    let told = receiver.until(2).await.pop().unwrap().1;
    assert_eq!(told["type"], "countersign.decided", "{told}");
    assert_eq!(told["decision"]["approved"], false, "{told}");
    assert_eq!(told["decision"]["by"], "third-pair-of-eyes", "{told}");
    // Once: what was sent is not sent again in other words.
    adversary.call("send-notice", &notice).await.unwrap();
    let stopped = json!({ "mandate": mandate, "about": export, "event": "stopped" });
    drop(adversary.call("send-notice", &stopped).await);
    for (_, told) in receiver.until(2).await.into_iter().skip(2) {
        assert_eq!(told["decision"]["approved"], false, "{told}");
    }
    adversary.stop().await;
}

#[tokio::test]
async fn a_rejection_counts_after_the_hub_ended_the_request() {
    let app = App::start().await;
    let admin = app.admin();
    let (one, other) = (
        app.new_caller("second-pair-of-eyes", "approver"),
        app.new_caller("third-pair-of-eyes", "approver"),
    );
    let adversary = adversary(&app);
    let account = enrolled(&admin).await;
    let deletion = ask(&admin, &account, json!({ "kind": "delete", "seconds": 0 })).await;
    until(&admin, &deletion, "AwaitingApproval").await;
    let request = adversary.input(&deletion).await;
    let client = &adversary.client;
    client
        .terminate(&deletion, "cut off", Recursive::No)
        .await
        .unwrap();
    until(&admin, &deletion, "Terminated").await;
    decided(&one, &deletion, false).await;

    // Started once more, with a consent that comes after the rejection.
    let outcome = adversary
        .start("account-request", &deletion, &request)
        .await;
    let why = outcome.expect_err("it was objected to");
    assert!(
        why.contains("finished") || why.contains("rejected"),
        "{why}"
    );
    let path = format!("/api/requests/{deletion}/approval");
    let late = other.post(&path, &json!({ "approved": true })).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{late:?}");
    let input = reference(&adversary, &deletion).await;
    for activity in ["disable-account", "purge-account"] {
        let outcome = adversary.call(activity, &input).await;
        assert!(outcome.is_err(), "{activity}: {outcome:?}");
    }
    let account = admin.get(&format!("/api/accounts/{account}")).await;
    assert_eq!(account.body["state"], "active", "{account:?}");
    adversary.stop().await;
}

#[tokio::test]
async fn an_early_decision_counts_and_the_requesters_own_is_refused_with_a_reason() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = admin.enroll(SEED_URI, true).await;
    let own = admin.decide(&id, true, "").await;
    own.assert_problem(403, "self-approval-forbidden");
    let taken = approver.decide(&id, true, "").await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    let request = ask(&admin, &id, json!({ "kind": "export" })).await;
    let path = format!("/api/requests/{request}/approval");
    let own = admin.post(&path, &json!({ "approved": true })).await;
    own.assert_problem(403, "self-approval-forbidden");
    decided(&approver, &request, true).await;
    until(&admin, &request, "Granted").await;
}
