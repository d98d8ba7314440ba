//! Who may do what: the administrator's token, API keys, browser sessions, roles.

mod admin;
mod cache;
mod folder;
mod grants;
mod guarded;
mod identity;
mod key_error;
mod keys;
mod login;
mod oidc;
mod persons;
mod postgres;
mod restored;
mod role;
mod schema;
pub mod secret;
mod server_keys;
mod session;
mod store;
pub(crate) mod transfer;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;
use zeroize::Zeroizing;

pub use admin::AdminToken;
pub use folder::FolderAccess;
pub use grants::{Grant, Granted, Grantee, Reads, Spent};
pub(crate) use grants::{MAX_GRANTEE, Taken, grant_change};
pub use identity::{CallerRef, Group, Identity, NotAGroup};
pub use key_error::KeyError;
pub use keys::{KeyRecord, KeyStore, NewKey};
pub(crate) use login::CODE_LIFETIME;
pub use oidc::{IssuerError, MappedRole, OidcSettings, TokenProblem};
pub(crate) use oidc::{Oidc, OidcError};
pub use postgres::PostgresAccess;
pub use role::{Role, Roles, UnknownRole};
pub use server_keys::ServerKeys;
pub(crate) use server_keys::{ServerKey, ServerRing};
pub(crate) use session::{COOKIE, HOST_COOKIE, LIFETIME};
pub use store::{AccessStore, SecretHash};

use cache::AccessCache;
use identity::Subject;
use session::Sessions;

/// The administrator's name as a caller.
pub const ADMIN_NAME: &str = "admin";
/// The name of every caller while access control is off.
pub const ANONYMOUS_NAME: &str = "anonymous";

/// The end of what does not end.
const NEVER: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

/// Recognizes callers.
pub struct Access {
    admin_token: Arc<AdminToken>,
    admin: Arc<Identity>,
    /// Who everyone is while access control is off.
    anonymous: Option<Arc<Identity>>,
    store: Arc<dyn AccessStore>,
    cache: AccessCache,
    sessions: Sessions,
    oidc: Option<Arc<Oidc>>,
}

/// Why it cannot be said who a caller is.
#[derive(Debug, Error)]
pub(crate) enum AuthError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Oidc(#[from] OidcError),
}

impl Access {
    /// Recognizes the administrator by `admin_token`, others by their keys in `store`, and
    /// browsers by cookies signed with keys derived from `server_keys`.
    #[must_use]
    pub fn new(
        admin_token: AdminToken,
        store: Arc<dyn AccessStore>,
        server_keys: impl Into<ServerKeys>,
    ) -> Self {
        let admin_token = Arc::new(admin_token);
        Self {
            admin_token: Arc::clone(&admin_token),
            admin: Arc::new(all_powerful(ADMIN_NAME, Subject::Admin)),
            anonymous: None,
            store,
            cache: AccessCache::default(),
            sessions: Sessions::new(server_keys.into(), admin_token),
            oidc: None,
        }
    }

    /// Lets everyone do everything. Only for an address that no other machine can reach.
    #[must_use]
    pub fn open_to_all(mut self) -> Self {
        self.anonymous = Some(Arc::new(all_powerful(ANONYMOUS_NAME, Subject::Open)));
        self
    }

    /// Recognizes callers by the tokens of an issuer too.
    #[must_use]
    pub(crate) fn with_oidc(mut self, oidc: Option<Arc<Oidc>>) -> Self {
        self.oidc = oidc;
        self
    }

    /// Whether it is known what has been revoked: changes of the store are heard.
    pub(crate) fn hears_changes(&self) -> bool {
        self.store.stamp().is_ok()
    }

    /// Who everyone is while access control is off.
    pub(crate) fn anonymous(&self) -> Option<Arc<Identity>> {
        self.anonymous.clone()
    }

