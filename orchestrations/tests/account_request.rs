//! Requests on accounts, kind by kind, in memory with a manual clock.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
// The test itself is not replayed.
#![allow(clippy::disallowed_methods)]

mod golden;

use std::time::Duration;

use countersign_enrollment::account_request::{AccountRequest, RequestOutcome};
use countersign_enrollment::contract::ACCOUNT_REQUEST;
use countersign_orchestrations::register;
use durabletask_core::testing::{TestHub, TestRun, TestStatus, epoch};
use durabletask_core::{Failure, Registry};
use golden::assert_golden;
use serde_json::{Value, json};

const APPROVAL: &str = "approval";
const CLAIM: &str = "claim";
const ID: &str = "request-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const ACCOUNT: &str = "totp-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const PACKAGE: &str =
    "s1.0011223344556677.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
const HOUR: Duration = Duration::from_secs(3_600);

fn request(act: Value) -> AccountRequest {
    serde_json::from_value(json!({
        "mandate": "signed",
        "account": ACCOUNT,
        "act": act,
        "reason": "a new phone",
        "approval": { "required": { "deadlineSeconds": 72 * 3_600 } },
        "requestedBy": "admin",
        "fingerprint": "f",
    }))
    .unwrap()
}

fn read(reads: u32) -> Value {
    json!({ "kind": "read", "reads": reads, "seconds": 3_600 })
}

fn delete() -> Value {
    json!({ "kind": "delete", "seconds": 7 * 24 * 3_600 })
}

fn decision(approved: bool, by: &str) -> Value {
    let mut decision =
        json!({ "approved": approved, "by": by, "decidedAt": "2026-01-02T03:04:05Z" });
    // Stands for the signed text: the worker says what it says.
    decision["signed"] = json!(decision.to_string());
    decision
}

/// What the worker says of a decision: what its signed text says, if that is one.
fn verified(input: &Value) -> Value {
    match serde_json::from_str::<Value>(input["decision"].as_str().unwrap()) {
        Ok(decision) => json!({ "result": "authentic", "decision": decision }),
        Err(_) => json!({ "result": "forged" }),
    }
}

fn claim(id: &str) -> Value {
    json!({ "id": id })
}

/// Runs a request while events are raised, each an hour after the one before.
fn run(act: Value, events: &[(&str, Value)]) -> TestRun<RequestOutcome> {
    run_with(act, events, ("disabled", "gone"))
}

/// As [`run`], with what the vault has after the account was to be taken out of use, and after
/// it was to be destroyed.
fn run_with(
    act: Value,
    events: &[(&str, Value)],
    (disabled, purged): (&str, &str),
) -> TestRun<RequestOutcome> {
    let mut hub = TestHub::new(register(Registry::new())).instance_id(ID);
    for (hour, (event, payload)) in (1..).zip(events) {
        hub = hub.raise_event_json(HOUR * hour, event, Some(payload.to_string()));
    }
    let activities = move |activity: &str, input: Value| -> Result<Value, Failure> {
        let about = if activity == "verify-request-decision" {
            "about"
        } else {
            "request"
        };
        assert_eq!(input[about], ID, "{activity} knows its request");
        assert_eq!(input["mandate"], "signed", "{activity} gets the mandate");
        Ok(match activity {
            "describe-account" => json!({
                "result": "found",
                "preview": {
                    "issuer": "2FAS",
                    "accountName": "Test Token",
                    "algorithm": "SHA1",
                    "digits": 6,
                    "period": 30,
                },
                "fingerprint": "00ff",
            }),
            "verify-request-decision" => verified(&input),
            "seal-account" => json!({ "result": "sealed", "package": PACKAGE }),
            "disable-account" => json!({ "state": disabled }),
            "restore-account" => json!({ "state": "inUse" }),
            "purge-account" => json!({ "state": purged }),
            other => panic!("there is no activity {other}"),
        })
    };
    hub.run(&ACCOUNT_REQUEST, &request(act), activities)
}

/// The approval of another, then what follows it.
fn approved(then: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let mut events = vec![(APPROVAL, decision(true, "second-pair-of-eyes"))];
    events.extend_from_slice(then);
    events
}

fn calls(run: &TestRun<RequestOutcome>) -> Vec<&str> {
    run.calls.iter().map(|(name, _)| name.as_str()).collect()
}

fn stages(run: &TestRun<RequestOutcome>) -> Vec<&str> {
    run.custom_statuses
        .iter()
        .map(|status| status["stage"].as_str().unwrap())
        .collect()
}

#[test]
fn a_lease_ends_when_it_is_used_up() {
    let at_once = Duration::from_secs(3_600);
    let mut hub = TestHub::new(register(Registry::new())).instance_id(ID);
    for (event, payload) in approved(&[
        (CLAIM, claim("one")),
        (CLAIM, claim("one")),
        (CLAIM, json!("unreadable")),
        (CLAIM, claim("two")),
        (CLAIM, claim("three")),
    ]) {
        hub = hub.raise_event_json(at_once, event, Some(payload.to_string()));
    }
    let run = hub.run(&ACCOUNT_REQUEST, &request(read(2)), |activity, input| {
        Ok(match activity {
            "describe-account" => json!({
                "result": "found",
                "preview": {
                    "accountName": "x", "algorithm": "SHA1", "digits": 6, "period": 30,
                },
                "fingerprint": "00ff",
            }),
            _ => verified(&input),
        })
    });
    let Ok(RequestOutcome::Done {
        claims, approvals, ..
    }) = run.output()
    else {
        panic!("it is used up: {run:?}");
    };
    assert_eq!(claims, ["one", "two"]);
    assert_eq!(approvals[0].by.as_str(), "second-pair-of-eyes");
    assert_golden(ID, "request-read", &run);
}

