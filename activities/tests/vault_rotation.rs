//! The embedded vault gets another key while it is read and written, and no reading fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_activities::totp;
use countersign_activities::vault::{EmbeddedVault, SecretVault as _, check, rotate_key};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::otpauth;
use countersign_enrollment::recovery::RecoveryCodes;

/// A moment.
const NOW: u64 = 1_700_000_000;

/// The code of an account, which its secret alone makes.
async fn assert_read(vault: &EmbeddedVault, id: &EnrollmentId, number: usize) {
    let read = vault.read_for_code(id).await.unwrap();
    let code = totp::code_at(&account(number), NOW).unwrap();
    assert_eq!(read.code_at(NOW).unwrap().text, code.text);
}

fn account(number: usize) -> TotpAccount {
    let digits: String = format!("{number:08}")
        .chars()
        .map(|digit| (b'A' + digit.to_digit(10).unwrap() as u8) as char)
        .collect();
    let uri = format!("otpauth://totp/Test:{number}?secret=JBSWY3DP{digits}&issuer=Test");
    otpauth::parse(&uri).unwrap().account
}

async fn filled(folder: &Path, count: usize) -> (EmbeddedVault, Vec<EnrollmentId>) {
    let vault = EmbeddedVault::open(folder).unwrap();
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let id = EnrollmentId::random();
        vault.store_for(&id, &account(number), None).await.unwrap();
        ids.push(id);
    }
    (vault, ids)
}

/// Rotates the key of a vault with this many accounts while four readers and a writer of other
/// processes' kind, each with a vault of its own, go on.
async fn rotates_under_readers(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (vault, ids) = filled(folder.path(), count).await;
    let codes = RecoveryCodes::new(["first-code"]).unwrap();
    let none = RecoveryCodes::default();
    vault.set_recovery(&ids[0], &none, &codes).await.unwrap();
    let (ids, busy) = (Arc::new(ids), Arc::new(AtomicBool::new(true)));
    let reads = Arc::new(AtomicU64::new(0));
    let mut hands = Vec::new();
    for hand in 0..4 {
        let vault = EmbeddedVault::open(folder.path()).unwrap();
        let (ids, busy, reads) = (Arc::clone(&ids), Arc::clone(&busy), Arc::clone(&reads));
        hands.push(tokio::spawn(async move {
            let mut at = hand * ids.len() / 4;
            while busy.load(Ordering::Relaxed) {
                at = (at + 1) % ids.len();
                assert_read(&vault, &ids[at], at).await;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let writing = {
        let (vault, busy) = (
            EmbeddedVault::open(folder.path()).unwrap(),
            Arc::clone(&busy),
        );
        tokio::spawn(async move {
            let mut added = Vec::new();
            while busy.load(Ordering::Relaxed) {
                let id = EnrollmentId::random();
                let new = account(90_000_000 + added.len());
                vault.store_for(&id, &new, None).await.unwrap();
                added.push(id);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            added
        })
    };
    let begun = Instant::now();
    while reads.load(Ordering::Relaxed) < 100 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let key = fs::read_to_string(folder.path().join("vault.key")).unwrap();
    let path = folder.path().to_owned();
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let rotated = tokio::task::spawn_blocking(move || {
        rotate_key(&path, &path.join("vault.key").into(), |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
    });
    let rotated = rotated.await.unwrap().unwrap();
    let took = begun.elapsed();
    busy.store(false, Ordering::Relaxed);
    for hand in hands {
        hand.await.unwrap();
    }
    let added = writing.await.unwrap();
    assert!(!rotated.resumed);
    assert!(steps.load(Ordering::Relaxed) >= 2, "it tells how far it is");

    let now = fs::read_to_string(folder.path().join("vault.key")).unwrap();
    assert_eq!(now.lines().count(), 1, "the old key is gone");
    assert_ne!(now, key);
    let database = folder.path().join("vault.sqlite3");
    let found = check(
        &database,
        &database.with_file_name("vault.key").into(),
        &now,
        chrono::Utc::now(),
    )
    .unwrap();
    assert_eq!(found.accounts, (ids.len() + added.len()) as u64);
    assert_eq!(found.with_recovery_codes, 1);
    assert!(
        check(
            &database,
            &database.with_file_name("vault.key").into(),
            &key,
            chrono::Utc::now()
        )
        .is_err()
    );
    assert_eq!(vault.recovery(&ids[0]).await.unwrap(), codes);
    // Accounts are found by what they hold as before.
    for vault in [&vault, &EmbeddedVault::open(folder.path()).unwrap()] {
        let same = vault.same_as(&account(7)).await.unwrap();
        assert_eq!(same.len(), 1);
        assert_eq!(same[0].id, ids[7]);
    }
    println!(
        "{count} accounts got another key in {took:?}; {} readings and {} new accounts meanwhile, \
         none failed",
        reads.load(Ordering::Relaxed),
        added.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_is_rotated_while_accounts_are_read_and_added() {
    rotates_under_readers(300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "ten thousand accounts take a while"]
async fn ten_thousand_accounts_get_another_key_and_no_reading_fails() {
    rotates_under_readers(10_000).await;
}

#[tokio::test]
async fn an_interrupted_rotation_continues() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, ids) = filled(folder.path(), 250).await;
    let path = folder.path();
    // A panic in between is an end as sudden as a kill.
    let cut = std::panic::catch_unwind(|| {
        rotate_key(path, &path.join("vault.key").into(), |now| {
            assert!(now.done < 100, "cut off")
        })
    });
    assert!(cut.is_err());
    let keys = fs::read_to_string(path.join("vault.key")).unwrap();
    assert_eq!(keys.lines().count(), 2, "both keys are there");
    // What is stored in between has the new key already.
    let other = EmbeddedVault::open(path).unwrap();
    for vault in [&vault, &other] {
        for at in [0, 120, 249] {
            assert_read(vault, &ids[at], at).await;
        }
        let id = EnrollmentId::random();
        vault.store_for(&id, &account(77_777), None).await.unwrap();
    }
    let rotated = rotate_key(path, &path.join("vault.key").into(), |_| ()).unwrap();
    assert!(rotated.resumed);
    let key = fs::read_to_string(path.join("vault.key")).unwrap();
    assert_eq!(key.lines().count(), 1);
    assert_eq!(key.lines().next(), keys.lines().next(), "the same new key");
    let found = check(
        &path.join("vault.sqlite3"),
        &path.join("vault.key").into(),
        &key,
        chrono::Utc::now(),
    )
    .unwrap();
    assert_eq!(found.accounts, 252);
    assert_read(&vault, &ids[9], 9).await;
}
