//! The enrollment story, path by path, in memory with a manual clock.
//!
//! Each path's history is kept in `tests/golden`: what has been released must continue
//! replaying. After a change that is meant to alter histories, run
//! `UPDATE_GOLDEN=1 cargo test -p countersign-orchestrations` and review the difference.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
// The test itself is not replayed.
#![allow(clippy::disallowed_methods)]

mod golden;

use std::time::Duration;

use countersign_enrollment::contract::{APPROVAL, ENROLL};
use countersign_enrollment::outcome::EnrollmentOutcome;
use countersign_enrollment::request::EnrollmentRequest;
use countersign_orchestrations::register;
use durabletask_core::testing::{TestHub, TestRun, TestStatus, epoch};
use durabletask_core::{Failure, HistoryPayload, Registry};
use serde_json::{Value, json};

const ID: &str = "totp-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const SEALED: &str =
    "s1.0011223344556677.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
const KEPT: &str =
    "k1.0011223344556677.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
const HOUR: Duration = Duration::from_secs(3_600);

fn request(source: Value, approval: Value) -> EnrollmentRequest {
    serde_json::from_value(json!({
        "mandate": "signed",
        "source": source,
        "approval": approval,
        "requestedBy": "build-server",
        "fingerprint": "f",
    }))
    .unwrap()
}

fn uri() -> Value {
    json!({ "uri": SEALED })
}

fn image() -> Value {
    json!({ "image": SEALED })
}

fn not_required() -> Value {
    json!("notRequired")
}

fn required() -> Value {
    json!({ "required": { "deadlineSeconds": 72 * 3_600 } })
}

fn decision(approved: bool, by: &str) -> Value {
    let mut decision =
        json!({ "approved": approved, "by": by, "decidedAt": "2026-01-02T03:04:05Z" });
    // Stands for the signed text: the worker says what it says.
    decision["signed"] = json!(decision.to_string());
    decision
}

fn hub() -> TestHub {
    TestHub::new(register(Registry::new())).instance_id(ID)
}

fn raise(hub: TestHub, after: Duration, payload: &Value) -> TestHub {
    hub.raise_event_json(after, APPROVAL.name(), Some(payload.to_string()))
}

/// What the worker says of a decision: what its signed text says, if that is one.
fn verified(input: &Value) -> Value {
    match serde_json::from_str::<Value>(input["decision"].as_str().unwrap()) {
        Ok(decision) => json!({ "result": "authentic", "decision": decision }),
        Err(_) => json!({ "result": "forged" }),
    }
}

/// Activities that do what they should.
fn works(activity: &str, input: Value) -> Result<Value, Failure> {
    let about = if activity == "verify-decision" {
        "about"
    } else {
        "enrollment"
    };
    assert_eq!(input[about], ID, "{activity} knows its enrollment");
    assert_eq!(input["mandate"], "signed", "{activity} gets the mandate");
    match activity {
        "decode-qr" => Ok(json!({ "result": "found", "uri": KEPT })),
        "validate-uri" => Ok(json!({
            "result": "valid",
            "preview": {
                "issuer": "2FAS",
                "accountName": "Test Token",
                "algorithm": "SHA1",
                "digits": 6,
                "period": 30,
            },
            "account": KEPT,
        })),
        "verify-decision" => Ok(verified(&input)),
        "store-secret" => Ok(json!({ "id": ID })),
        other => panic!("there is no activity {other}"),
    }
}

fn stages(run: &TestRun<EnrollmentOutcome>) -> Vec<&str> {
    run.custom_statuses
        .iter()
        .map(|status| status["stage"].as_str().unwrap())
        .collect()
}

fn calls(run: &TestRun<EnrollmentOutcome>) -> Vec<&str> {
    run.calls.iter().map(|(name, _)| name.as_str()).collect()
}

fn assert_golden(name: &str, run: &TestRun<EnrollmentOutcome>) {
    golden::assert_golden(ID, name, run);
}

#[test]
fn a_uri_is_checked_and_stored() {
    let run = hub().run(&ENROLL, &request(uri(), not_required()), works);
    assert!(matches!(
        run.output(),
        Ok(EnrollmentOutcome::Enrolled { approval: None, .. })
    ));
    assert_eq!(calls(&run), ["validate-uri", "store-secret"]);
    assert_eq!(stages(&run), ["Validating", "Storing"]);
    assert_golden("uri", &run);
}

#[test]
fn an_image_is_decoded_first() {
    let run = hub().run(&ENROLL, &request(image(), not_required()), works);
    assert!(matches!(
        run.output(),
        Ok(EnrollmentOutcome::Enrolled { .. })
    ));
    assert_eq!(calls(&run), ["decode-qr", "validate-uri", "store-secret"]);
    assert_eq!(stages(&run), ["Decoding", "Validating", "Storing"]);
    assert_golden("picture", &run);
}

