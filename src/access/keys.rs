//! API keys: names, roles and hashes in a small database that commands and a
//! running server share.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::role::Role;
use super::secret;

/// The version of the tables below, kept in the database itself.
const SCHEMA_VERSION: i64 = 1;
/// How long one process waits for another to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest name of a key, in characters.
const MAX_NAME: usize = 64;
/// Names that callers without a key have.
const RESERVED: [&str; 2] = [super::ADMIN_NAME, super::ANONYMOUS_NAME];

/// Why a key cannot be made, found or checked.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The database refused.
    #[error("the key store cannot be used: {0}")]
    Store(#[from] rusqlite::Error),
    /// The database's file cannot be made or opened.
    #[error("the key store cannot be opened: {0}")]
    File(#[source] std::io::Error),
    /// The database was written by a later release.
    #[error(
        "the key store has version {0}, which is newer than this program: use the newer program"
    )]
    Newer(i64),
    /// The name is taken, by a key that is in use or revoked.
    #[error("a key named '{0}' exists already; names are never used twice, so choose another")]
    Taken(String),
    /// No key has the name.
    #[error("there is no key named '{0}': see `countersign key list`")]
    Unknown(String),
    /// The name cannot be used.
    #[error(
        "a key's name has 1 to 64 of the characters A-Z a-z 0-9 . _ @ - and is not 'admin' or 'anonymous'"
    )]
    BadName,
    /// The system has no random numbers to give.
    #[error(transparent)]
    Random(#[from] secret::RandomUnavailable),
}

/// A key as kept: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// The public part of the key, after `cs_`.
    pub id: String,
    /// The caller's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stopped to work.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The keys of one data folder.
pub struct KeyStore {
    connection: Mutex<Connection>,
}

impl KeyStore {
    /// Opens the keys in the database file at `path`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`], and [`KeyError::Newer`] when a later release wrote it.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        // Made here, because SQLite would let others read it if the umask does.
        let private = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path);
        private.map_err(KeyError::File)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                transaction.execute_batch(
                    "CREATE TABLE keys (
                         id TEXT PRIMARY KEY,
                         name TEXT NOT NULL UNIQUE,
                         role TEXT NOT NULL,
                         hash BLOB NOT NULL,
                         created_at TEXT NOT NULL,
                         revoked_at TEXT
                     ) STRICT, WITHOUT ROWID;",
                )?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            SCHEMA_VERSION => {}
            newer => return Err(KeyError::Newer(newer)),
        }
        transaction.commit()?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Makes a key for the caller `name` and returns it. It cannot be read again later.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadName`], [`KeyError::Taken`] or [`KeyError::Store`].
    pub fn create(
        &self,
        name: &str,
        role: Role,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
        if !fits
            || RESERVED
                .iter()
                .any(|taken| taken.eq_ignore_ascii_case(name))
        {
            return Err(KeyError::BadName);
        }
        let record = KeyRecord {
            id: HEXLOWER.encode(secret::random_bytes::<6>()?.as_slice()),
            name: name.to_owned(),
            role,
            created_at: now.trunc_subsecs(0),
            revoked_at: None,
        };
        let key = Zeroizing::new(format!(
            "cs_{}_{}",
            record.id,
            secret::random_hex()?.as_str()
        ));
        let written = self.lock().execute(
            "INSERT INTO keys (id, name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO NOTHING",
            params![
                record.id,
                record.name,
                role.as_str(),
                secret::hash(&key),
                record.created_at.to_rfc3339()
            ],
        )?;
        if written == 0 {
            return Err(KeyError::Taken(name.to_owned()));
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
        let mut statement = connection.prepare_cached(
            "SELECT id, name, role, created_at, revoked_at FROM keys ORDER BY name COLLATE NOCASE",
        )?;
        let rows = statement.query_map([], read_record)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes the key of the caller `name` stop to work, from the next request on.
    /// Revoking twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`] or [`KeyError::Store`].
    pub fn revoke(&self, name: &str, now: DateTime<Utc>) -> Result<(), KeyError> {
        let changed = self.lock().execute(
            "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1",
            params![name, now.trunc_subsecs(0).to_rfc3339()],
        )?;
        if changed == 0 {
            return Err(KeyError::Unknown(name.to_owned()));
        }
        Ok(())
    }

    /// The record of the key `text`, unless it is unknown or revoked.
    pub(super) fn verify(&self, text: &str) -> Result<Option<KeyRecord>, KeyError> {
        let Some((id, _)) = text.strip_prefix("cs_").and_then(|t| t.split_once('_')) else {
            return Ok(None);
        };
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, name, role, created_at, revoked_at, hash FROM keys
             WHERE id = ?1 AND revoked_at IS NULL",
        )?;
        let found = statement
            .query_row([id], |row| {
                Ok((read_record(row)?, row.get::<_, Vec<u8>>(5)?))
            })
            .optional()?;
        Ok(found
            .and_then(|(record, hash)| secret::same(&hash, &secret::hash(text)).then_some(record)))
    }

    /// The record of the key with this id, unless it is unknown or revoked.
    pub(super) fn active(&self, id: &str) -> Result<Option<KeyRecord>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, name, role, created_at, revoked_at FROM keys
             WHERE id = ?1 AND revoked_at IS NULL",
        )?;
        Ok(statement.query_row([id], read_record).optional()?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock is held leaves no half-made change behind: every
        // statement is its own transaction.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRecord> {
    let time = |index: usize, text: String| {
        DateTime::parse_from_rfc3339(&text)
            .map(|time| time.to_utc())
            .map_err(|e| {
                rusqlite::Error::FromSqlConversionFailure(
                    index,
                    rusqlite::types::Type::Text,
                    Box::new(e),
                )
            })
    };
    let role: String = row.get(2)?;
    Ok(KeyRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        role: role.parse().map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e))
        })?,
        created_at: time(3, row.get(3)?)?,
        revoked_at: row
            .get::<_, Option<String>>(4)?
            .map(|text| time(4, text))
            .transpose()?,
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

    #[test]
    fn a_key_works_until_it_is_revoked_also_from_another_process() {
        let (folder, store) = store();
        let (record, key) = store.create("ci", Role::Enroller, Utc::now()).unwrap();
        assert_eq!(store.verify(&key).unwrap(), Some(record));

        let other = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        other.revoke("ci", Utc::now()).unwrap();
        other.revoke("ci", Utc::now()).unwrap();
        assert_eq!(store.verify(&key).unwrap(), None);
        assert!(store.list().unwrap()[0].revoked_at.is_some());
        assert!(matches!(
            store.create("ci", Role::Reader, Utc::now()),
            Err(KeyError::Taken(_))
        ));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let (_folder, store) = store();
        let (record, key) = store.create("ci", Role::Reader, Utc::now()).unwrap();
        let forged = format!("cs_{}_{}", record.id, "0".repeat(64));
        for text in [
            "",
            "cs_",
            "cs__",
            "nonsense",
            &key[..key.len() - 1],
            &forged,
        ] {
            assert_eq!(store.verify(text).unwrap(), None, "{text}");
        }
        for name in ["", "admin", "Anonymous", "a b", "ä", &"x".repeat(65)] {
            assert!(matches!(
                store.create(name, Role::Reader, Utc::now()),
                Err(KeyError::BadName)
            ));
        }
    }

    #[test]
    fn the_key_itself_is_not_kept() {
        let (folder, store) = store();
        let (_, key) = store.create("ci", Role::Reader, Utc::now()).unwrap();
        drop(store);
        let needle = key.rsplit('_').next().unwrap().as_bytes().to_owned();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(needle.len()).any(|w| w == needle));
        }
    }
}
