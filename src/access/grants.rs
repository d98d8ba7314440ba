//! Grants: which accounts callers who read only granted ones may read, until when and
//! how often.

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity::{CallerRef, Group};
use super::key_error::KeyError;
use super::keys::{KeyStore, json_list};
use super::oidc::is_oidc_id;
use crate::audit::{Changes, FieldChange};

/// The longest id of a caller to grant an account to, in bytes.
pub(crate) const MAX_GRANTEE: usize = 64;

/// To whom an account is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Grantee {
    /// The caller with this id.
    Caller(String),
    /// Every caller in this group; they share the reads.
    Group(Group),
}

impl Grantee {
    pub(super) fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Caller(id) => ("caller", id),
            Self::Group(group) => ("group", group.as_str()),
        }
    }
}

impl std::fmt::Display for Grantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(id) => f.write_str(id),
            Self::Group(group) => write!(f, "the group {group}"),
        }
    }
}

/// One account that a caller or a group may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Who may.
    #[serde(flatten)]
    pub to: Grantee,
    /// The account's id.
    pub account: String,
    /// Until when; forever if none.
    pub until: Option<DateTime<Utc>>,
    /// How many codes may be read; as many as wanted if none.
    #[serde(flatten)]
    pub reads: Option<Reads>,
}

/// How many codes a grant gives, and how many of them are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// How many were granted.
    #[serde(rename = "reads")]
    granted: u32,
    /// How many may still be read.
    #[serde(rename = "readsLeft")]
    left: u32,
}

impl Reads {
    /// So many, none of them read yet.
    #[must_use]
    pub const fn new(granted: u32) -> Self {
        Self {
            granted,
            left: granted,
        }
    }

    /// As a store has them.
    pub(super) const fn stored(granted: u32, left: u32) -> Self {
        Self { granted, left }
    }

    /// How many were granted.
    #[must_use]
    pub const fn granted(self) -> u32 {
        self.granted
    }

    /// How many may still be read.
    #[must_use]
    pub const fn left(self) -> u32 {
        self.left
    }
}

impl Grant {
    /// Whether this was granted on the same terms as `other`, however much was read of either.
    pub(super) fn has_the_terms_of(&self, other: &Self) -> bool {
        self.to == other.to
            && self.account == other.account
            && self.until == other.until
            && self.reads.map(Reads::granted) == other.reads.map(Reads::granted)
    }
}

/// What came of granting something once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// It is granted now, in place of what was granted before.
    Now(Option<Grant>),
    /// It was granted like this before.
    Before(Grant),
}

/// Why a grant gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// As many codes were read as it let.
    UsedUp,
    /// Its time has passed.
    Over,
}

/// What a caller was granted when it wanted to read a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing: it may not.
    Nothing,
    /// As many readings as it likes.
    Uncounted {
        /// Whether that is for a time only.
        ends: bool,
    },
    /// One of a number of readings.
    Counted,
}

/// Which grants are a caller's own or its groups', and hold at a moment. The parameters:
/// the caller's id, its groups as a JSON list, and the moment.
const HOLDING: &str = "
    (kind = 'caller' AND grantee = ?1
     OR kind = 'group' AND grantee IN (SELECT value FROM json_each(?2)))
    AND (until IS NULL OR until > ?3) AND (reads_left IS NULL OR reads_left > 0)";

impl KeyStore {
    /// Lets a caller or a group read an account, in place of what was granted before, which
    /// is the answer.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`] for a caller that is neither a key nor one of another issuer,
    /// [`KeyError::NotLimited`] when the key is not limited to granted accounts, or
    /// [`KeyError::Store`].
    pub fn grant(&self, grant: &Grant) -> Result<Option<Grant>, KeyError> {
        match self.put(grant, false)? {
            Granted::Now(before) => Ok(before),
            Granted::Before(same) => Ok(Some(same)),
        }
    }

    /// The same; with `keep`, one that says as much already stays as it is, with what was read
    /// of it.
    pub(super) fn put(&self, grant: &Grant, keep: bool) -> Result<Granted, KeyError> {
        let mut connection = self.lock();
        // Immediate, so that what is replaced is what the answer says.
        let connection = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Grantee::Caller(id) = &grant.to {
            refuse_needless(&connection, id)?;
        }
        let (kind, grantee) = grant.to.columns();
        let before = find(&connection, &grant.to, &grant.account)?;
        if let Some(same) = before
            .as_ref()
            .filter(|it| keep && it.has_the_terms_of(grant))
        {
            return Ok(Granted::Before(same.clone()));
        }
        connection.execute(
            "INSERT INTO grants (kind, grantee, account, until, reads_left, reads_granted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, grantee, account) DO UPDATE
             SET until = excluded.until, reads_left = excluded.reads_left,
                 reads_granted = excluded.reads_granted",
            params![
                kind,
                grantee,
                grant.account,
                grant.until.map(|time| time.timestamp()),
                grant.reads.map(Reads::left),
                grant.reads.map(Reads::granted),
            ],
        )?;
        connection.commit()?;
        self.changed();
        Ok(Granted::Now(before))
    }

