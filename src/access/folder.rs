//! Keys, grants and sessions in one data folder, as a front door uses them.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use zeroize::Zeroizing;

use super::grants::{Grant, Granted, Grantee, Spent};
use super::identity::CallerRef;
use super::key_error::KeyError;
use super::keys::{KeyRecord, KeyStore, NewKey};
use super::login::LoginCodes;
use super::store::{AccessStore, SecretHash};

/// The keys of a data folder behind the promises of every store. What a request needs is read
/// where it is asked for, since it is short; what waits for the disk has a thread for such
/// work. Login codes are kept in this process's memory.
pub struct FolderAccess {
    keys: Arc<KeyStore>,
    login_codes: LoginCodes,
}

impl FolderAccess {
    /// What `keys` holds.
    #[must_use]
    pub fn new(keys: KeyStore) -> Self {
        Self {
            keys: Arc::new(keys),
            login_codes: LoginCodes::default(),
        }
    }

    /// Does what waits for the disk on a thread for such work.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&KeyStore) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let keys = Arc::clone(&self.keys);
        tokio::task::spawn_blocking(move || work(&keys))
            .await
            .map_err(|_| KeyError::Unfinished)?
    }
}

#[async_trait]
impl AccessStore for FolderAccess {
    fn stamp(&self) -> Result<u64, KeyError> {
        Ok(self.keys.stamp())
    }

    async fn create(
        &self,
        new: NewKey,
        maker: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let maker = maker.map(str::to_owned);
        self.apart(move |keys| match &maker {
            Some(maker) => keys.create_from(maker, new, now),
            None => keys.create(new, now),
        })
        .await
    }

    async fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        self.apart(KeyStore::list).await
    }

    async fn revoke(&self, name: &str, now: DateTime<Utc>) -> Result<KeyRecord, KeyError> {
        let name = name.to_owned();
        self.apart(move |keys| keys.revoke(&name, now)).await
    }

    async fn rotate(
        &self,
        name: &str,
        held: Option<&SecretHash>,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let (name, held) = (name.to_owned(), held.copied());
        self.apart(move |keys| keys.rotate(&name, held.as_ref(), overlap, now))
            .await
    }

    async fn verify(
        &self,
        text: &str,
        hash: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        self.keys.verify(text, hash, now)
    }

    async fn active(&self, id: &str, now: DateTime<Utc>) -> Result<Option<KeyRecord>, KeyError> {
        self.keys.active(id, now)
    }

    async fn person(&self, caller: &str) -> Result<String, KeyError> {
        let caller = caller.to_owned();
        self.apart(move |keys| keys.person(&caller)).await
    }

    async fn grant(&self, grant: &Grant, keep: bool) -> Result<Granted, KeyError> {
        let grant = grant.clone();
        self.apart(move |keys| keys.put(&grant, keep)).await
    }

    async fn take_back(&self, from: &Grantee, account: &str) -> Result<Option<Grant>, KeyError> {
        let (from, account) = (from.clone(), account.to_owned());
        self.apart(move |keys| keys.take_back(&from, &account))
            .await
    }

    async fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        self.apart(KeyStore::grants).await
    }

    async fn granted(
        &self,
        caller: CallerRef<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, KeyError> {
        self.keys.granted(caller, now)
    }

    async fn may_read(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        self.keys.may_read(caller, account, now)
    }

    async fn spent(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError> {
        self.keys.spent(caller, account, now)
    }

    async fn free_until(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError> {
        self.keys.free_until(caller, account, now)
    }

    async fn take_counted(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        self.keys.take_counted(caller, account, now)
    }

    async fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError> {
        let account = account.to_owned();
        self.apart(move |keys| keys.guard(&account, guarded)).await
    }

    async fn guarded(&self) -> Result<BTreeSet<String>, KeyError> {
        self.keys.guarded()
    }

    async fn begin_session(
        &self,
        id: &SecretHash,
        who: &str,
        until: i64,
        now: i64,
    ) -> Result<(), KeyError> {
        let (id, who) = (*id, who.to_owned());
        self.apart(move |keys| keys.begin_session(&id, &who, until, now))
            .await
    }

    async fn has_session(&self, id: &SecretHash, now: i64) -> Result<bool, KeyError> {
        self.keys.has_session(id, now)
    }

    async fn end_session(&self, id: &SecretHash) -> Result<bool, KeyError> {
        let id = *id;
        self.apart(move |keys| keys.end_session(&id)).await
    }

    async fn keep_login_code(
        &self,
        code: &SecretHash,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<(), KeyError> {
        self.login_codes.keep(code, who, now);
        Ok(())
    }

    async fn whose_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        Ok(self.login_codes.whose(code, now))
    }

    async fn redeem_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        Ok(self.login_codes.redeem(code, now))
    }
}
