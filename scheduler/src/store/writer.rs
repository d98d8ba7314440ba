//! The single writer: one thread, one connection, group commit.

mod office;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
pub(crate) use office::Office;
use tokio::sync::{mpsc, oneshot};

use super::counts::{Changes, Counts};
use super::engine::{Connection, StorageError, StorageProblem};
use super::ownership::TICK;
use super::{Note, Pending, StoreError};
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

/// How long a transaction over a network may take before its commands are committed: well before the
/// lease ends.
const LONGEST: Duration = Duration::from_millis(500);

/// How often commands run again because the connection was lost under them.
const LOST: u32 = 3;

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

/// Receives what a commit changed, after it is durable.
pub(crate) trait Committed: Send + Sync + 'static {
    /// Called on the writer thread, in commit order; must be quick.
    fn committed(&self, notes: Vec<Note>);

    /// Gets one after the other what was pending before anything is committed.
    fn restore(&self, pending: Pending);

    /// Forgets everything: it is another node's from now on.
    fn forget(&self);
}

/// The next free numbers. Kept in memory: a number lost to a rollback is just skipped.
#[derive(Debug, Default)]
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
        Ok(self.conn.touch()?)
    }
}

/// A command: may run more than once, before its caller hears of it exactly once.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StorageError>;
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
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StorageError> {
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
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StorageError> {
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
fn kept<T>(outcome: Result<T, StoreError>) -> Result<Result<T, StoreError>, StorageError> {
    match outcome {
        Err(StoreError::Storage(error)) => Err(error),
        // Discovered halfway, so what was written before must be rolled back.
        Err(StoreError::Corrupt(error)) => Err(StorageError::new(StorageProblem::Other, error)),
        // A refusal is decided before anything is written.
        other => Ok(other),
    }
}

/// When a command runs.
pub(super) enum When {
    /// In its turn, with all that wait.
    Now(Box<dyn Job>),
    /// Alone, when no other is waiting, or now and then if others always are.
    Behind(Box<dyn Job>),
    /// Time has passed.
    Tick,
    /// The node is about to end: others may own its task hubs. Answered once they may.
    HandOver(oneshot::Sender<()>),
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
    pub(crate) fn start(home: Home, pieces: Pieces) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let Home {
            conn,
            lock,
            counters,
            office,
        } = home;
        let kept = Arc::clone(&pieces.commits);
        let pace = Arc::new(Pace::new());
        let ticking = office.is_some().then(|| jobs.downgrade());
        let mut thread = Thread {
            conn,
            counters,
            pieces,
            pace: Arc::clone(&pace),
            office,
        };
        let (begun, beginning) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("scheduler-writer".to_owned())
            .spawn(move || {
                // Then the store is opened with an answer to who owns the task hubs.
                thread.tick();
                drop(begun);
                thread.run(waiting);
                drop(thread);
                drop(lock);
            })?;
        // It ends with an error, since nothing is sent.
        let _ = beginning.recv();
        if let Some(jobs) = ticking {
            std::thread::Builder::new()
                .name("scheduler-lease".to_owned())
                .spawn(move || tick(&jobs))?;
        }
        Ok((
            Self {
                jobs,
                pace,
                commits: kept,
            },
            thread,
        ))
    }

    /// Lets other nodes own the task hubs, as the last thing that is done.
    pub(crate) async fn hand_over(&self) {
        let (done, answer) = oneshot::channel();
        if self.jobs.send(When::HandOver(done)).await.is_ok() {
            // A writer that has ended owns nothing.
            let _ = answer.await;
        }
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

/// Tells the writer that time passes, until it ends.
fn tick(jobs: &mpsc::WeakSender<When>) {
    loop {
        std::thread::sleep(TICK);
        let Some(jobs) = jobs.upgrade() else { return };
        if jobs.blocking_send(When::Tick).is_err() {
            return;
        }
    }
}

/// What a writer starts from.
pub(crate) struct Home {
    pub(crate) conn: Connection,
    /// Of a folder.
    pub(crate) lock: Option<File>,
    pub(crate) counters: Counters,
    /// Where several nodes share the storage.
    pub(crate) office: Option<Office>,
}

/// What a writer works with.
pub(crate) struct Pieces {
    pub(crate) counts: Arc<Counts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) committed: Arc<dyn Committed>,
    pub(crate) commits: Arc<Commits>,
}

/// What the thread has.
pub(super) struct Thread {
    pub(super) conn: Connection,
    pub(super) counters: Counters,
    pub(super) pieces: Pieces,
    pace: Arc<Pace>,
    pub(super) office: Option<Office>,
}

/// What a transaction has changed, to be told once it is known to be on disk.
pub(super) struct Told {
    notes: Vec<Note>,
    counts: Changes,
    commands: usize,
    begun: Instant,
    took: Duration,
}

/// How a transaction ended.
pub(super) enum Ended {
    Committed,
    /// Nothing of it is in the storage.
    RolledBack(StorageError),
    /// The connection was lost: it is on disk, or it is not.
    Unknown(StorageError, Told),
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
                    None => {
                        self.hand_over();
                        return;
                    }
                    first => first,
                },
                false => waiting.try_recv().ok(),
            };
            let mut leaving = None;
            while let Some(job) = next {
                match job {
                    When::Now(job) => batch.push(job),
                    When::Behind(job) => behind.push_back(job),
                    When::Tick => self.tick(),
                    When::HandOver(done) => {
                        leaving = Some(done);
                        break;
                    }
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
            self.commit(&mut batch, &mut waiting);
            if (nobody_waits || last_behind.elapsed() >= SHARE)
                && let Some(job) = behind.pop_front()
            {
                batch.push(job);
                self.commit(&mut batch, &mut waiting);
                last_behind = Instant::now();
            }
            if let Some(done) = leaving {
                self.hand_over();
                // The caller may be gone.
                let _ = done.send(());
            }
        }
    }

    /// Runs commands in one transaction, answers them and empties the batch.
    fn commit(&mut self, batch: &mut Vec<Box<dyn Job>>, waiting: &mut mpsc::Receiver<When>) {
        // How many of the first ones run one by one, because together they failed.
        let mut alone = 0_usize;
        let mut lost = 0;
        while !batch.is_empty() {
            let together = if alone > 0 { 1 } else { batch.len() };
            let (done, ended) = self.transact(batch.get_mut(..together).unwrap_or_default());
            let first: Vec<Box<dyn Job>> = batch.drain(..done).collect();
            let was_alone = alone > 0;
            alone = alone.saturating_sub(done);
            match ended {
                Ended::Committed => {
                    lost = 0;
                    first.into_iter().for_each(|job| job.finish(Ok(())));
                }
                Ended::Unknown(error, told) => {
                    lost += 1;
                    let again = self.find_out(first, &error, told, waiting);
                    if lost > LOST {
                        refuse(again, &error);
                        continue;
                    }
                    alone += if was_alone { again.len() } else { 0 };
                    batch.splice(..0, again);
                }
                Ended::RolledBack(error) if error.problem() == StorageProblem::NotOwner => {
                    self.lose(&error);
                    refuse(first, &error);
                }
                Ended::RolledBack(error) if first.len() == 1 => {
                    self.pieces.commits.failed(&error);
                    tracing::error!(%error, "a write failed and was rolled back");
                    refuse(first, &error);
                }
                Ended::RolledBack(error) => {
                    tracing::warn!(%error, commands = first.len(), "a batch was rolled back; running its commands one by one");
                    alone = first.len();
                    batch.splice(..0, first);
                }
            }
        }
    }

    /// Runs commands in one transaction, and reports what it has changed once it is on disk. Returns how
    /// many of the commands it has: those that time has allowed.
    pub(super) fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> (usize, Ended) {
        let begun = Instant::now();
        let conn = &self.conn;
        let mut tx = Tx::new(conn, self.pieces.clock.now(), &mut self.counters);
        let mut done = 0;
        let outcome = conn
            .begin()
            .and_then(|()| {
                for job in &mut *jobs {
                    done += 1;
                    job.run(&mut tx)?;
                    if self.office.is_some() && begun.elapsed() >= LONGEST {
                        break;
                    }
                }
                Ok(())
            })
            .and_then(|()| conn.commit());
        let Tx { notes, counts, .. } = tx;
        let told = Told {
            notes,
            counts,
            commands: done,
            begun,
            took: begun.elapsed(),
        };
        match outcome {
            Ok(()) => {
                self.report(told);
                (done, Ended::Committed)
            }
            Err(error) => {
                // What has not begun is refused with the others.
                let done = if done == 0 { jobs.len() } else { done };
                self.pieces.commits.rolled_back();
                match conn.session() {
                    Some(session) if session.is_lost() => (done, Ended::Unknown(error, told)),
                    _ => {
                        conn.roll_back();
                        (done, Ended::RolledBack(error))
                    }
                }
            }
        }
    }

    /// Passes on what is on disk.
    pub(super) fn report(&self, told: Told) {
        let pieces = &self.pieces;
        // One without commands has only renewed the lease.
        if told.commands > 0 {
            pieces.commits.committed(told.commands, told.took);
        }
        pieces.counts.apply(told.counts);
        pieces.committed.committed(told.notes);
        if let Some(office) = &self.office {
            office.renewed(told.begun);
        }
    }
}

/// Answers commands with an error.
pub(super) fn refuse(jobs: Vec<Box<dyn Job>>, error: &StorageError) {
    for job in jobs {
        job.finish(Err(StoreError::Storage(error.clone())));
    }
}

impl When {
    /// Answers a command with an error; lets go of what is none.
    pub(super) fn refuse(self, error: &StorageError) {
        if let Self::Now(job) | Self::Behind(job) = self {
            job.finish(Err(StoreError::Storage(error.clone())));
        }
    }
}