    /// Takes a grant back; whether there was one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub fn withdraw(&self, from: &Grantee, account: &str) -> Result<bool, KeyError> {
        Ok(self.take_back(from, account)?.is_some())
    }

    /// Takes a grant back, which is the answer; none if there was none.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(crate) fn take_back(
        &self,
        from: &Grantee,
        account: &str,
    ) -> Result<Option<Grant>, KeyError> {
        let (kind, grantee) = from.columns();
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = find(&transaction, from, account)?;
        transaction.execute(
            "DELETE FROM grants WHERE kind = ?1 AND grantee = ?2 AND account = ?3",
            [kind, grantee, account],
        )?;
        transaction.commit()?;
        drop(connection);
        self.changed();
        Ok(before)
    }

    /// Every grant, used up and past ones too, by grantee and account.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT kind, grantee, account, until, reads_left, reads_granted FROM grants
             ORDER BY kind, grantee COLLATE NOCASE, account",
        )?;
        let rows = statement.query_map([], |row| {
            let kind: String = row.get(0)?;
            let grantee: String = row.get(1)?;
            let until: Option<i64> = row.get(3)?;
            Ok(Grant {
                to: match kind.as_str() {
                    "caller" => Grantee::Caller(grantee),
                    _ => Grantee::Group(grantee.parse().map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(
                            1,
                            rusqlite::types::Type::Text,
                            Box::new(error),
                        )
                    })?),
                },
                account: row.get(2)?,
                until: until.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                reads: reads(row, 4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The accounts that are granted to a caller at `now`.
    pub(super) fn granted<'a>(
        &self,
        caller: impl Into<CallerRef<'a>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, KeyError> {
        let caller = caller.into();
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT DISTINCT account FROM grants WHERE {HOLDING} ORDER BY account"
        ))?;
        let groups = json_list(caller.groups);
        let rows = statement.query_map(params![caller.id, groups, now.timestamp()], |row| {
            row.get(0)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether an account is granted to a caller at `now`.
    pub(super) fn may_read<'a>(
        &self,
        caller: impl Into<CallerRef<'a>>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let caller = caller.into();
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT 1 FROM grants WHERE {HOLDING} AND account = ?4"
        ))?;
        let groups = json_list(caller.groups);
        Ok(statement.exists(params![caller.id, groups, now.timestamp(), account])?)
    }

    /// Why what a caller was granted of an account gives it no more; nothing if it was never
    /// granted any of it.
    pub(super) fn spent<'a>(
        &self,
        caller: impl Into<CallerRef<'a>>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError> {
        let caller = caller.into();
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT max(until IS NULL OR until > ?3) FROM grants
             WHERE (kind = 'caller' AND grantee = ?1
                    OR kind = 'group' AND grantee IN (SELECT value FROM json_each(?2)))
               AND account = ?4",
        )?;
        let groups = json_list(caller.groups);
        let parameters = params![caller.id, groups, now.timestamp(), account];
        let in_time: Option<bool> = statement.query_row(parameters, |row| row.get(0))?;
        Ok(in_time.map(|in_time| match in_time {
            true => Spent::UsedUp,
            false => Spent::Over,
        }))
    }

    /// Until when a caller may read an account as often as it likes; none if it may not.
    pub(super) fn free_until<'a>(
        &self,
        caller: impl Into<CallerRef<'a>>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError> {
        let caller = caller.into();
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT until FROM grants WHERE {HOLDING} AND account = ?4 AND reads_left IS NULL
             ORDER BY until IS NOT NULL, until DESC LIMIT 1"
        ))?;
        let groups = json_list(caller.groups);
        let parameters = params![caller.id, groups, now.timestamp(), account];
        let until: Option<Option<i64>> = statement
            .query_row(parameters, |row| row.get(0))
            .optional()?;
        Ok(until.map(|until| {
            until
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                .unwrap_or(super::NEVER)
        }))
    }

    /// Takes one read from one of a caller's grants that count, first from the caller's own;
    /// whether there was one left.
    pub(super) fn take_counted<'a>(
        &self,
        caller: impl Into<CallerRef<'a>>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let caller = caller.into();
        let connection = self.lock();
        let groups = json_list(caller.groups);
        let parameters = params![caller.id, groups, now.timestamp(), account];
        let mut statement = connection.prepare_cached(&format!(
            "UPDATE grants SET reads_left = reads_left - 1 WHERE id = (
                 SELECT id FROM grants
                 WHERE {HOLDING} AND account = ?4 AND reads_left IS NOT NULL
                 ORDER BY kind LIMIT 1
             )"
        ))?;
        Ok(statement.execute(parameters)? > 0)
    }
}

