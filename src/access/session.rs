//! Browser sessions: a signed cookie that names the caller, ends on its own, and is
//! valid only while the server keeps its session.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rusqlite::TransactionBehavior;
use zeroize::Zeroizing;

use super::admin::AdminToken;
use super::identity::Subject;
use super::key_error::KeyError;
use super::keys::KeyStore;
use super::secret;
use super::server_keys::ServerKeys;
use super::store::AccessStore;

/// The cookie's name where the page comes without TLS.
pub(crate) const COOKIE: &str = "countersign_session";
/// Its name where the page comes by TLS: browsers take it from this host only.
pub(crate) const HOST_COOKIE: &str = "__Host-countersign_session";
/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::hours(12);

/// How many sessions one caller has at most; one more ends the oldest.
pub(super) const MOST_SESSIONS: u32 = 64;

const LABEL: &[u8] = b"countersign session v2";

/// What a cookie that this server signed says.
pub(super) struct Named {
    pub(super) subject: Subject,
    id: [u8; 32],
}

/// Signs and checks session cookies.
pub(super) struct Sessions {
    keys: ServerKeys,
    /// Ties the administrator's sessions to the present token: another token ends them.
    admin: Arc<AdminToken>,
}

impl Sessions {
    /// Cookies are signed with a key derived from the server's that is in use; `admin` says which
    /// token is the administrator's.
    pub(super) const fn new(keys: ServerKeys, admin: Arc<AdminToken>) -> Self {
        Self { keys, admin }
    }

    /// The key that signs now.
    fn key(&self) -> Zeroizing<[u8; 32]> {
        self.keys.ring().current.derive(LABEL)
    }

    /// All keys whose signatures are valid at `now`.
    fn valid_keys(&self, now: DateTime<Utc>) -> Vec<Zeroizing<[u8; 32]>> {
        let ring = self.keys.ring();
        ring.valid(now).map(|key| key.derive(LABEL)).collect()
    }

    /// What sessions that were opened with the present token have in them, with this key.
    fn admin_mark(&self, key: &[u8; 32]) -> [u8; 8] {
        let mark = secret::mac(key, &[b"admin", &self.admin.hash()]);
        let mut short = [0; 8];
        short.copy_from_slice(&mark[..8]);
        short
    }

    /// A subject as the store keeps it; none for callers who have no sessions.
    pub(super) fn who(&self, subject: &Subject) -> Option<String> {
        let mark = |key| BASE64URL_NOPAD.encode(&self.admin_mark(key));
        match subject {
            Subject::Admin => Some(format!("a.{}", mark(&self.key()))),
            Subject::Key(id) => Some(format!("k.{id}")),
            Subject::Token | Subject::Open => None,
        }
    }

    /// The subject that the store keeps as `who`; none if that was for another token of the
    /// administrator, or with a server key that is not valid any more at `now`.
    pub(super) fn subject(&self, who: &str, now: DateTime<Utc>) -> Option<Subject> {
        match who.split_once('.')? {
            ("a", mark) => {
                let mark = BASE64URL_NOPAD.decode(mark.as_bytes()).ok()?;
                let is_of = |key: &Zeroizing<_>| secret::same(&mark, &self.admin_mark(key));
                let keys = self.valid_keys(now);
                keys.iter().any(is_of).then_some(Subject::Admin)
            }
            ("k", id) => Some(Subject::Key(id.to_owned())),
            _ => None,
        }
    }

    /// Begins a session for a caller who logged in at `now`: the cookie's value, or none for
    /// callers who have no sessions.
    pub(super) async fn issue(
        &self,
        store: &dyn AccessStore,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        let Some(who) = self.who(subject) else {
            return Ok(None);
        };
        let id = HEXLOWER.encode(secret::random_bytes::<16>()?.as_slice());
        let until = (now + LIFETIME).timestamp();
        let hash = secret::hash(&id);
        store
            .begin_session(&hash, &who, until, now.timestamp())
            .await?;
        let body = format!("{who}.{id}.{until}");
        let mac = secret::mac(&self.key(), &[body.as_bytes()]);
        Ok(Some(format!("{body}.{}", BASE64URL_NOPAD.encode(&mac))))
    }

