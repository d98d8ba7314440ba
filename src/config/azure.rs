//! Settings for Azure: which vault, which identity, how codes are cached.

use std::path::PathBuf;
use std::time::Duration;

use countersign_activities::vault::CacheSettings;
use countersign_azure::{
    IdentitySettings, KeyVaultSettings, Selection, VaultAddress, WrappingAddress,
};
use durabletask::Connection;
use durabletask::connection::AuthenticationKind;

use super::{Config, Settings};
use crate::duration;

/// The most accounts that can be kept in the cache: some hundreds of megabytes.
const MOST_CACHED: usize = 1_000_000;

/// The vault in Azure, and how it is used.
#[derive(Clone, Debug, Default)]
pub struct AzureConfig {
    /// The Key Vault that keeps the accounts, instead of the data folder.
    pub key_vault: Option<KeyVaultSettings>,
    /// The Key Vault that keeps the installation's keys, if it is not the
    /// accounts'.
    pub keys_vault: Option<KeyVaultSettings>,
    /// The key that wraps the vault's key, if any does.
    pub vault_key_wrapping: Option<WrappingConfig>,
    /// This process's identity for Key Vault and the task hub.
    pub identity: IdentitySettings,
    /// The cache of a Key Vault's accounts.
    pub cache: CacheSettings,
}

/// The key in Key Vault or Managed HSM that wraps the vault's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappingConfig {
    /// The key.
    pub key: WrappingAddress,
    /// The vault that it is in.
    pub vault: KeyVaultSettings,
}

