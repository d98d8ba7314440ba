//! The single writer: one thread, one connection, group commit.

use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use chrono::{DateTime, Utc};
use durabletask_sqlite::Database;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Note, StoreError};
use crate::clock::Clock;
use crate::metrics::{Commits, Disk};

/// How many waiting commands share one transaction.
const BATCH: usize = 512;
/// How many commands may wait before callers do.
const QUEUE: usize = 4096;

/// The connection that writes.
pub(crate) enum Home {
    /// A database in memory.
    Memory(Connection),
    /// A file, which is marked as in use while this exists.
    File(Database),
}

impl Deref for Home {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Memory(connection) => connection,
            Self::File(database) => database,
        }
    }
}

/// Receives what a commit changed, after it is durable.
pub(crate) trait Committed: Send + Sync + 'static {
    /// Called on the writer thread, in commit order; must be quick.
    fn committed(&self, notes: Vec<Note>);
}

/// The next free numbers. Kept in memory: a number lost to a rollback is just skipped.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) instance: i64,
    pub(crate) inbox: i64,
    pub(crate) activity: i64,
    pub(crate) timer: i64,
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) notes: Vec<Note>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) ids: &'a mut Counters,
    /// Instances whose children must be terminated.
    pub(crate) parents: Parents,
}

/// Instances that ended with their children, and for which reason.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    pub(crate) waiting: Vec<(i64, Option<String>)>,
    /// Whether a caller further up processes them.
    pub(crate) taken: bool,
}

impl Tx<'_> {
    /// Makes a write without an effect.
    pub(crate) fn touch(&mut self) -> Result<(), StoreError> {
        self.conn
            .pragma_update(None, "user_version", super::schema::SCHEMA_VERSION)?;
        Ok(())
    }
}

/// A command: may run more than once, before its caller hears of it exactly once.
trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), rusqlite::Error>;
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct TypedJob<T, F> {
    work: F,
    value: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), rusqlite::Error> {
        match (self.work)(tx) {
            Err(StoreError::Sql(error)) => Err(error),
            // Discovered halfway, so what was written before must be rolled back.
            Err(StoreError::Corrupt(error)) => Err(rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Blob,
                Box::new(error),
            )),
            // A refusal is decided before anything is written.
            other => {
                self.value = Some(other);
                Ok(())
            }
        }
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let result = match outcome {
            Ok(()) => self.value.unwrap_or(Err(StoreError::Closed)),
            Err(error) => Err(error),
        };
        // A caller that has disconnected does not undo what is committed.
        let _ = self.reply.send(result);
    }
}

/// A handle to the writer thread; the thread ends when all handles are gone.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    commits: Arc<Commits>,
}

impl Writer {
    /// Starts the thread, which keeps `lock` until it ends.
    pub(crate) fn start(
        conn: Home,
        lock: Option<File>,
        counters: Counters,
        clock: Arc<dyn Clock>,
        committed: Arc<dyn Committed>,
        commits: Arc<Commits>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let kept = Arc::clone(&commits);
        let thread = std::thread::Builder::new()
            .name("scheduler-writer".to_owned())
            .spawn(move || {
                run(conn, counters, &*clock, &*committed, &commits, waiting);
                drop(lock);
            })?;
        Ok((
            Self {
                jobs,
                commits: kept,
            },
            thread,
        ))
    }

    /// Runs `work` in a transaction and returns once it is on disk. `work` may run
    /// again after a rollback, and must check what it may refuse before it writes.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = TypedJob {
            work,
            value: None,
            reply,
        };
        self.jobs
            .send(Box::new(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The state of the disk after the last write.
    pub(crate) fn disk(&self) -> Disk {
        self.commits.disk()
    }

    /// Returns when the thread ends, which it does by itself only in a panic.
    pub(crate) async fn closed(&self) {
        self.jobs.closed().await;
    }
}

fn run(
    conn: Home,
    mut counters: Counters,
    clock: &dyn Clock,
    committed: &dyn Committed,
    commits: &Commits,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
) {
    let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(BATCH);
    while let Some(first) = waiting.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH {
            match waiting.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        let begun = Instant::now();
        match transact(&conn, &mut counters, clock, &mut batch) {
            Ok(notes) => {
                commits.committed(batch.len(), begun.elapsed());
                committed.committed(notes);
                batch.drain(..).for_each(|job| job.finish(Ok(())));
            }
            Err(error) if batch.len() == 1 => {
                commits.rolled_back();
                commits.failed(&error);
                tracing::error!(%error, "a write failed and was rolled back");
                batch
                    .drain(..)
                    .for_each(|job| job.finish(Err(StoreError::Sql(copy(&error)))));
            }
            Err(error) => {
                commits.rolled_back();
                tracing::warn!(%error, commands = batch.len(), "a batch was rolled back; running its commands one by one");
                for job in batch.drain(..) {
                    let mut alone = [job];
                    let begun = Instant::now();
                    let outcome = transact(&conn, &mut counters, clock, &mut alone);
                    let [job] = alone;
                    match outcome {
                        Ok(notes) => {
                            commits.committed(1, begun.elapsed());
                            committed.committed(notes);
                            job.finish(Ok(()));
                        }
                        Err(error) => {
                            commits.rolled_back();
                            commits.failed(&error);
                            job.finish(Err(StoreError::Sql(error)));
                        }
                    }
                }
            }
        }
    }
}

fn transact(
    conn: &Connection,
    counters: &mut Counters,
    clock: &dyn Clock,
    jobs: &mut [Box<dyn Job>],
) -> Result<Vec<Note>, rusqlite::Error> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut tx = Tx {
        conn,
        notes: Vec::new(),
        now: clock.now(),
        ids: counters,
        parents: Parents::default(),
    };
    let outcome = jobs
        .iter_mut()
        .try_for_each(|job| job.run(&mut tx))
        .and_then(|()| conn.prepare_cached("COMMIT")?.execute([]).map(|_| ()));
    match outcome {
        Ok(()) => Ok(tx.notes),
        Err(error) => {
            // After some errors SQLite has already rolled back; then this fails.
            if let Err(second) = conn.execute_batch("ROLLBACK") {
                tracing::debug!(error = %second, "nothing was left to roll back");
            }
            Err(error)
        }
    }
}

/// The same error for one more caller; `rusqlite::Error` cannot be cloned.
fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    match error.sqlite_error() {
        Some(code) => rusqlite::Error::SqliteFailure(*code, Some(error.to_string())),
        None => rusqlite::Error::InvalidPath(PathBuf::from(error.to_string())),
    }
}
