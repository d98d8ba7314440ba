//! Azure for Countersign: Key Vault as the vault, and one identity that opens it and
//! the Durable Task Scheduler.
//!
//! Built on `azure_security_keyvault_secrets` and `azure_identity`, Microsoft's
//! maintained successors of the retired `azure_security_keyvault` line.
//!
//! - [`Identity`] proves who this process is: one credential, chosen by name or tried
//!   in the order that users know from `DefaultAzureCredential`. It is the SDK's, so
//!   that it also gives the tokens that the task hub wants.
//! - [`KeyVault`] keeps the promises of
//!   [`SecretVault`](countersign_activities::vault::SecretVault) in a Key Vault.
//! - [`WrappingKey`] wraps the key of a vault elsewhere with a key that stays in Key Vault or a
//!   Managed HSM, by `azure_security_keyvault_keys`.
//! - [`DatabaseTokens`] logs in to Azure Database for PostgreSQL with that identity.

mod database;
pub mod key_vault;

use countersign_enrollment::causes;
pub use database::DatabaseTokens;
pub use durabletask::azure::{
    Identity, IdentityError, IdentitySettings, Selection, Source, UnsupportedAuthentication,
};
pub use key_vault::{
    KeyVault, KeyVaultError, KeyVaultSettings, SettingsError, VaultAddress, WrappingAddress,
    WrappingError, WrappingKey,
};
