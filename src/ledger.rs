//! Which ledger a data folder has, and that it is still that one.
//!
//! A ledger that is missing would be made again, empty: objections and uses would be
//! forgotten, recovery codes given out again, and what is in progress refused. So the folder notes the id of its ledger once
//! there is one, and where another or none is found nothing starts until someone has brought
//! it back or accepted the loss. A folder without that note never had a ledger: it is new, or
//! an earlier release wrote it.

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
    /// There was a ledger, and it is not there.
    #[error(
        "the ledger {} is missing. It records what was accepted, decided and used: restore it \
         from a backup, with its -wal file if there is one. If it is lost permanently, run \
         `countersign ledger accept-loss --reason TEXT`: the next start creates an empty one, \
         everything in progress is refused and has to be submitted again, recovery codes that \
         were given out are given out again, and accounts are unaffected", .0.display()
    )]
    Missing(PathBuf),
    /// There is another one than there was.
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
        /// The id of the folder's own.
        noted: String,
    },
}

/// Opens the ledger of a folder, and makes it where there never was one. Blocks.
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

/// What is wrong with the ledger of a folder, if the loss of the one before can be accepted.
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

/// Lets the folder start with the ledger that it has, or with a new one.
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

/// Whether nothing is there, or an empty file: that would become a new ledger too.
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
