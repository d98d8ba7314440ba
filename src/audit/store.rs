//! The record's file: SQLite, appended to by transactions, never changed.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use thiserror::Error;
use zeroize::Zeroizing;

use super::entry::{Action, Entry, Event, written};
use crate::access::secret;
use crate::private_file;

/// The version of the tables below.
const SCHEMA_VERSION: i64 = 1;
/// How long one process waits for another to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const LABEL: &[u8] = b"countersign audit v1";

const TABLES: &str = "
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY,
    -- The event as JSON, exactly as it was chained.
    event    TEXT NOT NULL,
    hash     BLOB NOT NULL,
    at       TEXT NOT NULL GENERATED ALWAYS AS (event ->> '$.at') VIRTUAL,
    action   TEXT NOT NULL GENERATED ALWAYS AS (event ->> '$.action') VIRTUAL,
    caller   TEXT NOT NULL GENERATED ALWAYS AS (event ->> '$.caller') VIRTUAL,
    subject  TEXT GENERATED ALWAYS AS (event ->> '$.subject') VIRTUAL
) STRICT;
CREATE INDEX entries_by_caller ON entries (caller, sequence);
CREATE INDEX entries_by_subject ON entries (subject, sequence) WHERE subject IS NOT NULL;
CREATE INDEX entries_by_action ON entries (action, sequence);
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END;
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END;
";

/// Why the record cannot be written or read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The database refused.
    #[error("the audit record cannot be used: {0}")]
    Store(#[from] rusqlite::Error),
    /// The database's file cannot be made or opened.
    #[error("the audit record cannot be opened: {0}")]
    File(#[source] std::io::Error),
    /// The database was written by a later release.
    #[error(
        "the audit record has version {0}, which is newer than this program: use the newer program"
    )]
    Newer(i64),
    /// An entry cannot be written as JSON, or what is there is none.
    #[error("entry {sequence} of the audit record cannot be read; see `countersign audit verify`")]
    Unreadable {
        /// The entry's place.
        sequence: u64,
    },
    /// The writer is gone: the server is stopping.
    #[error("the audit record is closed")]
    Closed,
}

/// Which entries are asked for; nothing set but a limit means the first ones.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// By this caller only.
    pub caller: Option<String>,
    /// To this account, enrollment or key only.
    pub subject: Option<String>,
    /// Of this kind only.
    pub action: Option<Action>,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// After this place, in the order asked for.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// What a check of the whole chain has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every entry is as it was written.
    Intact {
        /// How many there are.
        entries: u64,
        /// The chain's end, in hexadecimal.
        head: String,
    },
    /// This entry, or one before it, was changed, removed or put in.
    Broken {
        /// The first place where the chain does not hold.
        sequence: u64,
    },
}

/// The record of one data folder.
pub struct AuditStore {
    connection: Connection,
    key: Zeroizing<[u8; 32]>,
}

