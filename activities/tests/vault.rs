//! The embedded vault keeps the promises of every vault, with a cache before it too.

#![allow(clippy::unwrap_used)]

mod promises;

use std::sync::Arc;

use countersign_activities::vault::{CacheSettings, CachedVault, EmbeddedVault};

#[tokio::test]
async fn the_embedded_vault_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    promises::keeps(&EmbeddedVault::open(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn a_cache_changes_no_promise() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(EmbeddedVault::open(folder.path()).unwrap());
    promises::keeps(&CachedVault::new(vault, CacheSettings::default())).await;
}
