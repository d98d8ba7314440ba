//! Why the ledger cannot be used.

use std::io;
use std::path::PathBuf;

use countersign_database::{DatabaseError, Failure, StatementError};
use thiserror::Error;

/// Why the ledger cannot be used, and what to do.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file could not be created or opened.
    #[error("cannot create the ledger {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// It cannot be opened: it was copied while it was in use, without its log.
    #[error(transparent)]
    Open(durabletask_sqlite::OpenError),
    /// A later release wrote it.
    #[error(
        "the ledger {} has the unknown schema {found}; use a later release",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema that it has.
        found: i64,
    },
    /// Another program wrote it, or it is damaged.
    #[error(
        "{} is not a ledger of this program, or is damaged; restore it from a backup, or move it \
         away if there is none",
        .0.display()
    )]
    Foreign(PathBuf),
    /// The disk is full.
    #[error("the disk with the ledger is full; free some space")]
    Full,
    /// It does not answer.
    #[error("the ledger cannot be read or written")]
    Unavailable(#[source] rusqlite::Error),
    /// The shared database cannot be used.
    // Not transparent: what asks for the cause finds this error, not its cause.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// A write was rolled back together with others.
    #[error("writing to the ledger failed and was rolled back")]
    Undone,
    /// An entry does not have the form that this program writes.
    #[error("an entry of the ledger has an unknown form")]
    Malformed,
    /// A mandate names another ledger.
    #[error("the mandate names another ledger")]
    OtherLedger,
    /// Another mandate has the same run.
    #[error("another mandate has the same run")]
    RunTaken,
    /// Something was written since the judgment.
    #[error("the ledger has changed since this was checked")]
    Stale,
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
    /// The thread that reads and writes has ended.
    #[error("the ledger stopped")]
    Stopped,
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Unavailable(error),
        }
    }
}

impl From<StatementError> for LedgerError {
    fn from(error: StatementError) -> Self {
        Self::Database(error.into())
    }
}

impl Failure for LedgerError {
    fn of_database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}
