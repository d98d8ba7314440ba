//! The list of accounts, kept for a moment: Key Vault gives it in no useful order, 25
//! at a time, and cannot search.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use countersign_activities::vault::order::ListPosition;
use countersign_activities::vault::{AccountRecord, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Client;
use super::entry::{Kind, Metadata};

/// Accounts in use, and the fingerprints that tags tell.
pub(super) type Listed = (Arc<Vec<AccountRecord>>, Arc<HashMap<EnrollmentId, String>>);

pub(super) struct Directory {
    age: Duration,
    // Held while listing, so that one task lists at a time and the others share it.
    kept: Mutex<Option<Kept>>,
    /// Fingerprints of accounts whose tags have none, with the change that they were read at.
    read: Mutex<HashMap<EnrollmentId, (DateTime<Utc>, String)>>,
}

struct Kept {
    at: Instant,
    /// In the order of their places.
    accounts: Arc<Vec<AccountRecord>>,
    /// What tells their secrets apart, as far as tags tell.
    fingerprints: Arc<HashMap<EnrollmentId, String>>,
}

impl Directory {
    pub(super) fn new(age: Duration) -> Self {
        Self {
            age,
            kept: Mutex::new(None),
            read: Mutex::default(),
        }
    }

    /// Every account in use, as it was at most `age` ago. What this process changed
    /// since is in it.
    pub(super) async fn accounts(
        &self,
        client: &Client,
    ) -> Result<Arc<Vec<AccountRecord>>, VaultError> {
        Ok(self.listed(client).await?.0)
    }

    /// The same, with the fingerprints that their tags tell.
    pub(super) async fn listed(&self, client: &Client) -> Result<Listed, VaultError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.at.elapsed() < self.age) {
            let fingerprints = Arc::clone(&kept.fingerprints);
            return Ok((Arc::clone(&kept.accounts), fingerprints));
        }
        let at = Instant::now();
        let list = client.list().await?;
        let mut fingerprints: HashMap<EnrollmentId, String> = list
            .iter()
            .filter_map(|(name, metadata)| {
                Some((name.parse().ok()?, metadata.fingerprint()?.to_owned()))
            })
            .collect();
        let accounts = in_order(list);
        let in_use: HashSet<&EnrollmentId> = accounts.iter().map(|account| &account.id).collect();
        fingerprints.retain(|id, _| in_use.contains(id));
        self.read.lock().await.retain(|id, _| in_use.contains(id));
        let listed = (Arc::new(accounts), Arc::new(fingerprints));
        *kept = Some(Kept {
            at,
            accounts: Arc::clone(&listed.0),
            fingerprints: Arc::clone(&listed.1),
        });
        Ok(listed)
    }

    /// The fingerprint that was read from an account as it was changed last.
    pub(super) async fn read_before(&self, record: &AccountRecord) -> Option<String> {
        let read = self.read.lock().await;
        let (at, fingerprint) = read.get(&record.id)?;
        (*at == record.updated_at).then(|| fingerprint.clone())
    }

    /// Keeps it. Accounts that are gone are forgotten with the next list that is made.
    pub(super) async fn keep_read(&self, record: &AccountRecord, fingerprint: &str) {
        let entry = (record.updated_at, fingerprint.to_owned());
        self.read.lock().await.insert(record.id.clone(), entry);
    }

    /// Notes a new account, with the fingerprint in its tags.
    pub(super) async fn add(&self, record: AccountRecord, fingerprint: Option<&str>) {
        let id = record.id.clone();
        self.put(record).await;
        if let (Some(kept), Some(text)) = (self.kept.lock().await.as_mut(), fingerprint) {
            Arc::make_mut(&mut kept.fingerprints).insert(id, text.to_owned());
        }
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
            accounts.sort_by_cached_key(ListPosition::of);
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
            Err(error) => {
                tracing::warn!(%id, %error, "skipping secret in the account list: not a Countersign entry")
            }
        }
    }
    accounts.sort_by_cached_key(ListPosition::of);
    accounts
}
