//! Moves all task hubs from a data folder into a database, and back. No scheduler runs on either
//! meanwhile.
//!
//! One of the two places counts at every moment, whatever ends the process:
//!
//! ```text
//! into the database                              out of it
//! 1  the folder notes the move,                  the folder notes that not all is there
//!    the database is marked as arriving
//! 2  copy all rows                               copy all rows
//! 3  compare every instance and entity           compare every instance and entity
//! 4  the folder notes that they left             the database is marked as left
//! 5  put the folder's file away,                 the folder forgets its note
//!    take the mark away
//! ```
//!
//! Until step 4 the old place counts, and running it again starts over. From then on the new one does,
//! and running it again finishes step 5; nothing else starts there before that. A note and a mark name
//! the move by an id, so that none is mistaken for another.

mod copy;
mod error;
mod mark;
mod tables;

use std::path::{Path, PathBuf};

use copy::{Digests, clear, copy, digests, found, refuse_long};
pub use error::MigrateError;
pub(super) use mark::refuse_unfinished;
use mark::{Mark, claim};

use super::elsewhere::{Note, State, flush, remove};
use super::engine::{Connection, OptionalExtension, Session};
use super::{DATABASE, database, schema};
use crate::config::DatabaseStorage;
use crate::{OpenError, StorageError};

/// What a move may take is bounded by its rows only.
const SESSION: &str = "
    SET statement_timeout = 0; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = 0
";
/// What the folder's file is called once it does not count any more.
const PUT_AWAY: &str = "scheduler.sqlite3.moved";
const TO_FOLDER: &str = "migrate to-folder";
const TO_DATABASE: &str = "migrate to-database";

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many rows each table has.
    pub counts: Vec<(&'static str, u64)>,
    /// Whether an earlier, interrupted run had copied and compared everything.
    pub finished: bool,
    /// The file that does not count any more.
    pub put_away: Option<PathBuf>,
}

/// Moves all task hubs of a data folder into an empty database, and says to `told` how far it is. Blocks.
///
/// # Errors
/// [`MigrateError`], whose text says what to do.
pub fn move_to_database(
    folder: &Path,
    storage: &DatabaseStorage,
    told: &mut dyn FnMut(&str),
) -> Result<Moved, MigrateError> {
    let file = folder.join(DATABASE);
    let at = storage.url.to_string();
    let noted = Note::read(folder)?;
    if !file.is_file() && noted.is_none() {
        return Err(MigrateError::Nothing(file));
    }
    let _lock = schema::lock(folder)?;
    let target = session(storage)?;
    let marked = Mark::read(&target)?;
    let id = match noted {
        Some(Note {
            state: State::Left,
            id,
            database,
        }) => {
            // Everything has arrived, and only the end is missing.
            if database == at && id.is_some() && marked.as_ref().map(|mark| &mark.id) == id.as_ref()
            {
                let put_away = finish(folder, &target)?;
                let counts = digests(&target, told)?.counts;
                return Ok(Moved {
                    counts,
                    finished: true,
                    put_away,
                });
            }
            let path = folder.to_owned();
            return Err(MigrateError::AlreadyMoved { path, database });
        }
        Some(Note {
            state: State::Arriving,
            database,
            ..
        }) => {
            return Err(MigrateError::Unfinished(format!(
                "moving the task hubs of {database} into this folder was interrupted: run `{TO_FOLDER}` again"
            )));
        }
        Some(Note {
            state: State::Leaving,
            id: Some(id),
            database,
        }) if database == at => id,
        _ => new_id(),
    };
    if !file.is_file() {
        return Err(MigrateError::Nothing(file));
    }
    if let Some(mark) = &marked
        && (mark.id != id || mark.state == mark::State::Left)
    {
        return Err(MigrateError::Unfinished(mark.refusal()));
    }
    let source = schema::open_file(&file)?;
    refuse_long(&source)?;
    note(folder, State::Leaving, &at, &id)?;
    transact(&target, || {
        claim(&target, &id)?;
        if marked.is_some() {
            // An earlier attempt, which never counted.
            clear(&target)?;
        } else if let Some(found) = found(&target)? {
            return Err(MigrateError::UsedDatabase {
                database: at.clone(),
                found,
            });
        }
        let mark = Mark {
            state: mark::State::Arriving,
            id: id.clone(),
            folder: whole(folder),
        };
        Ok(mark.write(&target)?)
    })?;
    let mut old = Digests::default();
    transact(&target, || {
        claim(&target, &id)?;
        // A node may have made its task hubs there already.
        clear(&target)?;
        old = copy(&source, &target, told)?;
        Ok(set_last_hub(&target, last_hub(&source)?)?)
    })?;
    let new = digests(&target, told)?;
    old.refuse_other(&new)?;
    // The log is written back into the file, which is then put away whole.
    drop(source);
    note(folder, State::Left, &at, &id)?;
    let put_away = finish(folder, &target)?;
    Ok(Moved {
        counts: new.counts,
        finished: false,
        put_away,
    })
}

/// Ends a move into a database that has everything.
fn finish(folder: &Path, target: &Connection) -> Result<Option<PathBuf>, MigrateError> {
    let file = folder.join(DATABASE);
    let away = folder.join(PUT_AWAY);
    for end in ["", "-wal", "-shm"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        rename(&beside(&file), &beside(&away))?;
    }
    flush(folder)?;
    transact(target, || Ok(Mark::forget(target)?))?;
    Ok(away.is_file().then_some(away))
}

