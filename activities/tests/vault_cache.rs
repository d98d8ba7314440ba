//! The cache in front of a vault: its bounds, one read for many, and what it does while
//! the vault is away. The clock is the test's own.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod promises;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use countersign_activities::database_stamp::NOTICED_WITHIN;
use countersign_activities::totp;
use countersign_activities::vault::{
    AccountPage, AccountRecord, CacheSettings, CachedVault, Change, EmbeddedVault, Filter, Reading,
    SecretVault, Stored, StoredUnlessThere, VaultError,
};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use tokio::sync::Notify;

/// A vault that counts reads, answers when it is let, and can be down.
#[derive(Default)]
struct Slow {
    reads: AtomicUsize,
    held: AtomicBool,
    go: Notify,
    down: AtomicBool,
    gone: AtomicBool,
}

impl Slow {
    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SecretVault for Slow {
    async fn store_for(
        &self,
        _: &EnrollmentId,
        _: &TotpAccount,
        _: Option<&CallerId>,
    ) -> Result<Stored, VaultError> {
        Ok(Stored::Created)
    }

    async fn store_unless_there(
        &self,
        _: &EnrollmentId,
        _: &TotpAccount,
        _: Option<&CallerId>,
    ) -> Result<StoredUnlessThere, VaultError> {
        Ok(StoredUnlessThere::Stored(Stored::Created))
    }

    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.held.load(Ordering::SeqCst) {
            self.go.notified().await;
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(VaultError::Unavailable {
                source: "it is down".into(),
            });
        }
        if self.gone.load(Ordering::SeqCst) {
            return Err(VaultError::Deleted);
        }
        let account = promises::account("ACME", id.as_str(), "JBSWY3DPEHPK3PXP");
        Ok(Arc::new(Reading::new(account, None)))
    }

    async fn describe(&self, _: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        Err(VaultError::NotFound)
    }

    async fn set_recovery(
        &self,
        _: &EnrollmentId,
        _: &RecoveryCodes,
        _: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        Ok(())
    }

    async fn recovery(&self, _: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        Ok(RecoveryCodes::default())
    }

    async fn same_as(&self, _: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        Ok(Vec::new())
    }

    async fn list_by(
        &self,
        _: &Filter,
        _: Option<&str>,
        _: usize,
    ) -> Result<AccountPage, VaultError> {
        Err(VaultError::NotFound)
    }

    async fn change(&self, _: &EnrollmentId, _: &Change) -> Result<AccountRecord, VaultError> {
        Err(VaultError::NotFound)
    }

