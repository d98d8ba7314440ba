//! Why a key cannot be made, found or checked.

use countersign_database::{DatabaseError, Failure, StatementError};
use thiserror::Error;

use super::secret;

/// How many groups a key can be in.
pub(super) const MAX_GROUPS: usize = 32;

/// Why a key cannot be made, found or checked.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The database refused.
    #[error("the key store cannot be used: {0}")]
    Store(#[from] rusqlite::Error),
    /// It was copied while it was in use, without its log.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The database's file cannot be made or opened.
    #[error("the key store cannot be opened: {0}")]
    File(#[source] std::io::Error),
    /// The database was written by a later release.
    #[error(
        "the key store has version {0}, which is newer than this program: use the newer program"
    )]
    Newer(i64),
    /// Another administrator made the key.
    #[error(
        "another administrator created the key '{0}': its creator or its holder can rotate it, \
         or use `countersign key rotate` on the server"
    )]
    OtherPerson(String),
    /// Who renews their own key has to have it.
    #[error(
        "your own key can be rotated only with that key itself, not in a browser session or with \
         a key that it has replaced"
    )]
    NotCurrent,
    /// The name is taken, by a key that is in use or revoked.
    #[error("a key named '{0}' exists already; names are never used twice, so choose another")]
    Taken(String),
    /// The key's role does not read accounts.
    #[error("only a key with the role reader can be limited to granted accounts")]
    ReadersOnly,
    /// The key is not limited to granted accounts.
    #[error(
        "single accounts can be granted only to keys with the role reader that were created with \
         --granted-only, and '{0}' is not one"
    )]
    NotLimited(String),
    /// No key has the name.
    #[error("there is no key named '{0}': see `countersign key list`")]
    Unknown(String),
    /// The key no longer works.
    #[error(
        "the key '{0}' was revoked or has expired, and its name is never used again: create \
         another key"
    )]
    Over(String),
    /// More groups than a key can have.
    #[error("a key can be in at most {MAX_GROUPS} groups")]
    TooManyGroups,
    /// The name cannot be used.
    #[error(
        "a key's name must have 1 to 64 of the characters A-Z a-z 0-9 . _ @ - and must not be 'admin', 'anonymous', 'local', 'system' or 'worker'"
    )]
    BadName,
    /// The system has no random numbers to give.
    #[error(transparent)]
    Random(#[from] secret::RandomUnavailable),
    /// The shared database cannot be used.
    // Not transparent: what asks for the cause finds this error, not its cause.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// Changes in the shared database cannot be followed.
    #[error(
        "notifications from the database are interrupted at the moment, so nothing that may have \
         been revoked is trusted; try again in a moment"
    )]
    Unproven,
    /// The process is ending, or the work panicked.
    #[error("the key store's work was interrupted; try again")]
    Unfinished,
    /// What the shared database holds does not have the form that this program writes.
    #[error("an entry of the key store does not have the form that this release writes")]
    Malformed,
}

impl From<StatementError> for KeyError {
    fn from(error: StatementError) -> Self {
        Self::Database(error.into())
    }
}

impl Failure for KeyError {
    fn of_database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}
