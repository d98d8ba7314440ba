//! The note in a data folder that its task hubs are kept in a database, or that a move between the two
//! is not finished.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DATABASE, schema};
use crate::{DatabaseUrl, OpenError, private};

/// Its file.
pub(crate) const NOTE: &str = "scheduler.elsewhere";

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Into a database, begun: what counts is in the folder.
    Leaving,
    /// What counts is in the database.
    Left,
    /// Out of a database, begun: what counts is there.
    Arriving,
}

/// What is noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Note {
    pub(crate) state: State,
    /// The database, without a password.
    pub(crate) database: String,
    /// Which move it is, as the database knows it too; none if nothing was moved.
    pub(crate) id: Option<String>,
}

impl Note {
    /// What is noted in a folder, if anything.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let path = folder.join(NOTE);
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(note) => Ok(Some(note)),
                Err(_) => Err(OpenError::Note { path }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Directory { path, source }),
        }
    }

    /// Notes it, so that it stays.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), OpenError> {
        let path = folder.join(NOTE);
        let failed = |source| OpenError::Directory {
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let next = folder.join(format!("{NOTE}.next"));
        remove(&next)?;
        let mut file = private::create(&next).map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&next, &path))
            .map_err(failed)?;
        flush(folder)
    }

    /// Forgets what was noted.
    pub(crate) fn forget(folder: &Path) -> Result<(), OpenError> {
        remove(&folder.join(NOTE))?;
        flush(folder)
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), OpenError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(OpenError::Directory {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Makes what was created, renamed and removed in a folder stay so.
pub(super) fn flush(folder: &Path) -> Result<(), OpenError> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| OpenError::Directory {
            path: folder.to_owned(),
            source,
        })
}

/// Refuses a folder whose task hubs are in a database, or not all here yet.
pub(super) fn refuse(folder: &Path) -> Result<(), OpenError> {
    let Some(note) = Note::read(folder)? else {
        return Ok(());
    };
    let path = folder.to_owned();
    match note.state {
        State::Leaving => Ok(()),
        State::Left => Err(OpenError::Elsewhere {
            note: path.join(NOTE),
            path,
            database: note.database,
        }),
        State::Arriving => Err(OpenError::Arriving {
            path,
            database: note.database,
        }),
    }
}

/// The database in which the task hubs of a data folder are kept, without its password; none if they
/// are in the folder.
///
/// # Errors
/// [`OpenError`] where the folder's note cannot be read.
pub fn kept_elsewhere(folder: &Path) -> Result<Option<String>, OpenError> {
    let note = Note::read(folder)?.filter(|note| note.state != State::Leaving);
    Ok(note.map(|note| note.database))
}

/// Notes in a data folder that its task hubs are kept in a database, so that no scheduler begins with
/// none there.
///
/// # Errors
/// [`OpenError`] if the folder has instances of its own, if it belongs to another database, or if a move
/// between the two is not finished.
pub fn keep_elsewhere(folder: &Path, database: &DatabaseUrl) -> Result<(), OpenError> {
    schema::make_folder(folder)?;
    let at = database.to_string();
    match Note::read(folder)? {
        Some(note) if note.state == State::Left && note.database == at => return Ok(()),
        Some(note) if note.state == State::Left => {
            return Err(OpenError::Elsewhere {
                path: folder.to_owned(),
                note: folder.join(NOTE),
                database: note.database,
            });
        }
        Some(note) => {
            return Err(OpenError::Arriving {
                path: folder.to_owned(),
                database: note.database,
            });
        }
        None => {}
    }
    let file = folder.join(DATABASE);
    if file.exists() {
        let _lock = schema::lock(folder)?;
        let conn = schema::open_file(&file)?;
        let any: i64 = conn.query_row(
            "SELECT (SELECT count(*) FROM instances) + (SELECT count(*) FROM entities)",
            (),
            |row| row.get(0),
        )?;
        if any > 0 {
            return Err(OpenError::InBoth {
                path: file,
                instances: any,
                database: at,
            });
        }
    }
    Note {
        state: State::Left,
        database: at,
        id: None,
    }
    .write(folder)
}
