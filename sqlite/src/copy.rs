//! Copies of databases that are in use.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use crate::database::{clear_copy, keep_log};

/// How often a copy is retried when the database is busy, and after how long.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a reader waits for a database that another process is opening.
const BUSY: Duration = Duration::from_secs(5);

/// Why a copy failed.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The database could not be read or copied.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The copy cannot be flushed to disk.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The copy was read back and is damaged.
    #[error("{0}")]
    Damaged(String),
}

/// A connection that reads what the database at `path` holds at this moment, for as long as it
/// lives, whatever is written in the meantime.
///
/// # Errors
///
/// SQLite's error.
pub fn snapshot(path: &Path) -> Result<Connection, rusqlite::Error> {
    // Not for reading only: the first to open a database may have to bring its log up to date.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    keep_log(&connection)?;
    connection.execute_batch("BEGIN DEFERRED")?;
    // A transaction begins with its first reading.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Copies what `source` reads into the empty file `to`: one file, without a log, which is
/// checked and flushed when this returns. All pages are copied in one read transaction: in a database
/// with a log that blocks no writer, and no write can restart it. Blocks.
///
/// # Errors
///
/// [`CopyError`]; the file's content is unusable then.
pub fn copy(source: &Connection, to: &Path) -> Result<(), CopyError> {
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(source, &mut target)?;
        let mut tries = 0;
        loop {
            match backup.step(-1)? {
                StepResult::Done => break,
                _ if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                _ => {
                    return Err(CopyError::Sqlite(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        Some("the database stayed locked".to_owned()),
                    )));
                }
            }
        }
    }
    target.pragma_update(None, "journal_mode", "DELETE")?;
    clear_copy(&target)?;
    let verdict: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(CopyError::Damaged(verdict));
    }
    target.close().map_err(|(_, error)| error)?;
    File::open(to)?.sync_all()?;
    Ok(())
}
