//! What can be wrong with the audit log.

use std::path::PathBuf;

use countersign_database::{DatabaseError, Failure};
use thiserror::Error;

use super::head::Head;

/// Why the audit log cannot be written or read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The database failed.
    #[error("the audit log cannot be used: {0}")]
    Store(#[from] rusqlite::Error),
    /// It was copied while it was in use, without its log.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// A file cannot be made, opened or written.
    #[error("the audit log cannot be opened: {0}")]
    File(#[source] std::io::Error),
    /// The database was written by a later release.
    #[error(
        "the audit log has version {0}, which is newer than this program: use the newer program"
    )]
    Newer(i64),
    /// This folder never had an audit log.
    #[error(
        "there is no audit log in {}: name the server's data folder with --data-dir", .0.display()
    )]
    Nothing(PathBuf),
    /// Entries are missing.
    #[error(
        "{0}. Restore what is missing from a backup, or run `countersign audit accept-loss \
         --reason TEXT` to continue without it, which is recorded"
    )]
    Incomplete(#[from] Loss),
    /// No entries are missing, so there is no loss to accept.
    #[error("nothing is missing from the audit log: there is no loss to accept")]
    NothingLost,
    /// A file is not an archive, or is incomplete.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The entry of a head was archived.
    #[error("entry {0} was archived: name the archives with --archive")]
    InArchive(u64),
    /// Another process is archiving.
    #[error("the audit log is being archived by another process; look at its archive first")]
    ArchivedMeanwhile,
    /// The workers' journal cannot be read.
    #[error("the journal of what workers did cannot be read: {0}")]
    Journal(String),
    /// An entry cannot be written as JSON, or read from it.
    #[error("entry {sequence} of the audit log cannot be read; see `countersign audit verify`")]
    Unreadable {
        /// The entry's place.
        sequence: u64,
    },
    /// The note of what was archived is not this installation's.
    #[error(
        "that the audit log was archived up to entry {0} was not noted with a key in server.key: \
         the note was changed, or a line was removed from server.key"
    )]
    ArchiveUnproven(u64),
    /// An entry is chained with a server key that is not known here.
    #[error(
        "entry {sequence} of the audit log belongs to the server key {id}, which server.key does \
         not contain: the key was rotated; copy server.key from the machine where that was done, \
         or put back the line that was removed"
    )]
    KeyMissing {
        /// The entry's place.
        sequence: u64,
        /// The key's id.
        id: String,
    },
    /// The shared database cannot be used.
    // Not transparent: what asks for the cause finds this error, not its cause.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// What was done is not recorded yet.
    #[error("the audit log could not be written in time; the entry is kept and tried again")]
    Late,
    /// The writer has stopped: the server is shutting down.
    #[error("the audit log is closed")]
    Closed,
}

impl Failure for AuditError {
    fn of_database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// What the audit log lacks, according to its head.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Loss {
    /// Entries are missing from its end.
    #[error(
        "the audit log ends at entry {ends}, but entry {noted} had been written: it was truncated, or replaced by an older copy"
    )]
    Cut {
        /// Its last entry.
        ends: u64,
        /// The last entry that was noted.
        noted: u64,
    },
    /// All of them: the database is gone or empty.
    #[error("the audit log is missing or empty, but {noted} entries had been written")]
    Emptied {
        /// The last entry that was noted.
        noted: u64,
    },
    /// The entry at a place is not the noted one.
    #[error("entry {sequence} of the audit log does not have the hash in audit-head")]
    Other {
        /// The place.
        sequence: u64,
    },
    /// It ends under a key that was replaced since.
    #[error(
        "the audit log ends at entry {ends}, before the server key was rotated: it was truncated, or replaced by an older copy"
    )]
    BeforeRotation {
        /// Its last entry.
        ends: u64,
    },
    /// There are entries, but no head.
    #[error("the audit log has no head (the file audit-head), so it may have been truncated")]
    HeadMissing,
    /// The head was not written with this key.
    #[error(
        "the audit log's head (the file audit-head) was changed, or server.key is not the key that it was written with"
    )]
    HeadUnreadable,
}

impl Loss {
    /// What an audit log lacks that ends at `ends`, before the noted entry.
    pub(super) const fn of(ends: u64, noted: &Head) -> Self {
        let noted = noted.sequence;
        match ends {
            0 => Self::Emptied { noted },
            ends => Self::Cut { ends, noted },
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut-off",
            Self::Emptied { .. } => "emptied",
            Self::Other { .. } => "replaced",
            Self::BeforeRotation { .. } => "before-rotation",
            Self::HeadMissing => "head-missing",
            Self::HeadUnreadable => "head-unreadable",
        }
    }
}

/// The result of checking the whole chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainCheck {
    /// Every entry is as it was written, up to this end.
    Intact(Head),
    /// This entry, or one before it, was changed, removed or inserted.
    Broken {
        /// The first place where the chain is broken.
        sequence: u64,
    },
    /// The entries are as they were written, but some are missing.
    Incomplete(Loss),
}
