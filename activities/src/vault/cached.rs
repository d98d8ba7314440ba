//! A cache in front of a vault that is far away: codes are requested far more often
//! than secrets change, and the vault counts every call.
//!
//! Bounded in size and age; a secret that falls out is wiped. Several who ask for the
//! same secret at once cause one read. What this process changes is not served from
//! before the change; what another one changes is seen once the entry is too old.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;
use thiserror::Error;
use tokio::time::Instant;

use super::{
    AccountPage, AccountRecord, Change, Filter, Reading, SecretVault, Stored, StoredUnlessThere,
    VaultError,
};

/// How long the vault is waited for where what was read before would do.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much is kept and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// The most accounts that are kept, at least one.
    pub entries: usize,
    /// How old an entry may be to be served without asking the vault.
    pub age: Duration,
    /// How much older it may be to be served while the vault does not answer. Zero
    /// means never.
    pub stale: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 10_000,
            age: Duration::from_secs(60),
            stale: Duration::ZERO,
        }
    }
}

/// How often something happened since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Reads that the cache answered.
    pub hits: u64,
    /// Reads that went to the vault.
    pub misses: u64,
    /// Account reads that joined a concurrent read of the same account.
    pub joined: u64,
    /// Reads that were answered from before the vault went away.
    pub stale: u64,
    /// Accounts that are kept now.
    pub entries: u64,
}

/// A vault with a cache in front of it. Share it by an `Arc`.
pub struct CachedVault {
    vault: Arc<dyn SecretVault>,
    age: Duration,
    stale: Duration,
    kept: Mutex<Kept>,
    flights: Mutex<HashMap<EnrollmentId, WeakShared<Flight>>>,
    counters: Counters,
}

struct Kept {
    accounts: LruCache<EnrollmentId, Entry>,
    /// The vault's stamp when it was last asked.
    stamp: u64,
    /// Counts changes. What was read before one is not kept after it.
    epoch: u64,
    swept: Instant,
}

struct Entry {
    reading: Arc<Reading>,
    read_at: Instant,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    stale: AtomicU64,
}

type Flight = BoxFuture<'static, Result<Arc<Reading>, Arc<VaultError>>>;

/// The error of a read that several waited for.
#[derive(Debug, Error)]
#[error("{0}")]
struct SharedError(#[source] Arc<VaultError>);

impl CachedVault {
    /// A cache in front of `vault`.
    #[must_use]
    pub fn new(vault: Arc<dyn SecretVault>, settings: CacheSettings) -> Self {
        let entries = NonZeroUsize::new(settings.entries).unwrap_or(NonZeroUsize::MIN);
        Self {
            vault,
            age: settings.age,
            stale: settings.stale,
            kept: Mutex::new(Kept {
                accounts: LruCache::new(entries),
                stamp: 0,
                epoch: 0,
                swept: Instant::now(),
            }),
            flights: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts {
            hits: count(&self.counters.hits),
            misses: count(&self.counters.misses),
            joined: count(&self.counters.joined),
            stale: count(&self.counters.stale),
            entries: u64::try_from(self.kept().accounts.len()).unwrap_or(u64::MAX),
        }
    }

    /// Wipes what is too old, again and again until `stop` is done. Without it, that
    /// happens only while codes are requested.
    pub async fn sweep_until(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let pause = self.age.max(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => self.kept().sweep(self.age + self.stale),
            }
        }
    }

    /// What is kept, without what someone else may have changed.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let stamp = self.vault.stamp();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamps grow; another thread may have taken a later one.
        if kept.stamp < stamp {
            kept.stamp = stamp;
            kept.epoch += 1;
            kept.accounts.clear();
            // Who asks from now on does not join a read from before.
            self.flights().clear();
        }
        kept
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<EnrollmentId, WeakShared<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account if it is kept, and for how long it has been.
    fn look(&self, id: &EnrollmentId) -> Option<(Arc<Reading>, Duration)> {
        let mut kept = self.kept();
        if kept.swept.elapsed() > self.age {
            kept.sweep(self.age + self.stale);
        }
        let entry = kept.accounts.get(id)?;
        Some((Arc::clone(&entry.reading), entry.read_at.elapsed()))
    }

    /// What may be served while the vault does not answer.
    fn stand_in(&self, id: &EnrollmentId) -> Option<(Arc<Reading>, Duration)> {
        self.look(id)
            .filter(|(_, age)| *age < self.age + self.stale)
    }

    fn forget(&self, id: &EnrollmentId) {
        let mut kept = self.kept();
        kept.epoch += 1;
        kept.accounts.pop(id);
        // Who asks from now on does not join a read from before.
        self.flights().remove(id);
    }

    /// Reads from the vault, joined with concurrent reads of the same account.
    async fn fetch(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        let epoch = self.kept().epoch;
        let (flight, first) = self.board(id);
        if first {
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counters.joined.fetch_add(1, Ordering::Relaxed);
        }
        let landed = flight.clone().await;
        if first {
            let mut flights = self.flights();
            // After a change, another one may be there.
            let ours = flights
                .get(id)
                .and_then(WeakShared::upgrade)
                .is_some_and(|other| other.ptr_eq(&flight));
            if ours {
                flights.remove(id);
            }
        }
        match landed {
            Ok(reading) => {
                let mut kept = self.kept();
                if kept.epoch == epoch {
                    kept.accounts.put(
                        id.clone(),
                        Entry {
                            reading: Arc::clone(&reading),
                            read_at: Instant::now(),
                        },
                    );
                }
                Ok(reading)
            }
            Err(error) => {
                if matches!(*error, VaultError::NotFound | VaultError::Deleted) {
                    self.kept().accounts.pop(id);
                }
                Err(repeat(error))
            }
        }
    }

    /// The read that is in progress, or a new one and `true`.
    fn board(&self, id: &EnrollmentId) -> (Shared<Flight>, bool) {
        let mut flights = self.flights();
        // Those that everyone has given up on go away with the last who waited.
        flights.retain(|_, flight| flight.upgrade().is_some());
        if let Some(flight) = flights.get(id).and_then(WeakShared::upgrade) {
            return (flight, false);
        }
        let (vault, wanted) = (Arc::clone(&self.vault), id.clone());
        let flight = async move {
            let read = vault.read_for_code(&wanted).await;
            read.map_err(Arc::new)
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(id.clone(), weak);
        }
        (flight, true)
    }

    /// What is kept and not too old.
    fn hit(&self, id: &EnrollmentId) -> Option<Arc<Reading>> {
        let (reading, _) = self.look(id).filter(|(_, age)| *age < self.age)?;
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        Some(reading)
    }

    async fn changing<T>(
        &self,
        id: &EnrollmentId,
        change: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        self.forget(id);
        let done = change.await;
        self.forget(id);
        done
    }
}

impl Kept {
    fn sweep(&mut self, oldest: Duration) {
        self.swept = Instant::now();
        let old: Vec<EnrollmentId> = self
            .accounts
            .iter()
            .filter(|(_, entry)| entry.read_at.elapsed() >= oldest)
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            self.accounts.pop(&id);
        }
    }
}

