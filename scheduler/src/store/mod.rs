//! What is durable: one writer, a few readers, one table family per file.
//!
//! This is all that the rest of the scheduler knows of its storage. [`Writer::write`] runs verbs on a
//! [`Tx`], and [`Store::read`] and [`Store::browse`] run questions on a [`Connection`]; the statements
//! behind them are here, and the two engines that carry them out are in [`engine`].
//!
//! What the storage promises, whichever engine keeps it:
//!
//! - **All or nothing.** What one call of [`Writer::write`] does is in the storage as a whole or not at
//!   all, in the order of the calls. Once it has returned, it stays, whatever happens to the process.
//!   One that is refused ([`StoreError`]) has changed nothing.
//! - **The report follows the fact.** [`Committed`] hears of a change after it is on disk, in order, and
//!   never of one that is not. After a start it hears first of all that was pending
//!   ([`Pending`]).
//! - **Reading sees what was acknowledged.** A reading sees one moment, not before its call.
//! - **One owner.** What another process changes in the meantime is never overwritten, nor read as if it
//!   had not been: a folder is locked, and over PostgreSQL each transaction and each reading proves
//!   that this node owns the task hubs ([`ownership`]).
//!
//! The verbs, by what they promise:
//!
//! | Verb | What is true afterwards |
//! | --- | --- |
//! | [`Tx::start_in_hub`], [`Tx::restart`] | the instance, its input, tags and first event exist, or none of it; what it replaces is gone, and a parent that waited for that knows |
//! | [`Tx::raise`], [`Tx::rewind`], [`Tx::terminate_now`], [`Tx::reschedule`] | the message is in the inbox and the status shows it, or the instance's state refuses it |
//! | [`Tx::complete_turn`] | the events that the turn consumed are history, and its activities, timers, children and messages exist; all of it once, or the turn is refused since its instance or execution is gone |
//! | [`Tx::complete_activity`] | the answer is in the inbox of the execution that waits for it; a second answer is refused |
//! | [`Tx::complete_batch`] | the entity's new state, its answers and messages, for the operations that were at the head of its queue |
//! | [`Tx::fire_due`] | each due timer has become an event of its instance, once |
//! | [`Tx::purge`], [`Tx::purge_filter`], [`Tx::purge_old`], [`Tx::clear_hub`] | a part of what is to go is gone, descendants first |
//! | [`Tx::ensure_hub`], [`Tx::delete_hub`], [`Tx::recreate_hub`] | the name leads to one task hub or none; a number is never used again |

mod activities;
mod backup;
mod browse;
mod continue_as_new;
mod counts;
mod database;
mod directory;
mod elsewhere;
mod engine;
mod entities;
#[cfg(test)]
mod entity_model;
mod entity_purge;
mod entity_queries;
#[cfg(test)]
mod fence;
mod fork;
mod hubs;
mod instances;
mod list;
mod log_mark;
#[cfg(test)]
mod model;
mod ownership;
mod pending;
mod prefix;
mod purge;
mod query;
mod readers;
mod restart;
mod retention;
mod rewind;
mod rows;
mod scheduled;
mod schema;
mod shared;
mod summary;
mod suspend;
mod tags;
mod terminate;
#[cfg(test)]
mod testing;
mod timers;
mod transfer;
mod turns;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use durabletask_proto::{ActivityRequest, HistoryEvent, OrchestrationTraceContext};

use tokio::sync::watch;