    /// Who presents `credential`, a token or key; nobody if it is unknown or revoked.
    pub(crate) async fn authenticate(
        &self,
        credential: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, AuthError> {
        let hash = secret::hash(credential);
        if self.admin_token.accepts(&hash, now) {
            return Ok(Some(Arc::clone(&self.admin)));
        }
        if let Some(oidc) = self.oidc.as_ref().filter(|_| Oidc::is_token(credential)) {
            return Ok(Some(oidc.check(credential, now).await?));
        }
        let stamp = self.store.stamp()?;
        if let Some(identity) = self.cache.caller(stamp, &hash, now) {
            return Ok(Some(identity));
        }
        let Some(record) = self.store.verify(credential, &hash, now).await? else {
            return Ok(None);
        };
        let until = record.known_until(now);
        let identity = Arc::new(holder(record));
        self.cache.remember(stamp, hash, &identity, until);
        Ok(Some(identity))
    }

    /// Whether `credential` is a token of an issuer that was not seen before: to check it
    /// takes a signature, and perhaps the issuer.
    pub(crate) fn is_new_token(&self, credential: &str, now: DateTime<Utc>) -> bool {
        let oidc = self.oidc.as_ref().filter(|_| Oidc::is_token(credential));
        oidc.is_some_and(|oidc| !oidc.has_accepted(credential, now))
    }

    /// Who presents the session cookie `value`; nobody if the session has ended or its key
    /// was revoked.
    pub(crate) async fn resume(
        &self,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match self.sessions.check(&*self.store, value, now).await? {
            Some(subject) => self.still(&subject, now).await,
            None => Ok(None),
        }
    }

    /// The caller as it is now; nobody if its key was revoked in the meantime, and for those who
    /// have to present something each time.
    async fn still(
        &self,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match subject {
            Subject::Admin => Ok(Some(Arc::clone(&self.admin))),
            Subject::Key(id) => {
                let record = self.store.active(id, now).await?;
                Ok(record.map(holder).map(Arc::new))
            }
            Subject::Token | Subject::Open => Ok(None),
        }
    }

    /// Ends the session of a cookie: no server on the same store takes it any more. Answers
    /// whose it was, if it was valid until now.
    pub(crate) async fn end_session(
        &self,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match self.sessions.end(&*self.store, value, now).await? {
            Some(subject) => self.still(&subject, now).await,
            None => Ok(None),
        }
    }

    /// A code of 256 random bits that logs a browser in as a caller, once and soon; none for
    /// callers who have no sessions.
    pub(crate) async fn login_code(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<Zeroizing<String>>, KeyError> {
        self.login_code_for(&identity.subject, now).await
    }

    /// The same for the administrator.
    pub(crate) async fn admin_login_code(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Option<Zeroizing<String>>, KeyError> {
        self.login_code_for(&Subject::Admin, now).await
    }

    async fn login_code_for(
        &self,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Option<Zeroizing<String>>, KeyError> {
        let Some(who) = self.sessions.who(subject) else {
            return Ok(None);
        };
        let code = secret::random_token("")?;
        let hash = secret::hash(&code);
        self.store.keep_login_code(&hash, &who, now).await?;
        Ok(Some(code))
    }

    /// Whom a login code is for; nobody if it was used, its time has passed, or the key was
    /// revoked.
    pub(crate) async fn whose_login_code(
        &self,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        let who = self
            .store
            .whose_login_code(&secret::hash(code), now)
            .await?;
        match who.and_then(|who| self.sessions.subject(&who, now)) {
            Some(subject) => self.still(&subject, now).await,
            None => Ok(None),
        }
    }

    /// Uses a login code up; whether it was good until now.
    pub(crate) async fn redeem_login_code(
        &self,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        self.store.redeem_login_code(&secret::hash(code), now).await
    }

    /// The accounts that a caller may read at `now`; none said means all.
    pub(crate) async fn readable(
        &self,
        caller: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<String>>, KeyError> {
        if caller.granted_only {
            self.store.granted(caller.into(), now).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether a caller may read an account at `now`.
    pub(crate) async fn may_read(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        Ok(self.unlimited_until(caller, account, now).await?.is_some()
            || self.store.may_read(caller.into(), account, now).await?)
    }

    /// Why a caller may no longer read an account that it was granted; nothing if it never was.
    pub(crate) async fn spent(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError> {
        self.store.spent(caller.into(), account, now).await
    }

    /// Until when a caller may read an account as often as it likes; none if it may not.
    async fn unlimited_until(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError> {
        if !caller.granted_only {
            return Ok(Some(NEVER));
        }
        let stamp = self.store.stamp()?;
        let recalled = self.cache.unlimited_until(stamp, caller, account, now);
        if recalled.is_some() {
            return Ok(recalled);
        }
        let until = self.store.free_until(caller.into(), account, now).await?;
        if let Some(until) = until {
            self.cache.remember_unlimited(stamp, caller, account, until);
        }
        Ok(until)
    }

    /// Takes one read of an account from what a caller was granted. Nothing is written, and
    /// no flush waited for, where nothing is counted.
    pub(crate) async fn take_read(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Taken, KeyError> {
        if let Some(until) = self.unlimited_until(caller, account, now).await? {
            let ends = until != NEVER;
            Ok(Taken::Uncounted { ends })
        } else if self.store.take_counted(caller.into(), account, now).await? {
            Ok(Taken::Counted)
        } else {
            Ok(Taken::Nothing)
        }
    }

    /// Whether an account's codes are read with an approval only.
    pub(crate) async fn is_guarded(&self, account: &str) -> Result<bool, KeyError> {
        Ok(self.guarded().await?.contains(account))
    }

    /// All such accounts.
    pub(crate) async fn guarded(&self) -> Result<Arc<BTreeSet<String>>, KeyError> {
        let stamp = self.store.stamp()?;
        if let Some(guarded) = self.cache.guarded(stamp) {
            return Ok(guarded);
        }
        let guarded = Arc::new(self.store.guarded().await?);
        self.cache.remember_guarded(stamp, &guarded);
        Ok(guarded)
    }

    /// Sets whether an account's codes are read with an approval only; whether they were
    /// before.
    pub(crate) async fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError> {
        self.store.guard(account, guarded).await
    }

    /// Whether a caller reads only what was granted to it.
    pub(crate) const fn is_limited(caller: &Identity) -> bool {
        caller.granted_only
    }

    /// Every key there is or was, without what it is proved by.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyRecord>, KeyError> {
        self.store.list().await
    }

    /// Makes a key for the caller `maker`; see [`AccessStore::create`].
    pub(crate) async fn create_key(
        &self,
        maker: &str,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        self.store.create(new, Some(maker), now).await
    }

    /// Renews the key of the caller `name` for the caller `by`, who sees the new one; see
    /// [`AccessStore::rotate`]. Everyone renews their own by presenting it, and those of others
    /// only their creator, or a caller that is the same person: anyone who sees a key can use it as if
    /// it were its caller.
    ///
    /// # Errors
    ///
    /// As [`AccessStore::rotate`], and [`KeyError::OtherPerson`] when the key belongs to another person.
    pub(crate) async fn rotate_key(
        &self,
        by: &str,
        presented: Option<&str>,
        name: &str,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        if by == name {
            let held = presented.map(secret::hash).ok_or(KeyError::NotCurrent)?;
            return self.store.rotate(name, Some(&held), overlap, now).await;
        }
        let keys = self.store.list().await?;
        if !keys.iter().any(|key| key.name == name) {
            return Err(KeyError::Unknown(name.to_owned()));
        }
        let person = self.store.person(name).await?;
        if person == name || person != self.store.person(by).await? {
            return Err(KeyError::OtherPerson(name.to_owned()));
        }
        self.store.rotate(name, None, overlap, now).await
    }

    /// The person behind a caller's credential: the caller who created its key over HTTP, or the
    /// one who created theirs, and so on. Callers with one creator may be one person.
    pub(crate) async fn person(&self, caller: &str) -> Result<Arc<str>, KeyError> {
        let stamp = self.store.stamp()?;
        if let Some(person) = self.cache.person(stamp, caller) {
            return Ok(person);
        }
        let person = self.store.person(caller).await?.into();
        self.cache.remember_person(stamp, caller, &person);
        Ok(person)
    }

    /// Revokes a key; see [`AccessStore::revoke`].
    pub(crate) async fn revoke_key(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<KeyRecord, KeyError> {
        self.store.revoke(name, now).await
    }

    /// Every grant; see [`AccessStore::grants`].
    pub(crate) async fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        self.store.grants().await
    }

    /// Grants an account unless it is granted like this.
    pub(crate) async fn grant_once(&self, grant: &Grant) -> Result<Granted, KeyError> {
        self.store.grant(grant, true).await
    }

    /// Grants an account, in place of what was granted before.
    pub(crate) async fn grant(&self, grant: &Grant) -> Result<Granted, KeyError> {
        self.store.grant(grant, false).await
    }

    /// Takes a grant back; see [`AccessStore::take_back`].
    pub(crate) async fn withdraw(
        &self,
        from: &Grantee,
        account: &str,
    ) -> Result<Option<Grant>, KeyError> {
        self.store.take_back(from, account).await
    }

    /// Begins a session: the cookie's value for a caller; none while access control is off,
    /// and for those who present a token of an issuer: a session would outlive it.
    pub(crate) async fn session(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        self.sessions
            .issue(&*self.store, &identity.subject, now)
            .await
    }
}

/// Someone who is in no group because it may do everything.
fn all_powerful(name: &str, subject: Subject) -> Identity {
    Identity {
        id: name.to_owned(),
        display_name: name.to_owned(),
        roles: Role::Admin.into(),
        groups: Vec::new(),
        subject,
        granted_only: false,
    }
}

fn holder(record: KeyRecord) -> Identity {
    Identity {
        id: record.name.clone(),
        display_name: record.name,
        roles: record.role.into(),
        groups: record.groups,
        subject: Subject::Key(record.id),
        granted_only: record.granted_only,
    }
}