#[test]
fn an_upload_that_cannot_be_enrolled_is_an_outcome() {
    for (refusing, code, golden) in [
        ("decode-qr", "qr-not-found", "invalid-picture"),
        ("validate-uri", "secret-missing", "invalid-uri"),
    ] {
        let run = hub().run(&ENROLL, &request(image(), required()), |activity, input| {
            if activity == refusing {
                Ok(json!({ "result": "invalid", "problem": { "code": code } }))
            } else {
                works(activity, input)
            }
        });
        let Ok(EnrollmentOutcome::Invalid { problem }) = run.output() else {
            panic!("{refusing} makes it invalid: {run:?}");
        };
        assert_eq!(problem.code(), code);
        assert!(!calls(&run).contains(&"store-secret"));
        assert_golden(golden, &run);
    }
}

#[test]
fn an_approval_lets_it_through() {
    let hub = raise(hub(), HOUR, &decision(true, "second-pair-of-eyes"));
    let run = hub.run(&ENROLL, &request(uri(), required()), works);
    let Ok(EnrollmentOutcome::Enrolled {
        approval: Some(approval),
        ..
    }) = run.output()
    else {
        panic!("it is enrolled: {run:?}");
    };
    assert_eq!(approval.by.as_str(), "second-pair-of-eyes");
    assert_eq!(stages(&run), ["Validating", "AwaitingApproval", "Storing"]);
    let shown = &run.custom_statuses[1];
    assert_eq!(shown["preview"]["issuer"], "2FAS");
    assert_eq!(shown["requestedBy"], "build-server");
    assert_golden("approved", &run);
}

#[test]
fn a_refusal_stores_nothing() {
    let hub = raise(hub(), HOUR, &decision(false, "second-pair-of-eyes"));
    let run = hub.run(&ENROLL, &request(uri(), required()), works);
    assert!(matches!(
        run.output(),
        Ok(EnrollmentOutcome::Rejected { .. })
    ));
    assert_eq!(calls(&run), ["validate-uri", "verify-decision"]);
    assert_golden("rejected", &run);
}

#[test]
fn an_undecided_request_expires() {
    let run = hub().run(&ENROLL, &request(uri(), required()), works);
    let Ok(EnrollmentOutcome::Expired { deadline, .. }) = run.output() else {
        panic!("it expires: {run:?}");
    };
    assert_eq!(run.clock, deadline);
    assert_eq!(calls(&run), ["validate-uri"]);
    assert_golden("expired", &run);
}

#[test]
fn events_that_decide_nothing_are_ignored() {
    let hub = raise(hub(), HOUR, &decision(true, "build-server"));
    let hub = raise(hub, HOUR * 2, &json!({ "approved": "yes please" }));
    let hub = hub.raise_event_json(HOUR * 3, "APPROVAL", None);
    let hub = raise(hub, HOUR * 4, &decision(false, "second-pair-of-eyes"));
    let run = hub.run(&ENROLL, &request(uri(), required()), works);
    assert!(
        matches!(run.output(), Ok(EnrollmentOutcome::Rejected { .. })),
        "the requester's own approval does not count: {run:?}"
    );
    assert_golden("ignored-events", &run);
}

#[test]
fn the_first_decision_counts() {
    let hub = raise(hub(), HOUR, &decision(false, "second-pair-of-eyes"));
    let hub = raise(hub, HOUR, &decision(true, "third-pair-of-eyes"));
    let run = hub.run(&ENROLL, &request(uri(), required()), works);
    assert!(matches!(
        run.output(),
        Ok(EnrollmentOutcome::Rejected { .. })
    ));
}

#[test]
fn a_vault_that_comes_back_gets_the_secret() {
    let mut failures = 5;
    let run = hub().run(
        &ENROLL,
        &request(uri(), not_required()),
        |activity, input| {
            if activity == "store-secret" && failures > 0 {
                failures -= 1;
                return Err(Failure::new(
                    "VaultUnavailable",
                    "the vault does not answer",
                ));
            }
            works(activity, input)
        },
    );
    assert!(matches!(
        run.output(),
        Ok(EnrollmentOutcome::Enrolled { .. })
    ));
    assert_eq!(calls(&run).len(), 1 + 6);
    assert_golden("vault-comes-back", &run);
}

/// A ledger that is away while an enrollment is read, checked or decided on is waited for as long as
/// a vault while it is stored.
#[test]
fn a_ledger_that_comes_back_lets_every_step_go_on() {
    let mut failures = std::collections::BTreeMap::new();
    let hub = raise(hub(), HOUR, &decision(true, "second-pair-of-eyes"));
    let run = hub.run(&ENROLL, &request(image(), required()), |activity, input| {
        let failed = failures.entry(activity.to_owned()).or_insert(0);
        if *failed < 10 {
            *failed += 1;
            return Err(Failure::new("LedgerError", "the database is unreachable"));
        }
        works(activity, input)
    });
    let output = run.output();
    assert!(
        matches!(output, Ok(EnrollmentOutcome::Enrolled { .. })),
        "{output:?}"
    );
    assert_eq!(failures.len(), 4, "each step: {failures:?}");
}

