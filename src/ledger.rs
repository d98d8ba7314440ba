//! A data folder's ledger, and the check that it is still the same one.
//!
//! A missing ledger would be created again, empty: rejections and uses would be
//! forgotten, recovery codes given out again, and what is in progress refused. So the folder notes
//! the id of its ledger once there is one, and if another or none is found, nothing starts until an
//! operator has restored it or accepted the loss. A folder without that note never had a ledger: it
//! is new, or an earlier release wrote it.

pub(crate) mod moved;

use std::io;
use std::path::PathBuf;

use countersign_authority::LedgerId;
use countersign_database::{Database, DatabaseError, one};
use countersign_ledger::{LEDGER_DATABASE, Ledger as _, LedgerError, PostgresLedger, SqliteLedger};
use futures_util::FutureExt as _;
use thiserror::Error;

use crate::data_dir::{DataDir, DataDirError};

/// The file with the ledger's id, in the data folder.
const NOTE: &str = "installation.ledger";
/// The file with the id of the ledger in the database that the folder's processes share.
pub(crate) const SHARED_NOTE: &str = "installation.database";

/// Why a folder's ledger cannot be used, and what to do.
#[derive(Debug, Error)]
pub enum LedgerOpenError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
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
         shared database would not have: move them there with `countersign migrate to-database`, or \
         start without --database-url, or with an empty data folder", .0.display()
    )]
    NotShared(PathBuf),
    /// A migration was interrupted after what is in the new place was complete.
    #[error(
        "a migration of the data folder {} was interrupted: run the same `countersign migrate` \
         again, which finishes it", .0.display()
    )]
    Moving(PathBuf),
    /// An installation is being moved into the database.
    #[error(
        "an installation is being moved into the database: wait until `countersign migrate \
         to-database` has ended; if it was interrupted, run it again"
    )]
    Arriving,
    /// The installation was moved out of the database.
    #[error(
        "the installation that was in the database was moved to a data folder on {0}: start its \
         front door on that folder, without --database-url"
    )]
    Left(String),
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

/// Whose ledger a folder has noted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// None: nothing was ever started on it.
    None,
    /// Its own, by its id.
    Own(String),
    /// The one in the database that its processes share.
    Shared(String),
    /// Both: a migration between them, to the other one, was interrupted.
    Both(String),
}

/// Whose ledger a folder has noted. Blocks.
///
/// # Errors
///
/// [`LedgerOpenError::Folder`].
pub(crate) fn noted(data: &DataDir) -> Result<Noted, LedgerOpenError> {
    let (own, shared) = (data.read_secret(NOTE)?, data.read_secret(SHARED_NOTE)?);
    Ok(match (own, shared) {
        (None, None) => Noted::None,
        (Some(own), None) => Noted::Own(own.to_string()),
        (None, Some(shared)) => Noted::Shared(shared.to_string()),
        (Some(_), Some(shared)) => Noted::Both(shared.to_string()),
    })
}

/// Notes that a folder's processes share the database whose ledger has this id, in addition to
/// what is noted. Nothing starts on a folder that has noted both. Blocks.
pub(crate) fn note_shared(data: &DataDir, id: &str) -> Result<(), LedgerOpenError> {
    Ok(data.replace_secret_file(SHARED_NOTE, id)?)
}

/// As [`note_shared`], that the folder has its own ledger. Blocks.
pub(crate) fn note_own(data: &DataDir, id: &str) -> Result<(), LedgerOpenError> {
    Ok(data.replace_secret_file(NOTE, id)?)
}

/// Removes the note of the folder's own ledger. Blocks.
pub(crate) fn forget_own(data: &DataDir) -> Result<(), LedgerOpenError> {
    forget(data, NOTE)
}

/// Removes the note of the shared database. Blocks.
pub(crate) fn forget_shared(data: &DataDir) -> Result<(), LedgerOpenError> {
    forget(data, SHARED_NOTE)
}

fn forget(data: &DataDir, note: &str) -> Result<(), LedgerOpenError> {
    let path = data.path().join(note);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LedgerOpenError::Folder(DataDirError::Io {
                action: "remove",
                path,
                source,
            }))
        }
        _ => Ok(()),
    }
}