impl Settings {
    /// The settings of this module, from the environment.
    pub(super) fn azure_from_environment(
        &mut self,
        var: &impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) {
        self.key_vault = var("COUNTERSIGN_KEY_VAULT")
            .or_else(|| var("KEY_VAULT_URL"))
            .or_else(|| var("KEY_VAULT_NAME"));
        self.keys_vault = var("COUNTERSIGN_KEYS_VAULT");
        self.vault_key_wrapped_by = var("COUNTERSIGN_VAULT_KEY_WRAPPED_BY");
        self.key_vault_emulator =
            var("KEY_VAULT_EMULATOR").and_then(|value| match value.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => {
                    problems.push("KEY_VAULT_EMULATOR must be true or false".to_owned());
                    None
                }
            });
        self.key_vault_ca_file = var("KEY_VAULT_CA_FILE");
        self.key_vault_api_version = var("KEY_VAULT_API_VERSION");
        self.azure_identity =
            var("COUNTERSIGN_AZURE_IDENTITY").or_else(|| var("AZURE_TOKEN_CREDENTIALS"));
        self.token_cache_age = var("COUNTERSIGN_TOKEN_CACHE_AGE");
        self.token_cache_size = var("COUNTERSIGN_TOKEN_CACHE_SIZE").and_then(|value| {
            value
                .parse()
                .inspect_err(|_| {
                    problems.push(
                        "COUNTERSIGN_TOKEN_CACHE_SIZE must be a number of accounts".to_owned(),
                    );
                })
                .ok()
        });
        self.token_max_stale = var("COUNTERSIGN_TOKEN_MAX_STALE");
    }

    /// The task hub: a connection string, or an endpoint that makes one with
    /// the name of the hub.
    pub(super) fn hub(&self, config: &Config, problems: &mut Vec<String>) -> Option<String> {
        let (text, endpoint) = (&self.connection_string, &self.hub_endpoint);
        if text.is_some() && endpoint.is_some() {
            problems.push(
                "set connection-string or hub-endpoint, not both: each names a task hub".to_owned(),
            );
            return None;
        }
        if let Some(endpoint) = endpoint {
            if endpoint.contains([';', '=']) {
                problems.push(
                    "hub-endpoint must be an address such as https://NAME.REGION.durabletask.io; \
                     a whole connection string goes into connection-string"
                        .to_owned(),
                );
                return None;
            }
            let kind = if endpoint.starts_with("http://") {
                "None"
            } else {
                "DefaultAzure"
            };
            return Some(format!(
                "Endpoint={endpoint};TaskHub={};Authentication={kind}",
                config.task_hub
            ));
        }
        text.clone()
    }

    /// The settings of this module, checked.
    pub(super) fn check_azure(
        &self,
        environment: impl Fn(&str) -> Option<String>,
        connection_string: Option<&str>,
        problems: &mut Vec<String>,
    ) -> AzureConfig {
        let mut identity = IdentitySettings::from_environment(environment);
        let named = self.azure_identity.as_deref().map(str::parse::<Selection>);
        let named = match named.transpose() {
            Ok(named) => named,
            Err(error) => {
                problems.push(format!("azure-identity: {error}"));
                None
            }
        };
        // One identity for vault and hub: the connection string's identity is for both.
        if let Some(Ok(connection)) = connection_string.map(Connection::parse) {
            adopt(&mut identity, named, &connection, problems);
        }
        if let Some(named) = named {
            identity.selection = named;
        }
        let key_vault = self.check_key_vault(problems);
        let keys_vault = self.check_keys_vault(problems);
        let vault_key_wrapping = self.check_wrapping(problems);
        let wrapping = vault_key_wrapping.as_ref().map(|wrapping| &wrapping.vault);
        let emulator = [key_vault.as_ref(), wrapping]
            .into_iter()
            .flatten()
            .all(|vault| vault.emulator);
        if identity.selection == Selection::Unsigned && !emulator {
            problems.push(
                "azure-identity unsigned is for emulators; Azure refuses it. Set \
                 key-vault-emulator if the vault is one"
                    .to_owned(),
            );
        }
        AzureConfig {
            key_vault,
            keys_vault,
            vault_key_wrapping,
            identity,
            cache: self.check_cache(problems),
        }
    }

    fn check_key_vault(&self, problems: &mut Vec<String>) -> Option<KeyVaultSettings> {
        let Some(text) = self.key_vault.as_deref() else {
            let is_about_one = self.key_vault_emulator == Some(true)
                || self.key_vault_ca_file.is_some()
                || self.key_vault_api_version.is_some();
            if is_about_one && self.vault_key_wrapped_by.is_none() {
                problems.push(
                    "key-vault-emulator, key-vault-ca-file and key-vault-api-version need a key \
                     vault, but neither key-vault nor vault-key-wrapped-by is set"
                        .to_owned(),
                );
            }
            return None;
        };
        self.vault_settings("key-vault", text, problems)
    }

    fn check_keys_vault(&self, problems: &mut Vec<String>) -> Option<KeyVaultSettings> {
        let text = self.keys_vault.as_deref()?;
        if self.key_vault.is_none() {
            problems.push(
                "keys-vault is for installations whose accounts are in a key vault, but \
                 key-vault is not set; set both or neither"
                    .to_owned(),
            );
            return None;
        }
        self.vault_settings("keys-vault", text, problems)
    }

    fn check_wrapping(&self, problems: &mut Vec<String>) -> Option<WrappingConfig> {
        let text = self.vault_key_wrapped_by.as_deref()?;
        if self.key_vault.is_some() {
            problems.push(
                "vault-key-wrapped-by is for accounts in the data folder or the shared database, \
                 but key-vault keeps them in Key Vault; set one of both"
                    .to_owned(),
            );
            return None;
        }
        match text.parse::<WrappingAddress>() {
            Ok(key) => Some(WrappingConfig {
                vault: self.vault_at(key.vault().clone()),
                key,
            }),
            Err(error) => {
                problems.push(format!("vault-key-wrapped-by: {error}"));
                None
            }
        }
    }

    fn vault_at(&self, address: VaultAddress) -> KeyVaultSettings {
        KeyVaultSettings {
            emulator: self.key_vault_emulator.unwrap_or(false),
            ca_file: self.key_vault_ca_file.as_deref().map(PathBuf::from),
            api_version: self.key_vault_api_version.clone(),
            ..KeyVaultSettings::new(address)
        }
    }

    /// The vault with this name or URL, by the setting `name`.
    fn vault_settings(
        &self,
        name: &str,
        text: &str,
        problems: &mut Vec<String>,
    ) -> Option<KeyVaultSettings> {
        let address = if text.contains("://") {
            text.parse()
        } else {
            VaultAddress::from_name(text)
        };
        match address {
            Ok(address) => Some(self.vault_at(address)),
            Err(error) => {
                problems.push(format!("{name}: {error}"));
                None
            }
        }
    }

    fn check_cache(&self, problems: &mut Vec<String>) -> CacheSettings {
        let usual = CacheSettings::default();
        let mut time = |name: &str, text: &Option<String>, usual: Duration| match text.as_deref() {
            None => usual,
            Some("0" | "0s") => Duration::ZERO,
            Some(text) => duration::parse(text).unwrap_or_else(|reason| {
                problems.push(format!("{name}: {reason}"));
                usual
            }),
        };
        let age = time("token-cache-age", &self.token_cache_age, usual.age);
        let stale = time("token-max-stale", &self.token_max_stale, usual.stale);
        let entries = self.token_cache_size.unwrap_or(usual.entries);
        if !(1..=MOST_CACHED).contains(&entries) {
            problems.push(format!(
                "token-cache-size must be 1 to {MOST_CACHED} accounts"
            ));
        }
        CacheSettings {
            entries,
            age,
            stale,
        }
    }
}

/// Takes the identity from a connection string.
fn adopt(
    identity: &mut IdentitySettings,
    named: Option<Selection>,
    connection: &Connection,
    problems: &mut Vec<String>,
) {
    let said = connection.authentication();
    let kind = said.kind;
    // A token from a file is the hub's own: it does not name an identity for Azure.
    if matches!(kind, AuthenticationKind::None | AuthenticationKind::Token) {
        return;
    }
    if let Err(error) = identity.adopt(said) {
        problems.push(format!("connection-string: {error}"));
    } else if kind != AuthenticationKind::DefaultAzure
        && named.is_some_and(|named| named != identity.selection)
    {
        problems.push(format!(
            "azure-identity and the connection string name different identities ({kind:?} \
             there); vault and task hub use the same identity, so set only one"
        ));
    }
}
