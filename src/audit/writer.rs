//! A server's single task that writes the audit log.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::entry::{Entry, Event};
use super::error::AuditError;
use super::log::{LogReader, LogWriter};
use super::postgres::PostgresAudit;
use super::repeats::{Repeats, Together};
use super::store::{AuditQuery, AuditStore};
use crate::access::ServerKeys;
use crate::clock::Clock;

/// How many events may wait to be written; further callers wait.
const WAITING: usize = 1024;
/// How many are written in one transaction.
const BATCH: usize = 256;

/// How many entries of readings that were repeated are kept while they cannot be written.
const MOST_LATE: usize = 10_000;
/// How many entries of what was done are kept while they cannot be written.
const MOST_KEPT: usize = 128;
/// How often it is tried again to write them.
const AGAIN: Duration = Duration::from_millis(200);
/// For how long that is tried when the server stops.
const LAST_TRY: Duration = Duration::from_secs(5);
/// How often readings that were counted long enough are looked for, and how often what was written is brought to the disk.
const LOOK: Duration = Duration::from_secs(1);

struct QueuedEntry {
    event: Event,
    /// The readings that further ones like this are counted with, if any.
    together: Option<Together>,
    /// Whether it was done already: it is kept until it is written. Anything else is not done
    /// if it cannot be recorded.
    kept: bool,
    done: oneshot::Sender<Result<(), Arc<AuditError>>>,
}

/// The audit log as a server uses it. Clones write to the same log; when the last one is
/// dropped, waiting events are written and the task ends.
#[derive(Clone)]
pub(crate) struct Audit {
    queue: mpsc::Sender<QueuedEntry>,
    repeats: Arc<Repeats>,
    reader: AuditReader,
    /// Whether entries were found to be missing when the last ones were written.
    incomplete: Arc<AtomicBool>,
    /// Whether entries of what was done wait to be written again.
    behind: Arc<AtomicBool>,
}

/// The audit log for readers. Holding it keeps nothing open.
#[derive(Clone)]
pub(crate) struct AuditReader {
    log: LogReader,
    appended: Arc<Notify>,
}

impl Audit {
    /// Opens the record in a folder and starts the task that writes it, which tells by `clock`
    /// whether a code's time has passed. Blocks for the opening.
    pub(crate) fn open(
        path: PathBuf,
        server_keys: impl Into<ServerKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, JoinHandle<()>), AuditError> {
        let keys = server_keys.into();
        let store = AuditStore::open(&path, &keys)?;
        let reader = AuditStore::open(&path, &keys)?;
        let reading = LogReader::Folder(Arc::new(Mutex::new(reader)));
        Ok(Self::start(LogWriter::Folder(store), reading, clock))
    }

    /// Starts the task that writes to a record which other front doors write to as well.
    pub(crate) fn shared(audit: PostgresAudit, clock: Arc<dyn Clock>) -> (Self, JoinHandle<()>) {
        let log = LogWriter::Shared(audit.clone(), Handle::current());
        Self::start(log, LogReader::Shared(Box::new(audit)), clock)
    }

