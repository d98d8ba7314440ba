//! A summary of what a backup contains.

use std::sync::Arc;

use countersign_activities::vault::KeyWrapping;
use serde::{Deserialize, Serialize};

/// What unwraps the vault's key, where that is wrapped.
#[derive(Clone, Default)]
pub struct Unwrapping {
    /// The other key, if it is named.
    pub by: Option<Arc<dyn KeyWrapping>>,
    /// Whether accounts have to be decrypted; otherwise they are only counted without it.
    pub required: bool,
}

/// What is in an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Whether its accounts are included; with Key Vault they are kept there.
    pub embedded_vault: bool,
    /// The key in Key Vault or Managed HSM that wraps the vault's key: without it the backup opens
    /// no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_key_wrapped_by: Option<String>,
    /// Accounts in use, each of which was decrypted and gave a code when the backup was made.
    pub accounts: u64,
    /// Accounts that were removed and can be restored.
    pub removed_accounts: u64,
    /// API keys that are not revoked.
    pub api_keys: u64,
    /// Grants.
    pub grants: u64,
    /// Mandates in the ledger.
    pub mandates: u64,
    /// Open mandates in the ledger: in progress, or waiting for a decision.
    pub open_matters: u64,
    /// Whether its task hub is included.
    pub embedded_hub: bool,
    /// Instances in its task hub.
    pub instances: u64,
    /// Entries of the audit log.
    pub audit_entries: u64,
    /// The audit log's head, as `countersign audit verify` prints it.
    pub audit_head: Option<String>,
}