#[test]
fn a_panic_is_not_tried_again() {
    for error in ["Panic", "tokio::runtime::task::error::JoinError"] {
        let run = hub().run(&ENROLL, &request(image(), not_required()), |_, _| {
            Err(Failure::new(error, "index out of bounds"))
        });
        assert_eq!(run.status, TestStatus::Failed);
        assert_eq!(calls(&run), ["decode-qr"]);
    }
}

#[test]
fn a_failure_that_no_retry_mends_fails_the_enrollment() {
    let run = hub().run(
        &ENROLL,
        &request(uri(), not_required()),
        |activity, input| {
            if activity == "store-secret" {
                return Err(
                    Failure::new("VaultConflict", "another secret has this name").permanent(),
                );
            }
            works(activity, input)
        },
    );
    assert_eq!(run.status, TestStatus::Failed);
    assert_eq!(calls(&run), ["validate-uri", "store-secret"]);
    assert_golden("failed", &run);
}

#[test]
fn a_terminated_enrollment_stores_nothing() {
    let run = hub()
        .deliver(HOUR, HistoryPayload::ExecutionTerminated { output: None })
        .run(&ENROLL, &request(uri(), required()), works);
    assert_eq!(run.status, TestStatus::Terminated);
    assert_eq!(calls(&run), ["validate-uri"]);
}

#[test]
fn an_instance_that_is_no_enrollment_is_refused() {
    let run =
        hub()
            .instance_id("something-else")
            .run(&ENROLL, &request(uri(), not_required()), works);
    assert_eq!(run.status, TestStatus::Failed);
    assert!(run.failure.expect("it failed").non_retriable);
    assert!(run.calls.is_empty());
}

#[test]
fn only_signed_decisions_count() {
    let forged = |by: &str, approved: bool| {
        let mut decision = decision(approved, by);
        decision["signed"] = json!("forged");
        decision
    };
    let unsigned = {
        let mut decision = decision(false, "operator");
        decision.as_object_mut().unwrap().remove("signed");
        decision
    };
    // What stands beside the signed text is nobody's decision.
    let renamed = {
        let mut decision = decision(true, "build-server");
        decision["by"] = json!("third");
        decision
    };
    let approval = json!({ "required": { "deadlineSeconds": 72 * 3_600, "approvals": 2 } });
    let mut hub = hub();
    for (hour, raised) in (1..).zip([
        unsigned,
        forged("mallory", false),
        renamed,
        decision(true, "first"),
        decision(true, "first"),
        decision(true, "second"),
    ]) {
        hub = raise(hub, HOUR * hour, &raised);
    }
    let run = hub.run(&ENROLL, &request(uri(), approval), works);
    let Ok(EnrollmentOutcome::Enrolled {
        approval: Some(last),
        earlier_approvals,
        ..
    }) = run.output()
    else {
        panic!("it is enrolled: {run:?}");
    };
    assert_eq!(last.by.as_str(), "second");
    assert_eq!(earlier_approvals.len(), 1);
    assert_eq!(earlier_approvals[0].by.as_str(), "first");
    assert_eq!(
        calls(&run),
        [
            "validate-uri",
            "verify-decision",
            "verify-decision",
            "verify-decision",
            "verify-decision",
            "verify-decision",
            "store-secret"
        ],
        "the unsigned one is not even checked"
    );
    let evidence = &run.calls.last().unwrap().1["decisions"];
    assert_eq!(
        evidence.as_array().unwrap().len(),
        2,
        "who stores gets the proofs"
    );
    assert_golden("approved-by-two", &run);
}

#[test]
fn others_are_notified_and_reminded_and_their_silence_delays_nothing() {
    let approval = json!({ "required": {
        "deadlineSeconds": 4 * 3_600,
        "from": ["ops"],
        "reminderSeconds": [7_200, 3_600, 7_200, 14_400],
        "notify": true,
    } });
    let mut told = Vec::new();
    let mut outsider = decision(true, "outsider");
    outsider["groups"] = json!(["sales"]);
    outsider["signed"] = json!(outsider.to_string());
    let mut insider = decision(true, "insider");
    insider["groups"] = json!(["ops"]);
    insider["signed"] = json!(insider.to_string());
    let hub = raise(hub(), HOUR * 5 / 2, &outsider);
    let hub = raise(hub, HOUR * 3, &insider);
    let run = hub.run(
        &ENROLL,
        &request(uri(), approval),
        |activity, input| match activity {
            "send-notice" => {
                told.push(input["event"].as_str().unwrap().to_owned());
                Err(Failure::new("Unreachable", "nobody is there").permanent())
            }
            other => works(other, input),
        },
    );
    let Ok(EnrollmentOutcome::Enrolled { approval, .. }) = run.output() else {
        panic!("it is enrolled: {run:?}");
    };
    assert_eq!(approval.unwrap().by.as_str(), "insider");
    assert_eq!(run.clock, epoch() + HOUR * 3);
    assert_golden("notified", &run);
    assert_eq!(told[..3], ["requested", "reminder", "reminder"]);
}

#[test]
fn what_releases_before_mandates_have_started_replays() {
    golden::assert_former_histories_replay(|name| match name {
        name if name.starts_with("import") => "import-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11",
        name if name.starts_with("request") => "request-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11",
        _ => ID,
    });
}
