//! The adapter and a real identity against a Key Vault that is not ours: an emulator, or a
//! vault of Azure that may be written to. `tests/emulators/run` starts one and gives its
//! address; the variables are those of the program.
//!
//! Names are random, and what is made is removed at the end where the test gets there.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../activities/tests/promises/mod.rs"]
mod promises;

use std::collections::HashMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use azure_core::http::{ClientOptions, Transport};
use azure_security_keyvault_secrets::models::{SecretProperties, SetSecretParameters};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use countersign_activities::vault::{SecretVault as _, Stored, VaultError};
use countersign_azure::key_vault::Limits;
use countersign_azure::{Identity, IdentitySettings, KeyVault, KeyVaultSettings};
use countersign_enrollment::ids::EnrollmentId;
use futures_util::TryStreamExt as _;

fn settings() -> KeyVaultSettings {
    let address = env::var("KEY_VAULT_URL")
        .expect("KEY_VAULT_URL says which vault to test against")
        .parse()
        .unwrap();
    KeyVaultSettings {
        emulator: env::var("KEY_VAULT_EMULATOR").is_ok_and(|value| value == "true"),
        ca_file: env::var_os("KEY_VAULT_CA_FILE").map(PathBuf::from),
        api_version: env::var("KEY_VAULT_API_VERSION").ok(),
        // Of the list of accounts, the latest is wanted at once.
        limits: Limits {
            list_age: std::time::Duration::ZERO,
            ..Limits::default()
        },
        ..KeyVaultSettings::new(address)
    }
}

fn identity() -> Identity {
    Identity::new(&IdentitySettings::from_environment(|name| {
        env::var(name).ok()
    }))
}

fn vault() -> KeyVault {
    let vault = KeyVault::new(&settings(), identity()).unwrap();
    let key = zeroize::Zeroizing::new([7; 32]);
    vault.tell_apart_by(countersign_enrollment::fingerprint::FingerprintKey::new(
        key,
    ));
    vault
}

/// Microsoft's client without the adapter, to see and make what others would.
fn others() -> SecretClient {
    let settings = settings();
    let mut http = reqwest::Client::builder();
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).unwrap();
        http = http.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).unwrap());
    }
    let mut options = SecretClientOptions {
        client_options: ClientOptions {
            transport: Some(Transport::new(Arc::new(http.build().unwrap()))),
            ..ClientOptions::default()
        },
        verify_challenge_resource: Some(!settings.emulator),
        ..SecretClientOptions::default()
    };
    if let Some(version) = settings.api_version {
        options.api_version = version;
    }
    SecretClient::new(
        settings.address.as_str(),
        Arc::new(identity()),
        Some(options),
    )
    .unwrap()
}

async fn put(id: &EnrollmentId, value: &str, tags: &[(&str, &str)]) {
    let tags: HashMap<String, String> = tags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let secret = SetSecretParameters {
        value: Some(value.to_owned()),
        tags: Some(tags),
        ..SetSecretParameters::default()
    };
    // A client's first request may lose its body on a retry: see the adapter's client.
    let client = others();
    client.get_secret(id.as_str(), None).await.unwrap_err();
    client
        .set_secret(id.as_str(), secret.try_into().unwrap(), None)
        .await
        .unwrap();
}

async fn versions(id: &EnrollmentId) -> Vec<SecretProperties> {
    others()
        .list_secret_properties_versions(id.as_str(), None)
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

async fn remove(vault: &KeyVault, id: &EnrollmentId) {
    vault.delete(id).await.unwrap();
    vault.purge(id).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn it_keeps_the_promises_of_every_vault() {
    promises::keeps(&vault()).await;
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn an_activity_that_runs_again_makes_no_other_version() {
    let id = EnrollmentId::random();
    let account = promises::account("ACME", "ann", "JBSWY3DPEHPK3PXP");
    // A worker that dies after the write and another one that does it again.
    assert_eq!(vault().store(&id, &account).await.unwrap(), Stored::Created);
    let again = vault();
    assert_eq!(
        again.store(&id, &account).await.unwrap(),
        Stored::AlreadyThere
    );
    let kept = versions(&id).await;
    let [version] = kept.as_slice() else {
        panic!("{} versions", kept.len());
    };
    assert_eq!(version.content_type.as_deref(), Some("application/json"));
    let tags = version.tags.as_ref().unwrap();
    assert_eq!(tags["type"], "totp-secret");
    assert_eq!(
        (tags["issuer"].as_str(), tags["accountName"].as_str()),
        ("ACME", "ann")
    );
    remove(&again, &id).await;
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn a_secret_of_an_earlier_program_is_an_account() {
    let id = EnrollmentId::random();
    let tags = [
        ("accountName", "Test Token"),
        ("issuer", "2FAS"),
        ("type", "totp-secret"),
    ];
    put(&id, "2fastest", &tags).await;
    let vault = vault();
    let read = vault.read(&id).await.unwrap();
    assert_eq!(read.secret().expose(), [0xd1, 0x41, 0x29, 0x92, 0x53]);
    assert_eq!(
        (read.issuer(), read.account_name()),
        (Some("2FAS"), "Test Token")
    );
    let stored = vault
        .store(&id, &promises::account("ACME", "ann", "JBSWY3DPEHPK3PXP"))
        .await;
    assert!(matches!(stored, Err(VaultError::Conflict)), "{stored:?}");
    assert_eq!(versions(&id).await.len(), 1);
    remove(&vault, &id).await;
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn a_foreign_secret_under_our_name_is_left_alone() {
    let id = EnrollmentId::random();
    put(&id, "hunter2", &[("owner", "payroll")]).await;
    let vault = vault();
    let stored = vault
        .store(&id, &promises::account("ACME", "ann", "JBSWY3DPEHPK3PXP"))
        .await;
    assert!(matches!(stored, Err(VaultError::Conflict)), "{stored:?}");
    for refused in [
        vault.read(&id).await.map(drop),
        vault.delete(&id).await,
        vault.purge(&id).await,
        vault.describe(&id).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(VaultError::Corrupt { .. })),
            "{refused:?}"
        );
    }
    let kept = others().get_secret(id.as_str(), None).await.unwrap();
    assert_eq!(kept.into_model().unwrap().value.as_deref(), Some("hunter2"));
    others().delete_secret(id.as_str(), None).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn the_name_of_a_deleted_account_is_not_taken_again() {
    let id = EnrollmentId::random();
    let vault = vault();
    let account = promises::account("ACME", "ann", "JBSWY3DPEHPK3PXP");
    vault.store(&id, &account).await.unwrap();
    vault.delete(&id).await.unwrap();
    let stored = vault.store(&id, &account).await;
    assert!(matches!(stored, Err(VaultError::Deleted)), "{stored:?}");
    vault.recover(&id).await.unwrap();
    assert_eq!(vault.read(&id).await.unwrap(), account);
    assert_eq!(versions(&id).await.len(), 1);
    remove(&vault, &id).await;
}

#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn processes_that_start_together_agree_on_one_shared_key() {
    let name = format!("countersign-test-{}", EnrollmentId::random().as_str());
    let asks = (0..3).map(|number| {
        let (vault, name) = (vault(), name.clone());
        tokio::spawn(async move {
            let make = || Ok(zeroize::Zeroizing::new(format!("key of {number}")));
            vault.shared_secret(&name, make).await
        })
    });
    let mut keys = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        keys.push(ask.await.unwrap().unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
    others().delete_secret(&name, None).await.unwrap();
}
