//! The tables, and the pragmas of each connection.

use std::fs::{File, TryLockError};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::OpenError;

/// The newest schema version this program knows; kept in `user_version`.
pub(crate) const SCHEMA_VERSION: i64 = 1;

/// Large payloads have a table of their own, so that a turn's update of the small
/// instance row doesn't rewrite them. Times are microseconds since 1970.
const TABLES: &str = "
CREATE TABLE hubs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE instances (
    key INTEGER PRIMARY KEY,
    hub INTEGER NOT NULL,
    id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT,
    status INTEGER NOT NULL,
    held INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    completed_us INTEGER,
    scheduled_us INTEGER,
    custom_status TEXT,
    parent_key INTEGER,
    details BLOB NOT NULL,
    span BLOB,
    terminate_children INTEGER NOT NULL
);
CREATE UNIQUE INDEX instances_by_id ON instances (hub, id);
CREATE INDEX instances_by_parent ON instances (parent_key) WHERE parent_key IS NOT NULL;
CREATE TABLE payloads (instance INTEGER PRIMARY KEY, input TEXT, output TEXT, failure BLOB);
CREATE TABLE history (
    instance INTEGER NOT NULL, seq INTEGER NOT NULL, events BLOB NOT NULL,
    PRIMARY KEY (instance, seq)
) WITHOUT ROWID;
CREATE TABLE inbox (
    instance INTEGER NOT NULL, seq INTEGER NOT NULL, event BLOB NOT NULL,
    PRIMARY KEY (instance, seq)
) WITHOUT ROWID;
CREATE TABLE activities (id INTEGER PRIMARY KEY, instance INTEGER NOT NULL, request BLOB NOT NULL);
CREATE TABLE timers (
    instance INTEGER NOT NULL, id INTEGER NOT NULL, fire_us INTEGER NOT NULL, event BLOB,
    PRIMARY KEY (instance, id)
) WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (fire_us);
";

/// Takes the folder for this process; the lock is released when the file is dropped,
/// however the process ends.
pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory {
        path: folder.to_owned(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("scheduler.lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens the writing connection of a file and brings its tables up to date.
pub(crate) fn open_file(file: &Path) -> Result<Connection, OpenError> {
    let conn = Connection::open(file)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 4000)?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    migrate(&conn)?;
    Ok(conn)
}

/// Opens a database that lives in memory.
pub(crate) fn open_memory() -> Result<Connection, OpenError> {
    let conn = Connection::open_in_memory()?;
    migrate(&conn)?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

fn migrate(conn: &Connection) -> Result<(), OpenError> {
    conn.set_prepared_statement_cache_capacity(128);
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(OpenError::NewerSchema {
            found,
            known: SCHEMA_VERSION,
        });
    }
    if found == 0 {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        ))?;
    }
    Ok(())
}
