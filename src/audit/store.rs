//! The audit log's file: SQLite, appended to in transactions, never changed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use durabletask_sqlite::Database;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::archive::check_all;
use super::chain::{beginning, key_of, link, place};
use super::change::FieldChange;
use super::entry::{Action, Entry, Event, written};
use super::error::{AuditError, ChainCheck, Loss};
use super::head::{AUDIT_HEAD, Found, Head, HeadFile, Note};
use crate::access::secret;
use crate::private_file;

pub(super) use archive::table as archive_table;

/// The version of the tables below.
const SCHEMA_VERSION: i64 = 2;
/// The caller of what a server does on its own.
const SYSTEM: &str = "system";

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
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";

/// Since version 2, which also says that the head is noted beside the database.
const MARKS: &str = "
CREATE TABLE marks (
    -- From which journal entries were copied, and up to which of its places.
    journal  TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT;
";

/// Which entries to read; with only a limit, the first ones.
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
    /// After this place, in the requested order.
    pub after: Option<u64>,
    /// At most this many.
    pub limit: usize,
}

/// The audit log of one data folder.
pub struct AuditStore {
    connection: Database,
    key: Zeroizing<[u8; 32]>,
    path: PathBuf,
    head: HeadFile,
    /// What this process remembers of the head.
    known: Option<Note>,
}

impl AuditStore {
    /// Opens the audit log at `path` for writing, and creates it if there never was one. Its
    /// key is derived from `server_key`. Blocks.
    ///
    /// # Errors
    ///
    /// [`AuditError`], whose text says what to do; [`AuditError::Incomplete`] when entries
    /// are missing.
    pub fn open(path: &Path, server_key: &[u8; 32]) -> Result<Self, AuditError> {
        let head = HeadFile::beside(path, server_key);
        if !path.try_exists().map_err(AuditError::File)?
            && let Found::Note(note) = head.read().map_err(AuditError::File)?
            && note.head.sequence > 0
            && !note.lost_at_restart(0, head.boot())
        {
            return Err(Loss::of(0, &note.head).into());
        }
        let mut store = Self::make(path, server_key)?;
        store.begin()?;
        Ok(store)
    }

