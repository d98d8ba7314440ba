//! The single writer: one thread, one connection, group commit.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use durabletask_sqlite::Database;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::counts::{Changes, Counts};
use super::{Note, StoreError};
use crate::clock::Clock;
use crate::metrics::{Commits, Disk};

/// How many waiting commands share one transaction.
const BATCH: usize = 512;
/// How many commands may wait before callers do.
const QUEUE: usize = 4096;
/// How long a part of a long piece of work may take, which others wait for.
const SLICE: Duration = Duration::from_millis(1);
/// How often a part of such work is done although others are always waiting.
const SHARE: Duration = Duration::from_millis(10);
/// How long such work pauses after each part while others write, which is so until none has for
/// [`QUIET`]: four times as long as the part took.
const PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
const QUIET: Duration = Duration::from_millis(20);

/// Lets long pieces of work go on one part at a time, at the pace that others leave.
struct Pace {
    /// Before when the next part of any of them does not begin, while others write.
    next_part: tokio::sync::Mutex<Instant>,
    begun: Instant,
    /// When something else was last written, in microseconds since `begun`.
    last_other: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        let begun = Instant::now();
        Self {
            next_part: tokio::sync::Mutex::new(begun),
            begun,
            last_other: AtomicU64::new(0),
        }
    }

    fn note_other(&self) {
        let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_other.store(now, Ordering::Relaxed);
    }

    fn is_quiet(&self) -> bool {
        let last = Duration::from_micros(self.last_other.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last) >= QUIET
    }
}

/// The time that a part of a long piece of work may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice(Option<Instant>);

impl Slice {
    pub(crate) fn begin() -> Self {
        Self(Some(Instant::now()))
    }

    /// One that is never over.
    #[cfg(test)]
    pub(crate) const fn endless() -> Self {
        Self(None)
    }

    /// One that is over.
    #[cfg(test)]
    pub(crate) fn over() -> Self {
        Self(Instant::now().checked_sub(SLICE))
    }

    /// Whether the rest is left for the next part. Each part does something, even if it is late.
    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|begun| begun.elapsed() >= SLICE)
    }
}

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
    /// Of how many instances have which status.
    pub(crate) counts: Changes,
}

/// Instances that ended with their children, and for which reason.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    pub(crate) waiting: Vec<(i64, Option<String>)>,
    /// Whether a caller further up processes them.
    pub(crate) taken: bool,
}

impl<'a> Tx<'a> {
    /// What runs in a transaction that has begun on `conn`.
    pub(crate) fn new(conn: &'a Connection, now: DateTime<Utc>, ids: &'a mut Counters) -> Self {
        Self {
            conn,
            notes: Vec::new(),
            now,
            ids,
            parents: Parents::default(),
            counts: Changes::default(),
        }
    }
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
        self.value = Some(kept((self.work)(tx))?);
        Ok(())
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

/// A command whose outcome is passed to a function.
struct ToldJob<F, D: FnOnce(Result<(), StoreError>)> {
    work: F,
    value: Result<(), StoreError>,
    done: Option<D>,
}

impl<F, D> Job for ToldJob<F, D>
where
    F: FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send,
    D: FnOnce(Result<(), StoreError>) + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), rusqlite::Error> {
        self.value = kept((self.work)(tx))?;
        Ok(())
    }

    fn finish(mut self: Box<Self>, outcome: Result<(), StoreError>) {
        let value = std::mem::replace(&mut self.value, Ok(()));
        if let Some(done) = self.done.take() {
            done(outcome.and(value));
        }
    }
}

/// One that is never run has an outcome too.
impl<F, D: FnOnce(Result<(), StoreError>)> Drop for ToldJob<F, D> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(StoreError::Closed));
        }
    }
}

/// The outcome of a command, unless it undoes the transaction.
fn kept<T>(outcome: Result<T, StoreError>) -> Result<Result<T, StoreError>, rusqlite::Error> {
    match outcome {
        Err(StoreError::Sql(error)) => Err(error),
        // Discovered halfway, so what was written before must be rolled back.
        Err(StoreError::Corrupt(error)) => Err(rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Blob,
            Box::new(error),
        )),
        // A refusal is decided before anything is written.
        other => Ok(other),
    }
}

/// When a command runs.
enum When {
    /// In its turn, with all that wait.
    Now(Box<dyn Job>),
    /// Alone, when no other is waiting, or now and then if others always are.
    Behind(Box<dyn Job>),
}

/// A handle to the writer thread; the thread ends when all handles are gone.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<When>,
    pace: Arc<Pace>,
    commits: Arc<Commits>,
}

