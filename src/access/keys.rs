//! API keys: names, roles and hashes in a small database that commands and a
//! running server share.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use countersign_activities::database_stamp::{DatabaseStamp, NOTICED_WITHIN};
use data_encoding::HEXLOWER;
use durabletask_sqlite::Database;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::identity::Group;
use super::key_error::{KeyError, MAX_GROUPS};
use super::role::Role;
use super::{schema, secret};
use crate::audit::{Changes, FieldChange, listed};
use crate::private_file;

/// How many statements stay prepared: all that there are.
const STATEMENTS: usize = 64;
/// The longest name of a key, in characters.
const MAX_NAME: usize = 64;
/// Names that callers without a key have.
const RESERVED: [&str; 5] = [
    super::ADMIN_NAME,
    super::ANONYMOUS_NAME,
    // No key may look like these in the audit log.
    "local",
    "system",
    "worker",
];
/// The precision of a key's last use: recording each one would cost a flush
/// per request.
const USE_NOTED: TimeDelta = TimeDelta::minutes(1);

const COLUMNS: &str = "id, name, role, created_at, revoked_at, expires_at, last_used_at, \
    granted_only, member_of, former_until";

/// A stored key: everything except the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// The public part of the key, after `cs_`; empty where the API lists keys, which leaves it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The caller's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Whether it reads only granted accounts.
    pub granted_only: bool,
    /// The groups that it is in, by name.
    pub groups: Vec<Group>,
    /// Until when the key that a rotation replaced is or was valid.
    pub former_key_until: Option<DateTime<Utc>>,
}

/// A key to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The caller's name: 1 to 64 of `A-Z a-z 0-9 . _ @ -`, never used before.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it expires; never if none.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it reads only granted accounts; for readers only.
    pub granted_only: bool,
    /// The groups that it is in: at most 32.
    pub groups: Vec<Group>,
}

impl NewKey {
    /// A key that is valid until it is revoked, in no group, for everything that its role may do.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            expires_at: None,
            granted_only: false,
            groups: Vec::new(),
        }
    }
}

impl NewKey {
    /// Its record and the key itself.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadName`], [`KeyError::ReadersOnly`], [`KeyError::TooManyGroups`] or
    /// [`KeyError::Random`].
    pub(super) fn with_key(
        self,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        if self.granted_only && self.role != Role::Reader {
            return Err(KeyError::ReadersOnly);
        }
        if !is_name(&self.name) {
            return Err(KeyError::BadName);
        }
        let mut groups = self.groups;
        groups.sort();
        groups.dedup();
        if groups.len() > MAX_GROUPS {
            return Err(KeyError::TooManyGroups);
        }
        let record = KeyRecord {
            id: HEXLOWER.encode(secret::random_bytes::<6>()?.as_slice()),
            name: self.name,
            role: self.role,
            created_at: now.trunc_subsecs(0),
            revoked_at: None,
            expires_at: self.expires_at.map(|time| time.trunc_subsecs(0)),
            last_used_at: None,
            granted_only: self.granted_only,
            groups,
            former_key_until: None,
        };
        let key = key_text(&record.id, &secret::random_hex()?);
        Ok((record, key))
    }
}

/// A key whose public part is `id` and whose secret part `random`.
pub(super) fn key_text(id: &str, random: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("cs_{id}_{random}"))
}

/// The keys of one data folder.
pub struct KeyStore {
    connection: Mutex<Database>,
    stamp: DatabaseStamp,
}

