//! The tables of a file or in memory, and the pragmas of each connection. Those of PostgreSQL are in
//! `migrations/`.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use durabletask_sqlite::Database;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::engine;
use crate::{OpenError, private};

/// The newest schema version that this program knows; kept in `user_version`.
pub(crate) const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// The steps from each schema version to the next, the first from an empty file. A
/// step that has been released is never edited: a change is one more step.
const STEPS: [&str; 10] = [
    TABLES,
    ENTITIES,
    INDEXES,
    COMPLETIONS_AND_HUBS,
    super::tags::TABLES,
    super::retention::INDEX,
    HISTORY_BYTES,
    COMMANDS,
    super::continue_as_new::STEP,
    super::log_mark::STEP,
];

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

/// Entities and what waits for them. Their keys are drawn from the same numbers as
/// those of instances, so that a timer can belong to either.
const ENTITIES: &str = "
CREATE TABLE entities (
    key INTEGER PRIMARY KEY,
    hub INTEGER NOT NULL,
    id TEXT NOT NULL,
    state TEXT,
    modified_us INTEGER NOT NULL,
    locked_by TEXT,
    lock_execution TEXT,
    lock_section TEXT
);
CREATE UNIQUE INDEX entities_by_id ON entities (hub, id);
CREATE INDEX entities_by_holder ON entities (hub, locked_by) WHERE locked_by IS NOT NULL;
CREATE TABLE entity_inbox (
    entity INTEGER NOT NULL, seq INTEGER NOT NULL, is_lock INTEGER NOT NULL,
    parent TEXT, parent_execution TEXT, event BLOB NOT NULL,
    PRIMARY KEY (entity, seq)
) WITHOUT ROWID;
";

/// For lists in order of creation, narrowed to a status or a name or not.
const INDEXES: &str = "
CREATE INDEX instances_by_created ON instances (hub, created_us);
CREATE INDEX instances_by_status ON instances (hub, status, created_us);
CREATE INDEX instances_by_name ON instances (hub, name, created_us);
";

/// Lists by completion use an index. A deleted hub's number is never reused,
/// so that nothing is reachable through it any more. Activities are found by their
/// instance, to be removed with it.
const COMPLETIONS_AND_HUBS: &str = "
CREATE INDEX instances_by_completion ON instances (hub, completed_us, id) WHERE completed_us IS NOT NULL;
CREATE INDEX activities_by_instance ON activities (instance);
CREATE TABLE numbered_hubs (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
INSERT INTO numbered_hubs (id, name) SELECT id, name FROM hubs;
DROP TABLE hubs;
ALTER TABLE numbered_hubs RENAME TO hubs;
";

/// How large each instance's history is, so that a turn can be refused without reading it.
const HISTORY_BYTES: &str = "
ALTER TABLE instances ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE instances SET history_bytes =
    (SELECT coalesce(sum(length(events)), 0) FROM history WHERE instance = key);
";

/// What was acknowledged but not yet sent to a worker: the termination, and the
/// status that a suspended instance returns to, which is RUNNING where none is kept.
const COMMANDS: &str = "
ALTER TABLE instances ADD COLUMN terminated BLOB;
ALTER TABLE instances ADD COLUMN resumes_to INTEGER;
";

/// Creates the data folder if it is missing, for its owner only.
pub(crate) fn make_folder(folder: &Path) -> Result<(), OpenError> {
    private::create_folder(folder).map_err(|source| OpenError::Directory {
        path: folder.to_owned(),
        source,
    })
}

/// Locks the folder for this process; the lock is released when the file is dropped,
/// however the process ends.
pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory {
        path: folder.to_owned(),
        source,
    };
    let file = private::open(&folder.join("scheduler.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens the writing connection of a file and brings its tables up to date.
pub(crate) fn open_file(file: &Path) -> Result<engine::Connection, OpenError> {
    make_private(file)?;
    let conn = Database::open(file)?;
    keep_prepared(&conn)?;
    conn.shrinkable()?;
    conn.write_ahead()?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 4000)?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    migrate(&conn)?;
    conn.mark()?;
    Ok(engine::Connection::File(conn))
}

/// Creates a new database's file for its owner only. SQLite gives the files beside it the
/// same permissions.
fn make_private(file: &Path) -> Result<(), OpenError> {
    match private::create(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::Directory {
            path: file.to_owned(),
            source,
        }),
    }
}

/// Opens a database that lives in memory.
pub(crate) fn open_memory() -> Result<engine::Connection, OpenError> {
    let conn = Connection::open_in_memory()?;
    keep_prepared(&conn)?;
    migrate(&conn)?;
    Ok(engine::Connection::Plain(conn))
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(file: &Path) -> Result<engine::Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(32);
    keep_prepared(&conn)?;
    Ok(engine::Connection::Plain(conn))
}

/// Keeps statements prepared whatever values they run with. SQLite would re-prepare some
/// of them for each value, in case another plan is better.
fn keep_prepared(conn: &Connection) -> Result<(), OpenError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Checks what [`open_file`] would refuse, and changes nothing.
pub(crate) fn look(file: &Path) -> Result<(), OpenError> {
    match durabletask_sqlite::look(file)? {
        Some(conn) => version(&conn).map(drop),
        None => Ok(()),
    }
}

fn version(conn: &Connection) -> Result<i64, OpenError> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found > SCHEMA_VERSION {
        true => Err(OpenError::NewerSchema {
            found,
            known: SCHEMA_VERSION,
        }),
        false => Ok(found),
    }
}

