//! What a backup says is in it.

use serde::{Deserialize, Serialize};

/// What is in an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Whether its accounts are in it: with Key Vault they are there.
    pub embedded_vault: bool,
    /// Accounts in use, each of which opens and gives a code.
    pub accounts: u64,
    /// Accounts that were removed and can be restored.
    pub removed_accounts: u64,
    /// API keys that are not revoked.
    pub api_keys: u64,
    /// Grants.
    pub grants: u64,
    /// Mandates in the ledger.
    pub mandates: u64,
    /// Matters in the ledger that are open: what is under way or waits for a decision.
    pub open_matters: u64,
    /// Whether its task hub is in it.
    pub embedded_hub: bool,
    /// Instances in its task hub.
    pub instances: u64,
    /// Entries of the audit log.
    pub audit_entries: u64,
    /// The audit log's head, as `countersign audit verify` prints it.
    pub audit_head: Option<String>,
}