impl Writer {
    /// Starts the thread, which keeps `lock` until it ends.
    pub(crate) fn start(
        conn: Home,
        lock: Option<File>,
        counters: Counters,
        counts: Arc<Counts>,
        clock: Arc<dyn Clock>,
        committed: Arc<dyn Committed>,
        commits: Arc<Commits>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let kept = Arc::clone(&commits);
        let pace = Arc::new(Pace::new());
        let mut thread = Thread {
            conn,
            counters,
            counts,
            clock,
            committed,
            commits,
            pace: Arc::clone(&pace),
        };
        let thread = std::thread::Builder::new()
            .name("scheduler-writer".to_owned())
            .spawn(move || {
                thread.run(waiting);
                drop(thread);
                drop(lock);
            })?;
        Ok((
            Self {
                jobs,
                pace,
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
        self.ask(When::Now, work).await
    }

    /// Like [`Writer::write`], but returns once the work is in the queue, which may have to wait for
    /// room. `done` gets the outcome in any case, also where the future is dropped before; on the
    /// writer's thread, so it must be quick.
    pub(crate) async fn submit<F, D>(&self, work: F, done: D)
    where
        F: FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
        D: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        let job = ToldJob {
            work,
            value: Ok(()),
            done: Some(done),
        };
        // One that cannot be sent is dropped, with its outcome.
        let _ = self.jobs.send(When::Now(Box::new(job))).await;
    }

    /// Like [`Writer::write`], for a part of a long piece of work: it lets all others go first, so
    /// that they wait for one such part at most, which ends with its [`Slice`]. There is one at a
    /// time, and a pause in between while others write.
    pub(crate) async fn write_behind<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let mut next_part = self.pace.next_part.lock().await;
        if !self.pace.is_quiet() {
            tokio::time::sleep_until((*next_part).into()).await;
        }
        let begun = Instant::now();
        let outcome = self.ask(When::Behind, work).await;
        // A fifth of the time is its share, also where the disk is slow.
        let pause = (4 * begun.elapsed()).clamp(PAUSE, LONGEST_PAUSE);
        *next_part = Instant::now() + pause;
        outcome
    }

    async fn ask<T, F>(&self, when: fn(Box<dyn Job>) -> When, work: F) -> Result<T, StoreError>
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
            .send(when(Box::new(job)))
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

/// What the thread has.
struct Thread {
    conn: Home,
    counters: Counters,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
    committed: Arc<dyn Committed>,
    commits: Arc<Commits>,
    pace: Arc<Pace>,
}

impl Thread {
    fn run(&mut self, mut waiting: mpsc::Receiver<When>) {
        let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(BATCH);
        // Each of these has a caller that waits for it.
        let mut behind: VecDeque<Box<dyn Job>> = VecDeque::new();
        let mut last_behind = Instant::now();
        loop {
            let mut next = match behind.is_empty() {
                true => match waiting.blocking_recv() {
                    None => return,
                    first => first,
                },
                false => waiting.try_recv().ok(),
            };
            while let Some(job) = next {
                match job {
                    When::Now(job) => batch.push(job),
                    When::Behind(job) => behind.push_back(job),
                }
                next = match batch.len() < BATCH {
                    true => waiting.try_recv().ok(),
                    false => None,
                };
            }
            let nobody_waits = batch.is_empty();
            if !nobody_waits {
                self.pace.note_other();
            }
            self.commit(&mut batch);
            if (nobody_waits || last_behind.elapsed() >= SHARE)
                && let Some(job) = behind.pop_front()
            {
                batch.push(job);
                self.commit(&mut batch);
                last_behind = Instant::now();
            }
        }
    }

    /// Runs commands in one transaction, answers them and empties the batch.
    fn commit(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        if batch.is_empty() {
            return;
        }
        match self.transact(batch) {
            Ok(()) => batch.drain(..).for_each(|job| job.finish(Ok(()))),
            Err(error) if batch.len() == 1 => {
                self.commits.failed(&error);
                tracing::error!(%error, "a write failed and was rolled back");
                batch
                    .drain(..)
                    .for_each(|job| job.finish(Err(StoreError::Sql(copy(&error)))));
            }
            Err(error) => {
                tracing::warn!(%error, commands = batch.len(), "a batch was rolled back; running its commands one by one");
                for job in batch.drain(..) {
                    let mut alone = [job];
                    let outcome = self.transact(&mut alone);
                    let [job] = alone;
                    match outcome {
                        Ok(()) => job.finish(Ok(())),
                        Err(error) => {
                            self.commits.failed(&error);
                            job.finish(Err(StoreError::Sql(error)));
                        }
                    }
                }
            }
        }
    }

    /// Runs commands in one transaction, and reports what it has changed once it is on disk.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), rusqlite::Error> {
        let begun = Instant::now();
        let conn: &Connection = &self.conn;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut tx = Tx::new(conn, self.clock.now(), &mut self.counters);
        let outcome = jobs
            .iter_mut()
            .try_for_each(|job| job.run(&mut tx))
            .and_then(|()| conn.prepare_cached("COMMIT")?.execute([]).map(|_| ()));
        match outcome {
            Ok(()) => {
                let Tx { notes, counts, .. } = tx;
                self.commits.committed(jobs.len(), begun.elapsed());
                self.counts.apply(counts);
                self.committed.committed(notes);
                Ok(())
            }
            Err(error) => {
                self.commits.rolled_back();
                // After some errors SQLite has already rolled back; then this fails.
                if let Err(second) = conn.execute_batch("ROLLBACK") {
                    tracing::debug!(error = %second, "nothing was left to roll back");
                }
                Err(error)
            }
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
