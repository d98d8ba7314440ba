//! A decision is one only if the front door has signed it.

use countersign_authority::{RunId, SigningKeys};
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::RaisedDecision;
use countersign_enrollment::mandate::SignedDecision;
use countersign_ledger::{Ledger as _, SqliteLedger};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{App, SEED_URI};

fn claimed(by: &str) -> RaisedDecision {
    serde_json::from_value(json!({
        "approved": true,
        "by": by,
        "decidedAt": "2026-01-02T03:04:05Z",
    }))
    .unwrap()
}

#[tokio::test]
async fn an_event_raised_past_the_front_door_is_kept_and_ignored() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let hub = app.task_hub();
    let id = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&id, "AwaitingApproval").await;

    // Without a signature, and with an invented one.
    let unsigned = claimed("second-pair-of-eyes");
    let forged = RaisedDecision {
        signed: SignedDecision::from_text("e30.e30.AAAA".to_owned()),
        ..claimed("second-pair-of-eyes")
    };
    for raised in [&unsigned, &forged] {
        hub.raise_event(&id, &APPROVAL, raised).await.unwrap();
    }
    // The forged one is refused by the activity, after the unsigned one was passed over.
    app.until_logged("ignored an invalid decision").await;
    let still = admin.get(&format!("/api/enrollments/{id}")).await;
    assert_eq!(still.body["stage"], "AwaitingApproval", "{still:?}");
    admin
        .get(&format!("/api/tokens?id={id}"))
        .await
        .assert_problem(404, "account-unknown");

    let decided = approver.decide(&id, true, "the real one").await;
    assert_eq!(decided.status, StatusCode::ACCEPTED, "{decided:?}");
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(
        ended.body["approval"]["decision"]["comment"],
        "the real one"
    );
}

/// Of requests with one id that come at once, each has a mandate registered, and one of them starts
/// it. Where the process of another one, or the hub, is gone at that moment, its mandate stays.
#[tokio::test]
async fn what_is_decided_is_decided_about_what_runs() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let keys = std::fs::read_to_string(app.data_dir().join("mandate.key")).unwrap();
    let keys = SigningKeys::from_text(&keys).unwrap();
    let ledger = SqliteLedger::open(&app.data_dir()).unwrap();
    for (number, stage) in ["Enrolled", "Rejected", "Terminated"]
        .into_iter()
        .enumerate()
    {
        let id = admin.enroll(SEED_URI, true).await;
        approver.until_stage(&id, "AwaitingApproval").await;
        let started = ledger.latest(&id).await.unwrap().unwrap();
        let mut another = keys.checking().read_mandate(&started.mandate).unwrap();
        another.run = RunId::from_bytes([number as u8; 16]);
        let signed = keys.sign_mandate(&another).unwrap();
        ledger.register(&another, &signed).await.unwrap();
        assert_eq!(ledger.latest(&id).await.unwrap().unwrap().mandate, signed);

        let answer = match stage {
            "Terminated" => admin.delete(&format!("/api/enrollments/{id}")).await,
            stage => approver.decide(&id, stage == "Enrolled", "").await,
        };
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let ended = admin.ended(&id).await;
        assert_eq!(ended.body["stage"], stage, "{ended:?}");
        // Nothing can be done under the other one later.
        assert_eq!(ledger.still_open(&id).await.unwrap(), []);
    }
}

#[tokio::test]
async fn several_must_approve_and_one_rejection_is_enough() {
    let app = App::start_with(&["--approvals", "2"]).await;
    let admin = app.admin();
    let first = app.new_caller("first", "approver");
    let second = app.new_caller("second", "approver");

    let id = admin.enroll(SEED_URI, true).await;
    first.until_stage(&id, "AwaitingApproval").await;
    first.decide(&id, true, "").await;
    let waiting = admin.get(&format!("/api/enrollments/{id}")).await;
    assert_eq!(waiting.body["stage"], "AwaitingApproval", "{waiting:?}");
    assert_eq!(waiting.body["approval"]["needed"], 2);
    assert_eq!(waiting.body["approval"]["approvedBy"], json!(["first"]));
    first
        .decide(&id, true, "once more")
        .await
        .assert_problem(409, "already-decided");
    second.decide(&id, true, "").await;
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(
        ended.body["approval"]["approvedBy"],
        json!(["first", "second"])
    );

    let id = admin.enroll(SEED_URI, true).await;
    first.until_stage(&id, "AwaitingApproval").await;
    first.decide(&id, true, "").await;
    second.decide(&id, false, "not ours").await;
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Rejected", "{ended:?}");
    assert_eq!(ended.body["approval"]["decision"]["by"], "second");

    // An approver can still reject as long as further approvals are pending.
    let id = admin.enroll(SEED_URI, true).await;
    first.until_stage(&id, "AwaitingApproval").await;
    first.decide(&id, true, "").await;
    let refused = first.decide(&id, false, "not any more").await;
    assert_eq!(refused.status, 202, "{refused:?}");
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Rejected", "{ended:?}");
    assert_eq!(ended.body["approval"]["decision"]["by"], "first");
}
