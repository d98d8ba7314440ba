//! Errors of opening and serving a scheduler.

use std::path::PathBuf;

use crate::StorageError;

/// Why a scheduler could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder, or a file in it, could not be created.
    #[error(
        "cannot create the data folder {path}: {source}; check the folder above it, and its permissions"
    )]
    Directory {
        /// The folder or file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The database could not be opened or prepared.
    #[error(
        "cannot open the scheduler's database: {0}; check that the disk is writable and has free space"
    )]
    Database(#[from] StorageError),
    /// The PostgreSQL database could not be reached, used or prepared.
    #[error("cannot use the task hubs' database: {0}")]
    SharedDatabase(#[source] countersign_database::DatabaseError),
    /// The database was written by a newer version of this program.
    #[error(
        "the scheduler's database has schema version {found}, this program knows up to {known}; use the newer program that wrote it"
    )]
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The database was copied while a scheduler used it, without its log.
    #[error(
        "{path} was in use when it was copied or moved here, and its log {path}-wal is missing: what is in the log \
         would be lost. Copy the log too, or better make the copy with the command `backup`. If another program \
         has written the log back into the file and removed it, or SQLite's own backup made this copy, nothing is missing: \
         then make an empty log with `touch '{path}-wal'`"
    )]
    LogMissing {
        /// The database's file.
        path: PathBuf,
    },
    /// The folder's task hubs are in a database.
    #[error(
        "the task hubs of the data folder {path} are in the database {database}: start with that one, or move \
         them back with the command `migrate to-folder`. To begin with empty task hubs in the folder, remove {note}"
    )]
    Elsewhere {
        /// The folder.
        path: PathBuf,
        /// The database, without its password.
        database: String,
        /// The file that says so.
        note: PathBuf,
    },
    /// A move of task hubs between a folder and a database was interrupted.
    #[error(
        "moving the task hubs between the data folder {path} and the database {database} was interrupted: run the \
         same command `migrate` again, which finishes it"
    )]
    Arriving {
        /// The folder.
        path: PathBuf,
        /// The database, without its password.
        database: String,
    },
    /// The task hubs in the database are not all there, or are not there any more.
    #[error("{0}")]
    Moving(String),
    /// The note about where the task hubs are cannot be understood.
    #[error(
        "{path} cannot be understood: it says where the task hubs of its folder are kept; restore it from a \
         backup, or use the release that wrote it"
    )]
    Note {
        /// The file.
        path: PathBuf,
    },
    /// There are task hubs in the folder and in the database.
    #[error(
        "{path} has {instances} instances, but the task hubs are to be kept in the database {database}: move them \
         there with the command `migrate to-database` (`countersign scheduler migrate to-database`), or move that \
         file away if nothing in it is needed any more"
    )]
    InBoth {
        /// The file.
        path: PathBuf,
        /// How many instances and entities it has.
        instances: i64,
        /// The database, without its password.
        database: String,
    },
    /// Another process has the database open for writing.
    #[error(
        "the scheduler's database in {path} is in use by another process; stop it first, or choose another folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The writer thread could not be started.
    #[error("cannot start the scheduler's writer thread: {0}")]
    Thread(std::io::Error),
    /// A setting is out of range.
    #[error("{0}")]
    Config(String),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<countersign_database::DatabaseError> for OpenError {
    fn from(error: countersign_database::DatabaseError) -> Self {
        Self::SharedDatabase(error)
    }
}

impl From<durabletask_sqlite::OpenError> for OpenError {
    fn from(error: durabletask_sqlite::OpenError) -> Self {
        use durabletask_sqlite::OpenError as Of;
        match error {
            Of::LogMissing(path) => Self::LogMissing { path },
            Of::Lock { path, source } | Of::File { path, source } => {
                Self::Directory { path, source }
            }
            Of::Sqlite(error) => Self::Database(error.into()),
        }
    }
}

/// Why serving ended other than by its stop signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The gRPC server failed.
    #[error("the scheduler's gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The port for other nodes cannot be served.
    #[error("the port for other nodes cannot be served: {0}")]
    Peers(#[from] crate::PeerError),
    /// It was served before.
    #[error("this scheduler is served already; a scheduler is served once")]
    ServedBefore,
    /// The writer thread has ended, so nothing can be made durable any more.
    #[error("the scheduler's writer has stopped: {0}; see the log for the first failure")]
    Writer(String),
}
