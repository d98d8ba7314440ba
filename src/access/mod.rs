//! Who may do what: the administrator's token, API keys, browser sessions, roles.

mod admin;
mod grants;
mod guarded;
mod hands;
mod identity;
mod key_error;
mod keys;
mod login;
mod oidc;
mod postgres;
mod recall;
mod restored;
mod role;
mod schema;
pub mod secret;
mod session;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;
use zeroize::Zeroizing;

pub use admin::AdminToken;
pub use grants::{Grant, Granted, Grantee, Reads, Spent};
pub(crate) use grants::{MAX_GRANTEE, Taken, grant_change};
pub use identity::{Caller, Group, Identity, NotAGroup};
pub use key_error::KeyError;
pub use keys::{KeyRecord, KeyStore, NewKey};
pub(crate) use login::{CODE_LIFETIME, LoginCodes};
pub use oidc::{IssuerError, MappedRole, OidcSettings, TokenProblem};
pub(crate) use oidc::{Oidc, OidcError};
pub use postgres::PostgresAccess;
pub use role::{Role, Roles, UnknownRole};
pub(crate) use session::{COOKIE, HOST_COOKIE, LIFETIME};
pub use store::{AccessStore, SecretHash};

use identity::Subject;
use recall::Recall;
use session::Sessions;

/// The administrator's name as a caller.
pub const ADMIN_NAME: &str = "admin";
/// The name of every caller while access control is off.
pub const ANONYMOUS_NAME: &str = "anonymous";

/// The end of what does not end.
const NEVER: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

/// Recognises callers.
pub struct Access {
    admin_token: Arc<AdminToken>,
    admin: Arc<Identity>,
    /// Who everyone is while access control is off.
    anonymous: Option<Arc<Identity>>,
    keys: KeyStore,
    recall: Recall,
    sessions: Sessions,
    login_codes: Arc<LoginCodes>,
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
    /// Recognises the administrator by `admin_token`, others by their keys, and
    /// browsers by cookies signed with a key derived from `server_key`.
    #[must_use]
    pub fn new(admin_token: AdminToken, keys: KeyStore, server_key: &[u8; 32]) -> Self {
        let admin_token = Arc::new(admin_token);
        Self {
            admin_token: Arc::clone(&admin_token),
            admin: Arc::new(all_powerful(ADMIN_NAME, Subject::Admin)),
            anonymous: None,
            keys,
            recall: Recall::default(),
            sessions: Sessions::new(server_key, admin_token),
            login_codes: Arc::default(),
            oidc: None,
        }
    }

    /// Lets everyone do everything. Only for an address that no other machine can reach.
    #[must_use]
    pub fn open_to_all(mut self) -> Self {
        self.anonymous = Some(Arc::new(all_powerful(ANONYMOUS_NAME, Subject::Open)));
        self
    }