impl AuditStore {
    /// Opens the record at `path`, which is made if it is not there. Its key is derived
    /// from `server_key`. Blocks.
    ///
    /// # Errors
    ///
    /// [`AuditError`], whose text says what to do.
    pub fn open(path: &Path, server_key: &[u8; 32]) -> Result<Self, AuditError> {
        private_file::open(path).map_err(AuditError::File)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What is committed survives the process; the last moments may be lost with the
        // machine's power, and only they: the chain stays whole.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            SCHEMA_VERSION => {}
            newer => return Err(AuditError::Newer(newer)),
        }
        transaction.commit()?;
        Ok(Self {
            connection,
            key: Zeroizing::new(secret::mac(server_key, &[LABEL])),
        })
    }

    /// Appends events in their order, all or none.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; nothing was appended.
    pub fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<(), AuditError> {
        // Immediate, so that two processes cannot both continue from the same end.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut sequence, mut hash) = end(&transaction, &self.key)?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO entries (sequence, event, hash) VALUES (?1, ?2, ?3)",
            )?;
            for event in events {
                sequence += 1;
                let text = serde_json::to_string(event)
                    .map_err(|_| AuditError::Unreadable { sequence })?;
                hash = link(&self.key, &hash, sequence, &text);
                insert.execute(params![place(sequence), text, hash])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The entries that a query asks for, in its order.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unreadable`] when something else than an entry is there.
    pub fn query(&self, query: &AuditQuery) -> Result<Vec<Entry>, AuditError> {
        let (past, order) = match query.newest_first {
            false => (">", "ASC"),
            true => ("<", "DESC"),
        };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT sequence, event, hash FROM entries
             WHERE (?1 IS NULL OR sequence {past} ?1)
               AND (?2 IS NULL OR caller = ?2)
               AND (?3 IS NULL OR subject = ?3)
               AND (?4 IS NULL OR action = ?4)
               AND (?5 IS NULL OR at >= ?5)
               AND (?6 IS NULL OR at < ?6)
             ORDER BY sequence {order} LIMIT ?7",
        ))?;
        let mut rows = statement.query(params![
            query.after.map(place),
            query.caller,
            query.subject,
            query.action.map(Action::as_str),
            query.since.map(written),
            query.until.map(written),
            i64::try_from(query.limit).unwrap_or(i64::MAX),
        ])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let sequence = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            let text: String = row.get(1)?;
            let event =
                serde_json::from_str(&text).map_err(|_| AuditError::Unreadable { sequence })?;
            entries.push(Entry {
                sequence,
                event,
                hash: HEXLOWER.encode(&row.get::<_, Vec<u8>>(2)?),
            });
        }
        Ok(entries)
    }

    /// Follows the whole chain.
    ///
    /// # Errors
    ///
    /// [`AuditError::Store`] when the file cannot be read.
    pub fn verify(&self) -> Result<Verdict, AuditError> {
        let mut statement = self
            .connection
            .prepare("SELECT sequence, event, hash FROM entries ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut sequence = 0;
        let mut hash = beginning(&self.key);
        while let Some(row) = rows.next()? {
            sequence += 1;
            let text: String = row.get(1)?;
            hash = link(&self.key, &hash, sequence, &text);
            let written: Vec<u8> = row.get(2)?;
            if row.get::<_, i64>(0)? != place(sequence) || !secret::same(&hash, &written) {
                return Ok(Verdict::Broken { sequence });
            }
        }
        Ok(Verdict::Intact {
            entries: sequence,
            head: HEXLOWER.encode(&hash),
        })
    }
}

fn place(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn beginning(key: &[u8; 32]) -> [u8; 32] {
    secret::mac(key, &[b"beginning"])
}

fn link(key: &[u8; 32], before: &[u8; 32], sequence: u64, event: &str) -> [u8; 32] {
    secret::mac(key, &[before, &sequence.to_be_bytes(), event.as_bytes()])
}

/// Where the chain ends: the last place, 0 if there is none, and its hash.
fn end(connection: &Connection, key: &[u8; 32]) -> Result<(u64, [u8; 32]), AuditError> {
    let last = connection
        .query_row(
            "SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )
        .optional()?;
    let Some((sequence, written)) = last else {
        return Ok((0, beginning(key)));
    };
    let sequence = u64::try_from(sequence).unwrap_or(0);
    let hash = written
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    Ok((sequence, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, AuditStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = AuditStore::open(&folder.path().join("audit.sqlite3"), &[7; 32]).unwrap();
        (folder, store)
    }

    fn events(count: usize) -> Vec<Event> {
        (0..count)
            .map(|n| {
                Event::new(Action::ReadCode, &format!("caller-{}", n % 2), Utc::now()).to("totp-1")
            })
            .collect()
    }

    fn all() -> AuditQuery {
        AuditQuery {
            limit: 100,
            ..AuditQuery::default()
        }
    }

    #[test]
    fn two_processes_write_one_chain() {
        let (folder, mut store) = store();
        let mut other = AuditStore::open(&folder.path().join("audit.sqlite3"), &[7; 32]).unwrap();
        for event in events(6).iter().enumerate() {
            let into = if event.0 % 2 == 0 {
                &mut store
            } else {
                &mut other
            };
            into.append([event.1]).unwrap();
        }
        let entries = store.query(&all()).unwrap();
        assert_eq!(
            entries.iter().map(|e| e.sequence).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
        let Verdict::Intact { entries: 6, head } = store.verify().unwrap() else {
            panic!("not intact");
        };
        assert_eq!(head, entries[5].hash);
        let theirs = AuditQuery {
            caller: Some("caller-1".to_owned()),
            after: Some(2),
            ..all()
        };
        let sequences = |query: &AuditQuery| -> Vec<u64> {
            let found = store.query(query).unwrap();
            found.iter().map(|e| e.sequence).collect()
        };
        assert_eq!(sequences(&theirs), [4, 6]);
        let newest = AuditQuery {
            newest_first: true,
            after: None,
            limit: 2,
            ..theirs
        };
        let before = AuditQuery {
            after: Some(6),
            ..newest.clone()
        };
        assert_eq!(sequences(&newest), [6, 4]);
        assert_eq!(sequences(&before), [4, 2]);
    }

    #[test]
    fn every_change_is_seen() {
        for (change, at) in [
            (
                "UPDATE entries SET event = replace(event, 'caller-0', 'caller-1') WHERE sequence = 3",
                3,
            ),
            (
                "UPDATE entries SET hash = zeroblob(32) WHERE sequence = 5",
                5,
            ),
            ("DELETE FROM entries WHERE sequence = 2", 2),
            ("UPDATE entries SET sequence = 9 WHERE sequence = 6", 6),
        ] {
            let (folder, mut store) = store();
            store.append(&events(6)).unwrap();
            let thief = Connection::open(folder.path().join("audit.sqlite3")).unwrap();
            thief.execute_batch(change).expect_err("it is append-only");
            thief
                .execute_batch(
                    "DROP TRIGGER entries_are_not_changed; DROP TRIGGER entries_are_not_deleted",
                )
                .unwrap();
            thief.execute_batch(change).unwrap();
            assert_eq!(
                store.verify().unwrap(),
                Verdict::Broken { sequence: at },
                "{change}"
            );
        }
    }

    #[test]
    fn another_key_makes_another_chain() {
        let (folder, mut store) = store();
        store.append(&events(1)).unwrap();
        let other = AuditStore::open(&folder.path().join("audit.sqlite3"), &[8; 32]).unwrap();
        assert_eq!(other.verify().unwrap(), Verdict::Broken { sequence: 1 });
    }

    #[test]
    fn times_bound_a_query() {
        let (_folder, mut store) = store();
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        for moment in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.500Z",
            "2026-01-02T00:00:00Z",
        ] {
            store
                .append([&Event::new(Action::Enroll, "ci", at(moment))])
                .unwrap();
        }
        let query = AuditQuery {
            since: Some(at("2026-01-01T00:00:00.500Z")),
            until: Some(at("2026-01-02T00:00:00Z")),
            ..all()
        };
        let found = store.query(&query).unwrap();
        assert_eq!(found.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2]);
    }
}
