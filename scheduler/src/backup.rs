//! A copy of the database while it is in use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::private;
use crate::store::{DATABASE, log_mark};

/// How often a copy that found the database busy is tried again, and after how long.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// What a backup has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The size of the file, in bytes.
    pub bytes: u64,
}

/// Why a backup was not made. Nothing is left at the place of the copy then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder holds no scheduler's database.
    #[error("there is no scheduler database at {path}; name the scheduler's data folder")]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is at the place of the copy.
    #[error("{path} exists already; choose another name, since a backup does not overwrite files")]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("cannot write the backup {path}: {source}")]
    File {
        /// The place.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be read or copied.
    #[error("the backup failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The copy was read back and is not sound.
    #[error("the copy is damaged: {0}; check the disk and the original before you trust either")]
    Damaged(String),
}

/// Copies the database of the data folder `folder` to the new file `to`, also while a
/// scheduler works on it: the copy is the state of one moment, with everything that was
/// acknowledged before the call. The copy is checked and flushed before this returns.
/// To go back to it, put it as `scheduler.sqlite3` into an empty data folder.
///
/// Blocks for as long as the copying takes.
///
/// # Errors
/// [`BackupError`]; the file `to` then does not exist.
pub fn backup(folder: &Path, to: &Path) -> Result<BackupReport, BackupError> {
    let from = folder.join(DATABASE);
    if !from.is_file() {
        return Err(BackupError::NoDatabase { path: from });
    }
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists {
            path: to.to_owned(),
        },
        _ => BackupError::File {
            path: to.to_owned(),
            source,
        },
    };
    // Takes the name first, so that nothing can appear there in the meantime.
    private::create(to).map_err(failed)?;
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let outcome = copy(&from, &partial).and_then(|()| {
        std::fs::rename(&partial, to).map_err(failed)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        let bytes = std::fs::metadata(to).map_err(failed)?.len();
        Ok(BackupReport { bytes })
    });
    if outcome.is_err() {
        for leftover in [partial.as_path(), to] {
            // Best effort: the error that matters is the first one.
            let _ = std::fs::remove_file(leftover);
        }
    }
    outcome
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::File {
        path: to.to_owned(),
        source,
    };
    // Left over from a backup that was cut off.
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    private::create(to).map_err(failed)?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(Duration::from_secs(5))?;
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        let mut tries = 0;
        // All pages in one step, which is one read transaction: in WAL mode it stops no
        // writer, and no write can make it begin again.
        loop {
            match backup.step(-1)? {
                StepResult::Done => break,
                _ if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                _ => {
                    return Err(BackupError::Database(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        Some("the database stayed locked".to_owned()),
                    )));
                }
            }
        }
    }
    // One file, without a log beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    log_mark::clear_copy(&target)?;
    let verdict: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(BackupError::Damaged(verdict));
    }
    target.close().map_err(|(_, error)| error)?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(failed)
}
