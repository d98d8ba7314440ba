//! The audit log's file: SQLite, appended to in transactions, never changed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use durabletask_sqlite::Database;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::chain::{ChainKeys, Position, SERVER_KEY_SUBJECT, changed_key, place};
use super::entry::{Action, Entry, Event, written};
use super::error::{AuditError, Loss};
use super::head::{AUDIT_HEAD, Found, Head, HeadFile, Note};
use crate::access::ServerKeys;
use crate::access::secret;
use crate::private_file;

pub(super) use archive::table as archive_table;
pub(super) use losing::{head_change, rotated_again};

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
    keys: ServerKeys,
    path: PathBuf,
    head: HeadFile,
    /// What this process remembers of the head.
    known: Option<Note>,
}

impl AuditStore {
    /// Opens the audit log at `path` for writing, and creates it if there never was one. Its
    /// keys are derived from those of the server. Blocks.
    ///
    /// # Errors
    ///
    /// [`AuditError`], whose text says what to do; [`AuditError::Incomplete`] when entries
    /// are missing.
    pub fn open(path: &Path, keys: impl Into<ServerKeys>) -> Result<Self, AuditError> {
        let keys = keys.into();
        let head = HeadFile::beside(path, &keys);
        if !path.try_exists().map_err(AuditError::File)?
            && let Found::Note(note) = head.read().map_err(AuditError::File)?
            && note.head.sequence > 0
            && !note.lost_at_restart(0, head.boot())
        {
            return Err(Loss::of(0, &note.head).into());
        }
        let mut store = Self::make(path, &keys)?;
        store.begin()?;
        Ok(store)
    }

