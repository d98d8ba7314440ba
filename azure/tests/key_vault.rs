//! The adapter, through the real SDK over TLS, against the fake in `fake/`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod fake;
#[path = "../../activities/tests/promises/mod.rs"]
mod promises;
mod support;

use countersign_activities::vault::{SecretVault as _, Stored, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use fake::{Delays, FakeKeyVault, Op};
use serde_json::json;
use support::{account, vault};

#[tokio::test]
async fn it_keeps_the_promises_of_every_vault() {
    let fake = FakeKeyVault::start().await;
    promises::keeps(&vault(&fake)).await;
}

#[tokio::test]
async fn key_vault_keeps_the_promises_despite_its_delays() {
    let fake = FakeKeyVault::start().await;
    fake.vault(|vault| {
        vault.delays = Delays {
            deleting: 2,
            recovering: 2,
            purging: 2,
        };
        vault.page = 2;
    });
    promises::keeps(&vault(&fake)).await;
}

#[tokio::test]
async fn an_account_is_one_secret_named_and_tagged_as_documented() {
    let fake = FakeKeyVault::start().await;
    let id = EnrollmentId::random();
    vault(&fake).store(&id, &account()).await.unwrap();
    let versions = fake.vault(|vault| vault.versions(id.as_str()));
    let [version] = versions.as_slice() else {
        panic!("{versions:?}");
    };
    assert_eq!(version.content_type, json!("application/json"));
    assert_eq!(
        version.tags,
        json!({
            "type": "totp-secret",
            "schema": "1",
            "enrollment": id.as_str(),
            "accountName": "ann@example.com",
            "issuer": "ACME",
            "algorithm": "SHA1",
            "digits": "6",
            "period": "30",
            "fingerprint": "1e9a0091fd883c84f14456cb75d95992",
        })
    );
    let value: serde_json::Value = serde_json::from_str(&version.value).unwrap();
    assert_eq!(
        value,
        json!({
            "version": 1,
            "secret": "JBSWY3DPEHPK3PXP",
            "algorithm": "SHA1",
            "digits": 6,
            "period": 30,
            "issuer": "ACME",
            "accountName": "ann@example.com",
        })
    );
}

#[tokio::test]
async fn a_secret_of_an_earlier_program_is_an_account() {
    let fake = FakeKeyVault::start().await;
    let id = EnrollmentId::random();
    let tags = json!({"accountName": "Test Token", "issuer": "2FAS", "type": "totp-secret"});
    fake.vault(|vault| vault.put(id.as_str(), "2fastest", tags));
    let vault = vault(&fake);
    let read = vault.read(&id).await.unwrap();
    assert_eq!(read.secret().expose(), [0xd1, 0x41, 0x29, 0x92, 0x53]);
    assert_eq!(
        (read.issuer(), read.account_name()),
        (Some("2FAS"), "Test Token")
    );
    let page = vault.list(Some("2fas"), None, 10).await.unwrap();
    assert_eq!(page.accounts.len(), 1);
    // It is not overwritten by an enrollment.
    let stored = vault.store(&id, &account()).await;
    assert!(matches!(stored, Err(VaultError::Conflict)), "{stored:?}");
    assert_eq!(fake.count(Op::Set), 0);
}

#[tokio::test]
async fn a_foreign_secret_under_our_name_is_left_alone() {
    let fake = FakeKeyVault::start().await;
    let id = EnrollmentId::random();
    fake.vault(|vault| vault.put(id.as_str(), "hunter2", json!({"owner": "payroll"})));
    let vault = vault(&fake);
    let stored = vault.store(&id, &account()).await;
    assert!(matches!(stored, Err(VaultError::Conflict)), "{stored:?}");
    for refused in [
        vault.read(&id).await.map(drop),
        vault.delete(&id).await,
        vault.purge(&id).await,
        vault.recover(&id).await.map(drop),
        vault.describe(&id).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(VaultError::Corrupt { .. })),
            "{refused:?}"
        );
    }
    assert!(
        vault
            .list(None, None, 10)
            .await
            .unwrap()
            .accounts
            .is_empty()
    );
    let kept = fake.vault(|vault| vault.versions(id.as_str()));
    assert_eq!((kept.len(), kept[0].value.as_str()), (1, "hunter2"));
    assert_eq!(
        fake.count(Op::Set) + fake.count(Op::Delete) + fake.count(Op::Purge),
        0
    );
}

