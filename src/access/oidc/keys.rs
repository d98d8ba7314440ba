//! The issuer's cached keys: fetched regularly, fetched again when a
//! token names one that is not among them, and kept for a while if the issuer does not
//! answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::issuer::{Issuer, IssuerError};
use crate::clock::Clock;

/// How often keys are fetched regularly.
const REFRESH: Duration = Duration::from_secs(600);
/// How soon a failed fetch is retried.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// The least time between two fetches that tokens cause: strangers with invented
/// key ids must not make this server burden the issuer.
const BETWEEN_FETCHES: TimeDelta = TimeDelta::seconds(10);
/// The most keys of an issuer that are used.
const MAX_KEYS: usize = 100;

/// One key that can check signatures.
pub(super) struct Key {
    id: Option<String>,
    /// The key's only algorithm, if the issuer names one.
    algorithm: Option<String>,
    pub(super) key: DecodingKey,
}

/// The keys of one fetch.
pub(super) struct KeySet {
    keys: Vec<Key>,
    fetched_at: DateTime<Utc>,
    /// Counts the sets that differ.
    pub(super) generation: u64,
    /// The issuer's answer.
    said: Vec<Value>,
}

impl KeySet {
    /// How many can check signatures.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn fitting(&self, header: &Header) -> impl Iterator<Item = &Key> {
        let algorithm = format!("{:?}", header.alg);
        let family = header.alg.family();
        self.keys.iter().filter(move |key| {
            key.key.family() == family
                && key.algorithm.as_ref().is_none_or(|only| *only == algorithm)
                && match (&header.kid, &key.id) {
                    (Some(wanted), Some(id)) => wanted == id,
                    _ => true,
                }
        })
    }
}

/// The keys of an issuer.
pub(super) struct IssuerKeys {
    issuer: Issuer,
    max_stale: TimeDelta,
    current: RwLock<Option<Arc<KeySet>>>,
    /// When a fetch was begun last. Held while fetching: one at a time.
    fetching: tokio::sync::Mutex<Option<DateTime<Utc>>>,
}

impl IssuerKeys {
    pub(super) fn new(issuer: Issuer, max_stale: TimeDelta) -> Self {
        Self {
            issuer,
            max_stale,
            current: RwLock::new(None),
            fetching: tokio::sync::Mutex::new(None),
        }
    }

    /// The keys that are valid at `now`, fetched if there are none.
    pub(super) async fn at(&self, now: DateTime<Utc>) -> Result<Arc<KeySet>, IssuerError> {
        if let Some(set) = self.good_at(now) {
            return Ok(set);
        }
        self.fetch_for_a_token(now, |set| set.is_none()).await?;
        self.good_at(now).ok_or(IssuerError::Resting)
    }

    /// Keys of another generation, if the issuer has them; fetched only occasionally.
    pub(super) async fn newer_than(
        &self,
        generation: u64,
        now: DateTime<Utc>,
    ) -> Option<Arc<KeySet>> {
        let old = |set: Option<&KeySet>| set.is_none_or(|set| set.generation == generation);
        let fetched = self.fetch_for_a_token(now, old).await;
        if let Err(error) = fetched {
            // Known keys are still used; a token with an unknown key is refused.
            tracing::debug!(%error, "cannot fetch the issuer's new keys");
        }
        self.good_at(now).filter(|set| !old(Some(set)))
    }

    /// The generation of the keys that are valid at `now`; 0 for none.
    pub(super) fn generation(&self, now: DateTime<Utc>) -> u64 {
        self.good_at(now).map_or(0, |set| set.generation)
    }

    /// Fetches keys every ten minutes, and sooner after a failure, until `stop`.
    pub(super) async fn refresh_until(&self, clock: &dyn Clock, stop: &CancellationToken) {
        let mut first = true;
        loop {
            let fetched = tokio::select! {
                () = stop.cancelled() => return,
                fetched = self.fetch_now(clock, first) => fetched,
            };
            first = false;
            let pause = match fetched {
                Ok(()) => REFRESH,
                Err(error) => {
                    tracing::warn!(%error, "the issuer's keys cannot be fetched");
                    TRY_AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn fetch_now(&self, clock: &dyn Clock, first: bool) -> Result<(), IssuerError> {
        let mut begun = self.fetching.lock().await;
        let now = clock.now();
        if first && self.good_at(now).is_some() {
            // A token has caused a fetch before this task.
            return Ok(());
        }
        *begun = Some(now);
        self.take(self.issuer.keys().await?, now)
    }

    /// Fetches keys for a token, unless another request has just done so and
    /// `needed` no longer holds.
    async fn fetch_for_a_token(
        &self,
        now: DateTime<Utc>,
        needed: impl Fn(Option<&KeySet>) -> bool,
    ) -> Result<(), IssuerError> {
        let mut begun = self.fetching.lock().await;
        if !needed(self.good_at(now).as_deref()) {
            return Ok(());
        }
        if begun.is_some_and(|begun| (now - begun).abs() < BETWEEN_FETCHES) {
            return Err(IssuerError::Resting);
        }
        *begun = Some(now);
        self.take(self.issuer.keys().await?, now)
    }

    fn good_at(&self, now: DateTime<Utc>) -> Option<Arc<KeySet>> {
        // Replaced whole, so a panic cannot have left it half done.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|set| now - set.fetched_at < self.max_stale)
            .cloned()
    }

    fn take(&self, said: Vec<Value>, now: DateTime<Utc>) -> Result<(), IssuerError> {
        let keys: Vec<Key> = said.iter().take(MAX_KEYS).filter_map(key).collect();
        if keys.is_empty() {
            return Err(IssuerError::NoKeys);
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let generation = match current.as_deref() {
            Some(old) if old.said == said => old.generation,
            Some(old) => old.generation + 1,
            None => 1,
        };
        *current = Some(Arc::new(KeySet {
            keys,
            fetched_at: now,
            generation,
            said,
        }));
        Ok(())
    }
}

/// A key of a set that can check signatures; others are skipped.
fn key(said: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(said.clone()).ok()?;
    let common = &jwk.common;
    let checks = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if common.public_key_use == Some(PublicKeyUse::Encryption) || !checks {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    // With a shared secret, everyone who can check tokens could create them.
    if key.family() == AlgorithmFamily::Hmac {
        return None;
    }
    Some(Key {
        id: common.key_id.clone(),
        algorithm: common.key_algorithm.map(|algorithm| algorithm.to_string()),
        key,
    })
}