/// The same error once more, for another who waited.
fn repeat(error: Arc<VaultError>) -> VaultError {
    match &*error {
        VaultError::NotFound => VaultError::NotFound,
        VaultError::Deleted => VaultError::Deleted,
        VaultError::Conflict => VaultError::Conflict,
        VaultError::RecoveryConflict => VaultError::RecoveryConflict,
        VaultError::Full { reason } => VaultError::Full { reason },
        VaultError::InvalidCursor => VaultError::InvalidCursor,
        VaultError::Corrupt { reason } => VaultError::Corrupt { reason },
        VaultError::Denied { reason } => VaultError::Denied {
            reason: reason.clone(),
        },
        VaultError::Unavailable { .. } => match Arc::try_unwrap(error) {
            Ok(error) => error,
            Err(shared) => VaultError::Unavailable {
                source: Box::new(SharedError(shared)),
            },
        },
    }
}

#[async_trait]
impl SecretVault for CachedVault {
    async fn store_for(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<Stored, VaultError> {
        self.changing(id, self.vault.store_for(id, account, pending_for))
            .await
    }

    async fn store_unless_there(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<StoredUnlessThere, VaultError> {
        let storing = self.vault.store_unless_there(id, account, pending_for);
        self.changing(id, storing).await
    }

    async fn read(&self, id: &EnrollmentId) -> Result<TotpAccount, VaultError> {
        let reading = match self.hit(id) {
            Some(reading) => reading,
            None => self.fetch(id).await?,
        };
        Ok(reading.account.clone())
    }

    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        if let Some(reading) = self.hit(id) {
            return Ok(reading);
        }
        let fresh = self.fetch(id);
        let read = if self.stand_in(id).is_some() {
            match tokio::time::timeout(PATIENCE, fresh).await {
                Ok(read) => read,
                Err(late) => Err(VaultError::Unavailable {
                    source: Box::new(late),
                }),
            }
        } else {
            fresh.await
        };
        match read {
            Ok(reading) => Ok(reading),
            Err(error @ VaultError::Unavailable { .. }) => {
                // Looked at once more: it may have been changed in the meantime.
                let (reading, age) = self.stand_in(id).ok_or(error)?;
                self.counters.stale.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::new(Reading {
                    stale: Some(age),
                    ..Reading::new(reading.account.clone(), reading.pending_for.clone())
                }))
            }
            Err(error) => Err(error),
        }
    }

    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        self.vault.describe(id).await
    }

    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        self.changing(id, self.vault.set_recovery(id, replaced, codes))
            .await
    }

    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        self.vault.recovery(id).await
    }

    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        self.vault.same_as(account).await
    }

    async fn list_by(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError> {
        self.vault.list_by(filter, cursor, limit).await
    }

    async fn change(
        &self,
        id: &EnrollmentId,
        change: &Change,
    ) -> Result<AccountRecord, VaultError> {
        self.changing(id, self.vault.change(id, change)).await
    }

    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        self.changing(id, self.vault.delete(id)).await
    }

    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        self.changing(id, self.vault.recover(id)).await
    }

    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        self.changing(id, self.vault.purge(id)).await
    }

    async fn check(&self) -> Result<(), VaultError> {
        self.vault.check().await
    }

    fn stamp(&self) -> u64 {
        self.vault.stamp()
    }
}
