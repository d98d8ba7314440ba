//! What the adapter does when the vault, the network or the SDK misbehaves.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod fake;
mod support;

use std::time::{Duration, Instant};

use countersign_activities::vault::{SecretVault as _, Stored, VaultError};
use countersign_azure::key_vault::Limits;
use countersign_azure::{
    Identity, IdentitySettings, KeyVault, KeyVaultError, KeyVaultSettings, Selection, Source,
};
use countersign_enrollment::ids::EnrollmentId;
use fake::{FakeKeyVault, Fault, Op};
use support::{SECRET, account, identity, limits, settings, vault, vault_with};

fn cause(error: VaultError) -> KeyVaultError {
    let VaultError::Unavailable { source } = error else {
        panic!("{error:?}");
    };
    *source
        .downcast::<KeyVaultError>()
        .expect("an error of Key Vault")
}

/// The SDK sends the first request of a client without its body. If that one fails, its
/// own retry has lost the body, and Key Vault refuses the empty write.
#[tokio::test]
async fn a_first_write_that_fails_is_not_sent_again_empty() {
    for fault in [
        Fault::Answer(503, "ServiceUnavailable", "", Some("0")),
        Fault::Answer(429, "Throttled", "", Some("0")),
        Fault::Reset,
    ] {
        let fake = FakeKeyVault::start().await;
        // Not only the first: every request that still goes without a token.
        fake.plan(None, Some(false), 2, fault);
        let id = EnrollmentId::random();
        let stored = vault(&fake).store(&id, &account()).await.unwrap();
        assert_eq!(stored, Stored::Created);
        let empty = fake
            .seen()
            .iter()
            .filter(|seen| seen.op == Op::Set && seen.token.is_some() && seen.body.is_empty())
            .count();
        assert_eq!(empty, 0);
        assert_eq!(fake.vault(|vault| vault.versions(id.as_str()).len()), 1);
    }
}

#[tokio::test]
async fn a_write_that_was_done_and_not_acknowledged_is_not_done_twice() {
    for fault in [
        Fault::DoneThenReset,
        Fault::DoneThenStall(Duration::from_secs(30)),
    ] {
        let fake = FakeKeyVault::start().await;
        fake.fail(Op::Set, 1, fault);
        let vault = vault_with(
            &fake,
            Limits {
                write_try: Duration::from_secs(2),
                ..limits()
            },
        );
        let id = EnrollmentId::random();
        vault.store(&id, &account()).await.unwrap();
        assert_eq!(fake.vault(|vault| vault.versions(id.as_str()).len()), 1);
        assert_eq!(fake.count(Op::Set), 1);
        assert_eq!(vault.read(&id).await.unwrap(), account());
    }
}

#[tokio::test]
async fn a_throttled_call_waits_as_long_as_the_vault_says() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    fake.fail(Op::Get, 2, Fault::Answer(429, "Throttled", "", Some("1")));
    let started = Instant::now();
    assert_eq!(vault.read(&id).await.unwrap(), account());
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!(vault.counts().throttled, 2);
    assert!(vault.counts().retries >= 2);
}

#[tokio::test]
async fn a_long_throttle_is_reported_immediately() {
    let fake = FakeKeyVault::start().await;
    let vault = vault_with(
        &fake,
        Limits {
            read: Duration::from_secs(5),
            read_try: Duration::from_secs(5),
            ..limits()
        },
    );
    let id = EnrollmentId::random();
    vault.check().await.unwrap();
    fake.fail(Op::Get, 1, Fault::Answer(429, "Throttled", "", Some("90")));
    for _ in 0..3 {
        let error = cause(vault.read(&id).await.unwrap_err());
        let KeyVaultError::Throttled { retry_after } = error else {
            panic!("{error:?}");
        };
        assert!(retry_after.unwrap() > Duration::from_secs(60));
    }
    // The others were not even sent.
    assert_eq!(fake.count(Op::Get), 1);
}

