//! What can be wrong with the record.

use std::path::PathBuf;

use countersign_database::{DatabaseError, Failure};
use thiserror::Error;

use super::head::Head;

/// Why the record cannot be written or read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The database refused.
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
    /// There never was a record in this folder.
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
    /// Nothing is missing that could be accepted.
    #[error("nothing is missing from the audit log: there is no loss to accept")]
    NothingLost,
    /// An archive is no archive, or not whole.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A head is of an entry that is in an archive.
    #[error("entry {0} was archived: name the archives with --archive")]
    InArchive(u64),
    /// Someone else archives at the same time.
    #[error("the audit log is being archived by another process; look at its archive first")]
    ArchivedMeanwhile,
    /// The workers' journal cannot be read.
    #[error("the journal of what workers did cannot be read: {0}")]
    Journal(String),
    /// An entry cannot be written as JSON, or what is there is none.
    #[error("entry {sequence} of the audit log cannot be read; see `countersign audit verify`")]
    Unreadable {
        /// The entry's place.
        sequence: u64,
    },
    /// The shared database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The writer is gone: the server is stopping.
    #[error("the audit log is closed")]
    Closed,
}

impl Failure for AuditError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_conflict())
    }
}

/// What a record lacks, as far as its head tells.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Loss {
    /// Entries were cut off its end.
    #[error(
        "the audit log ends at entry {ends}, but entry {noted} had been written: it was truncated, or replaced by an older copy"
    )]
    Cut {
        /// Its last entry.
        ends: u64,
        /// The last entry that is known of.
        noted: u64,
    },
    /// All of them: the database is gone or empty.
    #[error("the audit log is missing or empty, but {noted} entries had been written")]
    Emptied {
        /// The last entry that is known of.
        noted: u64,
    },
    /// It has another entry at a place than was noted.
    #[error("entry {sequence} of the audit log does not have the hash in audit-head")]
    Other {
        /// The place.
        sequence: u64,
    },
    /// There are entries, but no head beside them.
    #[error("the audit log has no head (the file audit-head), so it may have been truncated")]
    HeadMissing,
    /// What is there as the head was not written with this key.
    #[error(
        "the audit log's head (the file audit-head) was changed, or server.key is not the key that it was written with"
    )]
    HeadUnreadable,
}

impl Loss {
    /// What a record lacks that ends at `ends`, before what was noted.
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
            Self::HeadMissing => "head-missing",
            Self::HeadUnreadable => "head-unreadable",
        }
    }
}

/// What a check of the whole chain has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every entry is as it was written, up to this end.
    Intact(Head),
    /// This entry, or one before it, was changed, removed or put in.
    Broken {
        /// The first place where the chain does not hold.
        sequence: u64,
    },
    /// What is there is as it was written, but not all is there.
    Incomplete(Loss),
}
