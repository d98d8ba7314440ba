//! Why the vault's folder cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::key_file::{KeyFile, KeyFileError};
use super::schema;

/// Why the vault's folder cannot be used.
#[derive(Debug, Error)]
pub enum VaultOpenError {
    /// The operating system refused.
    #[error("cannot create the vault's file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot open the vault {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It was copied while it was in use, without its log.
    #[error(transparent)]
    Copied(durabletask_sqlite::OpenError),
    /// A later release has written it.
    #[error(
        "the vault {} has schema {found}, and this release understands {}; use a later release",
        path.display(), schema::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema that it has.
        found: i64,
    },
    /// Its key is there, but it is not.
    #[error(
        "the vault {} is missing, but its key {} is there: restore it from a backup, with its -wal \
         file if there is one. To start with a vault without accounts, move the key away",
        path.display(), keys.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key file.
        keys: PathBuf,
    },
    /// Another program has written it.
    #[error("{} is not a vault of this program", .0.display())]
    Foreign(PathBuf),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Accounts are encrypted with a key that is not in the key file.
    #[error("the vault contains accounts whose key {key_id} is not in {}; restore that file from a backup", path.display())]
    KeyMissing {
        /// The key file.
        path: PathBuf,
        /// The key's id.
        key_id: String,
    },
}

impl VaultOpenError {
    pub(super) fn missing(path: PathBuf, keys: &KeyFile) -> Self {
        let keys = keys.path().to_owned();
        Self::Missing { path, keys }
    }
}
