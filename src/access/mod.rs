//! Who may do what: the administrator's token, API keys, browser sessions, roles.

mod grants;
mod keys;
mod role;
pub mod secret;
mod session;

use chrono::{DateTime, Utc};

pub use grants::Grant;
pub use keys::{KeyError, KeyLimits, KeyRecord, KeyStore};
pub use role::{Identity, Role, UnknownRole};
pub(crate) use session::{COOKIE, LIFETIME};

use role::Subject;
use session::Sessions;

/// The administrator's name as a caller.
pub const ADMIN_NAME: &str = "admin";
/// The name of every caller while access control is off.
pub const ANONYMOUS_NAME: &str = "anonymous";

/// Recognises callers.
pub struct Access {
    open: bool,
    admin_hash: [u8; 32],
    keys: KeyStore,
    sessions: Sessions,
}

impl Access {
    /// Recognises the administrator by `admin_token`, others by their keys, and
    /// browsers by cookies signed with a key derived from `server_key`.
    #[must_use]
    pub fn new(admin_token: &str, keys: KeyStore, server_key: &[u8; 32]) -> Self {
        let admin_hash = secret::hash(admin_token);
        Self {
            open: false,
            admin_hash,
            keys,
            sessions: Sessions::new(server_key, &admin_hash),
        }
    }

    /// Lets everybody do everything. Only for an address that no other machine can reach.
    #[must_use]
    pub fn open_to_all(mut self) -> Self {
        self.open = true;
        self
    }

    /// Who everybody is while access control is off.
    pub(crate) fn anonymous(&self) -> Option<Identity> {
        self.open.then(|| Identity {
            name: ANONYMOUS_NAME.to_owned(),
            role: Role::Admin,
            subject: Subject::Open,
            limited_to_grants_of: None,
        })
    }

    /// Who presents `credential`, a token or key; nobody if it is unknown or revoked.
    pub(crate) fn authenticate(
        &self,
        credential: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Identity>, KeyError> {
        if secret::same(&secret::hash(credential), &self.admin_hash) {
            return Ok(Some(admin()));
        }
        Ok(self.keys.verify(credential, now)?.map(holder))
    }

    /// Who presents the session cookie `value`; nobody if it ended or its key was revoked.
    pub(crate) fn resume(
        &self,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Identity>, KeyError> {
        match self.sessions.check(value, now) {
            Some(Subject::Admin) => Ok(Some(admin())),
            Some(Subject::Key(id)) => Ok(self.keys.active(&id, now)?.map(holder)),
            Some(Subject::Open) | None => Ok(None),
        }
    }

    /// The accounts that a caller may read at `now`; none said means all.
    pub(crate) fn readable(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<String>>, KeyError> {
        match &identity.limited_to_grants_of {
            None => Ok(None),
            Some(key_id) => self.keys.granted(key_id, now).map(Some),
        }
    }

    /// Whether a caller may read an account at `now`.
    pub(crate) fn may_read(
        &self,
        identity: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        match &identity.limited_to_grants_of {
            None => Ok(true),
            Some(key_id) => self.keys.may_read(key_id, account, now),
        }
    }

    /// Takes one read of an account from what a caller was granted; whether it may.
    pub(crate) fn take_read(
        &self,
        identity: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        match &identity.limited_to_grants_of {
            None => Ok(true),
            Some(key_id) => self.keys.take_read(key_id, account, now),
        }
    }

    /// Whether a caller reads only what was granted to it.
    pub(crate) fn is_limited(identity: &Identity) -> bool {
        identity.limited_to_grants_of.is_some()
    }

    /// Every key there is or was, without what it is proved by.
    pub(crate) fn keys(&self) -> Result<Vec<KeyRecord>, KeyError> {
        self.keys.list()
    }

    /// The session cookie's value for a caller; none while access control is off.
    pub(crate) fn session(&self, identity: &Identity, now: DateTime<Utc>) -> Option<String> {
        self.sessions.issue(&identity.subject, now)
    }
}

fn admin() -> Identity {
    Identity {
        name: ADMIN_NAME.to_owned(),
        role: Role::Admin,
        subject: Subject::Admin,
        limited_to_grants_of: None,
    }
}

fn holder(record: KeyRecord) -> Identity {
    Identity {
        name: record.name,
        role: record.role,
        limited_to_grants_of: record.granted_only.then(|| record.id.clone()),
        subject: Subject::Key(record.id),
    }
}
