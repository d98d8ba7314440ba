//! Why there is no backup, or it is not restored.

use std::io;
use std::path::{Path, PathBuf};

use countersign_activities::vault;
use countersign_ledger::LedgerError;
use thiserror::Error;

use crate::access::KeyError;
use crate::audit::{AuditError, Loss};
use crate::data_dir::DataDirError;

/// Why a backup was not made, is of no use, or was not restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is nothing to back up.
    #[error(
        "there is no installation in {}: name the data folder of a server with --data-dir", .0.display()
    )]
    Nothing(PathBuf),
    /// Something is at the place of the backup.
    #[error("{} exists already; a backup overwrites nothing, choose another name", .0.display())]
    Exists(PathBuf),
    /// A recipient or identity cannot be read.
    #[error("{0}")]
    Recipient(String),
    /// No identity opens the file.
    #[error(
        "{} is encrypted for recipients none of whose identities was given: name the file that \
         `age-keygen` has written with --identity", .0.display()
    )]
    NoIdentity(PathBuf),
    /// A database could not be read or copied.
    #[error("{name} cannot be copied: {source}")]
    Database {
        /// Its file.
        name: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A database was copied into the folder without its log, or is locked.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The right to write in all databases was not to be got.
    #[error(
        "the databases were written without a pause for {0} s, so that no moment for a backup was \
         found; try again when there is less to do"
    )]
    NoMoment(u64),
    /// A database or a file that belongs to the others is missing.
    #[error("{there} is there, but {missing} is not: this is no whole installation")]
    Missing {
        /// What is there.
        there: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A database is damaged.
    #[error("{name} is damaged: {verdict}")]
    Damaged {
        /// Its file.
        name: &'static str,
        /// What SQLite's own check found first.
        verdict: String,
    },
    /// A file does not hold what it should.
    #[error("{name} does not hold what it should: {reason}")]
    Malformed {
        /// The file.
        name: &'static str,
        /// What is wrong with it, without its content.
        reason: &'static str,
    },
    /// Accounts do not open.
    #[error("the vault does not open: {0}")]
    Vault(#[from] vault::CheckError),
    /// The ledger is no ledger.
    #[error("the ledger cannot be read: {0}")]
    Ledger(#[from] LedgerError),
    /// The keys of callers cannot be read.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The audit log cannot be read or written.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The audit log was changed.
    #[error("the audit log does not hold from entry {0} on: it was changed")]
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
    #[error("{} is no whole backup: {reason}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release has written it.
    #[error(
        "{} has format {format}, and this release understands {known}: restore it with the release \
         that made it", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest one that is understood.
        known: u32,
    },
    /// What was written is not what was to be written.
    #[error("{} was written, but reads back differently: look at the disk; it was removed", .0.display())]
    ReadBack(PathBuf),
    /// A backup is restored into an empty folder only.
    #[error(
        "{} is not empty: it holds {found}. A backup is restored into an empty folder, so that \
         nothing of two installations is mixed", folder.display()
    )]
    Used {
        /// The folder.
        folder: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// What was accepted before cannot be noted.
    #[error("the codes that were accepted cannot be noted: {0}")]
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