    fn start(log: LogWriter, reading: LogReader, clock: Arc<dyn Clock>) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let appended = Arc::new(Notify::new());
        let repeats = Arc::new(Repeats::default());
        let incomplete = Arc::new(AtomicBool::new(false));
        let behind = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            log,
            repeats: Arc::clone(&repeats),
            clock,
            appended: Arc::clone(&appended),
            incomplete: Arc::clone(&incomplete),
            behind: Arc::clone(&behind),
            flushing: None,
            flushed: Instant::now(),
        };
        let runtime = Handle::current();
        let task = tokio::task::spawn_blocking(move || writer.run(waiting, &runtime));
        let audit = Self {
            queue,
            repeats,
            reader: AuditReader {
                log: reading,
                appended,
            },
            incomplete,
            behind,
        };
        (audit, task)
    }

    /// Records an event. When this returns, the entry survives this process.
    pub(crate) async fn record(&self, event: Event) -> Result<(), Arc<AuditError>> {
        self.write(event, None, false).await
    }

    /// Records what was done already. An entry that cannot be written now is kept, and written
    /// once that is possible; this waits for it.
    pub(crate) async fn record_done(&self, event: Event) -> Result<(), Arc<AuditError>> {
        self.write(event, None, true).await
    }

    /// Records that a code was read. When this returns, the entry of this or of an earlier
    /// reading with which it is counted survives this process; see [`Repeats`].
    pub(crate) async fn record_reading(
        &self,
        event: Event,
        together: Together,
    ) -> Result<(), Arc<AuditError>> {
        if self.repeats.again(&event, together) {
            return Ok(());
        }
        self.write(event, Some(together), false).await
    }

    async fn write(
        &self,
        event: Event,
        together: Option<Together>,
        kept: bool,
    ) -> Result<(), Arc<AuditError>> {
        let (done, written) = oneshot::channel();
        let closed = || Arc::new(AuditError::Closed);
        let waiting = QueuedEntry {
            event,
            together,
            kept,
            done,
        };
        self.queue.send(waiting).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }

    /// Whether entries are missing or wait to be written again, so that nothing more may be
    /// done: to be checked before a change that must be recorded. This reports what was found
    /// when the last entries were written, so it costs nothing while all is well.
    pub(crate) async fn is_incomplete(&self) -> bool {
        if self.behind.load(Ordering::Relaxed) {
            return true;
        }
        if !self.incomplete.load(Ordering::Relaxed) {
            return false;
        }
        let still = self.reader.log.check().await.is_err();
        self.incomplete.store(still, Ordering::Relaxed);
        still
    }

    /// The entries that match a query.
    pub(crate) async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, AuditError> {
        self.reader.query(query).await
    }

    /// The audit log for a reader.
    pub(crate) fn reader(&self) -> AuditReader {
        self.reader.clone()
    }
}

impl AuditReader {
    /// The entries that match a query.
    pub(crate) async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, AuditError> {
        self.log.query(query).await
    }

    /// The log in the shared database, if it is there.
    pub(super) fn shared(&self) -> Option<&PostgresAudit> {
        match &self.log {
            LogReader::Folder(_) => None,
            LogReader::Shared(audit) => Some(audit),
        }
    }

    /// Waits until this process has appended something.
    pub(crate) async fn appended(&self) {
        self.appended.notified().await;
    }
}