#[tokio::test]
async fn transient_faults_are_retried() {
    for fault in [
        Fault::Answer(500, "InternalServerError", "", None),
        Fault::Answer(502, "", "", None),
        Fault::Answer(503, "ServiceUnavailable", "", Some("0")),
        Fault::Answer(408, "", "", None),
        Fault::Reset,
    ] {
        let fake = FakeKeyVault::start().await;
        let vault = vault(&fake);
        let id = EnrollmentId::random();
        vault.check().await.unwrap();
        fake.fail_any(2, fault.clone());
        vault.store(&id, &account()).await.unwrap();
        fake.fail_any(2, fault.clone());
        assert_eq!(vault.read(&id).await.unwrap(), account(), "{fault:?}");
        assert_eq!(fake.vault(|vault| vault.versions(id.as_str()).len()), 1);
    }
}

#[tokio::test]
async fn a_vault_that_says_nothing_is_not_waited_for() {
    let fake = FakeKeyVault::start().await;
    let vault = vault_with(
        &fake,
        Limits {
            read_try: Duration::from_millis(300),
            read: Duration::from_secs(1),
            ..limits()
        },
    );
    fake.plan(
        Some(Op::Get),
        None,
        100,
        Fault::Stall(Duration::from_secs(30)),
    );
    let started = Instant::now();
    let error = cause(vault.read(&EnrollmentId::random()).await.unwrap_err());
    assert!(matches!(error, KeyVaultError::TimedOut { .. }), "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_unreachable_vault_is_reported_as_unreachable() {
    let fake = FakeKeyVault::start().await;
    let settings = settings(
        &fake,
        Limits {
            read: Duration::ZERO,
            ..limits()
        },
    );
    drop(fake);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", closed.local_addr().unwrap().port());
    drop(closed);
    let settings = KeyVaultSettings {
        address: address.parse().unwrap(),
        // Gone with the fake.
        ca_file: None,
        ..settings
    };
    let vault = KeyVault::new(&settings, identity()).unwrap();
    let error = cause(vault.check().await.unwrap_err());
    assert!(
        matches!(error, KeyVaultError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_conflict_that_passes_is_waited_for() {
    let fake = FakeKeyVault::start().await;
    fake.fail(
        Op::Set,
        2,
        Fault::Answer(409, "Conflict", "ObjectIsBeingRecovered", None),
    );
    let id = EnrollmentId::random();
    let stored = vault(&fake).store(&id, &account()).await.unwrap();
    assert_eq!(stored, Stored::Created);
    assert_eq!(fake.count(Op::Set), 3);
}

#[tokio::test]
async fn refusals_are_distinguished_and_not_repeated() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    for (status, code, inner, words) in [
        (403, "Forbidden", "ForbiddenByRbac", "getSecret"),
        (403, "Forbidden", "ForbiddenByFirewall", "network rules"),
        (403, "Forbidden", "SecretDisabled", "disabled"),
        (401, "Unauthorized", "", "tenant"),
        (400, "BadParameter", "", "BadParameter"),
    ] {
        let before = fake.count(Op::Get);
        fake.fail(Op::Get, 1, Fault::Answer(status, code, inner, None));
        let Err(VaultError::Denied { reason }) = vault.read(&id).await else {
            panic!("{status} {code} {inner}");
        };
        assert!(reason.contains(words), "{reason}");
        assert!(fake.count(Op::Get) - before <= 2, "{status} {code} {inner}");
        fake.heal();
    }
}

#[tokio::test]
async fn responses_that_are_not_from_key_vault_are_refused() {
    let fake = FakeKeyVault::start().await;
    let vault = vault_with(
        &fake,
        Limits {
            read: Duration::ZERO,
            ..limits()
        },
    );
    fake.fail_any(1, Fault::Html);
    let error = cause(vault.read(&EnrollmentId::random()).await.unwrap_err());
    assert_eq!(error, KeyVaultError::NotKeyVault);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    // The real challenge comes when no token is presented, and also for a bad one; the
    // SDK then asks for another token and continues with the same request.
    fake.vault(|vault| vault.reject_once = true);
    assert_eq!(vault.read(&id).await.unwrap(), account());
}

#[tokio::test]
async fn a_vault_that_asks_for_a_token_for_someone_else_gets_none() {
    let fake = FakeKeyVault::start().await;
    fake.ask_for("https://vault.evil.example");
    let settings = KeyVaultSettings {
        emulator: false,
        ..settings(&fake, limits())
    };
    let vault = KeyVault::new(&settings, identity()).unwrap();
    let Err(VaultError::Denied { reason }) = vault.check().await else {
        panic!("trusted");
    };
    assert!(reason.contains("KEY_VAULT_EMULATOR"), "{reason}");
    assert!(fake.seen().iter().all(|seen| seen.token.is_none()));
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let fake = FakeKeyVault::start().await;
    let settings = KeyVaultSettings {
        ca_file: None,
        ..settings(
            &fake,
            Limits {
                read: Duration::ZERO,
                ..limits()
            },
        )
    };
    let vault = KeyVault::new(&settings, identity()).unwrap();
    let error = cause(vault.check().await.unwrap_err());
    assert!(
        matches!(error, KeyVaultError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn without_an_identity_it_says_what_was_tried() {
    let fake = FakeKeyVault::start().await;
    let nobody = Identity::new(&IdentitySettings {
        selection: Selection::Only(Source::Environment),
        ..IdentitySettings::default()
    });
    let settings = settings(&fake, limits());
    let vault = KeyVault::new(&settings, nobody).unwrap();
    let error = cause(vault.check().await.unwrap_err()).to_string();
    assert!(
        error.contains("environment") && error.contains("AZURE_TENANT_ID"),
        "{error}"
    );
}

#[tokio::test]
async fn many_enrollments_at_once_stay_under_the_limit_for_writes() {
    let fake = FakeKeyVault::start().await;
    let vault = vault_with(
        &fake,
        Limits {
            writes_per_second: 20,
            ..limits()
        },
    );
    let started = Instant::now();
    let stores = (0..60).map(|_| {
        let vault = vault.clone();
        tokio::spawn(async move { vault.store(&EnrollmentId::random(), &account()).await })
    });
    for store in stores.collect::<Vec<_>>() {
        store.await.unwrap().unwrap();
    }
    // 20 of them were free.
    assert!(
        started.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(fake.vault(|vault| vault.len()), 60);
}

#[tokio::test]
async fn no_error_shows_a_secret_or_a_token() {
    let fake = FakeKeyVault::start().await;
    let vault = vault_with(
        &fake,
        Limits {
            read: Duration::ZERO,
            write: Duration::ZERO,
            ..limits()
        },
    );
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    let token = fake
        .seen()
        .iter()
        .find_map(|seen| seen.token.clone())
        .unwrap();
    let token = token.trim_start_matches("Bearer ").to_owned();
    for fault in [
        Fault::Answer(500, "InternalServerError", "", None),
        Fault::Answer(403, "Forbidden", "ForbiddenByRbac", None),
        Fault::Reset,
        Fault::Html,
    ] {
        let other = EnrollmentId::random();
        fake.fail(Op::Set, 1, fault.clone());
        fake.fail(Op::Get, 1, fault);
        for error in [
            vault.store(&other, &account()).await.unwrap_err(),
            vault.read(&id).await.unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains(SECRET) && !text.contains(&token), "{text}");
        }
        fake.heal();
    }
}

/// Emulators answer 409 for a deleted secret's name without Azure's inner code.
#[tokio::test]
async fn a_conflict_without_a_reason_is_looked_into() {
    let fake = FakeKeyVault::start().await;
    let vault = vault(&fake);
    let id = EnrollmentId::random();
    vault.store(&id, &account()).await.unwrap();
    vault.delete(&id).await.unwrap();
    fake.fail(Op::Set, 1, Fault::Answer(409, "Conflict", "", None));
    let stored = vault.store(&id, &account()).await;
    assert!(matches!(stored, Err(VaultError::Deleted)), "{stored:?}");
    // Where nothing was deleted, the name is only busy for a moment.
    fake.fail(Op::Set, 1, Fault::Answer(409, "Conflict", "", None));
    let stored = vault.store(&EnrollmentId::random(), &account()).await;
    assert!(matches!(stored, Ok(Stored::Created)), "{stored:?}");
}