    /// Opens the audit log at `path` for reading, and creates nothing.
    ///
    /// # Errors
    ///
    /// [`AuditError::Nothing`] when there never was one, [`AuditError::Incomplete`] when
    /// only its head is left.
    pub fn open_existing(path: &Path, server_key: &[u8; 32]) -> Result<Self, AuditError> {
        let head = HeadFile::beside(path, server_key);
        let nothing = || AuditError::Nothing(path.parent().unwrap_or(path).to_owned());
        let lost = || match head.read().map_err(AuditError::File)? {
            Found::Nothing => Err(nothing()),
            Found::Garbage => Err(Loss::HeadUnreadable.into()),
            Found::Note(note) if note.head.sequence == 0 => Err(nothing()),
            Found::Note(note) => Err(Loss::of(0, &note.head).into()),
        };
        match path.metadata() {
            Ok(about) if about.len() == 0 => return lost(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return lost(),
            Err(error) => return Err(AuditError::File(error)),
        }
        // Only for reading, but SQLite must be able to clean up what a process that was
        // killed has left beside the database.
        let connection = Database::open(path)?;
        match version(&connection)? {
            0 => return lost(),
            1 | SCHEMA_VERSION => {}
            newer => return Err(AuditError::Newer(newer)),
        }
        Ok(Self {
            connection,
            key: key_of(server_key),
            path: path.to_owned(),
            head,
            known: None,
        })
    }

    /// Lets the audit log continue from where it ends now, although entries are
    /// missing, and records that with `reason`. Returns what was missing.
    ///
    /// # Errors
    ///
    /// [`AuditError::NothingLost`] when nothing is missing, [`AuditError::Nothing`] when
    /// there never was an audit log.
    pub fn accept_loss(
        path: &Path,
        server_key: &[u8; 32],
        event: Event,
    ) -> Result<Loss, AuditError> {
        if let Err(error @ AuditError::Nothing(_)) = Self::open_existing(path, server_key) {
            return Err(error);
        }
        let mut store = Self::make(path, server_key)?;
        let transaction = store
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = store.head.read().map_err(AuditError::File)?;
        let before = version(&transaction)?;
        if before == 0 {
            transaction.execute_batch(TABLES)?;
        }
        let end = end(&transaction, &store.key)?;
        let loss = match &found {
            Found::Nothing if before == SCHEMA_VERSION => Some(Loss::HeadMissing),
            Found::Nothing => None,
            Found::Garbage => Some(Loss::HeadUnreadable),
            Found::Note(note) => missing(&transaction, &store.key, &end, &note.head)?,
        };
        let loss = loss.ok_or(AuditError::NothingLost)?;
        let (noted, losses) = match found {
            Found::Note(note) => (Some(note.head), note.losses + 1),
            Found::Nothing | Found::Garbage => (None, 1),
        };
        upgrade(&transaction, before)?;
        let event = event.changing(head_change(noted.as_ref(), &end));
        let end = append(&transaction, &store.key, end, [&event])?;
        transaction.commit()?;
        store
            .head
            .write(&end, losses)
            .and_then(|_| store.syncing(end.sequence).run())
            .map_err(AuditError::File)?;
        Ok(loss)
    }

    /// The database, without tables or checks.
    fn make(path: &Path, server_key: &[u8; 32]) -> Result<Self, AuditError> {
        private_file::ensure(path).map_err(AuditError::File)?;
        let connection = Database::open(path)?;
        // A statement stays prepared whatever values it is run with.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.shrinkable()?;
        connection.write_ahead()?;
        // What is committed survives the process; the last moments may be lost with the
        // machine's power, and only they: the chain stays whole.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self {
            connection,
            key: key_of(server_key),
            path: path.to_owned(),
            head: HeadFile::beside(path, server_key),
            known: None,
        })
    }

    /// Creates what a new audit log needs, upgrades one of an earlier release, and checks that
    /// it reaches its head.
    fn begin(&mut self) -> Result<(), AuditError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = version(&transaction)?;
        if before > SCHEMA_VERSION {
            return Err(AuditError::Newer(before));
        }
        let found = self.head.read().map_err(AuditError::File)?;
        if before == 0 {
            transaction.execute_batch(TABLES)?;
        }
        let mut end = end(&transaction, &self.key)?;
        let mut losses = 0;
        let is_first = found == Found::Nothing;
        match found {
            Found::Garbage => return Err(Loss::HeadUnreadable.into()),
            Found::Nothing if before == SCHEMA_VERSION => return Err(Loss::HeadMissing.into()),
            Found::Nothing => {
                upgrade(&transaction, before)?;
                if end.sequence > 0 {
                    let event = Event::new(Action::AcceptLoss, SYSTEM, Utc::now())
                        .because("an earlier release kept no head")
                        .changing(head_change(None, &end));
                    end = append(&transaction, &self.key, end, [&event])?;
                }
            }
            Found::Note(note) => {
                losses = note.losses;
                upgrade(&transaction, before)?;
                if let Some(loss) = missing(&transaction, &self.key, &end, &note.head)? {
                    let cut = matches!(loss, Loss::Cut { .. } | Loss::Emptied { .. });
                    if !cut || !note.lost_at_restart(end.sequence, self.head.boot()) {
                        return Err(loss.into());
                    }
                    tracing::warn!(%loss, "the machine stopped before all entries were on disk");
                    let event = Event::new(Action::AcceptLoss, SYSTEM, Utc::now())
                        .because("the machine stopped before they were on disk")
                        .changing(head_change(Some(&note.head), &end));
                    end = append(&transaction, &self.key, end, [&event])?;
                    losses += 1;
                }
            }
        }
        if is_first {
            // Before the tables say that there is a head.
            let beginning = Head {
                sequence: 0,
                hash: beginning(&self.key),
            };
            self.head
                .write(&beginning, losses)
                .map_err(AuditError::File)?;
        }
        transaction.commit()?;
        self.connection.mark()?;
        let note = self.head.write(&end, losses).map_err(AuditError::File)?;
        self.known = Some(note);
        Ok(())
    }

    /// Appends events in order, all or none.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; nothing was appended.
    pub fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<(), AuditError> {
        self.append_with(events, |_| Ok(()))
    }

    /// As [`AuditStore::append`], and runs something else in the same transaction.
    pub(super) fn append_with<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
        also: impl FnOnce(&Connection) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        // Immediate, so that two processes cannot both continue from the same end.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let end = end(&transaction, &self.key)?;
        let losses = check(
            &transaction,
            &self.key,
            &end,
            &self.head,
            self.known.as_ref(),
        )?;
        also(&transaction)?;
        let end = append(&transaction, &self.key, end, events)?;
        transaction.commit()?;
        match self.head.write(&end, losses) {
            Ok(note) => self.known = Some(note),
            // The entries are written. A note that lags behind is incomplete, never wrong.
            Err(error) => {
                tracing::error!(%error, "cannot write the audit log's head to {AUDIT_HEAD}");
            }
        }
        Ok(())
    }

    /// Checks that the audit log reaches its head.
    ///
    /// # Errors
    ///
    /// [`AuditError::Incomplete`].
    pub(super) fn check(&mut self) -> Result<(), AuditError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let end = end(&transaction, &self.key)?;
        check(
            &transaction,
            &self.key,
            &end,
            &self.head,
            self.known.as_ref(),
        )?;
        Ok(())
    }

    /// What flushes all that was appended so far to the disk; none if it is there already.
    pub(super) fn unflushed(&self) -> Option<Syncing> {
        let note = self.known.as_ref()?;
        (note.durable < note.head.sequence).then(|| self.syncing(note.head.sequence))
    }

    /// Notes that what [`Syncing`] flushed is on the disk.
    pub(super) fn flushed(&mut self, sequence: u64) {
        if let Some(note) = &mut self.known {
            note.durable = note.durable.max(sequence);
        }
    }

    /// Waits until all that was appended so far is on the disk.
    ///
    /// # Errors
    ///
    /// [`AuditError::File`].
    pub fn flush(&mut self) -> Result<(), AuditError> {
        if let Some(syncing) = self.unflushed() {
            let sequence = syncing.run().map_err(AuditError::File)?;
            self.flushed(sequence);
        }
        Ok(())
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn syncing(&self, sequence: u64) -> Syncing {
        Syncing {
            database: self.path.clone(),
            head: self.head.clone(),
            sequence,
        }
    }

    /// The entries that match a query, in its order.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unreadable`] when something other than an entry is there.
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

    /// Checks the whole chain, and compares its end with the head that is noted beside it
    /// and, if given, with one that was `kept` elsewhere.
    ///
    /// # Errors
    ///
    /// [`AuditError::Store`] when the file cannot be read.
    pub fn verify(&self, kept: Option<&Head>) -> Result<ChainCheck, AuditError> {
        self.verify_with(kept, &[])
    }

    /// As [`AuditStore::verify`], from the first entry on, with the archives that hold the entries
    /// that are no longer in the database.
    ///
    /// # Errors
    ///
    /// [`AuditError::Archive`] when one of them is invalid or missing.
    pub fn verify_with(
        &self,
        kept: Option<&Head>,
        archives: &[PathBuf],
    ) -> Result<ChainCheck, AuditError> {
        // One consistent view, also while entries are being archived.
        let _reading = self.connection.unchecked_transaction()?;
        let start = archive::start(&self.connection, &self.key)?;
        let first = Head {
            sequence: 0,
            hash: beginning(&self.key),
        };
        check_all(archives, &self.key, first, &start, kept)?;
        // Before the entries: entries appended in the meantime are not counted as missing.
        let found = self.head.read().map_err(AuditError::File)?;
        let mut places: Vec<&Head> = kept.into_iter().collect();
        if let Found::Note(note) = &found {
            places.push(&note.head);
        }
        let mut statement = self
            .connection
            .prepare("SELECT sequence, event, hash FROM entries ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut end = start;
        let differs = |end: &Head| {
            let here = |place: &&&Head| place.sequence == end.sequence;
            places
                .iter()
                .filter(here)
                .any(|place| !secret::same(&place.hash, &end.hash))
        };
        let mut differing = differs(&end).then_some(end.sequence);
        while let Some(row) = rows.next()? {
            end.sequence += 1;
            let text: String = row.get(1)?;
            end.hash = link(&self.key, &end.hash, end.sequence, &text);
            let written: Vec<u8> = row.get(2)?;
            if row.get::<_, i64>(0)? != place(end.sequence) || !secret::same(&end.hash, &written) {
                return Ok(ChainCheck::Broken {
                    sequence: end.sequence,
                });
            }
            if differs(&end) {
                differing.get_or_insert(end.sequence);
            }
        }
        let furthest = places.iter().max_by_key(|place| place.sequence);
        let loss = match (differing, &found) {
            (Some(sequence), _) => Some(Loss::Other { sequence }),
            (None, Found::Garbage) => Some(Loss::HeadUnreadable),
            (None, Found::Nothing) => Some(Loss::HeadMissing),
            (None, Found::Note(_)) => furthest
                .filter(|place| place.sequence > end.sequence)
                .map(|place| Loss::of(end.sequence, place)),
        };
        Ok(match loss {
            Some(loss) => ChainCheck::Incomplete(loss),
            None => ChainCheck::Intact(end),
        })
    }
}

/// Flushes what was appended to the disk.
pub(super) struct Syncing {
    database: PathBuf,
    head: HeadFile,
    sequence: u64,
}

impl Syncing {
    /// Flushes. Blocks. Returns the last entry that is on the disk.
    pub(super) fn run(self) -> io::Result<u64> {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        match File::open(&log) {
            Ok(file) => file.sync_data()?,
            // Everything is in the database file, where it is durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // What is in the database itself, SQLite has flushed to the disk before it removed
        // the log. It is not opened here: closing it would end SQLite's own locks on it.
        self.head.flush(self.sequence)?;
        Ok(self.sequence)
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Upgrades tables of version 0, which were just created, or 1.
fn upgrade(transaction: &Connection, before: i64) -> rusqlite::Result<()> {
    if before < SCHEMA_VERSION {
        transaction.execute_batch(MARKS)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(())
}

/// Appends events after `end`; the new end.
fn append<'a>(
    transaction: &Connection,
    key: &[u8; 32],
    mut end: Head,
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<Head, AuditError> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO entries (sequence, event, hash) VALUES (?1, ?2, ?3)")?;
    for event in events {
        end.sequence += 1;
        let sequence = end.sequence;
        let text = serde_json::to_string(event).map_err(|_| AuditError::Unreadable { sequence })?;
        end.hash = link(key, &end.hash, sequence, &text);
        insert.execute(params![place(sequence), text, end.hash])?;
    }
    Ok(end)
}

/// Checks that an audit log that ends at `end` reaches its head; returns how many
/// losses were accepted. The head that this process has `known` counts like the file's.
fn check(
    transaction: &Connection,
    key: &[u8; 32],
    end: &Head,
    file: &HeadFile,
    known: Option<&Note>,
) -> Result<u64, AuditError> {
    let noted = match (file.read().map_err(AuditError::File)?, known) {
        (Found::Note(note), Some(known)) if known.is_newer(&note) => known.clone(),
        (Found::Note(note), _) => note,
        // Someone removed it while this process runs, which writes it again.
        (Found::Nothing | Found::Garbage, Some(known)) => known.clone(),
        (Found::Nothing, None) => return Err(Loss::HeadMissing.into()),
        (Found::Garbage, None) => return Err(Loss::HeadUnreadable.into()),
    };
    match missing(transaction, key, end, &noted.head)? {
        None => Ok(noted.losses),
        Some(loss) => Err(loss.into()),
    }
}

/// What an audit log that ends at `end` lacks.
fn missing(
    transaction: &Connection,
    key: &[u8; 32],
    end: &Head,
    noted: &Head,
) -> Result<Option<Loss>, AuditError> {
    if noted.sequence > end.sequence {
        return Ok(Some(Loss::of(end.sequence, noted)));
    }
    let there = if noted.sequence == end.sequence {
        Some(end.hash.to_vec())
    } else if noted.sequence == 0 || noted.sequence < archive::start(transaction, key)?.sequence {
        // Every chain begins with the same hash, and archives prove themselves.
        return Ok(None);
    } else {
        transaction
            .query_row(
                "SELECT hash FROM entries WHERE sequence = ?1",
                [place(noted.sequence)],
                |row| row.get::<_, Vec<u8>>(0),
            )
            .optional()?
    };
    let same = there.is_some_and(|hash| secret::same(&hash, &noted.hash));
    Ok((!same).then_some(Loss::Other {
        sequence: noted.sequence,
    }))
}

/// How an accepted loss changed the head.
pub(super) fn head_change(noted: Option<&Head>, end: &Head) -> Vec<FieldChange> {
    let noted = noted.map(Head::to_string);
    vec![FieldChange::new(
        "head",
        noted.as_deref(),
        Some(&end.to_string()),
    )]
}

/// Where the chain ends: the last place, 0 if there is none, and its hash.
pub(super) fn end(connection: &Connection, key: &[u8; 32]) -> Result<Head, AuditError> {
    let last = connection
        .query_row(
            "SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )
        .optional()?;
    let Some((sequence, written)) = last else {
        return archive::start(connection, key);
    };
    let sequence = u64::try_from(sequence).unwrap_or(0);
    let hash = written
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    Ok(Head { sequence, hash })
}

mod archive;
#[cfg(test)]
mod tests;