/// The state of the writing task.
struct Writer {
    log: LogWriter,
    repeats: Arc<Repeats>,
    clock: Arc<dyn Clock>,
    appended: Arc<Notify>,
    incomplete: Arc<AtomicBool>,
    behind: Arc<AtomicBool>,
    /// Flushes entries to the disk, on a thread of its own: no caller waits for it.
    flushing: Option<JoinHandle<std::io::Result<u64>>>,
    /// When the last flush began.
    flushed: Instant,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<QueuedEntry>, runtime: &Handle) {
        let mut batch = Vec::with_capacity(BATCH);
        // Of readings that were counted: kept until they are written.
        let mut repeated = Vec::new();
        let mut looked = Instant::now();
        loop {
            let open = match self.next(&mut waiting, batch.is_empty(), runtime) {
                Ok(Some(first)) => {
                    batch.push(first);
                    true
                }
                Ok(None) => false,
                Err(_) => true,
            };
            while batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            if !open || looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = open.then(|| self.clock.now());
                repeated.append(&mut self.repeats.take(now));
            }
            self.append(&mut batch, &mut repeated);
            if !open {
                let begun = Instant::now();
                while !batch.is_empty() && begun.elapsed() < LAST_TRY {
                    std::thread::sleep(AGAIN);
                    self.append(&mut batch, &mut repeated);
                }
                if !batch.is_empty() {
                    let entries = batch.len();
                    tracing::error!(entries, "the last entries are missing from the audit log");
                }
                self.last_flush(runtime);
                return;
            }
            self.flush(runtime);
        }
    }

    /// Begins to flush what is not on the disk yet, at most once per [`LOOK`] and one flush
    /// at a time.
    fn flush(&mut self, runtime: &Handle) {
        if self.flushed.elapsed() < LOOK {
            return;
        }
        match self.flushing.take() {
            Some(task) if !task.is_finished() => {
                self.flushing = Some(task);
                return;
            }
            Some(task) => self.note_flush(runtime.block_on(task)),
            None => {}
        }
        if let Some(syncing) = self.log.unflushed() {
            self.flushed = Instant::now();
            self.flushing = Some(runtime.spawn_blocking(move || syncing.run()));
        }
    }

    fn last_flush(&mut self, runtime: &Handle) {
        if let Some(task) = self.flushing.take() {
            self.note_flush(runtime.block_on(task));
        }
        if let Err(error) = self.log.flush() {
            tracing::error!(%error, "the audit log's last entries may not be on disk");
        }
    }

    fn note_flush(&mut self, ended: Result<std::io::Result<u64>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(sequence)) => self.log.flushed(sequence),
            Ok(Err(error)) => tracing::error!(%error, "the audit log cannot be flushed"),
            // The runtime ends; the last flush covers everything.
            Err(_) => {}
        }
    }

    /// Waits for the next event, but only briefly while entries are kept, readings are counted
    /// or entries are not on the disk. None if there are no senders left.
    fn next(
        &self,
        waiting: &mut mpsc::Receiver<QueuedEntry>,
        none_kept: bool,
        runtime: &Handle,
    ) -> Result<Option<QueuedEntry>, Elapsed> {
        if !none_kept {
            return runtime.block_on(async { timeout(AGAIN, waiting.recv()).await });
        }
        let idle =
            self.repeats.is_empty() && self.flushing.is_none() && self.log.unflushed().is_none();
        if idle {
            return Ok(waiting.blocking_recv());
        }
        runtime.block_on(async { timeout(LOOK, waiting.recv()).await })
    }

    fn append(&mut self, batch: &mut Vec<QueuedEntry>, repeated: &mut Vec<Event>) {
        if batch.is_empty() && repeated.is_empty() {
            return;
        }
        let events = batch.iter().map(|waiting| &waiting.event);
        let written = self
            .log
            .append(events.chain(repeated.iter()))
            .map_err(Arc::new);
        let lacks = |error: &Arc<AuditError>| matches!(**error, AuditError::Incomplete(_));
        let incomplete = written.as_ref().is_err_and(lacks);
        self.incomplete.store(incomplete, Ordering::Relaxed);
        match &written {
            Ok(()) => repeated.clear(),
            Err(error) => {
                let entries = batch.len() + repeated.len();
                tracing::error!(%error, entries, "the audit log was not written");
                repeated.truncate(MOST_LATE);
            }
        }
        self.appended.notify_one();
        let mut kept = Vec::new();
        for waiting in batch.drain(..) {
            if written.is_err() && waiting.kept && kept.len() < MOST_KEPT {
                kept.push(waiting);
                continue;
            }
            let QueuedEntry {
                event,
                together,
                done,
                ..
            } = waiting;
            if let (Ok(()), Some(together)) = (&written, together) {
                self.repeats.follow(event, together);
            }
            // A caller that gave up waiting still has its entry.
            let _ = done.send(written.clone());
        }
        self.behind.store(!kept.is_empty(), Ordering::Relaxed);
        *batch = kept;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::audit::Action;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn readings_in_a_session_are_reported_after_a_pause_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.sqlite3");
        let start = DateTime::UNIX_EPOCH;
        let clock = ManualClock::new(start);
        let (audit, task) = Audit::open(path.clone(), &[7; 32], Arc::new(clock.clone())).unwrap();
        let reading = |seconds| {
            let at = start + TimeDelta::seconds(seconds);
            Event::new(Action::ReadCode, "ci", at).to("totp-1")
        };
        let told = |entries: Vec<Entry>| -> Vec<(i64, Option<u64>)> {
            let told = entries.iter().map(|entry| &entry.event);
            told.map(|event| (event.at.timestamp(), event.repeats))
                .collect()
        };
        let all = || AuditQuery {
            limit: 10,
            ..AuditQuery::default()
        };
        for second in 0..3 {
            audit
                .record_reading(reading(second), Together::Session([1; 16]))
                .await
                .unwrap();
        }
        assert_eq!(told(audit.query(all()).await.unwrap()), [(0, None)]);
        clock.set(start + TimeDelta::seconds(302));
        let reader = audit.reader();
        while told(reader.query(all()).await.unwrap()).len() < 2 {
            reader.appended().await;
        }

        for second in 310..312 {
            audit
                .record_reading(reading(second), Together::Session([1; 16]))
                .await
                .unwrap();
        }
        drop(audit);
        task.await.unwrap();
        let store = AuditStore::open(&path, &[7; 32]).unwrap();
        let entries = told(store.query(&all()).unwrap());
        let expected = [(0, None), (2, Some(2)), (310, None), (311, Some(1))];
        assert_eq!(entries, expected);
    }
}
