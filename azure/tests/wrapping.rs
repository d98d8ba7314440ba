//! A key in Key Vault wraps and unwraps others, on a fake with real RSA.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod fake;
mod support;

use std::time::{Duration, Instant};

use countersign_azure::key_vault::Limits;
use countersign_azure::{KeyVaultError, WrappingAddress, WrappingError, WrappingKey};
use fake::{FakeKeyVault, Fault, Op, Roles};
use support::{identity, limits, settings};
use zeroize::Zeroizing;

const NAME: &str = "vault-key";

fn secret() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([42; 32])
}

fn key_at(fake: &FakeKeyVault, path: &str, limits: Limits) -> WrappingKey {
    let address = format!("{}/keys/{path}", fake.url()).parse().unwrap();
    WrappingKey::new(&settings(fake, limits), address, identity()).unwrap()
}

fn key(fake: &FakeKeyVault) -> WrappingKey {
    key_at(fake, NAME, limits())
}

#[tokio::test]
async fn what_a_key_wraps_only_its_version_unwraps_also_after_its_rotation() {
    let fake = FakeKeyVault::start().await;
    let first = fake.vault(|vault| vault.keys.make(NAME));
    let key = key(&fake);
    let (by, wrapped) = key.wrap(&secret()).await.unwrap();
    assert!(
        by.to_string().ends_with(&format!("/keys/{NAME}/{first}")),
        "{by}"
    );
    assert!(!wrapped.windows(8).any(|part| part == &secret()[..8]));
    assert_eq!(key.unwrap(&by, &wrapped).await.unwrap(), secret());

    let second = fake.vault(|vault| vault.keys.make(NAME));
    assert_eq!(key.unwrap(&by, &wrapped).await.unwrap(), secret());
    let (latest, again) = key.wrap(&secret()).await.unwrap();
    assert!(latest.to_string().ends_with(&second), "{latest}");
    // A version that is named stays the one in use.
    let pinned = key_at(&fake, &format!("{NAME}/{first}"), limits());
    assert_eq!(pinned.wrap(&secret()).await.unwrap().0, by);
    let other = key.unwrap(&latest, &wrapped).await.unwrap_err();
    assert!(matches!(other, WrappingError::Unfit { .. }), "{other}");
    assert_eq!(key.unwrap(&latest, &again).await.unwrap(), secret());
}

#[tokio::test]
async fn what_fails_says_what_to_do() {
    let fake = FakeKeyVault::start().await;
    let version = fake.vault(|vault| vault.keys.make(NAME));
    let key = key(&fake);
    let (by, wrapped) = key.wrap(&secret()).await.unwrap();
    let said = async |word: &str, about: &str| {
        let error = key.unwrap(&by, &wrapped).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word) && text.contains(about), "{text}");
        error
    };

    fake.vault(|vault| vault.keys.enable(NAME, false));
    let error = said("set-attributes", &version).await;
    assert!(matches!(error, WrappingError::Disabled { .. }));
    fake.vault(|vault| vault.keys.enable(NAME, true));

    fake.enforce(Roles::default());
    let error = said("Key Vault Crypto Service Encryption User", NAME).await;
    assert!(matches!(
        error,
        WrappingError::Forbidden {
            action: "Microsoft.KeyVault/vaults/keys/unwrap/action",
            ..
        }
    ));
    let wrap = key.wrap(&secret()).await.unwrap_err();
    assert!(wrap.to_string().contains("keys/wrap/action"), "{wrap}");
    let mut roles = Roles::default();
    let actions =
        ["wrap", "unwrap"].map(|it| format!("Microsoft.KeyVault/vaults/keys/{it}/action"));
    let token = fake.seen().into_iter().find_map(|seen| seen.token).unwrap();
    roles.assign(token.trim_start_matches("Bearer "), Some(NAME), &actions);
    fake.enforce(roles);
    key.unwrap(&by, &wrapped)
        .await
        .expect("the least role is enough");

    fake.vault(|vault| vault.keys.lose(NAME, &version));
    let error = said("az keyvault key recover", &version).await;
    assert_eq!(error, WrappingError::Missing(by.to_string()));
}

#[tokio::test]
async fn a_service_that_is_busy_or_away_is_asked_again_within_a_bound() {
    let fake = FakeKeyVault::start().await;
    fake.vault(|vault| vault.keys.make(NAME));
    let key = key(&fake);
    let (by, wrapped) = key.wrap(&secret()).await.unwrap();
    for fault in [
        Fault::Answer(503, "ServiceUnavailable", "", Some("0")),
        Fault::Answer(429, "Throttled", "", Some("0")),
        Fault::Reset,
    ] {
        fake.fail(Op::Unwrap, 2, fault);
        assert_eq!(key.unwrap(&by, &wrapped).await.unwrap(), secret());
    }
    // What is not an answer of Key Vault is none.
    fake.fail(Op::Unwrap, 1, Fault::Html);
    let error = key.unwrap(&by, &wrapped).await.unwrap_err();
    assert!(matches!(
        error,
        WrappingError::Service {
            source: KeyVaultError::NotKeyVault,
            ..
        }
    ));

    let brief = Limits {
        read_try: Duration::from_millis(200),
        write: Duration::from_secs(1),
        ..limits()
    };
    let hasty = key_at(&fake, NAME, brief);
    hasty.wrap(&secret()).await.ok();
    fake.fail(Op::Unwrap, 100, Fault::Stall(Duration::from_secs(30)));
    let begun = Instant::now();
    let error = hasty.unwrap(&by, &wrapped).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(matches!(
        error,
        WrappingError::Service {
            source: KeyVaultError::TimedOut { .. },
            ..
        }
    ));
}

#[test]
fn only_the_address_of_a_key_is_one() {
    for right in [
        "https://x.vault.azure.net/keys/k",
        "https://x.managedhsm.azure.net/keys/k/0123456789abcdef0123456789abcdef",
        "https://localhost:8443/keys/k",
    ] {
        let address: WrappingAddress = right.parse().unwrap();
        assert_eq!(address.to_string(), right);
    }
    for wrong in [
        "",
        "vault-key",
        "http://x.vault.azure.net/keys/k",
        "https://x.vault.azure.net/",
        "https://x.vault.azure.net/keys",
        "https://x.vault.azure.net/keys/",
        "https://x.vault.azure.net/secrets/k",
        "https://x.vault.azure.net/keys/k/v/w",
        "https://x.vault.azure.net/keys/a_b",
        "https://x.vault.azure.net/keys/..%2fsecrets",
        "https://me@x.vault.azure.net/keys/k",
        "https://x.vault.azure.net/keys/k?a=b",
    ] {
        assert!(wrong.parse::<WrappingAddress>().is_err(), "{wrong}");
    }
}
