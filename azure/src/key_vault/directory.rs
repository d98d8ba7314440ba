//! The list of accounts, kept for a moment: Key Vault gives it in no useful order, 25
//! at a time, and cannot search.

use std::sync::Arc;
use std::time::Duration;

use countersign_activities::vault::order::Place;
use countersign_activities::vault::{AccountRecord, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Client;
use super::entry::{Kind, Metadata};

pub(super) struct Directory {
    age: Duration,
    // Held while listing, so that one task lists at a time and the others share it.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    at: Instant,
    /// In the order of their places.
    accounts: Arc<Vec<AccountRecord>>,
}

impl Directory {
    pub(super) fn new(age: Duration) -> Self {
        Self {
            age,
            kept: Mutex::new(None),
        }
    }

    /// Every account in use, as it was at most `age` ago. What this process changed
    /// since is in it.
    pub(super) async fn accounts(
        &self,
        client: &Client,
    ) -> Result<Arc<Vec<AccountRecord>>, VaultError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.at.elapsed() < self.age) {
            return Ok(Arc::clone(&kept.accounts));
        }
        let at = Instant::now();
        let accounts = Arc::new(in_order(client.list().await?));
        *kept = Some(Kept {
            at,
            accounts: Arc::clone(&accounts),
        });
        Ok(accounts)
    }

    /// Every account that was deleted and can be recovered, as it is now: few look at them.
    pub(super) async fn deleted(
        &self,
        client: &Client,
    ) -> Result<Arc<Vec<AccountRecord>>, VaultError> {
        Ok(Arc::new(in_order(client.list_deleted().await?)))
    }

    /// Notes a new or changed account.
    pub(super) async fn put(&self, record: AccountRecord) {
        self.change(&record.id.clone(), Some(record)).await;
    }

    /// Notes that an account is no longer in use.
    pub(super) async fn remove(&self, id: &EnrollmentId) {
        self.change(id, None).await;
    }

    async fn change(&self, id: &EnrollmentId, record: Option<AccountRecord>) {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_mut() {
            let accounts = Arc::make_mut(&mut kept.accounts);
            accounts.retain(|account| account.id != *id);
            accounts.extend(record);
            accounts.sort_by_cached_key(Place::of);
        }
    }
}

/// The accounts among secrets, in the order of their places.
fn in_order(secrets: Vec<(String, Metadata)>) -> Vec<AccountRecord> {
    let mut accounts = Vec::new();
    for (name, metadata) in secrets {
        let Ok(id) = name.parse::<EnrollmentId>() else {
            continue;
        };
        if !matches!(metadata.kind(&id), Kind::Enrolled | Kind::Adopted) {
            continue;
        }
        match metadata.record(&id) {
            Ok(record) => accounts.push(record),
            Err(error) => tracing::warn!(%id, %error, "left out of the list"),
        }
    }
    accounts.sort_by_cached_key(Place::of);
    accounts
}