/// What is granted to someone on an account.
fn find(connection: &Connection, to: &Grantee, account: &str) -> rusqlite::Result<Option<Grant>> {
    let (kind, grantee) = to.columns();
    connection
        .query_row(
            "SELECT until, reads_left, reads_granted FROM grants
             WHERE kind = ?1 AND grantee = ?2 AND account = ?3",
            [kind, grantee, account],
            |row| {
                let until: Option<i64> = row.get(0)?;
                Ok(Grant {
                    to: to.clone(),
                    account: account.to_owned(),
                    until: until.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                    reads: reads(row, 1)?,
                })
            },
        )
        .optional()
}

/// The reads of a grant whose number left is in the column `left`, and that granted in the next.
fn reads(row: &Row<'_>, left: usize) -> rusqlite::Result<Option<Reads>> {
    let (left, granted): (Option<u32>, Option<u32>) = (row.get(left)?, row.get(left + 1)?);
    Ok(granted
        .zip(left)
        .map(|(granted, left)| Reads::stored(granted, left)))
}

/// What became of a grant, for the audit log.
pub(crate) fn grant_change(before: Option<&Grant>, after: Option<&Grant>) -> Vec<FieldChange> {
    let Some(grant) = after.or(before) else {
        return Vec::new();
    };
    let terms = |grant: &Grant| {
        let until = match grant.until {
            Some(at) => format!("until {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            None => "no end".to_owned(),
        };
        match grant.reads {
            Some(reads) => format!("{until}, {} reads", reads.left),
            None => until,
        }
    };
    let (before, after) = (before.map(terms), after.map(terms));
    Changes::default()
        .note(
            &format!("grant to {}", grant.to),
            before.as_deref(),
            after.as_deref(),
        )
        .list()
}

/// Refuses to grant an account to a key that is not there or is not limited to granted accounts.
fn refuse_needless(connection: &Connection, id: &str) -> Result<(), KeyError> {
    if is_oidc_id(id) {
        // Nobody knows who there is at another issuer.
        return Ok(());
    }
    let key = connection
        .query_row(
            "SELECT granted_only, revoked_at IS NOT NULL FROM keys WHERE name = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match key {
        None => Err(KeyError::Unknown(id.to_owned())),
        Some((_, true)) => Err(KeyError::Over(id.to_owned())),
        Some((false, false)) => Err(KeyError::NotLimited(id.to_owned())),
        Some((true, false)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::access::identity::{Identity, Subject};
    use crate::access::{NewKey, Role};

    fn store() -> (tempfile::TempDir, KeyStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        (folder, store)
    }

    fn caller(id: &str, groups: &[&str]) -> Identity {
        Identity {
            id: id.to_owned(),
            display_name: id.to_owned(),
            roles: Role::Reader.into(),
            groups: groups.iter().map(|name| name.parse().unwrap()).collect(),
            subject: Subject::Open,
            granted_only: true,
        }
    }

    fn grant(
        to: Grantee,
        account: &str,
        until: Option<DateTime<Utc>>,
        reads: Option<u32>,
    ) -> Grant {
        Grant {
            to,
            account: account.to_owned(),
            until,
            reads: reads.map(Reads::new),
        }
    }

    /// As a code is read: what costs nothing is used first.
    fn take_read(store: &KeyStore, reader: &Identity, account: &str, at: DateTime<Utc>) -> bool {
        let free = store.free_until(reader, account, at).unwrap().is_some();
        free || store.take_counted(reader, account, at).unwrap()
    }

    #[test]
    fn a_grant_ends_by_time_or_by_use() {
        let (_folder, store) = store();
        let now = Utc::now();
        let new = NewKey {
            granted_only: true,
            ..NewKey::new("bot", Role::Reader)
        };
        store.create(new, now).unwrap();
        let bot = || Grantee::Caller("bot".to_owned());
        let end = now + TimeDelta::hours(1);
        let before = store.grant(&grant(bot(), "always", None, None)).unwrap();
        assert_eq!(before, None);
        store.grant(&grant(bot(), "twice", None, Some(2))).unwrap();
        store
            .grant(&grant(bot(), "briefly", Some(end), None))
            .unwrap();

        let reader = caller("bot", &[]);
        let take = |account: &str, at| {
            let may = store.may_read(&reader, account, at).unwrap();
            assert_eq!(take_read(&store, &reader, account, at), may);
            may
        };
        assert!(take("always", now) && take("always", end));
        assert!(take("twice", now) && take("twice", now) && !take("twice", now));
        assert!(take("briefly", now) && !take("briefly", end));
        assert!(!take("never", now));
        assert_eq!(store.granted(&reader, now).unwrap(), ["always", "briefly"]);
        assert_eq!(store.granted(&reader, end).unwrap(), ["always"]);
        let gone = store.take_back(&bot(), "always").unwrap();
        assert_eq!(gone, Some(grant(bot(), "always", None, None)));
        assert!(!store.withdraw(&bot(), "always").unwrap());
        assert!(!take("always", now));
    }

    #[test]
    fn a_group_shares_what_is_granted_to_it() {
        let (_folder, store) = store();
        let now = Utc::now();
        let ops = || Grantee::Group("ops".parse().unwrap());
        let own = || Grantee::Caller("oidc:1".to_owned());
        store.grant(&grant(ops(), "both", None, Some(2))).unwrap();
        store.grant(&grant(own(), "both", None, Some(1))).unwrap();
        let take = |reader: &Identity| take_read(&store, reader, "both", now);
        let (one, two) = (caller("oidc:1", &["x", "ops"]), caller("oidc:2", &["ops"]));
        // A caller whose id is a group's name is not in that group.
        let neither = [caller("ops", &[]), caller("oidc:3", &["oidc:1"])];
        for reader in &neither {
            assert!(!store.may_read(reader, "both", now).unwrap() && !take(reader));
        }
        // Its own read first, then the group's two.
        assert!(take(&one) && take(&two) && take(&one));
        assert!(!take(&one) && !take(&two));
        assert_eq!(store.granted(&one, now).unwrap(), [""; 0]);

        store.grant(&grant(ops(), "both", None, None)).unwrap();
        store.grant(&grant(own(), "both", None, Some(1))).unwrap();
        assert!(take(&one) && take(&one));
        let left: Vec<_> = store
            .grants()
            .unwrap()
            .iter()
            .map(|g| g.reads.map(Reads::left))
            .collect();
        assert_eq!(left, [Some(1), None], "what costs nothing goes first");
        assert_eq!(store.granted(&one, now).unwrap(), ["both"]);
    }

    #[test]
    fn a_grant_without_effect_is_refused() {
        let (_folder, store) = store();
        store
            .create(NewKey::new("all", Role::Reader), Utc::now())
            .unwrap();
        let to = |name: &str| grant(Grantee::Caller(name.to_owned()), "a", None, None);
        assert!(matches!(
            store.grant(&to("all")),
            Err(KeyError::NotLimited(_))
        ));
        assert!(matches!(
            store.grant(&to("nobody")),
            Err(KeyError::Unknown(_))
        ));
        let new = NewKey {
            granted_only: true,
            ..NewKey::new("e", Role::Enroller)
        };
        assert!(matches!(
            store.create(new, Utc::now()),
            Err(KeyError::ReadersOnly)
        ));
    }

    #[test]
    fn grants_of_the_release_before_continue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.sqlite3");
        let old = Connection::open(&path).unwrap();
        for step in &crate::access::schema::STEPS[..2] {
            old.execute_batch(step).unwrap();
        }
        old.pragma_update(None, "user_version", 2).unwrap();
        old.execute_batch(
            "INSERT INTO keys (id, name, role, hash, created_at, granted_only)
             VALUES ('1', 'bot', 'reader', x'00', '2026-01-02T03:04:05+00:00', 1);
             INSERT INTO grants VALUES ('1', 'a', 1, 2);",
        )
        .unwrap();
        drop(old);
        let store = KeyStore::open(&path).unwrap();
        let until = DateTime::from_timestamp(1, 0);
        assert_eq!(
            store.grants().unwrap(),
            [grant(
                Grantee::Caller("bot".to_owned()),
                "a",
                until,
                Some(2)
            )]
        );
    }
}