    async fn delete(&self, _: &EnrollmentId) -> Result<(), VaultError> {
        self.gone.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn recover(&self, _: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        Err(VaultError::NotFound)
    }

    async fn purge(&self, _: &EnrollmentId) -> Result<(), VaultError> {
        Ok(())
    }
}

fn cached(entries: usize, stale: u64) -> (Arc<Slow>, Arc<CachedVault>) {
    let slow = Arc::new(Slow::default());
    let settings = CacheSettings {
        entries,
        age: Duration::from_secs(60),
        stale: Duration::from_secs(stale),
    };
    let cache = CachedVault::new(Arc::<Slow>::clone(&slow), settings);
    (slow, Arc::new(cache))
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_served_until_it_is_too_old() {
    let (slow, cache) = cached(10, 0);
    let id = EnrollmentId::random();
    for _ in 0..5 {
        cache.read_for_code(&id).await.unwrap();
    }
    assert_eq!(slow.reads(), 1);
    pass(59).await;
    cache.read(&id).await.unwrap();
    assert_eq!(slow.reads(), 1);
    pass(1).await;
    cache.read(&id).await.unwrap();
    assert_eq!(slow.reads(), 2);
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.entries), (5, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_cache_stays_within_its_size() {
    let (slow, cache) = cached(3, 0);
    let ids: Vec<EnrollmentId> = (0..4).map(|_| EnrollmentId::random()).collect();
    for id in &ids {
        cache.read(id).await.unwrap();
    }
    assert_eq!(cache.counts().entries, 3);
    cache.read(&ids[3]).await.unwrap();
    assert_eq!(slow.reads(), 4);
    // The one that was used longest ago is out.
    cache.read(&ids[0]).await.unwrap();
    assert_eq!(slow.reads(), 5);
}

#[tokio::test(start_paused = true)]
async fn unused_entries_are_wiped() {
    let (_, cache) = cached(10, 0);
    cache.read(&EnrollmentId::random()).await.unwrap();
    let stop = Arc::new(Notify::new());
    let (sweeper, stopped) = (Arc::clone(&cache), Arc::clone(&stop));
    let task = tokio::spawn(async move { sweeper.sweep_until(stopped.notified()).await });
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(cache.counts().entries, 0);
    stop.notify_one();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_cause_one_read() {
    let (slow, cache) = cached(10, 0);
    slow.held.store(true, Ordering::SeqCst);
    let id = EnrollmentId::random();
    let ask = |cache: Arc<CachedVault>, id: EnrollmentId| {
        tokio::spawn(async move { cache.read(&id).await })
    };
    let first = ask(Arc::clone(&cache), id.clone());
    while slow.reads() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..100)
        .map(|_| ask(Arc::clone(&cache), id.clone()))
        .collect();
    while cache.counts().joined < 100 {
        tokio::task::yield_now().await;
    }
    // The first one goes away; the read continues for the others.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    slow.held.store(false, Ordering::SeqCst);
    slow.go.notify_waiters();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(slow.reads(), 1);
    assert_eq!(cache.counts().entries, 1);
}

#[tokio::test(start_paused = true)]
async fn all_waiting_callers_get_the_reason_of_the_failure() {
    let (slow, cache) = cached(10, 0);
    slow.down.store(true, Ordering::SeqCst);
    let id = EnrollmentId::random();
    slow.held.store(true, Ordering::SeqCst);
    let ask = |cache: Arc<CachedVault>, id: EnrollmentId| {
        tokio::spawn(async move { cache.read(&id).await })
    };
    let one = ask(Arc::clone(&cache), id.clone());
    let two = ask(Arc::clone(&cache), id.clone());
    while slow.reads() == 0 || cache.counts().joined == 0 {
        tokio::task::yield_now().await;
    }
    slow.held.store(false, Ordering::SeqCst);
    slow.go.notify_waiters();
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    for read in [one, two] {
        let Err(VaultError::Unavailable { source }) = read else {
            panic!("{read:?}");
        };
        let mut text = source.to_string();
        if let Some(inner) = source.source().and_then(std::error::Error::source) {
            text = inner.to_string();
        }
        assert!(text.contains("it is down"), "{text}");
    }
    assert_eq!(slow.reads(), 1);
    // A failure is not kept.
    slow.down.store(false, Ordering::SeqCst);
    cache.read(&id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_a_change_is_not_kept() {
    let (slow, cache) = cached(10, 300);
    slow.held.store(true, Ordering::SeqCst);
    let id = EnrollmentId::random();
    let (reader, wanted) = (Arc::clone(&cache), id.clone());
    let read = tokio::spawn(async move { reader.read(&wanted).await });
    while slow.reads() == 0 {
        tokio::task::yield_now().await;
    }
    cache
        .store(&id, &promises::account("ACME", "ann", "JBSWY3DPEHPK3PXP"))
        .await
        .unwrap();
    slow.go.notify_waiters();
    read.await.unwrap().unwrap();
    assert_eq!(cache.counts().entries, 0);
    slow.held.store(false, Ordering::SeqCst);
    cache.read(&id).await.unwrap();
    cache.delete(&id).await.unwrap();
    assert_eq!(cache.counts().entries, 0);
    let read = cache.read_for_code(&id).await;
    assert!(matches!(read, Err(VaultError::Deleted)), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn stale_entries_are_served_while_the_vault_is_down_if_configured() {
    let (slow, cache) = cached(10, 300);
    let id = EnrollmentId::random();
    cache.read(&id).await.unwrap();
    slow.down.store(true, Ordering::SeqCst);
    pass(100).await;
    let reading = cache.read_for_code(&id).await.unwrap();
    assert_eq!(reading.stale, Some(Duration::from_secs(100)));
    assert_eq!(reading.account.account_name(), id.as_str());
    assert_eq!(cache.counts().stale, 1);
    // Only to make codes, and not forever.
    assert!(matches!(
        cache.read(&id).await,
        Err(VaultError::Unavailable { .. })
    ));
    pass(260).await;
    let read = cache.read_for_code(&id).await;
    assert!(
        matches!(read, Err(VaultError::Unavailable { .. })),
        "{read:?}"
    );
    slow.down.store(false, Ordering::SeqCst);
    assert_eq!(cache.read_for_code(&id).await.unwrap().stale, None);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_says_nothing_is_not_waited_for_where_it_can_be_stood_in_for() {
    let (slow, cache) = cached(10, 300);
    let id = EnrollmentId::random();
    cache.read(&id).await.unwrap();
    slow.held.store(true, Ordering::SeqCst);
    pass(100).await;
    let started = tokio::time::Instant::now();
    let reading = cache.read_for_code(&id).await.unwrap();
    assert_eq!(reading.stale, Some(Duration::from_secs(102)));
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_account_is_not_served_from_the_cache() {
    let (slow, cache) = cached(10, 300);
    let id = EnrollmentId::random();
    cache.read(&id).await.unwrap();
    // By another process.
    slow.gone.store(true, Ordering::SeqCst);
    pass(61).await;
    assert!(matches!(
        cache.read_for_code(&id).await,
        Err(VaultError::Deleted)
    ));
    slow.down.store(true, Ordering::SeqCst);
    let read = cache.read_for_code(&id).await;
    assert!(
        matches!(read, Err(VaultError::Unavailable { .. })),
        "{read:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_an_absent_vault_is_an_error() {
    let (slow, cache) = cached(10, 0);
    let id = EnrollmentId::random();
    cache.read(&id).await.unwrap();
    slow.down.store(true, Ordering::SeqCst);
    pass(61).await;
    let read = cache.read_for_code(&id).await;
    assert!(
        matches!(read, Err(VaultError::Unavailable { .. })),
        "{read:?}"
    );
}

#[tokio::test]
async fn what_another_process_changes_in_the_same_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let own = Arc::new(EmbeddedVault::open(folder.path()).unwrap());
    let other = EmbeddedVault::open(folder.path()).unwrap();
    let cache = CachedVault::new(own, CacheSettings::default());
    let account = promises::account("ACME", "alice", "JBSWY3DPEHPK3PXP");
    let id = EnrollmentId::random();
    other.store(&id, &account).await.unwrap();
    for round in 1..=3 {
        assert_eq!(cache.read(&id).await.unwrap(), account);
        assert_eq!(cache.read_for_code(&id).await.unwrap().account, account);
        assert_eq!(cache.counts().hits, round, "{:?}", cache.counts());
        other.delete(&id).await.unwrap();
        tokio::time::sleep(NOTICED_WITHIN).await;
        let read = cache.read_for_code(&id).await;
        assert!(matches!(read, Err(VaultError::Deleted)), "{read:?}");
        other.recover(&id).await.unwrap();
        tokio::time::sleep(NOTICED_WITHIN).await;
    }
    assert_eq!(cache.counts().entries, 0);
}

#[test]
fn a_code_that_was_made_is_given_again_only_while_it_is_shown() {
    let account = promises::account("ACME", "alice", "JBSWY3DPEHPK3PXP");
    let reading = Reading::new(account.clone(), None);
    // Forwards, backwards, and across the ends of time steps.
    for seconds in [59, 59, 60, 89, 90, 31, 30, 29, 0, 1_111_111_109, 60] {
        let made = totp::code_at(&account, seconds).unwrap();
        assert!(reading.code_at(seconds).unwrap() == made, "at {seconds}");
    }
    assert!(reading.code_at(u64::MAX).is_err());
    assert!(!format!("{reading:?}").contains(&totp::code_at(&account, 60).unwrap().text));
}