    /// Recognises callers by the tokens of an issuer too.
    #[must_use]
    pub(crate) fn with_oidc(mut self, oidc: Option<Arc<Oidc>>) -> Self {
        self.oidc = oidc;
        self
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
        let stamp = self.keys.stamp();
        if let Some(identity) = self.recall.caller(stamp, &hash, now) {
            return Ok(Some(identity));
        }
        let Some(record) = self.keys.verify(credential, &hash, now)? else {
            return Ok(None);
        };
        let until = record.known_until(now);
        let identity = Arc::new(holder(record));
        self.recall.remember(stamp, hash, &identity, until);
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
    pub(crate) fn resume(
        &self,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match self.sessions.check(&self.keys, value, now)? {
            Some(subject) => self.still(&subject, now),
            None => Ok(None),
        }
    }

    /// The caller as it is now; nobody if its key was revoked in the meantime, and for those who
    /// have to present something each time.
    fn still(
        &self,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match subject {
            Subject::Admin => Ok(Some(Arc::clone(&self.admin))),
            Subject::Key(id) => {
                let record = self.keys.active(id, now)?;
                Ok(record.map(holder).map(Arc::new))
            }
            Subject::Token | Subject::Open => Ok(None),
        }
    }

    /// Ends the session of a cookie: no server on the same folder takes it any more. Answers
    /// whose it was, if it was worth something until now.
    pub(crate) fn end_session(
        &self,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match self.sessions.end(&self.keys, value, now)? {
            Some(subject) => self.still(&subject, now),
            None => Ok(None),
        }
    }

    /// A code that logs a browser in as a caller, once and soon; none for callers who have
    /// no sessions.
    pub(crate) fn login_code(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<Zeroizing<String>>, secret::RandomUnavailable> {
        match identity.subject {
            Subject::Token | Subject::Open => Ok(None),
            Subject::Admin | Subject::Key(_) => {
                self.login_codes.issue(&identity.subject, now).map(Some)
            }
        }
    }

    /// What makes login codes for the administrator.
    pub(crate) fn login_codes(&self) -> Arc<LoginCodes> {
        Arc::clone(&self.login_codes)
    }

    /// Whom a login code is for; nobody if it was used, its time is over, or the key was
    /// revoked.
    pub(crate) fn whose_login_code(
        &self,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Identity>>, KeyError> {
        match self.login_codes.whose(code, now) {
            Some(subject) => self.still(&subject, now),
            None => Ok(None),
        }
    }

    /// Uses a login code up; whether it was good until now.
    pub(crate) fn redeem_login_code(&self, code: &str, now: DateTime<Utc>) -> bool {
        self.login_codes.redeem(code, now)
    }

    /// The accounts that a caller may read at `now`; none said means all.
    pub(crate) fn readable(
        &self,
        caller: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<String>>, KeyError> {
        if caller.granted_only {
            self.keys.granted(caller, now).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether a caller may read an account at `now`.
    pub(crate) fn may_read(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        Ok(self.reads_freely(caller, account, now)?.is_some()
            || self.keys.may_read(caller, account, now)?)
    }

    /// Why a caller may no longer read an account that it was granted; nothing if it never was.
    pub(crate) fn spent(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError> {
        self.keys.spent(caller, account, now)
    }

    /// Until when a caller may read an account as often as it likes; none if it may not.
    fn reads_freely(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError> {
        if !caller.granted_only {
            return Ok(Some(NEVER));
        }
        let stamp = self.keys.stamp();
        let recalled = self.recall.reads_freely(stamp, caller, account, now);
        if recalled.is_some() {
            return Ok(recalled);
        }
        let until = self.keys.free_until(caller, account, now)?;
        if let Some(until) = until {
            self.recall.let_read(stamp, caller, account, until);
        }
        Ok(until)
    }

    /// Takes one read of an account from what a caller was granted. Nothing is written, and
    /// no flush waited for, where nothing is counted.
    pub(crate) fn take_read(
        &self,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Taken, KeyError> {
        if let Some(until) = self.reads_freely(caller, account, now)? {
            let ends = until != NEVER;
            Ok(Taken::Uncounted { ends })
        } else if self.keys.take_counted(caller, account, now)? {
            Ok(Taken::Counted)
        } else {
            Ok(Taken::Nothing)
        }
    }

    /// Whether an account's codes are read with an approval only.
    pub(crate) fn is_guarded(&self, account: &str) -> Result<bool, KeyError> {
        Ok(self.guarded()?.contains(account))
    }

    /// All such accounts.
    pub(crate) fn guarded(&self) -> Result<Arc<BTreeSet<String>>, KeyError> {
        let stamp = self.keys.stamp();
        self.recall.guarded(stamp, || self.keys.guarded())
    }

    /// Sets whether an account's codes are read with an approval only; whether they were
    /// before.
    pub(crate) fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError> {
        self.keys.guard(account, guarded)
    }

    /// Whether a caller reads only what was granted to it.
    pub(crate) const fn is_limited(caller: &Identity) -> bool {
        caller.granted_only
    }

    /// Every key there is or was, without what it is proved by.
    pub(crate) fn keys(&self) -> Result<Vec<KeyRecord>, KeyError> {
        self.keys.list()
    }

    /// Makes a key for the caller `maker`; see [`KeyStore::create`].
    pub(crate) fn create_key(
        &self,
        maker: &str,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        self.keys.create_from(maker, new, now)
    }

    /// Renews the key of the caller `name` for the caller `by`, who sees the new one; see
    /// [`KeyStore::rotate`]. Everyone renews their own by presenting it, and those of others
    /// only their creator, or someone of the creator's hand: anyone who sees a key can use it as if
    /// it were its caller.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::rotate`], and [`KeyError::OtherHand`] when the key is of another hand.
    pub(crate) fn rotate_key(
        &self,
        by: &str,
        presented: Option<&str>,
        name: &str,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        if by == name {
            let held = presented.map(secret::hash).ok_or(KeyError::NotCurrent)?;
            return self.keys.rotate(name, Some(&held), overlap, now);
        }
        if !self.keys.list()?.iter().any(|key| key.name == name) {
            return Err(KeyError::Unknown(name.to_owned()));
        }
        let hand = self.keys.hand(name)?;
        if hand == name || hand != self.keys.hand(by)? {
            return Err(KeyError::OtherHand(name.to_owned()));
        }
        self.keys.rotate(name, None, overlap, now)
    }

    /// From whose hand a caller's credential comes: the one who made its key over HTTP, or the
    /// one who made theirs, and so on. Callers of one hand may be one person.
    pub(crate) fn hand(&self, caller: &str) -> Result<Arc<str>, KeyError> {
        let stamp = self.keys.stamp();
        if let Some(hand) = self.recall.hand(stamp, caller) {
            return Ok(hand);
        }
        let hand = self.keys.hand(caller)?.into();
        self.recall.is_from(stamp, caller, &hand);
        Ok(hand)
    }

    /// The same, if it is known without asking the database.
    pub(crate) fn known_hand(&self, caller: &str) -> Option<Arc<str>> {
        self.recall.hand(self.keys.stamp(), caller)
    }

    /// Revokes a key; see [`KeyStore::revoke`].
    pub(crate) fn revoke_key(&self, name: &str, now: DateTime<Utc>) -> Result<KeyRecord, KeyError> {
        self.keys.revoke(name, now)
    }

    /// Every grant; see [`KeyStore::grants`].
    pub(crate) fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        self.keys.grants()
    }

    /// Grants an account unless it is granted on these terms; see [`KeyStore::grant_once`].
    pub(crate) fn grant_once(&self, grant: &Grant) -> Result<Granted, KeyError> {
        self.keys.grant_once(grant)
    }

    /// Grants an account; see [`KeyStore::grant`].
    pub(crate) fn grant(&self, grant: &Grant) -> Result<Option<Grant>, KeyError> {
        self.keys.grant(grant)
    }

    /// Takes a grant back; see [`KeyStore::withdraw`].
    pub(crate) fn withdraw(
        &self,
        from: &Grantee,
        account: &str,
    ) -> Result<Option<Grant>, KeyError> {
        self.keys.take_back(from, account)
    }

    /// Begins a session: the cookie's value for a caller; none while access control is off,
    /// and for those who present a token of an issuer: a session would outlive it.
    pub(crate) fn session(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        self.sessions.issue(&self.keys, &identity.subject, now)
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