/// Moves all task hubs of a database into a data folder without any, and says to `told` how far it is.
/// Blocks.
///
/// # Errors
/// [`MigrateError`], whose text says what to do.
pub fn move_to_folder(
    folder: &Path,
    storage: &DatabaseStorage,
    told: &mut dyn FnMut(&str),
) -> Result<Moved, MigrateError> {
    schema::make_folder(folder)?;
    let _lock = schema::lock(folder)?;
    let file = folder.join(DATABASE);
    let at = storage.url.to_string();
    let source = session(storage)?;
    let marked = Mark::read(&source)?;
    let id = match Note::read(folder)? {
        Some(Note {
            state: State::Arriving,
            id: Some(id),
            database,
        }) if database == at => {
            if marked
                .as_ref()
                .is_some_and(|mark| mark.state == mark::State::Left && mark.id == id)
            {
                // Everything has arrived, and only the end is missing.
                let target = schema::open_file(&file)?;
                let counts = digests(&target, told)?.counts;
                Note::forget(folder)?;
                return Ok(Moved {
                    counts,
                    finished: true,
                    put_away: None,
                });
            }
            // An earlier attempt, which never counted.
            for end in ["", "-wal", "-shm"] {
                remove(&PathBuf::from(format!("{}{end}", file.display())))?;
            }
            id
        }
        Some(Note {
            state: State::Left,
            database,
            ..
        }) if database == at => new_id(),
        Some(Note {
            state: State::Leaving,
            id: Some(id),
            ..
        }) if marked.as_ref().is_some_and(|mark| mark.id == id) => {
            return Err(MigrateError::Unfinished(format!(
                "moving the task hubs of this folder into the database was interrupted: run `{TO_DATABASE}` again"
            )));
        }
        None
        | Some(Note {
            state: State::Leaving,
            ..
        }) => new_id(),
        Some(Note { database, .. }) => {
            return Err(MigrateError::Unfinished(format!(
                "the data folder {} belongs to the database {database}, not to {at}: name that one",
                folder.display()
            )));
        }
    };
    if let Some(mark) = marked {
        return Err(MigrateError::Unfinished(mark.refusal()));
    }
    let target = schema::open_file(&file)?;
    if let Some(found) = found(&target)? {
        return Err(MigrateError::UsedFolder { path: file, found });
    }
    // Refused before anything is noted, so that a folder stays as it is.
    transact(&source, || claim(&source, &id))?;
    note(folder, State::Arriving, &at, &id)?;
    let mut moved = Vec::new();
    // Until this ends, nobody else owns the task hubs.
    transact(&source, || {
        claim(&source, &id)?;
        let mut old = Digests::default();
        transact(&target, || {
            clear(&target)?;
            old = copy(&source, &target, told)?;
            Ok(set_last_hub(&target, last_hub(&source)?)?)
        })?;
        let new = digests(&target, told)?;
        old.refuse_other(&new)?;
        moved = new.counts;
        let mark = Mark {
            state: mark::State::Left,
            id: id.clone(),
            folder: whole(folder),
        };
        Ok(mark.write(&source)?)
    })?;
    Note::forget(folder)?;
    Ok(Moved {
        counts: moved,
        finished: false,
        put_away: None,
    })
}

/// A session of the database for a move.
fn session(storage: &DatabaseStorage) -> Result<Connection, MigrateError> {
    let database = database::open(storage)?;
    let session = Session::new(database).map_err(OpenError::Thread)?;
    let conn = Connection::Postgres(Box::new(session));
    conn.execute_batch(SESSION)?;
    Ok(conn)
}

/// Runs `work` in a transaction, which changes nothing if it fails.
fn transact(
    conn: &Connection,
    work: impl FnOnce() -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    // A session's own transactions are those of an owner of the task hubs, which this is not.
    match conn.session() {
        Some(_) => conn.execute_batch("BEGIN")?,
        None => conn.begin()?,
    }
    match work() {
        Ok(()) => Ok(conn.commit()?),
        Err(error) => {
            conn.roll_back();
            Err(error)
        }
    }
}

/// The highest number that a task hub ever had: none is used again.
fn last_hub(conn: &Connection) -> Result<i64, StorageError> {
    let last: Option<Option<i64>> = match conn.session() {
        Some(_) => conn
            .query_row(
                "SELECT CASE WHEN is_called THEN last_value END FROM hubs_id_seq",
                (),
                |row| row.get(0),
            )
            .optional()?,
        None => conn
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'hubs'",
                (),
                |row| row.get(0),
            )
            .optional()?,
    };
    let most: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM hubs", (), |row| {
        row.get(0)
    })?;
    Ok(last.flatten().unwrap_or(0).max(most))
}

fn set_last_hub(conn: &Connection, last: i64) -> Result<(), StorageError> {
    if last == 0 {
        return Ok(());
    }
    if conn.session().is_some() {
        return conn.query_row("SELECT setval('hubs_id_seq', ?1)", [last], |_| Ok(()));
    }
    conn.execute("DELETE FROM sqlite_sequence WHERE name = 'hubs'", ())?;
    conn.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('hubs', ?1)",
        [last],
    )
    .map(drop)
}

fn note(folder: &Path, state: State, database: &str, id: &str) -> Result<(), OpenError> {
    Note {
        state,
        database: database.to_owned(),
        id: Some(id.to_owned()),
    }
    .write(folder)
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    match std::fs::rename(from, to) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OpenError::Directory {
            path: to.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// A folder as a person finds it.
fn whole(folder: &Path) -> String {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    path.display().to_string()
}

fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