#[tokio::test]
async fn storing_at_the_same_time_leaves_one_account() {
    let fake = FakeKeyVault::start().await;
    let (one, two) = (vault(&fake), vault(&fake));
    let id = EnrollmentId::random();
    let kept = account();
    let (first, second) = tokio::join!(one.store(&id, &kept), two.store(&id, &kept));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.read(&id).await.unwrap(), kept);
    // Key Vault has no conditional write: at worst there are two equal versions.
    let versions = fake.vault(|vault| vault.versions(id.as_str()));
    assert!(versions.iter().all(|v| v.value == versions[0].value) && versions.len() <= 2);
}

#[tokio::test]
async fn a_worker_that_may_only_write_still_stores_once() {
    let fake = FakeKeyVault::start().await;
    fake.vault(|vault| vault.forbidden.insert(Op::Get));
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    assert_eq!(vault.store(&id, &account()).await.unwrap(), Stored::Created);
    assert_eq!(
        vault.store(&id, &account()).await.unwrap(),
        Stored::AlreadyThere
    );
    assert_eq!(fake.vault(|vault| vault.versions(id.as_str()).len()), 1);
}

#[tokio::test]
async fn a_front_door_that_may_only_read_gives_codes_and_says_what_it_lacks() {
    let fake = FakeKeyVault::start().await;
    let id = EnrollmentId::random();
    vault(&fake).store(&id, &account()).await.unwrap();
    fake.vault(|vault| {
        vault.forbidden.extend([
            Op::Set,
            Op::Update,
            Op::Delete,
            Op::GetDeleted,
            Op::ListDeleted,
        ]);
    });
    let vault = vault(&fake);
    vault.read(&id).await.unwrap();
    let unknown = vault.read(&EnrollmentId::random()).await;
    assert!(matches!(unknown, Err(VaultError::NotFound)), "{unknown:?}");
    let Err(VaultError::Denied { reason }) = vault.delete(&id).await else {
        panic!("deleted without permission");
    };
    assert!(
        reason.contains("secrets/delete") && reason.contains("ForbiddenByRbac"),
        "{reason}"
    );
}

#[tokio::test]
async fn purge_protection_keeps_the_account() {
    let fake = FakeKeyVault::start().await;
    fake.vault(|vault| vault.purge_protection = true);
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    vault.delete(&id).await.unwrap();
    let refused = vault.purge(&id).await;
    assert!(
        matches!(refused, Err(VaultError::Denied { .. })),
        "{refused:?}"
    );
    vault.recover(&id).await.unwrap();
    assert_eq!(vault.read(&id).await.unwrap(), account());
}

#[tokio::test]
async fn a_disabled_secret_makes_no_codes() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    fake.vault(|vault| vault.enable(id.as_str(), false));
    let Err(VaultError::Denied { reason }) = vault.read(&id).await else {
        panic!("read a disabled secret");
    };
    assert!(reason.contains("disabled"), "{reason}");
}

#[tokio::test]
async fn lists_take_few_calls_and_show_own_changes_at_once() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    for _ in 0..60 {
        vault
            .store(&EnrollmentId::random(), &account())
            .await
            .unwrap();
    }
    assert_eq!(
        vault.list(None, None, 500).await.unwrap().accounts.len(),
        60
    );
    // 25 on a page.
    assert_eq!(fake.count(Op::List), 3);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    assert_eq!(
        vault.list(None, None, 500).await.unwrap().accounts.len(),
        61
    );
    vault.delete(&id).await.unwrap();
    assert_eq!(
        vault.list(None, None, 500).await.unwrap().accounts.len(),
        60
    );
    assert_eq!(fake.count(Op::List), 3);
}