/// Opens the ledger in the database that the processes of a folder share, and notes in the
/// folder that they do.
///
/// # Errors
///
/// [`LedgerOpenError`], whose text says what to do.
pub(crate) async fn open_shared(
    data: &DataDir,
    database: &Database,
) -> Result<PostgresLedger, LedgerOpenError> {
    // First: a refused start leaves an empty database empty.
    would_share(data, database).await?;
    let ledger = PostgresLedger::open(database.clone()).await?;
    let (data, id) = (data.clone(), ledger.id().clone());
    tokio::task::spawn_blocking(move || belongs_to(&data, &id))
        .await
        .map_err(|_| LedgerError::Stopped)??;
    Ok(ledger)
}

/// Checks what [`open_shared`] would refuse, and notes nothing.
///
/// # Errors
///
/// [`LedgerOpenError`], whose text says what to do.
pub(crate) async fn would_share(
    data: &DataDir,
    database: &Database,
) -> Result<(), LedgerOpenError> {
    moved::refuse(database).await?;
    let found = database
        .read(|transaction| {
            async move {
                let row = one(transaction, "SELECT id FROM ledger", &[]).await?;
                Ok::<Option<String>, DatabaseError>(row.map(|row| row.try_get(0)).transpose()?)
            }
            .boxed()
        })
        .await?;
    let folder = || data.path().to_owned();
    match (noted(data)?, found) {
        (Noted::Own(_), _) => Err(LedgerOpenError::NotShared(folder())),
        (Noted::Both(_), _) => Err(LedgerOpenError::Moving(folder())),
        (Noted::Shared(noted), found) if found.as_ref() != Some(&noted) => {
            Err(LedgerOpenError::OtherDatabase {
                folder: folder(),
                noted,
                found: found.unwrap_or_else(|| "missing".to_owned()),
            })
        }
        (Noted::Shared(_) | Noted::None, _) => Ok(()),
    }
}

/// Checks that the processes of a folder share the database whose ledger has the id `id`, and
/// notes that they do. Blocks.
///
/// # Errors
///
/// [`LedgerOpenError::NotShared`] and [`LedgerOpenError::OtherDatabase`].
fn belongs_to(data: &DataDir, id: &LedgerId) -> Result<(), LedgerOpenError> {
    let folder = || data.path().to_owned();
    match noted(data)? {
        Noted::Own(_) => Err(LedgerOpenError::NotShared(folder())),
        Noted::Both(_) => Err(LedgerOpenError::Moving(folder())),
        Noted::Shared(noted) if noted == id.as_str() => Ok(()),
        Noted::Shared(noted) => Err(LedgerOpenError::OtherDatabase {
            folder: folder(),
            noted,
            found: id.to_string(),
        }),
        Noted::None => note_shared(data, id.as_str()),
    }
}

/// Refuses to use what is in a folder whose processes share a database.
///
/// # Errors
///
/// [`LedgerOpenError::Shared`].
pub(crate) fn refuse_shared(data: &DataDir) -> Result<(), LedgerOpenError> {
    let folder = || data.path().to_owned();
    match noted(data)? {
        Noted::Shared(_) => Err(LedgerOpenError::Shared(folder())),
        Noted::Both(_) => Err(LedgerOpenError::Moving(folder())),
        Noted::Own(_) | Noted::None => Ok(()),
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

/// Checks what [`open`] would refuse, and makes and notes nothing. Blocks.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn would_open(data: &DataDir) -> Result<(), LedgerOpenError> {
    refuse_shared(data)?;
    let noted = data.read_secret(NOTE)?;
    let path = data.path().join(LEDGER_DATABASE);
    if noted.is_some() && is_missing(&path)? {
        return Err(LedgerOpenError::Missing(path));
    }
    let found = SqliteLedger::look(data.path())?;
    match noted {
        Some(noted) if found.as_ref().is_none_or(|found| *noted != found.as_str()) => {
            Err(LedgerOpenError::Other {
                path,
                found: found.map_or_else(|| "none".to_owned(), |found| found.to_string()),
                noted: noted.to_string(),
            })
        }
        _ => Ok(()),
    }
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
