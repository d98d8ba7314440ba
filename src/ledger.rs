//! A data folder's ledger, and the check that it is still the same one.
//!
//! A missing ledger would be created again, empty: rejections and uses would be
//! forgotten, recovery codes given out again, and what is in progress refused. So the folder notes
//! the id of its ledger once there is one, and if another or none is found, nothing starts until an
//! operator has restored it or accepted the loss. A folder without that note never had a ledger: it
//! is new, or an earlier release wrote it.

use std::io;
use std::path::PathBuf;

use countersign_authority::LedgerId;
use countersign_ledger::{LEDGER_DATABASE, Ledger as _, LedgerError, SqliteLedger};
use thiserror::Error;

use crate::data_dir::{DataDir, DataDirError};

/// The file with the ledger's id, in the data folder.
const NOTE: &str = "installation.ledger";
/// The file with the id of the ledger in the database that the folder's processes share.
const SHARED_NOTE: &str = "installation.database";

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
    /// The folder's processes share a database.
    #[error(
        "the keys, grants, ledger and audit log of the data folder {} are in a database: set \
         --database-url (COUNTERSIGN_DATABASE_URL), as its servers do", .0.display()
    )]
    Shared(PathBuf),
    /// The folder has an installation of its own.
    #[error(
        "the data folder {} has keys, grants, a ledger and an audit log of its own, which a \
         shared database would not have: start with an empty data folder, or without \
         --database-url", .0.display()
    )]
    NotShared(PathBuf),
    /// The folder's processes share another database.
    #[error(
        "the database's ledger is {found}, but the data folder {} belongs to the database with \
         the ledger {noted}: set --database-url to that one", folder.display()
    )]
    OtherDatabase {
        /// The folder.
        folder: PathBuf,
        /// The ledger's id that the folder has noted.
        noted: String,
        /// The one that was found.
        found: String,
    },
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
        /// The expected id.
        noted: String,
    },
}

/// Checks that the processes of a folder share the database whose ledger has the id `id`, and
/// notes that they do. Blocks.
///
/// # Errors
///
/// [`LedgerOpenError::NotShared`] and [`LedgerOpenError::OtherDatabase`].
pub(crate) fn belongs_to(data: &DataDir, id: &LedgerId) -> Result<(), LedgerOpenError> {
    let folder = || data.path().to_owned();
    if data.read_secret(NOTE)?.is_some() {
        return Err(LedgerOpenError::NotShared(folder()));
    }
    match data.read_secret(SHARED_NOTE)? {
        Some(noted) if *noted == id.as_str() => Ok(()),
        Some(noted) => Err(LedgerOpenError::OtherDatabase {
            folder: folder(),
            noted: noted.to_string(),
            found: id.to_string(),
        }),
        None => Ok(data.replace_secret_file(SHARED_NOTE, id.as_str())?),
    }
}

/// Refuses to use what is in a folder whose processes share a database.
///
/// # Errors
///
/// [`LedgerOpenError::Shared`].
pub(crate) fn refuse_shared(data: &DataDir) -> Result<(), LedgerOpenError> {
    match data.read_secret(SHARED_NOTE)? {
        Some(_) => Err(LedgerOpenError::Shared(data.path().to_owned())),
        None => Ok(()),
    }
}

/// Opens the ledger of a folder, and makes it where there never was one. Blocks.
///
/// # Errors
///
/// [`LedgerOpenError`], whose text says what to do.
pub(crate) fn open(data: &DataDir) -> Result<SqliteLedger, LedgerOpenError> {
    refuse_shared(data)?;
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
