//! The ledger's tables.

use std::path::Path;

use durabletask_sqlite::{Database, OpenError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use crate::{LedgerError, recovery};

/// Marks the file as a ledger of this program: `CSLG`.
const APPLICATION: i64 = 0x4353_4c47;
/// The schema that this release writes.
const VERSION: i64 = 2;
/// The page cache, in KiB, negative as SQLite expects it.
const CACHE: i64 = -16_384;
/// After how many pages of 4 KiB the write-ahead log is checkpointed.
const WRITTEN_BACK_AFTER: i64 = 4_000;
/// How many statements stay prepared: all that there are.
const STATEMENTS: usize = 64;

const TABLES: &str = "
    CREATE TABLE ledger (id TEXT NOT NULL);
    CREATE TABLE mandates (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        digest TEXT NOT NULL,
        registered_at INTEGER NOT NULL
    );
    CREATE TABLE matters (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES mandates (run),
        about TEXT NOT NULL,
        status TEXT NOT NULL,
        version INTEGER NOT NULL,
        UNIQUE (run, about)
    );
    CREATE INDEX matters_about ON matters (about);
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY,
        matter INTEGER NOT NULL REFERENCES matters (number),
        nonce TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL
    );
    CREATE INDEX decisions_matter ON decisions (matter);
    CREATE TABLE uses (
        number INTEGER PRIMARY KEY,
        matter INTEGER NOT NULL REFERENCES matters (number),
        deed TEXT NOT NULL,
        name TEXT NOT NULL,
        begun_at INTEGER NOT NULL,
        done_at INTEGER,
        result TEXT
    );
    CREATE INDEX uses_matter ON uses (matter);
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        about TEXT NOT NULL,
        account TEXT,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT
    );
";

/// Before version 2 the mandates were kept in the order of their runs, which are random: each
/// new one touched pages all over the file.
const FROM_1: &str = "
    CREATE TABLE mandates_2 (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        digest TEXT NOT NULL,
        registered_at INTEGER NOT NULL
    );
    INSERT INTO mandates_2 (run, id, token, digest, registered_at)
        SELECT run, id, token, digest, registered_at FROM mandates ORDER BY registered_at;
    DROP TABLE mandates;
    ALTER TABLE mandates_2 RENAME TO mandates;
";

/// The schema of the ledger at `path`: 0 if nothing is in it yet.
fn written(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (pragma("application_id")?, pragma("user_version")?) {
        (0, 0) => {
            let sql = "SELECT count(*) FROM sqlite_schema";
            match connection.query_row(sql, [], |row| row.get::<_, i64>(0))? {
                0 => Ok(0),
                _ => Err(LedgerError::Foreign(path.to_owned())),
            }
        }
        (APPLICATION, version @ 1..=VERSION) => Ok(version),
        (APPLICATION, found) if found > VERSION => Err(LedgerError::Newer {
            path: path.to_owned(),
            found,
        }),
        _ => Err(LedgerError::Foreign(path.to_owned())),
    }
}

fn refused(error: OpenError) -> LedgerError {
    match error {
        OpenError::Sqlite(error) => error.into(),
        other => LedgerError::Open(other),
    }
}

fn foreign(error: rusqlite::Error, path: &Path) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            LedgerError::Foreign(path.to_owned())
        }
        _ => error.into(),
    }
}

/// Checks what [`open`] would refuse, and changes nothing; the ledger's id, if it has one yet.
pub(crate) fn look(path: &Path) -> Result<Option<String>, LedgerError> {
    let Some(connection) = durabletask_sqlite::look(path).map_err(refused)? else {
        return Ok(None);
    };
    // Any first reading finds out whether it is a database at all.
    connection
        .query_row("PRAGMA schema_version", [], |_| Ok(()))
        .map_err(|error| foreign(error, path))?;
    match written(&connection, path)? {
        0 => Ok(None),
        _ => Ok(connection
            .query_row("SELECT id FROM ledger", [], |row| row.get(0))
            .optional()?),
    }
}

/// A connection to the ledger at `path`, with its tables.
pub(crate) fn open(path: &Path) -> Result<Database, LedgerError> {
    let mut connection = Database::open(path).map_err(refused)?;
    // A statement stays prepared whatever values it is run with.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let foreign = |error| foreign(error, path);
    connection.write_ahead().map_err(foreign)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.pragma_update(None, "wal_autocheckpoint", WRITTEN_BACK_AFTER)?;
    // While tables replace each other.
    connection.pragma_update(None, "foreign_keys", false)?;
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(foreign)?;
    match written(&transaction, path)? {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        1 => {
            transaction.execute_batch(FROM_1)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        _ => {}
    }
    transaction.execute_batch(recovery::TABLE)?;
    transaction.commit()?;
    connection.mark()?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}
