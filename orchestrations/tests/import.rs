//! An import, path by path, in memory with a manual clock.
//!
//! Each path's history is kept in `tests/golden`, as those of enrollments are.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
// The test itself is not replayed.
#![allow(clippy::disallowed_methods)]

mod golden;

use std::time::Duration;

use countersign_enrollment::contract::IMPORT;
use countersign_enrollment::import::job::{ImportOutcome, ImportRequest, ImportResult};
use countersign_orchestrations::{policy, register};
use durabletask_core::testing::{TestHub, TestRun, epoch};
use durabletask_core::{Failure, Registry};
use golden::assert_golden;
use serde_json::{Value, json};

const ID: &str = "import-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const KEPT: &str =
    "k1.0011223344556677.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
const SEALED: &str =
    "s1.0011223344556677.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";

fn request(sources: Value, more: Value) -> ImportRequest {
    let mut request = json!({
        "mandate": "signed",
        "sources": sources,
        "key": SEALED,
        "approval": "notRequired",
        "requestedBy": "build-server",
        "fingerprint": "f",
    });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    serde_json::from_value(request).unwrap()
}

fn id(number: u32) -> String {
    format!("totp-5f0c3b1e-9a53-4d5e-8f2a-{number:012}")
}

fn preview(number: u32) -> Value {
    json!({ "accountName": format!("account {number}"), "algorithm": "SHA1", "digits": 6, "period": 30 })
}

fn new(number: u32) -> Value {
    json!({
        "preview": preview(number),
        "step": { "plan": "enroll", "id": id(number), "uri": KEPT },
    })
}

/// Runs an import whose plan is given; the enrollment of `account 3` fails.
fn run(request: &ImportRequest, plan: Value) -> TestRun<ImportOutcome> {
    let activities = move |activity: &str, input: Value| match activity {
        "read-codes" => {
            assert_eq!(input["import"], ID);
            Ok(json!({ "result": "invalid", "problem": { "code": "qr-not-found" } }))
        }
        "plan-import" => {
            assert_eq!(input["import"], ID);
            Ok(plan.clone())
        }
        "validate-uri" => {
            let number = input["enrollment"]
                .as_str()
                .unwrap()
                .rsplit('-')
                .next()
                .unwrap();
            let number: u32 = number.parse().unwrap();
            if number == 3 {
                return Err(Failure::new("Broken", "the envelope does not open").permanent());
            }
            Ok(json!({ "result": "valid", "preview": preview(number), "account": KEPT }))
        }
        "store-secret" => Ok(json!({ "id": input["enrollment"] })),
        other => panic!("there is no activity {other}"),
    };
    TestHub::new(register(Registry::new()))
        .instance_id(ID)
        .run(&IMPORT, request, activities)
}

fn results(run: &TestRun<ImportOutcome>) -> Vec<ImportResult> {
    let outcome = run.output().unwrap();
    outcome
        .accounts
        .iter()
        .map(|account| account.result)
        .collect()
}

#[test]
fn every_account_has_its_own_end() {
    let plan = json!({
        "accounts": [
            new(1),
            { "preview": preview(2), "step": { "plan": "alreadyThere", "id": id(2) } },
            new(3),
            { "name": "old", "step": { "plan": "invalid", "problem": { "code": "hotp-unsupported" } } },
            { "preview": preview(1), "step": { "plan": "repeated", "of": 1 } },
            { "preview": preview(6), "step": { "plan": "deleted", "id": id(6) } },
            new(7),
        ],
        "problems": [{ "code": "export-parts-missing", "of": 3, "missing": [2] }],
    });
    let sources = json!([{ "list": SEALED }, { "image": SEALED }]);
    let run = run(&request(sources, json!({})), plan);
    assert_eq!(
        results(&run),
        [
            ImportResult::Enrolled,
            ImportResult::AlreadyThere,
            ImportResult::Failed,
            ImportResult::Invalid,
            ImportResult::Repeated,
            ImportResult::Deleted,
            ImportResult::Enrolled,
        ]
    );
    let outcome = run.output().unwrap();
    let problems: Vec<(Option<u32>, &str)> = outcome
        .problems
        .iter()
        .map(|it| (it.source, it.problem.code()))
        .collect();
    assert_eq!(
        problems,
        [(Some(2), "qr-not-found"), (None, "export-parts-missing")]
    );
    assert_golden(ID, "import", &run);
}

#[test]
fn a_dry_run_and_what_was_not_picked_start_nothing() {
    let plan = json!({ "accounts": [new(1), new(2)] });
    let sources = json!([{ "list": SEALED }]);
    let dry = run(
        &request(sources.clone(), json!({ "dryRun": true, "pick": [2] })),
        plan.clone(),
    );
    assert_eq!(results(&dry), [ImportResult::NotPicked, ImportResult::New]);
    assert_golden(ID, "import-dry-run", &dry);
    let picked = run(&request(sources, json!({ "pick": [2, 9] })), plan);
    assert_eq!(
        results(&picked),
        [ImportResult::NotPicked, ImportResult::Enrolled]
    );
    let problems = &picked.output().unwrap().problems;
    assert_eq!(
        serde_json::to_value(problems).unwrap(),
        json!([{ "problem": { "code": "pick-not-there", "count": 2, "missing": [9] } }])
    );
}

#[test]
fn many_accounts_start_at_the_pace_that_a_vault_can_take() {
    let accounts: Vec<Value> = (11..46).map(new).collect();
    let count = accounts.len();
    let run = run(
        &request(json!([{ "list": SEALED }]), json!({})),
        json!({ "accounts": accounts }),
    );
    assert_eq!(results(&run), vec![ImportResult::Enrolled; count]);
    let pauses = u32::try_from((count - 1) / policy::IMPORT_BURST).unwrap();
    let took = (run.clock - epoch()).to_std().unwrap();
    assert!(took >= policy::IMPORT_PAUSE * pauses, "{took:?}");
    assert!(took < policy::IMPORT_PAUSE * (pauses + 2), "{took:?}");
    let last = run.custom_statuses.last().unwrap();
    assert_eq!(last["stage"], "Importing");
    assert_eq!(
        (&last["total"], &last["ended"]),
        (&json!(count), &json!(count))
    );
    assert!(policy::IMPORT_PAUSE >= Duration::from_secs(1));
}
