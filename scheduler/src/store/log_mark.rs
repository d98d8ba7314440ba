//! A database that was copied without its log is noticed.
//!
//! While a scheduler runs, most of what it acknowledged is in the log beside the file
//! (`-wal`), and a copy of the file alone opens with nothing of it. So the file itself
//! says whether it is in use: where it says so and there is no log, something is missing.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::OpenError;

/// The step of the schema that brings the mark.
pub(super) const STEP: &str = "
CREATE TABLE run (open INTEGER NOT NULL);
INSERT INTO run (open) VALUES (0);
";

/// Refuses a file that was in use when it was copied, without its log.
pub(super) fn check(file: &Path) -> Result<(), OpenError> {
    if log_of(file).exists() || std::fs::metadata(file).map_or(0, |found| found.len()) == 0 {
        return Ok(());
    }
    // Opening it the usual way would make a log.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(immutable(file), flags)?;
    if is_marked(&conn) {
        return Err(OpenError::LogMissing {
            path: file.to_owned(),
        });
    }
    Ok(())
}

/// Whether the file says that it is in use; one without a mark does not.
fn is_marked(conn: &Connection) -> bool {
    conn.query_row("SELECT open FROM run", [], |row| row.get(0))
        .unwrap_or(false)
}

/// A database that is in use for as long as this lives.
pub(super) struct InUse<'a>(&'a Connection);

impl<'a> InUse<'a> {
    pub(super) fn mark(conn: &'a Connection) -> Self {
        if let Err(error) = set(conn, true) {
            // Then a copy is not noticed, and nothing worse.
            tracing::debug!(%error, "cannot mark the database as in use");
        }
        Self(conn)
    }
}

impl Drop for InUse<'_> {
    /// Leaves a database that is whole and opens quickly; what is committed is safe
    /// without it.
    fn drop(&mut self) {
        if let Err(error) = set(self.0, false) {
            tracing::debug!(%error, "skipping the last checkpoint; the next start does it");
        }
    }
}

/// Marks a file, in the file itself and not in its log only.
fn set(conn: &Connection, open: bool) -> Result<(), rusqlite::Error> {
    conn.execute("UPDATE run SET open = ?1", [open])?;
    // Busy where a backup reads just now: then a copy is not noticed, and nothing worse.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Takes the mark off a copy that is whole, if it has one.
pub(crate) fn clear_copy(conn: &Connection) -> Result<(), rusqlite::Error> {
    match is_marked(conn) {
        true => conn.execute("UPDATE run SET open = 0", []).map(drop),
        false => Ok(()),
    }
}

fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// The address of a file that nobody changes in the meantime.
fn immutable(file: &Path) -> String {
    let path = file.to_string_lossy();
    let mut address = "file:".to_owned();
    for character in path.chars() {
        match character {
            '%' => address.push_str("%25"),
            '?' => address.push_str("%3f"),
            '#' => address.push_str("%23"),
            other => address.push(other),
        }
    }
    address.push_str("?immutable=1");
    address
}