    /// Opens the audit log at `path` for reading, and creates nothing.
    ///
    /// # Errors
    ///
    /// [`AuditError::Nothing`] when there never was one, [`AuditError::Incomplete`] when
    /// only its head is left.
    pub fn open_existing(path: &Path, keys: impl Into<ServerKeys>) -> Result<Self, AuditError> {
        let keys = keys.into();
        let head = HeadFile::beside(path, &keys);
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
            keys,
            path: path.to_owned(),
            head,
            known: None,
        })
    }

    /// The database, without tables or checks.
    fn make(path: &Path, keys: &ServerKeys) -> Result<Self, AuditError> {
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
            keys: keys.clone(),
            path: path.to_owned(),
            head: HeadFile::beside(path, keys),
            known: None,
        })
    }

    /// Creates what a new audit log needs, upgrades one of an earlier release, and checks that
    /// it reaches its head.
    fn begin(&mut self) -> Result<(), AuditError> {
        let keys = ChainKeys::of(&self.keys);
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
        let mut end = end(&transaction, &keys)?;
        keys.appending(&end)?;
        let mut losses = 0;
        let judged = judge(found, self.head.boot(), &transaction, &keys, before, &end)?;
        upgrade(&transaction, before)?;
        let is_first = matches!(judged, Reached::NoHead);
        match judged {
            Reached::NoHead => {
                if end.head.sequence > 0 {
                    let event = Event::new(Action::AcceptLoss, SYSTEM, Utc::now())
                        .because("an earlier release kept no head")
                        .changing(head_change(None, &end.head));
                    end = append(&transaction, &keys, end, [&event])?;
                }
            }
            Reached::Head(note) => losses = note.losses,
            Reached::LostAtRestart(note, loss) => {
                tracing::warn!(%loss, "the machine stopped before all entries were on disk");
                let event = Event::new(Action::AcceptLoss, SYSTEM, Utc::now())
                    .because("the machine stopped before they were on disk")
                    .changing(head_change(Some(&note.head), &end.head));
                end = append(&transaction, &keys, end, [&event])?;
                losses = note.losses + 1;
            }
        }
        if is_first {
            // Before the tables say that there is a head.
            let beginning = keys.beginning().head;
            self.head
                .write(&beginning, losses)
                .map_err(AuditError::File)?;
        }
        transaction.commit()?;
        self.connection.mark()?;
        let note = self
            .head
            .write(&end.head, losses)
            .map_err(AuditError::File)?;
        self.known = Some(note);
        Ok(())
    }

    /// Appends `event`, which names the next server key, with which the chain continues; nothing,
    /// and the answer is false, if it continues with that already.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; nothing was appended.
    pub fn change_key(&mut self, event: &Event) -> Result<bool, AuditError> {
        let keys = ChainKeys::of(&self.keys);
        // Nobody else changes the key: a rotation holds a lock.
        let there = end(&self.connection, &keys)?;
        if keys.continues_with_next(&there) {
            return Ok(false);
        }
        self.append([event])?;
        self.flush()?;
        Ok(true)
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
        let keys = ChainKeys::of(&self.keys);
        let end = end(&transaction, &keys)?;
        let losses = check(
            &transaction,
            &keys,
            &end.head,
            &self.head,
            self.known.as_ref(),
        )?;
        also(&transaction)?;
        let end = append(&transaction, &keys, end, events)?.head;
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
        let keys = ChainKeys::of(&self.keys);
        let end = end(&transaction, &keys)?;
        keys.appending(&end)?;
        check(
            &transaction,
            &keys,
            &end.head,
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

/// How an audit log that may be written compares with the note of its head.
enum Reached {
    /// It reaches it.
    Head(Note),
    /// There is none: the log is new, or of a release that kept none.
    NoHead,
    /// It lacks entries, which the machine lost when it stopped.
    LostAtRestart(Note, Loss),
}

/// Compares an audit log of version `before` that ends at `end` with what was found as the note of
/// its head, in this boot of the machine.
fn judge(
    found: Found,
    boot: &str,
    connection: &Connection,
    keys: &ChainKeys,
    before: i64,
    end: &Position,
) -> Result<Reached, AuditError> {
    let note = match found {
        Found::Garbage => return Err(Loss::HeadUnreadable.into()),
        Found::Nothing if before == SCHEMA_VERSION => return Err(Loss::HeadMissing.into()),
        Found::Nothing => return Ok(Reached::NoHead),
        Found::Note(note) => note,
    };
    let Some(loss) = missing(connection, keys, &end.head, &note.head)? else {
        return Ok(Reached::Head(note));
    };
    let cut = matches!(loss, Loss::Cut { .. } | Loss::Emptied { .. });
    match cut && note.lost_at_restart(end.head.sequence, boot) {
        true => Ok(Reached::LostAtRestart(note, loss)),
        false => Err(loss.into()),
    }
}

/// Checks what [`AuditStore::open`] would refuse, and changes nothing. Blocks.
///
/// # Errors
///
/// As [`AuditStore::open`].
pub(crate) fn look(path: &Path, keys: &ServerKeys) -> Result<(), AuditError> {
    let head = HeadFile::beside(path, keys);
    let keys = ChainKeys::of(keys);
    // In this order: a server that runs commits each entry before it notes it.
    let found = head.read().map_err(AuditError::File)?;
    let Some(connection) = durabletask_sqlite::look(path)? else {
        return match found {
            Found::Garbage => Err(Loss::HeadUnreadable.into()),
            Found::Note(note)
                if note.head.sequence > 0 && !note.lost_at_restart(0, head.boot()) =>
            {
                Err(Loss::of(0, &note.head).into())
            }
            Found::Nothing | Found::Note(_) => Ok(()),
        };
    };
    let before = version(&connection)?;
    if before > SCHEMA_VERSION {
        return Err(AuditError::Newer(before));
    }
    if before == 0 {
        return Ok(());
    }
    let end = end(&connection, &keys)?;
    keys.appending(&end)?;
    judge(found, head.boot(), &connection, &keys, before, &end).map(drop)
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
    keys: &ChainKeys,
    mut end: Position,
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<Position, AuditError> {
    for event in events {
        let (text, next) = keys.append(&end, event)?;
        insert(transaction, &text, &next.head)?;
        end = next;
    }
    Ok(end)
}

fn insert(transaction: &Connection, text: &str, head: &Head) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO entries (sequence, event, hash) VALUES (?1, ?2, ?3)")?;
    insert.execute(params![place(head.sequence), text, head.hash])?;
    Ok(())
}

/// Checks that an audit log that ends at `end` reaches its head; returns how many
/// losses were accepted. The head that this process has `known` counts like the file's.
fn check(
    transaction: &Connection,
    keys: &ChainKeys,
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
    match missing(transaction, keys, end, &noted.head)? {
        None => Ok(noted.losses),
        Some(loss) => Err(loss.into()),
    }
}

/// What an audit log that ends at `end` lacks.
fn missing(
    transaction: &Connection,
    keys: &ChainKeys,
    end: &Head,
    noted: &Head,
) -> Result<Option<Loss>, AuditError> {
    if noted.sequence > end.sequence {
        return Ok(Some(Loss::of(end.sequence, noted)));
    }
    let there = if noted.sequence == end.sequence {
        Some(end.hash.to_vec())
    } else if noted.sequence == 0
        || noted.sequence < archive::start(transaction, keys)?.head.sequence
    {
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

/// Where the chain ends: the last place, 0 if there is none, its hash, and the key with which the
/// chain continues.
pub(super) fn end(connection: &Connection, keys: &ChainKeys) -> Result<Position, AuditError> {
    let last = connection
        .query_row(
            "SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )
        .optional()?;
    let Some((sequence, written)) = last else {
        return archive::start(connection, keys);
    };
    let sequence = u64::try_from(sequence).unwrap_or(0);
    let hash = written
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    let key = key_after(connection, keys, sequence)?;
    Ok(Position {
        head: Head { sequence, hash },
        key,
    })
}

/// The key with which the entry after `sequence` is chained: the one that the last rotation until
/// there names, or the one with which the log in the database begins.
fn key_after(
    connection: &Connection,
    keys: &ChainKeys,
    sequence: u64,
) -> Result<Option<Arc<str>>, AuditError> {
    let mut statement = connection.prepare_cached(
        "SELECT event FROM entries WHERE action = ?1 AND subject = ?2 AND sequence <= ?3
         ORDER BY sequence DESC",
    )?;
    let rotation = Action::RotateSecret.as_str();
    let mut rows = statement.query(params![rotation, SERVER_KEY_SUBJECT, place(sequence)])?;
    while let Some(row) = rows.next()? {
        if let Some(id) = changed_key(&row.get::<_, String>(0)?) {
            return Ok(Some(id));
        }
    }
    let start = archive::start(connection, keys)?;
    if start.key.is_some() {
        return Ok(start.key);
    }
    let mut first =
        connection.prepare_cached("SELECT event, hash FROM entries ORDER BY sequence LIMIT 1")?;
    let first: Option<(String, Vec<u8>)> = first
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((event, hash)) = first else {
        return Ok(None);
    };
    let begun = keys.follow(&start, &event, &hash)?;
    Ok(begun.and_then(|begun| begun.key))
}

mod archive;
mod losing;
#[cfg(test)]
mod tests;
mod verifying;