#[test]
fn a_lease_ends_on_its_own() {
    let run = run(read(2), &approved(&[]));
    assert!(matches!(run.output(), Ok(RequestOutcome::Lapsed { .. })));
    assert_eq!(run.clock, epoch() + HOUR + HOUR);
    assert_eq!(stages(&run), ["AwaitingApproval", "Granted"]);
    assert_golden(ID, "request-lapsed", &run);
}

#[test]
fn an_account_is_destroyed_when_its_time_is_over() {
    let unsigned = json!({
        "approved": false, "by": "operator", "decidedAt": "2026-01-02T03:04:05Z",
    });
    let consent = decision(true, "third-pair-of-eyes");
    let events = approved(&[(APPROVAL, unsigned), (APPROVAL, consent)]);
    let run = run(delete(), &events);
    assert!(matches!(run.output(), Ok(RequestOutcome::Done { .. })));
    assert_eq!(
        calls(&run),
        [
            "describe-account",
            "verify-request-decision",
            "disable-account",
            "purge-account"
        ]
    );
    assert_eq!(run.clock, epoch() + HOUR + HOUR * 24 * 7);
    assert_eq!(stages(&run), ["AwaitingApproval", "Acting", "Removing"]);
    assert_golden(ID, "request-delete", &run);
}

#[test]
fn a_rejection_restores_the_account() {
    // The requester's own, another's, and of one who had agreed.
    for (by, golden) in [
        ("admin", Some("request-delete-withdrawn")),
        ("third-pair-of-eyes", None),
        ("second-pair-of-eyes", None),
    ] {
        let run = run(delete(), &approved(&[(APPROVAL, decision(false, by))]));
        match run.output() {
            Ok(RequestOutcome::Withdrawn { .. }) => assert_eq!(by, "admin"),
            Ok(RequestOutcome::Rejected { decision, .. }) => assert_eq!(decision.by.as_str(), by),
            other => panic!("it is stopped: {other:?}"),
        }
        assert_eq!(calls(&run).last(), Some(&"restore-account"));
        if let Some(golden) = golden {
            assert_golden(ID, golden, &run);
        }
    }
}

#[test]
fn an_account_that_is_back_in_use_is_not_destroyed() {
    let run = run_with(delete(), &approved(&[]), ("disabled", "inUse"));
    assert!(matches!(run.output(), Ok(RequestOutcome::Kept { .. })));
}

#[test]
fn a_transfer_seals_first_and_then_takes_out_of_use() {
    let act = json!({ "kind": "transfer", "to": "countersign-seal-key-1 x" });
    let run = run(act, &approved(&[]));
    let Ok(RequestOutcome::Done {
        package: Some(package),
        ..
    }) = run.output()
    else {
        panic!("it is sealed: {run:?}");
    };
    assert_eq!(package.to_text(), PACKAGE);
    assert_eq!(calls(&run)[2..], ["seal-account", "disable-account"]);
    assert_golden(ID, "request-transfer", &run);
}

#[test]
fn a_transfer_of_what_is_gone_by_then_hands_over_nothing() {
    let act = json!({ "kind": "transfer", "to": "countersign-seal-key-1 x" });
    let run = run_with(act, &approved(&[]), ("gone", "gone"));
    assert!(
        matches!(run.output(), Ok(RequestOutcome::Unavailable)),
        "{run:?}"
    );
}

#[test]
fn nothing_happens_without_approval() {
    let forged = {
        let mut decision = decision(true, "second-pair-of-eyes");
        decision["signed"] = json!("forged");
        decision
    };
    let own = decision(true, "admin");
    let events = [(APPROVAL, forged), (APPROVAL, own)];
    let expired = run(json!({ "kind": "export", "seconds": 60 }), &events);
    assert!(matches!(
        expired.output(),
        Ok(RequestOutcome::Expired { .. })
    ));
    assert_eq!(
        calls(&expired),
        [
            "describe-account",
            "verify-request-decision",
            "verify-request-decision"
        ]
    );
    assert_golden(ID, "request-expired", &expired);
    for (by, withdrawn) in [("admin", true), ("second-pair-of-eyes", false)] {
        let refused = run(delete(), &[(APPROVAL, decision(false, by))]);
        match refused.output() {
            Ok(RequestOutcome::Withdrawn { .. }) => assert!(withdrawn),
            Ok(RequestOutcome::Rejected { .. }) => assert!(!withdrawn),
            other => panic!("it is refused: {other:?}"),
        }
        assert_eq!(
            calls(&refused),
            ["describe-account", "verify-request-decision"]
        );
    }
}

#[test]
fn an_invalid_request_or_a_missing_account_changes_nothing() {
    let unknown = |_: &str, _: Value| Ok(json!({ "result": "unknown" }));
    let hub = TestHub::new(register(Registry::new())).instance_id(ID);
    let run = hub.run(&ACCOUNT_REQUEST, &request(delete()), unknown);
    assert!(matches!(run.output(), Ok(RequestOutcome::Unavailable)));
    let hub = TestHub::new(register(Registry::new())).instance_id(ACCOUNT);
    let run = hub.run(&ACCOUNT_REQUEST, &request(delete()), unknown);
    assert_eq!(run.status, TestStatus::Failed);
    assert!(run.calls.is_empty());
}