impl KeyStore {
    /// Opens the keys in the database file at `path`, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`], and [`KeyError::Newer`] when a later release wrote it.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        private_file::ensure(path).map_err(KeyError::File)?;
        let mut connection = Database::open(path)?;
        // Statements stay prepared whatever values they run with.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.write_ahead()?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::bring_up(&mut connection)?;
        connection.mark()?;
        Ok(Self {
            connection: Mutex::new(connection),
            stamp: DatabaseStamp::open(path)?,
        })
    }

    /// Checks what [`KeyStore::open`] would refuse, and changes nothing. Blocks.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::open`].
    pub(crate) fn look(path: &Path) -> Result<(), KeyError> {
        match durabletask_sqlite::look(path)? {
            Some(connection) => schema::missing(&connection).map(drop),
            None => Ok(()),
        }
    }

    /// Creates a key and returns it. It cannot be read again later.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadName`], [`KeyError::Taken`], [`KeyError::ReadersOnly`],
    /// [`KeyError::TooManyGroups`], [`KeyError::Random`] or [`KeyError::Store`].
    pub fn create(
        &self,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let (record, key) = new.with_key(now)?;
        let written = self.lock().execute(
            "INSERT INTO keys
             (id, name, role, hash, created_at, expires_at, granted_only, member_of)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (name) DO NOTHING",
            params![
                record.id,
                record.name,
                record.role.as_str(),
                secret::hash(&key),
                record.created_at.to_rfc3339(),
                record.expires_at.map(|time| time.to_rfc3339()),
                record.granted_only,
                json_list(&record.groups),
            ],
        )?;
        if written == 0 {
            return Err(KeyError::Taken(record.name));
        }
        Ok((record, key))
    }

    /// Creates a key for the caller `maker`, as whom it counts; see [`KeyStore::create`].
    pub(super) fn create_from(
        &self,
        maker: &str,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let (record, key) = self.create(new, now)?;
        if let Err(error) = self.record_creator(&record.name, maker) {
            // A key of unknown origin would count as a person
            // of its own.
            self.revoke(&record.name, now)?;
            return Err(error);
        }
        Ok((record, key))
    }

    /// Every key, revoked ones too, by name.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM keys ORDER BY name COLLATE NOCASE"
        ))?;
        let rows = statement.query_map([], read_record)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Revokes the key of the caller `name`: when this returns, no server that uses
    /// the same database accepts it any more. Revoking twice changes nothing. Returns what
    /// the key was before.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`] or [`KeyError::Store`].
    pub fn revoke(&self, name: &str, now: DateTime<Utc>) -> Result<KeyRecord, KeyError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = transaction
            .query_row(
                &format!("SELECT {COLUMNS} FROM keys WHERE name = ?1"),
                [name],
                read_record,
            )
            .optional()?;
        transaction.execute(
            "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1",
            params![name, now.trunc_subsecs(0).to_rfc3339()],
        )?;
        transaction.commit()?;
        drop(connection);
        self.changed();
        before.ok_or_else(|| KeyError::Unknown(name.to_owned()))
    }

    /// Replaces the key of the caller `name`; the old one stays valid for
    /// `overlap`, so that programs can be switched one after the other. A key that
    /// was replaced before is revoked at once, and so are browser sessions. Returns the record and
    /// the new key, which cannot be read again later. With `held`, the hash of a key, only if
    /// that is the one to be replaced.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`], [`KeyError::Over`] for a revoked or expired one, [`KeyError::NotCurrent`],
    /// [`KeyError::Random`] or [`KeyError::Store`].
    pub fn rotate(
        &self,
        name: &str,
        held: Option<&[u8; 32]>,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut record = transaction
            .query_row(
                &format!("SELECT {COLUMNS} FROM keys WHERE name = ?1"),
                [name],
                read_record,
            )
            .optional()?
            .ok_or_else(|| KeyError::Unknown(name.to_owned()))?;
        if record.revoked_at.is_some() || !record.works_at(now) {
            return Err(KeyError::Over(name.to_owned()));
        }
        if let Some(held) = held {
            let hash: Vec<u8> = transaction.query_row(
                "SELECT hash FROM keys WHERE id = ?1",
                [&record.id],
                |row| row.get(0),
            )?;
            if !secret::same(&hash, held) {
                return Err(KeyError::NotCurrent);
            }
        }
        let key = key_text(&record.id, &secret::random_hex()?);
        let until = (now + overlap).trunc_subsecs(0);
        transaction.execute(
            "UPDATE keys SET former_hash = hash, former_until = ?2, hash = ?3 WHERE name = ?1",
            params![name, until.to_rfc3339(), secret::hash(&key)],
        )?;
        record.former_key_until = Some(until);
        transaction.execute(
            "DELETE FROM sessions WHERE subject = ?1",
            [format!("k.{}", record.id)],
        )?;
        transaction.commit()?;
        drop(connection);
        self.changed();
        Ok((record, key))
    }

    /// The record of the key `text`, whose hash is given, unless it is unknown, revoked or
    /// expired.
    pub(super) fn verify(
        &self,
        text: &str,
        hash: &[u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        let Some((id, _)) = text.strip_prefix("cs_").and_then(|t| t.split_once('_')) else {
            return Ok(None);
        };
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS}, hash, former_hash FROM keys
             WHERE id = ?1 AND revoked_at IS NULL"
        ))?;
        let found = statement
            .query_row([id], |row| {
                Ok((
                    read_record(row)?,
                    row.get::<_, Vec<u8>>(10)?,
                    row.get::<_, Option<Vec<u8>>>(11)?,
                ))
            })
            .optional()?;
        let Some(record) = found
            .and_then(|(mut record, kept, former)| {
                if secret::same(&kept, hash) {
                    return Some(record);
                }
                // A replaced key ends with its overlap.
                former.filter(|former| secret::same(former, hash))?;
                let until = record.former_key_until?;
                record.expires_at = Some(record.expires_at.map_or(until, |end| end.min(until)));
                Some(record)
            })
            .filter(|record| record.works_at(now))
        else {
            return Ok(None);
        };
        note_use(&connection, &record, now)?;
        Ok(Some(record))
    }

    /// The record of the key with this id, unless it is unknown, revoked or expired.
    pub(super) fn active(
        &self,
        id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM keys WHERE id = ?1 AND revoked_at IS NULL"
        ))?;
        let found = statement.query_row([id], read_record).optional()?;
        let Some(record) = found.filter(|record| record.works_at(now)) else {
            return Ok(None);
        };
        note_use(&connection, &record, now)?;
        Ok(Some(record))
    }

    /// A number that changes once keys, grants or guarded accounts may have changed.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp.now()
    }

    /// Must be called when less is allowed than before. When this returns, no process uses
    /// the old state any more.
    pub(super) fn changed(&self) {
        self.stamp.touch();
        std::thread::sleep(NOTICED_WITHIN);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Database> {
        // A panic while the lock is held leaves no half-made change behind: every
        // statement is its own transaction.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyRecord {
    /// The changes of creating the key, for the audit log.
    pub(crate) fn made(&self) -> Vec<FieldChange> {
        let groups = listed(&self.groups);
        let expires = self
            .expires_at
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let only = self.granted_only.then_some("true");
        Changes::default()
            .note("role", None, Some(self.role.as_str()))
            .note("groups", None, groups.as_deref())
            .note("grantedOnly", None, only)
            .note("expiresAt", None, expires.as_deref())
            .list()
    }

    /// The changes of rotating a key: until when the previous one is valid.
    pub(crate) fn renewed(until: DateTime<Utc>) -> Vec<FieldChange> {
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        Changes::default()
            .note("formerKeyUntil", None, Some(&until))
            .list()
    }

    /// The changes of revoking the key, whose previous state this is.
    pub(crate) fn revoked(&self, now: DateTime<Utc>) -> Vec<FieldChange> {
        let was = match self.revoked_at {
            Some(_) => "revoked",
            None if self.works_at(now) => "active",
            None => "expired",
        };
        Changes::default()
            .note("state", Some(was), Some("revoked"))
            .list()
    }

    pub(super) fn works_at(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether a use at `now` need not be noted.
    pub(super) fn use_is_noted(&self, now: DateTime<Utc>) -> bool {
        self.last_used_at.is_some_and(|last| now - last < USE_NOTED)
    }

    /// Until when a use of the key, as read at `now`, has the same answer and need
    /// not be noted.
    pub(super) fn known_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let noted = match self.last_used_at {
            Some(last) if now - last < USE_NOTED => last,
            _ => now,
        };
        let next = noted + USE_NOTED;
        self.expires_at.map_or(next, |end| next.min(end))
    }
}

/// Whether this is a valid name of a key.
fn is_name(text: &str) -> bool {
    let reserved = |taken: &&str| taken.eq_ignore_ascii_case(text);
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
        && !RESERVED.iter().any(reserved)
}

/// Groups in the form of the database and its queries.
pub(super) fn json_list(groups: &[Group]) -> String {
    let names = groups.iter().map(|group| group.as_str().into());
    serde_json::Value::Array(names.collect()).to_string()
}

fn note_use(
    connection: &Connection,
    record: &KeyRecord,
    now: DateTime<Utc>,
) -> Result<(), KeyError> {
    if record.use_is_noted(now) {
        return Ok(());
    }
    connection
        .prepare_cached("UPDATE keys SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![record.id, now.trunc_subsecs(0).to_rfc3339()])?;
    Ok(())
}

fn read_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRecord> {
    let unfit = |index: usize, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error)
    };
    let time = |index: usize, text: String| {
        DateTime::parse_from_rfc3339(&text)
            .map(|time| time.to_utc())
            .map_err(|e| unfit(index, Box::new(e)))
    };
    let maybe = |index: usize| {
        row.get::<_, Option<String>>(index)?
            .map(|text| time(index, text))
            .transpose()
    };
    let role: String = row.get(2)?;
    let groups: String = row.get(8)?;
    Ok(KeyRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        role: role.parse().map_err(|e| unfit(2, Box::new(e)))?,
        created_at: time(3, row.get(3)?)?,
        revoked_at: maybe(4)?,
        expires_at: maybe(5)?,
        last_used_at: maybe(6)?,
        granted_only: row.get(7)?,
        groups: serde_json::from_str(&groups).map_err(|e| unfit(8, Box::new(e)))?,
        former_key_until: maybe(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, KeyStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        (folder, store)
    }

    fn verify(
        store: &KeyStore,
        text: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        store.verify(text, &secret::hash(text), now)
    }

    #[test]
    fn a_key_works_until_it_is_revoked_also_from_another_process() {
        let (folder, store) = store();
        let (record, key) = store
            .create(NewKey::new("ci", Role::Enroller), Utc::now())
            .unwrap();
        assert_eq!(verify(&store, &key, Utc::now()).unwrap(), Some(record));

        let other = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        other.revoke("ci", Utc::now()).unwrap();
        other.revoke("ci", Utc::now()).unwrap();
        assert_eq!(verify(&store, &key, Utc::now()).unwrap(), None);
        assert!(store.list().unwrap()[0].revoked_at.is_some());
        assert!(matches!(
            store.create(NewKey::new("ci", Role::Reader), Utc::now()),
            Err(KeyError::Taken(_))
        ));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let (_folder, store) = store();
        let (record, key) = store
            .create(NewKey::new("ci", Role::Reader), Utc::now())
            .unwrap();
        let forged = format!("cs_{}_{}", record.id, "0".repeat(64));
        for text in [
            "",
            "cs_",
            "cs__",
            "nonsense",
            &key[..key.len() - 1],
            &forged,
        ] {
            assert_eq!(verify(&store, text, Utc::now()).unwrap(), None, "{text}");
        }
        for name in ["", "admin", "Anonymous", "a b", "ä", &"x".repeat(65)] {
            assert!(matches!(
                store.create(NewKey::new(name, Role::Reader), Utc::now()),
                Err(KeyError::BadName)
            ));
        }
    }

    #[test]
    fn a_key_ends_on_its_own_and_shows_when_it_was_used() {
        let (_folder, store) = store();
        let now = Utc::now().trunc_subsecs(0);
        let new = NewKey {
            expires_at: Some(now + TimeDelta::hours(1)),
            ..NewKey::new("ci", Role::Reader)
        };
        let (record, key) = store.create(new, now).unwrap();
        assert_eq!(store.list().unwrap()[0].last_used_at, None);
        for (minutes, works, noted) in [(5, true, 5), (59, true, 59), (60, false, 59)] {
            let then = now + TimeDelta::minutes(minutes);
            assert_eq!(verify(&store, &key, then).unwrap().is_some(), works);
            assert_eq!(store.active(&record.id, then).unwrap().is_some(), works);
            let used = store.list().unwrap()[0].last_used_at;
            assert_eq!(used, Some(now + TimeDelta::minutes(noted)));
        }
    }

    #[test]
    fn a_key_is_in_the_groups_that_it_was_made_with() {
        let (_folder, store) = store();
        let groups = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let make = |name: &str, names: &[&str]| {
            let new = NewKey {
                groups: groups(names),
                ..NewKey::new(name, Role::Approver)
            };
            store.create(new, Utc::now())
        };
        let (record, key) = make("ci", &["ops", "Team \"Zwei\"", "ops"]).unwrap();
        let expected: Vec<Group> = groups(&["Team \"Zwei\"", "ops"]);
        assert_eq!(record.groups, expected);
        assert_eq!(verify(&store, &key, Utc::now()).unwrap(), Some(record));
        let many: Vec<String> = (0..=MAX_GROUPS).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(make("x", &many), Err(KeyError::TooManyGroups)));
        assert!(make("x", &many[1..]).is_ok());
    }

    #[test]
    fn keys_of_the_release_before_continue_working() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.sqlite3");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(schema::STEPS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let key = format!("cs_000000000001_{}", "ab".repeat(32));
        old.execute(
            "INSERT INTO keys VALUES ('000000000001', 'ci', 'reader', ?1, '2026-01-02T03:04:05+00:00', NULL)",
            [secret::hash(&key)],
        )
        .unwrap();
        drop(old);
        let store = KeyStore::open(&path).unwrap();
        let record = verify(&store, &key, Utc::now()).unwrap().unwrap();
        assert_eq!((record.name.as_str(), record.granted_only), ("ci", false));
        drop(store);
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(KeyStore::open(&path), Err(KeyError::Newer(99))));
    }

    #[test]
    fn the_key_itself_is_not_kept() {
        let (folder, store) = store();
        let (_, key) = store
            .create(NewKey::new("ci", Role::Reader), Utc::now())
            .unwrap();
        drop(store);
        let needle = key.rsplit('_').next().unwrap().as_bytes().to_owned();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(needle.len()).any(|w| w == needle));
        }
    }
}