pub(crate) use activities::ActivityAnswer;
pub use backup::{BackupError, BackupReport, backup, count_instances, look};
pub(crate) use browse::{Cursor, CursorValue, Narrow, Sort, browse, names};
use counts::Counts;
pub use database::look_database;
pub(crate) use directory::{Directory, Listed, PastTerm};
pub use elsewhere::{keep_elsewhere, kept_elsewhere};
pub(crate) use engine::{Connection, MOST_INDEXED, stored_length};
pub use engine::{StorageError, StorageProblem};
pub(crate) use entities::{EntityBatch, EntityHeader};
pub(crate) use entity_queries::{EntityFilter, entities, entity, entity_batch, entity_header};
pub(crate) use fork::NewFork;
pub(crate) use hubs::check_hub;
pub(crate) use instances::{Start, micros, timestamp};
pub(crate) use list::{ListCursor, ListFilter, completion_of, list};
pub(crate) use ownership::Owner;
use ownership::Standing;
pub(crate) use pending::{Pending, PendingActivity, PendingInstance};
pub(crate) use purge::{PurgeFilter, Purged};
pub(crate) use query::{
    Place, StateFilter, history_bytes, history_page, inbox, query, state, waiting_turn,
};
use readers::{Browsers, Pool};
pub(crate) use retention::first_end;
pub(crate) use summary::hub_names;
pub use transfer::{MigrateError, Moved, move_to_database, move_to_folder};
pub(crate) use turns::FinishedTurn;
pub(crate) use writer::{Committed, Slice, Tx, Writer};
use writer::{Home, Pieces};

use crate::metrics::{Commits, Leases};
use crate::{OpenError, SchedulerConfig, Storage};

/// The database's file in the data folder.
pub(crate) const DATABASE: &str = "scheduler.sqlite3";

/// What dispatch needs to know of an instance to dispatch its next turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) hub: i64,
    pub(crate) key: i64,
    pub(crate) instance_id: String,
    pub(crate) execution_id: String,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) has_history: bool,
    /// About how many turns the execution has had.
    pub(crate) turns: i64,
    pub(crate) span: Option<OrchestrationTraceContext>,
}

/// What becomes of an instance after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Its execution continues.
    GoesOn,
    /// A new execution begins; what precedes its inbox is reported next.
    Anew,
    /// It continues from a different history than the turn's.
    Rewound,
    /// It has ended.
    Ended,
}

/// What a commit changed, for dispatch and waiters.
#[derive(Debug)]
pub(crate) enum Note {
    /// Events were added to an inbox; with `replace` they are now all of it. While it is
    /// `paused` none of them is dispatched.
    Events {
        header: Arc<Header>,
        events: Vec<(i64, HistoryEvent)>,
        replace: bool,
        paused: bool,
    },
    /// A new execution begins with these events, ahead of what is in the inbox; those with
    /// the numbers `dropped` were removed from it.
    Renewed {
        header: Arc<Header>,
        events: Vec<(i64, HistoryEvent)>,
        dropped: Vec<i64>,
        paused: bool,
    },
    /// A turn was committed; events up to `through` are history.
    TurnApplied {
        key: i64,
        through: i64,
        header: Arc<Header>,
        after: After,
    },
    /// An activity must run.
    Activity {
        header: Arc<Header>,
        id: i64,
        request: Arc<ActivityRequest>,
    },
    /// An entity's queue has changed; `runnable` is whether an operation in it can run.
    Entity {
        header: Arc<EntityHeader>,
        runnable: bool,
    },
    /// An entity was removed.
    EntityGone { hub: i64, key: i64 },
    /// A timer is due at this time (microseconds since 1970).
    TimerSet(i64),
    /// The status of an instance has changed.
    Changed { hub: i64, instance_id: String },
    /// An instance was removed.
    Gone {
        hub: i64,
        key: i64,
        instance_id: String,
        /// Its activities, which were removed with it.
        activities: Vec<i64>,
    },
    /// Activities of a continuing instance must not run any more.
    Withdrawn { hub: i64, activities: Vec<i64> },
    /// An instance's turn at a worker, if there is one, will not be applied.
    TurnRevoked { key: i64 },
    /// A task hub was deleted; its content is removed instance by instance.
    HubGone { hub: i64 },
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no instance {0:?} in this task hub")]
    NotFound(String),
    #[error(
        "an orchestration instance already exists with the id {0:?} in this task hub, and the start does not allow replacing it"
    )]
    AlreadyExists(String),
    #[error(
        "Task hub not found: {0}; use one that this scheduler was started with or that has been created"
    )]
    NoHub(String),
    #[error(
        "there are {0} task hubs already, the most that this scheduler keeps; delete one first or raise the limit"
    )]
    TooManyHubs(usize),
    #[error("{0}")]
    InvalidState(String),
    #[error(transparent)]
    Reuse(#[from] durabletask_scheduler_core::ReuseRefusal),
    #[error(transparent)]
    Fork(#[from] Box<durabletask_scheduler_core::ForkRefusal>),
    #[error(
        "the work item is gone: it was completed, abandoned, or its instance was replaced or purged"
    )]
    WorkItemGone,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the stored data cannot be decoded: {0}")]
    Corrupt(#[from] prost::DecodeError),
    #[error("the scheduler is shutting down")]
    Closed,
}

