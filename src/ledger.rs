//! A data folder's ledger, and the check that it is still the same one.
//!
//! A missing ledger would be created again, empty: rejections and uses would be
//! forgotten, recovery codes given out again, and what is in progress refused. So the folder notes
//! the id of its ledger once there is one, and if another or none is found, nothing starts until an
//! operator has restored it or accepted the loss. A folder without that note never had a ledger: it
//! is new, or an earlier release wrote it.

use std::io;
use std::path::PathBuf;

use countersign_ledger::{LEDGER_DATABASE, Ledger as _, LedgerError, SqliteLedger};
use thiserror::Error;

use crate::data_dir::{DataDir, DataDirError};

/// The file with the ledger's id, in the data folder.
const NOTE: &str = "installation.ledger";

/// Why a folder's ledger cannot be used, and what to do.
#[derive(Debug, Error)]
pub enum LedgerOpenError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The folder's ledger is missing.
    #[error(
        "the ledger {} is missing. It records what was accepted, decided and used: restore it \
         from a backup, with its -wal file if there is one. If it is lost permanently, run \
         `countersign ledger accept-loss --reason TEXT`: the next start creates an empty one, \
         everything in progress is refused and has to be submitted again, recovery codes that \
         were given out are given out again, and accounts are unaffected", .0.display()
    )]
    Missing(PathBuf),
    /// The folder has a different ledger.
    #[error(
        "{} is not this data folder's ledger: its id is {found}, but {noted} was expected. \
         Restore the right one. To continue with this one, run `countersign ledger accept-loss \
         --reason TEXT`: everything in progress that it does not know is refused and has to be \
         submitted again, recovery codes that it does not know to be used are given out again, \
         and accounts are unaffected", path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Its id.
        found: String,
        /// The expected id.
        noted: String,
    },
}

/// Opens the ledger of a folder, and creates it if there never was one. Blocks.
///
/// # Errors
///
/// [`LedgerOpenError`], whose text says what to do.
pub(crate) fn open(data: &DataDir) -> Result<SqliteLedger, LedgerOpenError> {
    let noted = data.read_secret(NOTE)?;
    let path = data.path().join(LEDGER_DATABASE);
    if noted.is_some() && is_missing(&path)? {
        return Err(LedgerOpenError::Missing(path));
    }
    let ledger = SqliteLedger::open(data.path())?;
    match noted {
        Some(noted) if *noted == ledger.id().as_str() => {}
        Some(noted) => {
            return Err(LedgerOpenError::Other {
                path,
                found: ledger.id().to_string(),
                noted: noted.to_string(),
            });
        }
        None => data.replace_secret_file(NOTE, ledger.id().as_str())?,
    }
    Ok(ledger)
}

/// The problem with a folder's ledger, if its loss can be accepted.
///
/// # Errors
///
/// [`LedgerOpenError`] when the folder or the ledger in it cannot be read.
pub(crate) fn loss(data: &DataDir) -> Result<Option<LedgerOpenError>, LedgerOpenError> {
    if data.read_secret(NOTE)?.is_none() {
        return Ok(None);
    }
    match open(data) {
        Ok(_) => Ok(None),
        Err(loss @ (LedgerOpenError::Missing(_) | LedgerOpenError::Other { .. })) => Ok(Some(loss)),
        Err(error) => Err(error),
    }
}

/// Lets the parts start with the folder's present ledger, or with a new one.
///
/// # Errors
///
/// [`LedgerOpenError::Folder`] when the note cannot be removed.
pub(crate) fn accept_loss(data: &DataDir) -> Result<(), LedgerOpenError> {
    let path = data.path().join(NOTE);
    std::fs::remove_file(&path).map_err(|source| {
        LedgerOpenError::Folder(DataDirError::Io {
            action: "remove",
            path,
            source,
        })
    })
}

/// Whether there is no file, or an empty one, which would become a new ledger too.
fn is_missing(path: &std::path::Path) -> Result<bool, LedgerOpenError> {
    match std::fs::metadata(path) {
        Ok(about) => Ok(about.is_file() && about.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(LedgerOpenError::Folder(DataDirError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })),
    }
}
