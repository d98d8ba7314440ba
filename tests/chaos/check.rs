//! What must hold afterwards, checked through the installation's own interfaces and files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::StatusCode;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use totp_rs::{Algorithm, Builder};

use crate::load::{APPROVER, Answered, ENROLLER, Ended, Load, Submission, account, secret};
use crate::parts::Installation;

/// How many codes are requested at once.
const CODES: usize = 100;

/// The ids of enrollments by number; each enrollment has its own.
fn by_id(ended: &[Ended]) -> BTreeMap<String, usize> {
    let mut numbers = BTreeMap::new();
    for Ended { number, id, .. } in ended {
        if let Some(id) = id {
            let other = numbers.insert(id.clone(), *number);
            assert_eq!(other, None, "{number} has an id of its own");
        }
    }
    numbers
}

/// A retry with the same key gets the same enrollment, and it has ended as it
/// should.
pub(crate) async fn each_has_its_outcome(load: &Load, ended: &[Ended]) {
    for Ended { number, id, .. } in ended {
        let submission = Submission::of(*number);
        assert_eq!(
            &load.submit(*number).await,
            id,
            "{number} keeps its enrollment"
        );
        let Some(id) = id else { continue };
        let state = load.ended(id).await;
        assert_eq!(state["stage"].as_str(), submission.stage(), "{state}");
        assert_eq!(state["requestedBy"], ENROLLER, "{state}");
        if submission.stage() == Some("Invalid") {
            assert_eq!(
                state["problem"]["code"].as_str(),
                submission.problem(),
                "{state}"
            );
        }
        let decision = &state["approval"]["decision"];
        assert_eq!(
            decision["approved"].as_bool(),
            submission.decision(),
            "{state}"
        );
        if submission.decision().is_some() {
            assert_eq!(decision["by"], APPROVER, "{state}");
        }
    }
}

/// The task hub knows the accepted enrollments and no other, but for the test's `own`.
pub(crate) async fn there_are_no_other_enrollments(load: &Load, ended: &[Ended], own: &[String]) {
    let mut listed = pages(load, None, "/api/enrollments", "enrollments").await;
    listed.retain(|each| own.iter().all(|own| each["id"] != own.as_str()));
    let ids: BTreeSet<&str> = listed
        .iter()
        .filter_map(|each| each["id"].as_str())
        .collect();
    assert_eq!(ids.len(), listed.len(), "none is listed twice");
    let accepted = by_id(ended);
    assert_eq!(ids, accepted.keys().map(String::as_str).collect());
}

/// The ids of the accounts in the vault of a data folder.
pub(crate) fn stored_in(folder: &Path) -> Vec<String> {
    let vault = folder.join("vault.sqlite3");
    let vault = Connection::open_with_flags(vault, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = vault.prepare("SELECT id FROM accounts").unwrap();
    let ids = rows.query_map([], |row| row.get(0)).unwrap();
    ids.collect::<Result<_, _>>().unwrap()
}

/// The vault holds the secret of each enrolled account, once, and no other, but for the test's
/// `own`.
pub(crate) async fn each_has_its_secret(
    load: &Load,
    reader: &str,
    stored: &[String],
    ended: &[Ended],
    own: &[String],
) {
    let mut enrolled = by_id(ended);
    enrolled.retain(|_, number| Submission::of(*number).stage() == Some("Enrolled"));
    // Where they are kept too: a list shows what is in use.
    assert_eq!(stored.len(), enrolled.len(), "one secret each");
    assert!(stored.iter().all(|id| enrolled.contains_key(id)));

    let mut listed = pages(load, Some(reader), "/api/accounts", "accounts").await;
    listed.retain(|each| own.iter().all(|own| each["id"] != own.as_str()));
    assert_eq!(listed.len(), enrolled.len());
    for each in &listed {
        let number = enrolled[each["id"].as_str().unwrap()];
        assert_eq!(each["accountName"], account(number), "{each}");
    }
    let all: Vec<_> = enrolled.iter().collect();
    for some in all.chunks(CODES) {
        let ids: Vec<_> = some.iter().map(|(id, _)| format!("id={id}")).collect();
        let path = format!("/api/tokens?detail=true&{}", ids.join("&"));
        let answer = load.get_as(reader, &path).await;
        // One alone is not a list.
        let one = std::slice::from_ref(&answer);
        let codes = answer["tokens"].as_array().map_or(one, Vec::as_slice);
        assert_eq!(codes.len(), some.len());
        for (code, (_, number)) in codes.iter().zip(some) {
            assert_eq!(code["token"], expected(**number, code), "{code}");
        }
    }
}

/// The code of an account at the time that an answer is for.
fn expected(number: usize, answer: &Value) -> String {
    let from = answer["validFrom"].as_str().expect("when it begins");
    let from = chrono::DateTime::parse_from_rfc3339(from).unwrap();
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(secret(number).to_vec())
        .build()
        .unwrap();
    totp.generate(u64::try_from(from.timestamp()).unwrap())
        .to_string()
}

async fn pages(load: &Load, token: Option<&str>, path: &str, of: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{path}?limit=200&cursor={cursor}");
        let page = match token {
            Some(token) => load.get_as(token, &path).await,
            None => load.get(&path).await,
        };
        all.extend(page[of].as_array().expect("a page").iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return all,
        }
    }
}

