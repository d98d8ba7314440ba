//! Why an installation was not moved, and what to do.

use std::io;
use std::path::PathBuf;

use countersign_activities::vault::transfer::TransferError;
use countersign_database::DatabaseError;
use countersign_ledger::LedgerError;
use thiserror::Error;

use crate::access::KeyError;
use crate::audit::{AuditError, Loss};
use crate::data_dir::DataDirError;
use crate::keys::KeyMaterialError;
use crate::ledger::LedgerOpenError;
use crate::verify::VerifyError;

/// Why an installation was not moved, and what to do. What is not said to have changed has not.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// A file in it cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The folder has no installation.
    #[error("there is no installation in {}, so there is nothing to move", .0.display())]
    Nothing(PathBuf),
    /// Another process uses the folder.
    #[error(
        "{} is in use: stop the front door, workers and commands that use the data folder, and \
         run this again", .0.display()
    )]
    FolderInUse(PathBuf),
    /// Other processes use the database.
    #[error(
        "the database is in use by {0} connections of Countersign: stop all front doors, workers \
         and commands that use it, and run this again"
    )]
    DatabaseInUse(u64),
    /// The installation is in the database already.
    #[error(
        "the installation of the data folder {} is in the database already: start its front door \
         with --database-url", .0.display()
    )]
    AlreadyShared(PathBuf),
    /// The installation is in the folder already.
    #[error(
        "the data folder {} has its own installation already: start its front door without \
         --database-url", .0.display()
    )]
    AlreadyOwn(PathBuf),
    /// The folder belongs to another database.
    #[error(
        "the data folder {} belongs to the database with the ledger {noted}, and this one has \
         {found}: set --database-url to that one", folder.display()
    )]
    OtherDatabase {
        /// The folder.
        folder: PathBuf,
        /// The ledger that it has noted.
        noted: String,
        /// The one in the database.
        found: String,
    },
    /// The database has an installation, or had one.
    #[error(
        "the database is not empty (its table {0} has rows): an installation is moved into an \
         empty one only. If its contents are no longer needed, remove them with \
         `DROP SCHEMA countersign CASCADE`, or name another database"
    )]
    UsedDatabase(String),
    /// The folder has databases.
    #[error(
        "{} exists already: an installation is moved into a data folder without one only. Move \
         that file away if it is no longer needed", .0.display()
    )]
    UsedFolder(PathBuf),
    /// An installation is being moved into the database by another process.
    #[error(
        "an installation is being moved into the database: run `countersign migrate to-database` \
         again on its data folder, which finishes that"
    )]
    Arriving,
    /// The installation was moved to another machine.
    #[error(
        "the installation was moved out of the database on {on}, to another data folder than {}",
        folder.display()
    )]
    Left {
        /// The day.
        on: String,
        /// The folder.
        folder: PathBuf,
    },
    /// Codes from before a restore may not be accepted again.
    #[error(
        "a backup was restored less than three days ago, and until then codes from before it are \
         refused by their time, which the database does not know: run this again in three days"
    )]
    Restored,
    /// The keys are in Key Vault.
    #[error(
        "the installation's keys are in Key Vault, so there is nothing to keep but the database: back \
         it up with its own tools"
    )]
    KeysElsewhere,
    /// The audit log cannot be continued in the new place.
    #[error(
        "nothing was moved: with the keys in Key Vault, the audit log in a data folder begins with a \
         key of that folder, which front doors on a database do not have, so none can be moved \
         there or back. Start with an empty database instead: the accounts stay in Key Vault; create \
         API keys, grants and rules there"
    )]
    ChainedApart,
    /// The front door's key is missing.
    #[error("server.key is missing: the audit log cannot be moved and checked without it")]
    NoServerKey,
    /// What arrived is not what was there.
    #[error(
        "the {rows} in the new place differ from those in the old one, which is still in use: run \
         this again, and report it if that happens again"
    )]
    Differs {
        /// Of which rows.
        rows: &'static str,
    },
    /// The audit log is not intact.
    #[error(
        "the audit log is not intact from entry {0} on: nothing was moved; see `countersign audit \
         verify`"
    )]
    AuditBroken(u64),
    /// Entries of the audit log are missing.
    #[error("the audit log is not complete: {0}")]
    AuditIncomplete(Loss),
    /// A database in the folder cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        source: rusqlite::Error,
    },
    /// A database in the folder cannot be opened.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The shared database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The vault cannot be moved.
    #[error(transparent)]
    Vault(#[from] TransferError),
    /// The ledger cannot be moved.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Whose ledger the folder has cannot be read or noted.
    #[error(transparent)]
    Belongs(#[from] LedgerOpenError),
    /// Keys and grants cannot be moved.
    #[error(transparent)]
    Access(#[from] KeyError),
    /// Accepted codes cannot be moved.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The audit log cannot be moved.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The installation's keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyMaterialError),
}
