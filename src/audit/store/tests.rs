//! A valid chain, and every way in which a broken one is detected.

use std::path::Path;

use super::*;
use crate::audit::ChainCheck;

fn store() -> (tempfile::TempDir, AuditStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(&folder.path().join("audit.sqlite3"), &[7; 32]).unwrap();
    (folder, store)
}

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| {
            Event::new(Action::ReadCode, &format!("caller-{}", n % 2), Utc::now()).to("totp-1")
        })
        .collect()
}

fn all() -> AuditQuery {
    AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    }
}

#[test]
fn two_processes_write_one_chain() {
    let (folder, mut store) = store();
    let mut other = AuditStore::open(&folder.path().join("audit.sqlite3"), &[7; 32]).unwrap();
    for event in events(6).iter().enumerate() {
        let into = if event.0 % 2 == 0 {
            &mut store
        } else {
            &mut other
        };
        into.append([event.1]).unwrap();
    }
    let entries = store.query(&all()).unwrap();
    assert_eq!(
        entries.iter().map(|e| e.sequence).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    let ChainCheck::Intact(head) = store.verify(None).unwrap() else {
        panic!("not intact");
    };
    assert_eq!(head.to_string(), format!("6:{}", entries[5].hash));
    let theirs = AuditQuery {
        caller: Some("caller-1".to_owned()),
        after: Some(2),
        ..all()
    };
    let sequences = |query: &AuditQuery| -> Vec<u64> {
        let found = store.query(query).unwrap();
        found.iter().map(|e| e.sequence).collect()
    };
    assert_eq!(sequences(&theirs), [4, 6]);
    let newest = AuditQuery {
        newest_first: true,
        after: None,
        limit: 2,
        ..theirs
    };
    let before = AuditQuery {
        after: Some(6),
        ..newest.clone()
    };
    assert_eq!(sequences(&newest), [6, 4]);
    assert_eq!(sequences(&before), [4, 2]);
}

#[test]
fn every_change_is_seen() {
    for (change, at) in [
        (
            "UPDATE entries SET event = replace(event, 'caller-0', 'caller-1') WHERE sequence = 3",
            3,
        ),
        (
            "UPDATE entries SET hash = zeroblob(32) WHERE sequence = 5",
            5,
        ),
        ("DELETE FROM entries WHERE sequence = 2", 2),
        ("UPDATE entries SET sequence = 9 WHERE sequence = 6", 6),
    ] {
        let (folder, mut store) = store();
        store.append(&events(6)).unwrap();
        let thief = Connection::open(folder.path().join("audit.sqlite3")).unwrap();
        thief.execute_batch(change).expect_err("it is append-only");
        thief
            .execute_batch(
                "DROP TRIGGER entries_are_not_changed; DROP TRIGGER entries_are_not_deleted",
            )
            .unwrap();
        thief.execute_batch(change).unwrap();
        assert_eq!(
            store.verify(None).unwrap(),
            ChainCheck::Broken { sequence: at },
            "{change}"
        );
    }
}

#[test]
fn another_key_makes_another_chain() {
    let (folder, mut store) = store();
    store.append(&events(1)).unwrap();
    let path = folder.path().join("audit.sqlite3");
    let other = AuditStore::open_existing(&path, &[8; 32]).unwrap();
    assert_eq!(
        other.verify(None).unwrap(),
        ChainCheck::Broken { sequence: 1 }
    );
    assert!(matches!(
        AuditStore::open(&path, &[8; 32]),
        Err(AuditError::Incomplete(Loss::HeadUnreadable))
    ));
}

#[test]
fn times_bound_a_query() {
    let (_folder, mut store) = store();
    let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
    for moment in [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.500Z",
        "2026-01-02T00:00:00Z",
    ] {
        store
            .append([&Event::new(Action::Enroll, "ci", at(moment))])
            .unwrap();
    }
    let query = AuditQuery {
        since: Some(at("2026-01-01T00:00:00.500Z")),
        until: Some(at("2026-01-02T00:00:00Z")),
        ..all()
    };
    let found = store.query(&query).unwrap();
    assert_eq!(found.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2]);
}

