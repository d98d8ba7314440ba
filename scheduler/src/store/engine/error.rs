//! What can be wrong with the storage, whichever engine keeps it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use countersign_database::DatabaseError;
use rusqlite::ErrorCode;

/// What kind of trouble the storage has, as far as a caller can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageProblem {
    /// The disk is full.
    Full,
    /// Nothing can be written there.
    ReadOnly,
    /// The disk reports failures.
    Disk,
    /// The database does not answer, or its connection was lost.
    Away,
    /// Another scheduler owns the task hubs.
    NotOwner,
    /// A query found no row where one was expected.
    NoRow,
    /// Anything else.
    Other,
}

/// An error of the storage. Clones share one cause, for all whose work it ends.
#[derive(Clone, Debug)]
pub struct StorageError {
    problem: StorageProblem,
    source: Arc<dyn Error + Send + Sync>,
}

impl StorageError {
    pub(crate) fn new(
        problem: StorageProblem,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            problem,
            source: Arc::from(source.into()),
        }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub const fn problem(&self) -> StorageProblem {
        self.problem
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        // A cause that its error's text does not repeat.
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for StorageError {}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        let problem = match &error {
            rusqlite::Error::QueryReturnedNoRows => StorageProblem::NoRow,
            other => match other.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => StorageProblem::Full,
                Some(ErrorCode::ReadOnly) => StorageProblem::ReadOnly,
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StorageProblem::Disk,
                _ => StorageProblem::Other,
            },
        };
        Self::new(problem, error)
    }
}

impl From<DatabaseError> for StorageError {
    fn from(error: DatabaseError) -> Self {
        let problem = match &error {
            DatabaseError::Full => StorageProblem::Full,
            DatabaseError::ReadOnly => StorageProblem::ReadOnly,
            DatabaseError::Unreachable { .. }
            | DatabaseError::Lost
            | DatabaseError::Late(_)
            | DatabaseError::Crowded
            | DatabaseError::Exhausted(_)
            | DatabaseError::Conflict
            | DatabaseError::Password(_)
            | DatabaseError::Unavailable(_) => StorageProblem::Away,
            _ => StorageProblem::Other,
        };
        Self::new(problem, error)
    }
}

/// Makes a missing row a value.
pub(crate) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>, StorageError>;
}

impl<T> OptionalExtension<T> for Result<T, StorageError> {
    fn optional(self) -> Result<Option<T>, StorageError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.problem == StorageProblem::NoRow => Ok(None),
            Err(error) => Err(error),
        }
    }
}