/// The chain of the audit log holds, and there is an entry for every change that was
/// answered and for every enrollment.
pub(crate) async fn the_audit_log_is_complete(
    load: &Load,
    at: &Installation,
    ended: &[Ended],
) -> usize {
    let entries = audit_log(at).await;
    let mut by_request: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut done: BTreeSet<[&str; 3]> = BTreeSet::new();
    let mut refused: BTreeSet<[&str; 4]> = BTreeSet::new();
    for entry in &entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        // A request for several codes has an entry for each.
        if text("action") != "read-code" && entry["requestId"].is_string() {
            let other = by_request.insert(text("requestId"), entry);
            assert!(other.is_none(), "one entry for each request: {entry}");
        }
        let what = [text("caller"), text("action"), text("subject")];
        match text("outcome") {
            "done" => drop(done.insert(what)),
            _ => drop(refused.insert([what[0], what[1], what[2], text("problem")])),
        }
    }
    for answered in load.answered.lock().unwrap().iter() {
        // While the database is away nothing is recorded, and nothing is done.
        if at.is_shared() && answered.status == StatusCode::SERVICE_UNAVAILABLE {
            continue;
        }
        let entry = by_request.get(answered.request.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{answered:?} is not recorded"));
        is_of(entry, answered);
    }
    for Ended { number, id, .. } in ended {
        let Some(id) = id else { continue };
        let enrolled = [ENROLLER, "enroll", id];
        assert!(done.contains(&enrolled), "{id} ({number}) is recorded");
        // What was done before a kill, and not recorded any more, is recorded as it is
        // answered to a retry.
        let (caller, action, again) = match Submission::of(*number) {
            Submission::Approved => (APPROVER, "approve", "already-decided"),
            Submission::Rejected => (APPROVER, "reject", "already-decided"),
            Submission::Terminated => (ENROLLER, "terminate", "already-ended"),
            _ => continue,
        };
        assert!(
            done.contains(&[caller, action, id]) || refused.contains(&[caller, action, id, again]),
            "{action} of {id} ({number}) is recorded"
        );
    }
    entries.len()
}

/// All entries of the audit log, whose chain holds.
pub(crate) async fn audit_log(at: &Installation) -> Vec<Value> {
    // Fails if the chain is broken.
    at.run(&["audit", "verify"]).await;
    let export = at.run(&["audit", "export"]).await;
    let text = String::from_utf8(export.stdout).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str(line).unwrap());
    entries.collect()
}

/// The entry agrees with the caller's answer.
fn is_of(entry: &Value, answered: &Answered) {
    assert_eq!(entry["caller"], answered.caller, "{entry} {answered:?}");
    assert_eq!(entry["action"], answered.action, "{entry} {answered:?}");
    let outcome = match answered.status.as_u16() {
        ..400 => "done",
        400..500 => "refused",
        _ => "failed",
    };
    assert_eq!(entry["outcome"], outcome, "{entry} {answered:?}");
    if let Some(subject) = &answered.subject {
        assert_eq!(entry["subject"], subject.as_str(), "{entry} {answered:?}");
    }
}