impl StoreError {
    /// Whether another node answers for the task hubs.
    pub(crate) fn is_not_owner(&self) -> bool {
        matches!(self, Self::Storage(error) if error.problem() == StorageProblem::NotOwner)
    }
}

/// The open storage.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) writer: Writer,
    readers: Readers,
    counts: Arc<Counts>,
    /// Its path, if it is a file.
    file: Option<PathBuf>,
    /// Where several nodes share it.
    shared: Option<Shared>,
}

/// What a node knows of the ownership, and of the other nodes.
#[derive(Clone)]
struct Shared {
    standing: Arc<Standing>,
    directory: Arc<Directory>,
}

#[derive(Clone)]
enum Readers {
    Others {
        pool: Pool,
        browsers: Browsers,
    },
    /// A database in memory has only the writer's connection.
    Writer,
}

impl Store {
    /// Opens the storage. All work that was pending when it was last closed is passed on before this
    /// returns, or where several nodes share the storage, whenever this node takes the task hubs.
    pub(crate) fn open(
        config: &SchedulerConfig,
        committed: Arc<dyn Committed>,
        commits: Arc<Commits>,
    ) -> Result<Self, OpenError> {
        let (conn, lock, readers) = match &config.storage {
            Storage::Database(database) => {
                return Self::open_shared(config, database, committed, commits);
            }
            Storage::Memory => (schema::open_memory()?, None, Readers::Writer),
            Storage::Directory(path) => {
                schema::make_folder(path)?;
                elsewhere::refuse(path)?;
                let file: PathBuf = path.join(DATABASE);
                let lock = schema::lock(path)?;
                let conn = schema::open_file(&file)?;
                let open = || schema::open_reader(&file);
                let readers = Readers::Others {
                    pool: Pool::open(config.read_connections, open, None)?,
                    browsers: Browsers::start(open, None)?,
                };
                (conn, Some(lock), readers)
            }
        };
        let hubs = config.hub_names();
        pending::load(&conn, &hubs, &mut |pending| committed.restore(pending))?;
        let home = Home {
            counters: pending::counters(&conn)?,
            lock,
            office: None,
            conn,
        };
        let counts = Arc::new(Counts::load(&home.conn)?);
        let file = match &config.storage {
            Storage::Directory(path) => Some(path.join(DATABASE)),
            Storage::Memory | Storage::Database(_) => None,
        };
        let pieces = Pieces {
            counts: Arc::clone(&counts),
            clock: Arc::clone(&config.clock),
            committed,
            commits,
        };
        // The thread ends on its own once the last handle to the writer is dropped.
        let (writer, _thread) = Writer::start(home, pieces).map_err(OpenError::Thread)?;
        Ok(Self {
            writer,
            readers,
            counts,
            file,
            shared: None,
        })
    }