    /// Who the cookie is for, unless it is forged, over, ended or made for another token.
    pub(super) async fn check(
        &self,
        store: &dyn AccessStore,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Subject>, KeyError> {
        let Some(named) = self.read(value, now) else {
            return Ok(None);
        };
        let is_kept = store.has_session(&named.id, now.timestamp()).await?;
        Ok(is_kept.then_some(named.subject))
    }

    /// Ends the session that the cookie is for: no server on the same store takes it any
    /// more. Answers whom it was for, if it was still valid.
    pub(super) async fn end(
        &self,
        store: &dyn AccessStore,
        value: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Subject>, KeyError> {
        let Some(named) = self.read(value, now) else {
            return Ok(None);
        };
        let ended = store.end_session(&named.id).await?;
        Ok(ended.then_some(named.subject))
    }

    fn read(&self, value: &str, now: DateTime<Utc>) -> Option<Named> {
        let (body, mac) = value.rsplit_once('.')?;
        let mac = BASE64URL_NOPAD.decode(mac.as_bytes()).ok()?;
        let signs = |key: &Zeroizing<_>| secret::same(&mac, &secret::mac(key, &[body.as_bytes()]));
        if !self.valid_keys(now).iter().any(signs) {
            return None;
        }
        let (rest, expiry) = body.rsplit_once('.')?;
        let (who, id) = rest.rsplit_once('.')?;
        if expiry.parse::<i64>().ok()? <= now.timestamp() {
            return None;
        }
        Some(Named {
            subject: self.subject(who, now)?,
            id: secret::hash(id),
        })
    }
}

impl KeyStore {
    pub(super) fn begin_session(
        &self,
        id: &[u8; 32],
        who: &str,
        until: i64,
        now: i64,
    ) -> Result<(), KeyError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM sessions WHERE until <= ?1", [now])?;
        transaction.execute(
            "DELETE FROM sessions WHERE id IN (
                 SELECT id FROM sessions WHERE subject = ?1
                 ORDER BY until DESC LIMIT -1 OFFSET ?2
             )",
            (who, MOST_SESSIONS - 1),
        )?;
        transaction.execute(
            "INSERT INTO sessions (id, subject, until) VALUES (?1, ?2, ?3)",
            (id, who, until),
        )?;
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn has_session(&self, id: &[u8; 32], now: i64) -> Result<bool, KeyError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND until > ?2")?;
        Ok(statement.exists((id, now))?)
    }

    pub(super) fn end_session(&self, id: &[u8; 32]) -> Result<bool, KeyError> {
        let ended = self
            .lock()
            .execute("DELETE FROM sessions WHERE id = ?1", [id])?;
        Ok(ended > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::FolderAccess;

    fn sessions(server: u8, admin: u8) -> Sessions {
        let admin = Arc::new(AdminToken::of([admin; 32]));
        Sessions::new((&[server; 32]).into(), admin)
    }

    fn store() -> (tempfile::TempDir, FolderAccess) {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        (folder, FolderAccess::new(store))
    }

    async fn begin(sessions: &Sessions, store: &FolderAccess, now: DateTime<Utc>) -> String {
        let cookie = sessions.issue(store, &Subject::Admin, now).await;
        cookie.unwrap().unwrap()
    }

    async fn check(
        sessions: &Sessions,
        store: &FolderAccess,
        text: &str,
        now: DateTime<Utc>,
    ) -> Option<Subject> {
        sessions.check(store, text, now).await.unwrap()
    }

    #[tokio::test]
    async fn a_session_ends_and_cannot_be_changed() {
        let (_folder, store) = store();
        let sessions = self::sessions(1, 2);
        let now = Utc::now();
        let key = Subject::Key("0123456789ab".to_owned());
        let cookie = sessions.issue(&store, &key, now).await.unwrap().unwrap();
        let resumed = check(&sessions, &store, &cookie, now).await;
        assert_eq!(resumed, Some(key));
        let late = check(&sessions, &store, &cookie, now + LIFETIME).await;
        assert_eq!(late, None);

        let forged = cookie.replacen("0123456789ab", "aaaaaaaaaaaa", 1);
        let elsewhere = self::sessions(3, 2);
        assert_eq!(check(&elsewhere, &store, &cookie, now).await, None);
        for text in [
            forged.as_str(),
            "",
            ".",
            "a.b.c",
            "k.0123456789ab.00.99999999999.",
        ] {
            let found = check(&sessions, &store, text, now).await;
            assert_eq!(found, None, "{text}");
        }
    }

    #[tokio::test]
    async fn another_admin_token_ends_the_admins_sessions() {
        let (_folder, store) = store();
        let now = Utc::now();
        let (one, other) = (sessions(1, 2), sessions(1, 9));
        let cookie = begin(&one, &store, now).await;
        assert!(check(&one, &store, &cookie, now).await.is_some());
        assert!(check(&other, &store, &cookie, now).await.is_none());
    }

    #[tokio::test]
    async fn a_session_that_was_ended_stays_ended_and_the_others_continue() {
        let (folder, store) = store();
        let sessions = self::sessions(1, 2);
        let now = Utc::now();
        let first = begin(&sessions, &store, now).await;
        let second = begin(&sessions, &store, now).await;
        for whose in [Some(Subject::Admin), None] {
            assert_eq!(sessions.end(&store, &first, now).await.unwrap(), whose);
        }
        drop(store);
        let reopened = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        let reopened = FolderAccess::new(reopened);
        assert_eq!(check(&sessions, &reopened, &first, now).await, None);
        assert!(check(&sessions, &reopened, &second, now).await.is_some());
    }

    #[tokio::test]
    async fn one_session_too_many_ends_the_callers_oldest() {
        let (_folder, store) = store();
        let sessions = self::sessions(1, 2);
        let now = Utc::now();
        let other = Subject::Key("0123456789ab".to_owned());
        let others = sessions.issue(&store, &other, now).await.unwrap().unwrap();
        let mut cookies = Vec::new();
        for n in 0..=MOST_SESSIONS {
            let then = now + Duration::seconds(n.into());
            cookies.push(begin(&sessions, &store, then).await);
        }
        let mut kept = Vec::new();
        for cookie in cookies.iter().chain([&others]) {
            kept.push(check(&sessions, &store, cookie, now).await.is_some());
        }
        assert!(!kept[0]);
        assert!(kept[1..].iter().all(|is_kept| *is_kept));
    }
}
