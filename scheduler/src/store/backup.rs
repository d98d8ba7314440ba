//! A copy of the database while it is in use.

use std::fs::File;
use std::path::{Path, PathBuf};

use durabletask_sqlite::CopyError;
use rusqlite::{Connection, OpenFlags};

use super::{DATABASE, StorageError, kept_elsewhere, schema};
use crate::{OpenError, private};

/// A finished backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The size of the file, in bytes.
    pub bytes: u64,
}

/// Why a backup was not made. Then there is no file at the copy's path.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder holds no scheduler's database.
    #[error("there is no scheduler database at {path}; name the scheduler's data folder")]
    NoDatabase {
        /// The path that was tried.
        path: PathBuf,
    },
    /// What the folder's task hubs are in is not a file.
    #[error(
        "the task hubs of the data folder {path} are in the database {database}: back that up with its own tools, \
         such as `pg_dump --schema=durabletask`"
    )]
    Elsewhere {
        /// The folder.
        path: PathBuf,
        /// The database, without its password.
        database: String,
    },
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The copy's path exists already.
    #[error("{path} exists already; choose another name, since a backup does not overwrite files")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("cannot write the backup {path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The database could not be read or copied.
    #[error("the backup failed: {0}")]
    Database(#[from] StorageError),
    /// The copy was read back and is damaged.
    #[error("the copy is damaged: {0}; check the disk and the original before you trust either")]
    Damaged(String),
}

/// Copies the database of the data folder `folder` to the new file `to`, even while a
/// scheduler uses it: the copy is the state of one moment, with everything that was
/// acknowledged before the call. The copy is checked and flushed before this returns.
/// To restore it, put it as `scheduler.sqlite3` into an empty data folder.
///
/// Blocks for as long as the copying takes.
///
/// # Errors
/// [`BackupError`]; the file `to` then does not exist.
pub fn backup(folder: &Path, to: &Path) -> Result<BackupReport, BackupError> {
    if let Some(database) = kept_elsewhere(folder)? {
        return Err(BackupError::Elsewhere {
            path: folder.to_owned(),
            database,
        });
    }
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
    // Creates the file first, so that no other can appear there in the meantime.
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

/// How many instances the database at `file` holds: a copy that nobody changes in the meantime.
///
/// # Errors
///
/// [`StorageError`] when it cannot be read, or is not a scheduler's database.
pub fn count_instances(file: &Path) -> Result<u64, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    let count: i64 =
        connection.query_row("SELECT count(*) FROM instances", [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Checks whether a scheduler would open the database in `folder`, if there is one, and changes nothing.
///
/// # Errors
///
/// [`OpenError`], as of [`Scheduler::open`](crate::Scheduler::open).
pub fn look(folder: &Path) -> Result<(), OpenError> {
    schema::look(&folder.join(DATABASE))
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::File {
        path: to.to_owned(),
        source,
    };
    // Left over from an interrupted backup.
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    private::create(to).map_err(failed)?;
    let source = durabletask_sqlite::snapshot(from).map_err(StorageError::from)?;
    durabletask_sqlite::copy(&source, to).map_err(|error| match error {
        CopyError::Sqlite(error) => BackupError::Database(error.into()),
        CopyError::File(error) => failed(error),
        CopyError::Damaged(verdict) => BackupError::Damaged(verdict),
    })
}