    /// Checkpoints the log into the file, which then gets its final size.
    pub(crate) async fn write_back(&self) -> Result<(), StoreError> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        // A connection of its own: the writer's is in a transaction whenever it works.
        let writing = tokio::task::spawn_blocking(move || engine::write_back(&file));
        Ok(writing.await.map_err(|_| StoreError::Closed)??)
    }

    /// Reads from a snapshot that holds everything acknowledged so far. For what a worker or a
    /// client waits for, and what is quick.
    pub(crate) async fn read<T, F>(&self, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.readers {
            Readers::Writer => self.writer.write(move |tx| work(tx.conn)).await,
            Readers::Others { pool, .. } => pool.read(work).await,
        }
    }

    /// The same for lists, pages and exports: a few of these are read at once, in the order in which
    /// they are asked for, behind everything else.
    pub(crate) async fn browse<T, F>(&self, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.readers {
            Readers::Writer => self.writer.write(move |tx| work(tx.conn)).await,
            Readers::Others { browsers, .. } => browsers.read(work).await,
        }
    }

    /// Who owns the task hubs, where several nodes share them.
    pub(crate) fn owner(&self) -> Option<watch::Receiver<Owner>> {
        self.shared.as_ref().map(|shared| shared.standing.owner())
    }

    /// The nodes that share the storage, where several do.
    pub(crate) fn directory(&self) -> Option<&Arc<Directory>> {
        self.shared.as_ref().map(|shared| &shared.directory)
    }

    /// How often this node has taken and lost the task hubs, where several nodes share the storage.
    pub(crate) fn leases(&self) -> Option<&Leases> {
        self.shared.as_ref().map(|shared| shared.standing.leases())
    }

    /// The number of the term in which this node owns the task hubs; always the same where no other
    /// can.
    pub(crate) fn term(&self) -> Result<i64, StoreError> {
        match &self.shared {
            Some(shared) => Ok(shared.standing.fence()?),
            None => Ok(0),
        }
    }

    /// How many instances of each hub have each status: hub, status number, count.
    pub(crate) fn status_counts(&self) -> Vec<(i64, i32, i64)> {
        self.counts.all()
    }
}

/// SQLite's query plan for a statement, one step a line.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
fn explain(conn: &Connection, sql: &str, values: Vec<engine::Value>) -> String {
    let mut statement = conn
        .prepare_cached(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let steps = statement
        .query_map(values, |row| row.get::<_, String>(3))
        .unwrap();
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    struct Nobody;

    impl Committed for Nobody {
        fn committed(&self, _: Vec<Note>) {}
        fn restore(&self, _: Pending) {}
        fn forget(&self) {}
    }

    #[tokio::test]
    async fn what_may_wait_lets_others_go_first() {
        let config = SchedulerConfig::new(Storage::Memory);
        let store = Store::open(&config, Arc::new(Nobody), Arc::default()).unwrap();
        let order: Arc<std::sync::Mutex<Vec<&str>>> = Arc::default();
        let noting = |what| {
            let order = Arc::clone(&order);
            move |_: &mut Tx<'_>| {
                order.lock().unwrap().push(what);
                Ok(())
            }
        };
        // While this runs, the others are asked for; it ends once all are.
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let blocking = store.writer.write(move |_| {
            let _ = gone.recv();
            Ok(())
        });
        let behind = store.writer.write_behind(noting("behind"));
        let first = store.writer.write(noting("first"));
        let second = store.writer.write(noting("second"));
        let let_go = async {
            tokio::task::yield_now().await;
            drop(go);
            Ok(())
        };
        let all = tokio::try_join!(blocking, behind, first, second, let_go);
        all.unwrap();
        assert_eq!(*order.lock().unwrap(), ["first", "second", "behind"]);
    }

    #[tokio::test]
    async fn a_reading_that_panics_takes_no_connection_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = SchedulerConfig::new(Storage::Directory(folder.path().to_owned()));
        let store = Store::open(&config, Arc::new(Nobody), Arc::default()).unwrap();
        for _ in 0..=config.read_connections {
            let lost = store.read(|_| -> Result<(), _> { panic!("a fault of the test's") });
            assert!(lost.await.is_err());
            let lost = store.browse(|_| -> Result<(), _> { panic!("a fault of the test's") });
            assert!(lost.await.is_err());
        }
        let hubs = store.read(hub_names).await.unwrap();
        assert_eq!(hubs.len(), 1);
        let hubs = store.browse(hub_names).await.unwrap();
        assert_eq!(hubs.len(), 1);
    }
}