/// Removes entries after `sequence`, as someone with the file but not the key can.
fn cut(path: &Path, sequence: i64) {
    let thief = Connection::open(path).unwrap();
    thief
        .execute_batch("DROP TRIGGER IF EXISTS entries_are_not_deleted")
        .unwrap();
    thief
        .execute("DELETE FROM entries WHERE sequence > ?1", [sequence])
        .unwrap();
}

fn again(path: &Path) -> Result<AuditStore, AuditError> {
    AuditStore::open(path, &[7; 32])
}

fn verdict(path: &Path) -> ChainCheck {
    let store = AuditStore::open_existing(path, &[7; 32]).unwrap();
    store.verify(None).unwrap()
}

#[track_caller]
fn assert_lost<T>(outcome: Result<T, AuditError>, loss: &Loss) {
    match outcome {
        Err(AuditError::Incomplete(lost)) => assert_eq!(lost, *loss),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("nothing was missed"),
    }
}

#[test]
fn a_truncated_log_is_noticed_and_not_appended_to() {
    let (folder, mut store) = store();
    let path = folder.path().join("audit.sqlite3");
    store.append(&events(6)).unwrap();
    cut(&path, 4);
    let loss = Loss::Cut { ends: 4, noted: 6 };
    assert_eq!(verdict(&path), ChainCheck::Incomplete(loss.clone()));
    assert_lost(again(&path), &loss);
    // Also by a server that runs, whatever happens to the head beside the database.
    assert_lost(store.append(&events(1)), &loss);
    std::fs::remove_file(folder.path().join(AUDIT_HEAD)).unwrap();
    assert_lost(store.append(&events(1)), &loss);
    assert_eq!(verdict(&path), ChainCheck::Incomplete(Loss::HeadMissing));
    assert_lost(again(&path), &Loss::HeadMissing);
    assert_eq!(store.query(&all()).unwrap().len(), 4);
}

#[test]
fn an_emptied_or_missing_database_is_no_new_one() {
    for empty in [
        (|path: &Path| cut(path, 0)) as fn(&Path),
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
    ] {
        let (folder, mut store) = store();
        let path = folder.path().join("audit.sqlite3");
        store.append(&events(3)).unwrap();
        drop(store);
        empty(&path);
        let loss = Loss::Emptied { noted: 3 };
        match AuditStore::open_existing(&path, &[7; 32]) {
            Ok(store) => {
                let verdict = store.verify(None).unwrap();
                assert_eq!(verdict, ChainCheck::Incomplete(loss.clone()));
            }
            error => assert_lost(error, &loss),
        }
        assert_lost(again(&path), &loss);
    }
}

#[test]
fn checking_creates_no_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.sqlite3");
    let nothing = |outcome| matches!(outcome, Err(AuditError::Nothing(_)));
    assert!(nothing(
        AuditStore::open_existing(&path, &[7; 32]).map(drop)
    ));
    let event = Event::new(Action::AcceptLoss, "local", Utc::now());
    assert!(nothing(
        AuditStore::accept_loss(&path, &[7; 32], event).map(drop)
    ));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_log_continues_after_a_loss_was_accepted_and_records_that() {
    let (folder, mut running) = store();
    let path = folder.path().join("audit.sqlite3");
    running.append(&events(6)).unwrap();
    let accept = || {
        let event = Event::new(Action::AcceptLoss, "local", Utc::now()).because("a bad disk");
        AuditStore::accept_loss(&path, &[7; 32], event)
    };
    assert!(matches!(accept(), Err(AuditError::NothingLost)));
    let noted = running.query(&all()).unwrap()[5].hash.clone();
    cut(&path, 4);
    assert_eq!(accept().unwrap(), Loss::Cut { ends: 4, noted: 6 });
    // A running server notices it.
    running.append(&events(1)).unwrap();
    let entries = running.query(&all()).unwrap();
    assert_eq!(entries.len(), 6);
    let accepted = &entries[4].event;
    assert_eq!(accepted.action, Action::AcceptLoss);
    assert_eq!(accepted.reason.as_deref(), Some("a bad disk"));
    assert_eq!(accepted.changes[0].from, Some(format!("6:{noted}")));
    assert_eq!(
        accepted.changes[0].to,
        Some(format!("4:{}", entries[3].hash))
    );
    assert!(matches!(verdict(&path), ChainCheck::Intact(head) if head.sequence == 6));
    again(&path).unwrap();
    // A head that was kept elsewhere still reveals it.
    let store = AuditStore::open_existing(&path, &[7; 32]).unwrap();
    let before = Head::parse(&format!("6:{noted}")).unwrap();
    assert_eq!(
        store.verify(Some(&before)).unwrap(),
        ChainCheck::Incomplete(Loss::Other { sequence: 6 })
    );
}

