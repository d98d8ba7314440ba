//! Why task hubs were not moved, and what to do.

use std::path::PathBuf;

use thiserror::Error;

use crate::{OpenError, StorageError};

/// Why task hubs were not moved between a data folder and a database. What counted before still counts,
/// unless the text says otherwise.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The folder or the database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder holds no task hubs.
    #[error("there is no scheduler database at {0}, so there is nothing to move")]
    Nothing(PathBuf),
    /// Reading or writing failed on the way.
    #[error("the move was interrupted: {0}; run the same command again, which starts it over")]
    Storage(#[from] StorageError),
    /// Schedulers use the database.
    #[error(
        "the database is in use by the scheduler {0}: stop all schedulers on it, and run this again (one that \
         was killed is forgotten after five seconds)"
    )]
    InUse(String),
    /// There is something in the database already.
    #[error(
        "the database {database} is not empty ({found}): task hubs are moved into an empty one only. If its \
         contents are not needed any more, remove them with `DROP SCHEMA durabletask CASCADE`, or name another \
         database"
    )]
    UsedDatabase {
        /// Which one.
        database: String,
        /// What is there.
        found: String,
    },
    /// There is something in the folder already.
    #[error(
        "{path} has {found}: task hubs are moved into a folder without any only. Move that file away if it is \
         not needed any more, or name another folder"
    )]
    UsedFolder {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The folder's task hubs are in a database already.
    #[error(
        "the task hubs of the data folder {path} are in the database {database} already: start the scheduler with \
         that one"
    )]
    AlreadyMoved {
        /// The folder.
        path: PathBuf,
        /// The database.
        database: String,
    },
    /// Another move into or out of the database is not finished.
    #[error("{0}")]
    Unfinished(String),
    /// PostgreSQL cannot index something.
    #[error(
        "the {what} of the instance {instance:?} has {size} bytes, and PostgreSQL indexes {limit}: the task hubs \
         were not moved. Let that instance end and purge it, then run this again"
    )]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Of which instance.
        instance: String,
        /// How many bytes it has.
        size: usize,
        /// The most that there may be.
        limit: usize,
    },
    /// Something differs in the new place.
    #[error(
        "{what} differ in the new place, which is not in use: what was there before still counts. Run this again, \
         and report it if it happens again"
    )]
    Differs {
        /// What.
        what: String,
    },
}
