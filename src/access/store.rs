//! What every store of keys, grants and sessions promises.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use zeroize::Zeroizing;

use super::grants::{Grant, Granted, Grantee, Spent};
use super::identity::CallerRef;
use super::key_error::KeyError;
use super::keys::{KeyRecord, NewKey};

/// The hash of a key or of a session's id.
pub type SecretHash = [u8; 32];

/// Keys, groups, grants, browser sessions, login codes, and the accounts that are read with an approval
/// only, for all front doors that share it.
///
/// Each method has all of its effect or none. A caller who asks after a method has returned learns
/// what it changed, at whichever front door; what others remember of before is known to be
/// old by [`AccessStore::stamp`] within a second.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Another and greater number once something may have changed. What was read after it
    /// was taken may be remembered for as long as it stays the same.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unproven`] when it is not known whether something has changed: nothing
    /// that is remembered may be used then.
    fn stamp(&self) -> Result<u64, KeyError>;

    /// Makes a key and returns it; it cannot be read again later. `maker` is the caller whose
    /// hand it is from, if another caller made it.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::create`](super::KeyStore::create).
    async fn create(
        &self,
        new: NewKey,
        maker: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError>;

    /// Every key, revoked ones too, by name.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyError>;

    /// Revokes a key; see [`KeyStore::revoke`](super::KeyStore::revoke).
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`].
    async fn revoke(&self, name: &str, now: DateTime<Utc>) -> Result<KeyRecord, KeyError>;

    /// Renews a key; see [`KeyStore::rotate`](super::KeyStore::rotate).
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`], [`KeyError::Over`] or [`KeyError::NotCurrent`].
    async fn rotate(
        &self,
        name: &str,
        held: Option<&SecretHash>,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError>;

    /// The record of the key `text`, whose hash is given, unless it is unknown, revoked or
    /// over.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn verify(
        &self,
        text: &str,
        hash: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError>;

    /// The record of the key with this id, unless it is unknown, revoked or over.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn active(&self, id: &str, now: DateTime<Utc>) -> Result<Option<KeyRecord>, KeyError>;

    /// The person behind a caller: the caller itself, unless another one created its key.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn person(&self, caller: &str) -> Result<String, KeyError>;

    /// Grants an account, in place of what was granted before. With `keep`, one on the same
    /// terms stays as it is, with what was read of it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`], [`KeyError::Over`] or [`KeyError::NotLimited`]; see [`KeyStore::grant`](super::KeyStore::grant).
    async fn grant(&self, grant: &Grant, keep: bool) -> Result<Granted, KeyError>;

    /// Takes a grant back, which is the answer; none if there was none.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn take_back(&self, from: &Grantee, account: &str) -> Result<Option<Grant>, KeyError>;

    /// Every grant, used up and past ones too, by grantee and account.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn grants(&self) -> Result<Vec<Grant>, KeyError>;

    /// The accounts that are granted to a caller at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn granted(
        &self,
        caller: CallerRef<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, KeyError>;

    /// Whether an account is granted to a caller at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn may_read(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError>;

    /// Why what a caller was granted of an account gives it no more; nothing if it was never
    /// granted any of it.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn spent(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError>;

    /// Until when a caller may read an account as often as it likes; none if it may not.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn free_until(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError>;

    /// Takes one read from one of a caller's grants that count, first from the caller's own;
    /// whether there was one left. Over all front doors as many are taken as were granted.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn take_counted(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError>;

    /// Sets whether an account's codes are read only with an approval; whether they were
    /// before.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError>;

    /// Every such account.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn guarded(&self) -> Result<BTreeSet<String>, KeyError>;

    /// Begins the session whose id has the hash `id`, for the subject `who`. One more than a
    /// subject may have ends the oldest.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn begin_session(
        &self,
        id: &SecretHash,
        who: &str,
        until: i64,
        now: i64,
    ) -> Result<(), KeyError>;

    /// Whether a session has begun and not ended.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn has_session(&self, id: &SecretHash, now: i64) -> Result<bool, KeyError>;

    /// Ends a session; whether there was one.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn end_session(&self, id: &SecretHash) -> Result<bool, KeyError>;

    /// Keeps a code that logs a browser in once, as the subject `who`, for
    /// [`CODE_LIFETIME`](super::CODE_LIFETIME). One more than are kept ends the oldest.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn keep_login_code(
        &self,
        code: &SecretHash,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<(), KeyError>;

    /// Whom a code logs in; nobody if it was used or its time has passed.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn whose_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError>;

    /// Uses a code up; whether it was good until now. Of several who try at once, one learns
    /// that it was.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    async fn redeem_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError>;
}
