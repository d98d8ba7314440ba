//! What a database knows of a move: a table `moving`, which is there only until the move is finished, and
//! a lease on the task hubs that no scheduler can take, whatever its release.

use countersign_database::{Database, DatabaseError, one};
use futures_util::FutureExt as _;

use super::MigrateError;
use crate::OpenError;
use crate::store::database::apart;
use crate::store::engine::{self, Connection, OptionalExtension};

/// How a lease of a move begins; the move's id follows.
const MOVE: &str = "migrate ";
const EXISTS: &str = "SELECT to_regclass('durabletask.moving') IS NOT NULL";
const MARKED: &str = "SELECT state, id, folder FROM moving";
/// Nodes that were there a moment ago.
const NODES: &str = "
    SELECT name FROM nodes WHERE seen_at > clock_timestamp() - interval '5 seconds' ORDER BY name LIMIT 1
";
/// The owner whose lease lasts. The name of a node that is not in the list is in its term.
const OWNER: &str = "
    SELECT coalesce((SELECT name FROM terms WHERE terms.fence = ownership.fence), node) FROM ownership
    WHERE node IS NOT NULL AND node <> ?1 AND lease_until > clock_timestamp()
";

/// How far a move is, as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not all is there yet, or what counts is in the folder.
    Arriving,
    /// What counts is in the folder.
    Left,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Left => "left",
        }
    }
}

/// A mark in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) state: State,
    pub(super) id: String,
    pub(super) folder: String,
}

impl Mark {
    fn new(state: &str, id: String, folder: String) -> Self {
        // A word of a later release is not understood: then nothing may be touched.
        let state = match state {
            "left" => State::Left,
            _ => State::Arriving,
        };
        Self { state, id, folder }
    }

    /// What to say to those who want to use the database.
    pub(super) fn refusal(&self) -> String {
        let Self { state, folder, .. } = self;
        match state {
            State::Arriving => format!(
                "moving the task hubs of {folder} into this database was interrupted: run the command \
                 `migrate to-database` on that folder again, which finishes it; or give up what has arrived, with \
                 `DROP SCHEMA durabletask CASCADE`"
            ),
            State::Left => format!(
                "the task hubs of this database were moved to {folder}: start the scheduler there. If they are not \
                 needed there any more, remove these with `DROP SCHEMA durabletask CASCADE`"
            ),
        }
    }

    /// What is marked.
    pub(super) fn read(conn: &Connection) -> engine::Result<Option<Self>> {
        let there: bool = conn.query_row(EXISTS, (), |row| row.get(0))?;
        if !there {
            return Ok(None);
        }
        conn.query_row(MARKED, (), |row| {
            let state: String = row.get(0)?;
            Ok(Self::new(&state, row.get(1)?, row.get(2)?))
        })
        .optional()
    }

    /// Marks the database, and takes the task hubs from everyone, in the transaction that is open.
    pub(super) fn write(&self, conn: &Connection) -> engine::Result<()> {
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS durabletask.moving (
                 one integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),
                 state text NOT NULL,
                 id text NOT NULL,
                 folder text NOT NULL
             );
             DELETE FROM durabletask.moving",
        )?;
        conn.execute(
            "INSERT INTO moving (state, id, folder) VALUES (?1, ?2, ?3)",
            (self.state.word(), &self.id, &self.folder),
        )?;
        let name = format!("{MOVE}{}", self.id);
        conn.execute(
            "UPDATE ownership SET node = ?1, fence = fence + 1, lease_until = 'infinity'",
            [&name],
        )?;
        conn.execute(
            "INSERT INTO terms (fence, node, name, after_number, reason)
             SELECT fence, ?1, 'migrate', number, 'the task hubs are moved' FROM ownership",
            [&name],
        )
        .map(drop)
    }

    /// Takes the mark away, and leaves the task hubs to the next node, in the transaction that is open.
    pub(super) fn forget(conn: &Connection) -> engine::Result<()> {
        conn.execute_batch(
            "DROP TABLE durabletask.moving;
             UPDATE durabletask.ownership SET node = NULL, lease_until = 'epoch'",
        )
    }
}

/// Locks the ownership until the transaction ends, and refuses a database that schedulers use.
pub(super) fn claim(conn: &Connection, id: &str) -> Result<(), MigrateError> {
    conn.execute_batch("SELECT 1 FROM durabletask.ownership FOR UPDATE")?;
    let node: Option<String> = conn.query_row(NODES, (), |row| row.get(0)).optional()?;
    let owner: Option<String> = conn
        .query_row(OWNER, [format!("{MOVE}{id}")], |row| row.get(0))
        .optional()?;
    match node.or(owner) {
        Some(name) => Err(MigrateError::InUse(name)),
        None => Ok(()),
    }
}

/// Refuses a database into which task hubs have not all arrived, or which they have left.
pub(in crate::store) fn refuse_unfinished(database: &Database) -> Result<(), OpenError> {
    let marked = apart(async {
        let marked = database
            .read(|transaction| {
                async move {
                    let there = one(transaction, EXISTS, &[]).await?;
                    let there: bool = there.map_or(Ok(false), |row| row.try_get(0))?;
                    if !there {
                        return Ok::<_, DatabaseError>(None);
                    }
                    let Some(row) = one(transaction, MARKED, &[]).await? else {
                        return Ok(None);
                    };
                    let state: String = row.try_get(0)?;
                    Ok(Some(Mark::new(&state, row.try_get(1)?, row.try_get(2)?)))
                }
                .boxed()
            })
            .await;
        database.release();
        Ok(marked?)
    })?;
    match marked {
        Some(mark) => Err(OpenError::Moving(mark.refusal())),
        None => Ok(()),
    }
}