fn migrate(conn: &Connection) -> Result<(), OpenError> {
    conn.set_prepared_statement_cache_capacity(128);
    let found = version(conn)?;
    let done = usize::try_from(found).unwrap_or(0);
    for (step, version) in STEPS.iter().zip(1_i64..).skip(done) {
        // Each step on its own: a crash between two leaves a file at one of the versions.
        let applied = conn
            .execute_batch(&format!("BEGIN IMMEDIATE; {step}"))
            .and_then(|()| match *step {
                super::tags::TABLES => super::tags::backfill(conn),
                super::continue_as_new::STEP => super::continue_as_new::renumber(conn),
                _ => Ok(()),
            })
            .and_then(|()| {
                conn.execute_batch(&format!("PRAGMA user_version = {version}; COMMIT;"))
            });
        if let Err(error) = applied {
            // A batch that fails halfway leaves its transaction open.
            let _ = conn.execute_batch("ROLLBACK");
            return Err(error.into());
        }
    }
    // Not a step: the release before works on a file with it. About a second for a million tags.
    conn.execute_batch(super::tags::BY_KEY)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod entity_tables {
    use super::*;

    #[test]
    fn a_file_from_before_entities_gets_their_tables_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.sqlite3");
        let conn = Connection::open(&file).unwrap();
        let before = STEPS.iter().position(|step| *step == ENTITIES).unwrap();
        for step in &STEPS[..before] {
            conn.execute_batch(step).unwrap();
        }
        conn.execute_batch(&format!(
            "PRAGMA user_version = {before}; INSERT INTO hubs (id, name) VALUES (4, 'kept');"
        ))
        .unwrap();
        drop(conn);

        let conn = open_file(&file).unwrap();
        let conn = conn.sqlite().unwrap();
        let kept: String = conn
            .query_row("SELECT name FROM hubs WHERE id = 4", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "kept");
        let entities: i64 = conn
            .query_row(
                "SELECT (SELECT count(*) FROM entities) + (SELECT count(*) FROM entity_inbox)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(entities, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_is_brought_up_to_date_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.sqlite3");
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch(&format!("{} PRAGMA user_version = 1;", STEPS[0]))
            .unwrap();
        conn.execute_batch(
            "INSERT INTO hubs (id, name) VALUES (4, 'kept');
             INSERT INTO instances VALUES
                 (9, 4, 'a', 'e', 'Hello', NULL, 1, 0, 1, 10, 20, 20, NULL, NULL, NULL, x'', NULL, 0);
             INSERT INTO payloads (instance) VALUES (9);
             INSERT INTO history VALUES (9, 0, x'0102'), (9, 1, x'03');",
        )
        .unwrap();
        drop(conn);

        let conn = open_file(&file).unwrap();
        let conn = conn.sqlite().unwrap();
        let version: i64 = conn
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, SCHEMA_VERSION);
        let kept: (i64, String) = conn
            .query_row(
                "SELECT h.id, i.id FROM hubs h JOIN instances i ON i.hub = h.id WHERE h.name = 'kept'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(kept, (4, "a".to_owned()));
        let bytes: i64 = conn
            .query_row("SELECT history_bytes FROM instances", [], |row| row.get(0))
            .unwrap();
        assert_eq!(bytes, 3);
        // A number is used once, whatever happened to its hub.
        conn.execute_batch("DELETE FROM hubs; INSERT INTO hubs (name) VALUES ('new');")
            .unwrap();
        let id: i64 = conn
            .query_row("SELECT id FROM hubs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(id, 5);
        open_file(&file).unwrap();
    }
}
