//! Frees the unused pages of a database, in small steps.
//!
//! SQLite keeps the pages of deleted rows for reuse, and its file never shrinks
//! by itself. A file that was created for that can free them a few at a time, which keeps no one
//! waiting for long.

use rusqlite::Connection;

use crate::Database;

/// The value of `PRAGMA auto_vacuum` of a file that can be shrunk in steps.
const INCREMENTAL: i64 = 2;
/// A file smaller than this is not rewritten, in pages.
const SMALL: i64 = 1_000;

impl Database {
    /// Prepares a file for shrinking later: a new one, before its first table and
    /// before [`Database::write_ahead`]. An older one is rewritten for that once most of it is
    /// free, which takes as long as copying what is left, and only if nobody else has it open.
    ///
    /// # Errors
    ///
    /// SQLite's error.
    pub fn shrinkable(&self) -> Result<(), rusqlite::Error> {
        let number = |name| self.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        if number("auto_vacuum")? == INCREMENTAL {
            return Ok(());
        }
        let (pages, free) = (number("page_count")?, number("freelist_count")?);
        let mostly_free = pages > SMALL && free > pages / 2;
        if pages > 0 && !mostly_free {
            return Ok(());
        }
        self.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        if mostly_free && let Err(error) = self.execute_batch("VACUUM") {
            // It stays as large as it is, which is harmless.
            tracing::info!(%error, "a database that is mostly free was not made smaller");
        }
        Ok(())
    }
}

/// Frees up to `pages` unused pages, except `spare` pages, and returns
/// how many. Part of the open transaction, if there is one.
///
/// # Errors
///
/// SQLite's error.
pub fn shrink(connection: &Connection, pages: u32, spare: u32) -> Result<u32, rusqlite::Error> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let free = number("freelist_count")?;
    let more = free - i64::from(spare);
    if more <= 0 || number("auto_vacuum")? != INCREMENTAL {
        return Ok(0);
    }
    let step = u32::try_from(more).unwrap_or(u32::MAX).min(pages);
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
    // One page a row.
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(step)
}

/// Checkpoints a database's log into its file, which then has its real size, unless the
/// database is being read.
///
/// # Errors
///
/// SQLite's error.
pub fn write_back(connection: &Connection) -> Result<(), rusqlite::Error> {
    // Most of it without keeping others from writing.
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