#[test]
fn a_head_that_was_kept_elsewhere_is_compared() {
    let (folder, mut store) = store();
    store.append(&events(3)).unwrap();
    let head = |sequence: u64, hash: &str| Head::parse(&format!("{sequence}:{hash}")).unwrap();
    let entries = store.query(&all()).unwrap();
    let second = head(2, &entries[1].hash);
    assert!(matches!(
        store.verify(Some(&second)).unwrap(),
        ChainCheck::Intact(head) if head.sequence == 3
    ));
    let other = head(2, &entries[0].hash);
    assert_eq!(
        store.verify(Some(&other)).unwrap(),
        ChainCheck::Incomplete(Loss::Other { sequence: 2 })
    );
    // An older copy of everything, head and all.
    let later = head(9, &entries[0].hash);
    assert_eq!(
        store.verify(Some(&later)).unwrap(),
        ChainCheck::Incomplete(Loss::Cut { ends: 3, noted: 9 })
    );
    drop(folder);
}

#[test]
fn the_log_may_be_one_commit_ahead_of_its_head() {
    let (folder, mut store) = store();
    let path = folder.path().join("audit.sqlite3");
    store.append(&events(2)).unwrap();
    let head = folder.path().join(AUDIT_HEAD);
    let before = std::fs::read(&head).unwrap();
    store.append(&events(2)).unwrap();
    drop(store);
    // As a process that is killed between the two leaves it.
    std::fs::write(&head, before).unwrap();
    assert!(matches!(verdict(&path), ChainCheck::Intact(head) if head.sequence == 4));
    let mut store = again(&path).unwrap();
    store.append(&events(1)).unwrap();
    assert!(matches!(verdict(&path), ChainCheck::Intact(head) if head.sequence == 5));
}

#[test]
fn an_audit_log_of_an_earlier_release_gets_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.sqlite3");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(TABLES).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let keys = ChainKeys::of(&(&[7; 32]).into());
    append(&old, &keys, keys.beginning(), &events(2)).unwrap();
    drop(old);
    assert_eq!(verdict(&path), ChainCheck::Incomplete(Loss::HeadMissing));
    let store = again(&path).unwrap();
    let entries = store.query(&all()).unwrap();
    assert_eq!(entries.len(), 3);
    let event = &entries[2].event;
    assert_eq!(
        (event.action, event.caller.as_str()),
        (Action::AcceptLoss, SYSTEM)
    );
    assert!(matches!(verdict(&path), ChainCheck::Intact(head) if head.sequence == 3));
    assert_eq!(again(&path).unwrap().query(&all()).unwrap().len(), 3);
}

#[test]
fn what_a_power_failure_took_is_recorded_and_nothing_more_is_excused() {
    for (flushed, ends, excused) in [(2, 3, true), (2, 2, true), (2, 1, false)] {
        let (folder, mut store) = store();
        let path = folder.path().join("audit.sqlite3");
        // As it was noted in an earlier boot of the machine.
        store.head = store.head.clone().in_boot("the-run-before");
        store.append(&events(flushed)).unwrap();
        store.flush().unwrap();
        store.append(&events(3)).unwrap();
        drop(store);
        cut(&path, ends);
        // Opening it for reading excuses nothing.
        assert!(matches!(verdict(&path), ChainCheck::Incomplete(_)));
        match again(&path) {
            Ok(store) if excused => {
                let entries = store.query(&all()).unwrap();
                let last = &entries.last().unwrap().event;
                assert_eq!(last.action, Action::AcceptLoss);
                assert_eq!(last.caller, SYSTEM);
                assert!(last.changes[0].from.as_deref().unwrap().starts_with("5:"));
                assert!(matches!(verdict(&path), ChainCheck::Intact(_)));
            }
            outcome => {
                assert!(!excused, "{ends}");
                assert_lost(outcome, &Loss::Cut { ends: 1, noted: 5 });
            }
        }
    }
}
