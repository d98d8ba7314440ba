//! The vault's key in the files of two machines on one database is wrapped by a key in a Key
//! Vault, which is a fake with real RSA.

use std::process::Command;

use countersign::config::WrappingConfig;
use countersign_azure::{KeyVaultSettings, Selection, WrappingAddress};
use countersign_database::testing::Postgres;
use serde_json::Value;

use crate::fake::FakeKeyVault;
use crate::installation::{ADMIN, Installation, at};

const NAME: &str = "vault-key";

// The fake is asked from threads that wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrapped_key_is_rotated_while_two_front_doors_read_and_no_file_has_it_in_clear() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let fake = FakeKeyVault::start().await;
    fake.vault(|vault| vault.keys.make(NAME));
    let key: WrappingAddress = format!("{}/keys/{NAME}", fake.url()).parse().unwrap();
    let both = Installation::start_with(&url, &url, |config| {
        config.azure.identity.selection = Selection::Unsigned;
        config.azure.vault_key_wrapping = Some(WrappingConfig {
            vault: KeyVaultSettings {
                emulator: true,
                ca_file: Some(fake.ca_file()),
                ..KeyVaultSettings::new(key.vault().clone())
            },
            key: key.clone(),
        });
    })
    .await;
    let account = both.one.account("read-throughout").await;
    let path = format!("/api/tokens?id={account}");
    let reads = async || {
        for door in [&both.one, &both.other] {
            assert_eq!(door.status(&path, ADMIN).await, 200);
        }
    };
    let is_wrapped = || {
        for machine in ["one", "other"] {
            let file = both.folder(machine).join("vault.key");
            let text = std::fs::read_to_string(file).unwrap();
            for line in text.lines() {
                assert!(
                    line.starts_with("countersign-vault-key-wrapped-1 "),
                    "{line}"
                );
            }
        }
    };
    let rotate = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(["rotate", "vault-key", "--json"])
            .args(words)
            .arg("--data-dir")
            .arg(both.folder("one"))
            .env("COUNTERSIGN_DATABASE_URL", url.to_string())
            .env("COUNTERSIGN_VAULT_KEY_WRAPPED_BY", key.to_string())
            .env("KEY_VAULT_EMULATOR", "true")
            .env("KEY_VAULT_CA_FILE", fake.ca_file())
            .env("COUNTERSIGN_AZURE_IDENTITY", "unsigned");
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let copy = || {
        let from = both.folder("one").join("vault.key");
        std::fs::copy(from, both.folder("other").join("vault.key")).unwrap();
    };
    reads().await;
    is_wrapped();

    let introduced = rotate(&[]);
    assert_eq!(introduced.status.code(), Some(4), "{introduced:?}");
    copy();
    reads().await;
    let rotated = rotate(&["--copied"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    assert_ne!(rotated["key"], rotated["before"][0]);
    reads().await;
    both.other.account("after").await;
    copy();
    is_wrapped();
    let dump = server.dump(&name).unwrap();
    assert!(
        !dump.contains("countersign-vault-key"),
        "keys are in no dump"
    );
    both.stop().await;
}