#[tokio::test]
async fn processes_that_start_together_agree_on_one_shared_key() {
    let fake = FakeKeyVault::start().await;
    let asks = (0..4).map(|number| {
        let vault = vault(&fake);
        tokio::spawn(async move {
            let make = || Ok(zeroize::Zeroizing::new(format!("key of {number}")));
            vault.shared_secret("countersign-seal-key", make).await
        })
    });
    let mut keys = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        keys.push(ask.await.unwrap().unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]), "{}", keys.len());
    // A later one does not make another, and one that an operator puts there counts.
    let never = || -> Result<_, VaultError> { panic!("made again") };
    let late = vault(&fake)
        .shared_secret("countersign-seal-key", never)
        .await
        .unwrap();
    assert_eq!(late, keys[0]);
    fake.vault(|vault| vault.put("countersign-seal-key", "rotated", json!({})));
    let rotated = vault(&fake)
        .shared_secret("countersign-seal-key", never)
        .await
        .unwrap();
    assert_eq!(rotated.as_str(), "rotated");
}

#[tokio::test]
async fn a_process_that_comes_a_moment_later_waits_for_what_the_others_agree_on() {
    const NAME: &str = "countersign-seal-key";
    let fake = FakeKeyVault::start().await;
    let first = json!({"type": "countersign-first"});
    fake.vault(|vault| vault.put_as(NAME, "ffff", "one", first.clone()));
    let late = vault(&fake);
    let asked = tokio::spawn(async move {
        let never = || -> Result<_, VaultError> { panic!("made again") };
        late.shared_secret(NAME, never).await
    });
    while fake.count(Op::Versions) == 0 {
        tokio::task::yield_now().await;
    }
    // In the same second, as a rule: then the smaller id counts.
    fake.vault(|vault| vault.put_as(NAME, "0000", "another", first));
    let agreed = fake
        .vault(|vault| vault.versions(NAME))
        .into_iter()
        .min_by_key(|version| (version.created, version.id.clone()))
        .unwrap();
    assert_eq!(asked.await.unwrap().unwrap().as_str(), agreed.value);
}

#[tokio::test]
async fn what_a_process_publishes_is_read_as_it_is_and_written_only_where_it_differs() {
    const NAME: &str = "countersign-seal-key-public";
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    assert_eq!(vault.published_secret(NAME).await.unwrap(), None);
    for (text, written) in [("one", true), ("one", false), ("two", true), ("one", true)] {
        assert_eq!(vault.publish_secret(NAME, text).await.unwrap(), written);
        let read = vault.published_secret(NAME).await.unwrap().unwrap();
        assert_eq!(read.as_str(), text);
    }
    assert_eq!(fake.vault(|vault| vault.versions(NAME).len()), 3);
}

#[tokio::test]
async fn a_key_is_found_without_being_made_and_rotated_by_a_later_version() {
    const NAME: &str = "countersign-mandate-key";
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    assert_eq!(vault.existing_secret(NAME).await.unwrap(), None);
    assert!(!vault.has_secret(NAME).await.unwrap());
    assert_eq!(fake.count(Op::Set), 0);
    let make = || Ok(zeroize::Zeroizing::new("first".to_owned()));
    vault.shared_secret(NAME, make).await.unwrap();
    assert!(vault.has_secret(NAME).await.unwrap());
    let second = zeroize::Zeroizing::new("second".to_owned());
    vault.rotate_secret(NAME, &second).await.unwrap();
    let found = vault.existing_secret(NAME).await.unwrap();
    assert_eq!(found, Some(second));
}
