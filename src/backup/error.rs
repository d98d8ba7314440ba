//! Why a backup could not be created, checked or restored.

use std::io;
use std::path::{Path, PathBuf};

use countersign_activities::vault;
use countersign_database::DatabaseError;
use countersign_ledger::LedgerError;
use thiserror::Error;

use crate::access::KeyError;
use crate::audit::{AuditError, Loss};
use crate::data_dir::DataDirError;
use crate::keys::KeyMaterialError;
use crate::migrate::MigrateError;

/// Why a backup could not be created, checked or restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// There is nothing to back up.
    #[error(
        "there is no installation in {}: name the data folder of a server with --data-dir", .0.display()
    )]
    Nothing(PathBuf),
    /// The file for the backup exists already.
    #[error("{} exists already; a backup overwrites nothing, choose another name", .0.display())]
    Exists(PathBuf),
    /// A recipient or identity cannot be read.
    #[error("{0}")]
    Recipient(String),
    /// No identity opens the file.
    #[error(
        "none of the given identities can decrypt {}: name the file that `age-keygen` has written \
         with --identity", .0.display()
    )]
    NoIdentity(PathBuf),
    /// A database could not be read or copied.
    #[error("{name} cannot be copied: {source}")]
    Database {
        /// Its file.
        name: &'static str,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The embedded task hub's database in it cannot be read.
    #[error("scheduler.sqlite3 cannot be read: {0}")]
    Hub(#[from] durabletask_scheduler::StorageError),
    /// It is not known where the task hub is kept.
    #[error(transparent)]
    HubNote(#[from] durabletask_scheduler::OpenError),
    /// A database was copied into the folder without its log, or is locked.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The write locks of all databases could not be taken.
    #[error(
        "the databases were written continuously for {0} s, which left no moment for a \
         backup; try again when there is less load"
    )]
    NoMoment(u64),
    /// The shared database cannot be read.
    #[error(transparent)]
    Shared(#[from] DatabaseError),
    /// What is in the shared database could not be copied.
    #[error(transparent)]
    Rows(#[from] MigrateError),
    /// The shared database did not answer while the hub's writers waited.
    #[error("the database did not answer within {0} s; try again")]
    NoAnswer(u64),
    /// This machine lacks a key that others have.
    #[error(
        "{} is missing: without it a restored installation would not work. Run the command on a \
         machine that has the key files of a front door and of a worker, or copy the file from \
         the machine that has it", .0.display()
    )]
    NoKeyFile(PathBuf),
    /// A database or a file that belongs to the others is missing.
    #[error("{there} exists, but {missing} does not: this installation is incomplete")]
    Missing {
        /// The file that exists.
        there: &'static str,
        /// The file that is missing.
        missing: &'static str,
    },
    /// A database is damaged.
    #[error("{name} is damaged: {verdict}")]
    Damaged {
        /// Its file.
        name: &'static str,
        /// The first problem that SQLite's own check found.
        verdict: String,
    },
    /// A file's content is not what it should be.
    #[error("the content of {name} is not what it should be: {reason}")]
    Malformed {
        /// The file.
        name: &'static str,
        /// What is wrong with it, without its content.
        reason: &'static str,
    },
    /// Accounts cannot be decrypted.
    #[error("the vault cannot be opened: {0}")]
    Vault(#[from] vault::CheckError),
    /// The ledger cannot be read.
    #[error("the ledger cannot be read: {0}")]
    Ledger(#[from] LedgerError),
    /// The keys of callers cannot be read.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The server's keys cannot be read.
    #[error(transparent)]
    ServerKeys(#[from] KeyMaterialError),
    /// The audit log cannot be read or written.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The audit log was changed.
    #[error("the audit log is not intact from entry {0} on: it was changed")]
    AuditBroken(u64),
    /// The audit log lacks entries.
    #[error("{0}")]
    AuditIncomplete(Loss),
    /// The ids of two parts differ.
    #[error("{part} does not belong to the rest: {reason}")]
    Mixed {
        /// Which one.
        part: &'static str,
        /// What differs.
        reason: &'static str,
    },
    /// The file is not a backup, was cut off, or was changed.
    #[error("{} is not a complete backup: {reason}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release wrote it.
    #[error(
        "{} has format {format}, and this release reads up to {known}: restore it with the release \
         that created it", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest format that this release reads.
        known: u32,
    },
    /// The file reads back differently.
    #[error("{} was written, but reads back differently: it was removed; check the disk", .0.display())]
    ReadBack(PathBuf),
    /// The folder for the installation is not empty.
    #[error(
        "{} is not empty: it holds {found}. A backup is restored into an empty folder, so that \
         two installations are never mixed", folder.display()
    )]
    Used {
        /// The folder.
        folder: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The codes accepted before cannot be noted.
    #[error("the accepted codes cannot be noted: {0}")]
    Verify(String),
}

impl BackupError {
    pub(super) fn folder(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn spoilt(path: &Path, reason: impl ToString) -> Self {
        Self::NotABackup {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
