//! Copies what workers did from their journal into the audit log: each entry once.
//!
//! A worker writes what it does to accounts, and what it refuses, into a journal that it
//! shares with the front door. The front door copies that, so that one log holds all of
//! it and its chain covers it. How far it has copied is kept in the log's database and
//! changed in the transaction that appends the entries, so that a crash neither loses nor
//! repeats one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::chain::place;
use super::error::AuditError;
use super::journal_entry::{self, JournalEntry};
use super::log::LogWriter;
use super::postgres::PostgresAudit;
use super::store::AuditStore;
use crate::access::ServerKeys;

/// How often the journal is checked without a notification, and how long after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(60);
/// How many entries are copied in one transaction.
const BATCH: usize = 256;
/// How many batches are copied before it checks whether to stop.
const BATCHES: usize = 64;

/// Why a journal could not be read, as text.
pub type JournalError = Box<dyn std::error::Error + Send + Sync>;

/// The journal that workers append to.
pub trait Journal: Send + Sync + 'static {
    /// Identifies this journal, also among journals that replace each other.
    fn id(&self) -> String;

    /// The entries after the place `seq`, in the order of their places, at most `limit`.
    /// Places begin at 1 and only grow. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn after(&self, seq: u64, limit: usize) -> Result<Vec<JournalEntry>, JournalError>;
}

impl AuditStore {
    /// Up to which place the journal `id` was copied.
    pub(super) fn mark(&self, id: &str) -> Result<u64, AuditError> {
        Ok(mark(self.connection(), id)?)
    }

    /// Appends entries of the journal `id` that come after `from`.
    pub(super) fn copy(
        &mut self,
        id: &str,
        from: u64,
        entries: &[JournalEntry],
    ) -> Result<(), AuditError> {
        let (events, last) = journal_entry::events(from, entries)?;
        self.append_with(&events, |transaction| {
            if mark(transaction, id)? != from {
                // Nothing is appended, and the next attempt begins after what was copied.
                let both = "another process copies it too".to_owned();
                return Err(AuditError::Journal(both));
            }
            transaction.execute(
                "INSERT INTO marks (journal, sequence) VALUES (?1, ?2)
                 ON CONFLICT (journal) DO UPDATE SET sequence = excluded.sequence",
                params![id, place(last)],
            )?;
            Ok(())
        })
    }
}

fn mark(connection: &Connection, id: &str) -> rusqlite::Result<u64> {
    let mark: Option<i64> = connection
        .query_row(
            "SELECT sequence FROM marks WHERE journal = ?1",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    Ok(mark.and_then(|mark| u64::try_from(mark).ok()).unwrap_or(0))
}

/// The task that copies the journal.
pub struct Ingester {
    inside: Arc<Mutex<JournalState>>,
    wake: Arc<Notify>,
}

struct JournalState {
    log: LogWriter,
    journal: Arc<dyn Journal>,
    id: String,
    /// Whether the last copied entry was seen to still exist.
    checked: bool,
}

impl Ingester {
    /// Prepares to copy `journal` into the audit log at `path`. Each append to the journal in this
    /// process may announce itself through `wake`. Blocks while opening.
    ///
    /// # Errors
    ///
    /// As [`AuditStore::open`].
    pub fn open(
        path: &Path,
        server_keys: impl Into<ServerKeys>,
        journal: Arc<dyn Journal>,
        wake: Arc<Notify>,
    ) -> Result<Self, AuditError> {
        let log = LogWriter::Folder(AuditStore::open(path, server_keys)?);
        Ok(Self::into_log(log, journal, wake))
    }

    /// Will copy `journal` into a record that other front doors copy it into as well. To be
    /// called on the runtime.
    #[must_use]
    pub fn shared(audit: PostgresAudit, journal: Arc<dyn Journal>, wake: Arc<Notify>) -> Self {
        let log = LogWriter::Shared(audit, Handle::current());
        Self::into_log(log, journal, wake)
    }

    fn into_log(log: LogWriter, journal: Arc<dyn Journal>, wake: Arc<Notify>) -> Self {
        let inside = JournalState {
            log,
            id: journal.id(),
            journal,
            checked: false,
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            wake,
        }
    }

    /// Copies entries as they arrive until asked to stop, then those that exist by then.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = LOOK;
        loop {
            // Checked first, so that what came before the stop is copied after it.
            let stopping = stop.is_cancelled();
            let inside = Arc::clone(&self.inside);
            let copied = tokio::task::spawn_blocking(move || {
                // A transaction is all that a panic could leave half done.
                let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
                inside.copy()
            });
            match copied.await {
                Ok(Ok(())) => wait = LOOK,
                Ok(Err(error)) => {
                    tracing::error!(%error, "workers' journal not copied to the audit log");
                    wait = (wait * 2).min(LONGEST);
                }
                Err(error) => tracing::error!(%error, "copying the workers' journal failed"),
            }
            if stopping {
                return;
            }
            let told = async {
                match wait {
                    LOOK => self.wake.notified().await,
                    // After a failure, new entries do not shorten the wait.
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = told => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

impl JournalState {
    fn copy(&mut self) -> Result<(), AuditError> {
        let read = |journal: &dyn Journal, after, limit| {
            let entries = journal.after(after, limit);
            entries.map_err(|error| AuditError::Journal(error.to_string()))
        };
        let mut mark = self.log.mark(&self.id)?;
        if !self.checked && mark > 0 {
            let last = read(&*self.journal, mark - 1, 1)?;
            if last.first().is_none_or(|entry| entry.seq != mark) {
                return Err(AuditError::Journal(format!(
                    "entry {mark}, which was copied already, is missing: the journal was \
                     replaced by an older copy"
                )));
            }
        }
        self.checked = true;
        for _ in 0..BATCHES {
            let entries = read(&*self.journal, mark, BATCH)?;
            let Some(last) = entries.last() else { break };
            if !self.log.copy(&self.id, mark, &entries)? {
                // Another front door was faster; this one continues where that one is.
                mark = self.log.mark(&self.id)?;
                continue;
            }
            mark = last.seq;
            if entries.len() < BATCH {
                break;
            }
        }
        self.log.flush()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::audit::JournalOutcome;
    use crate::audit::{AUDIT_DATABASE, AuditQuery, ChainCheck};

    /// A journal in memory, in place of the workers' database.
    #[derive(Default)]
    struct InMemory(Mutex<Vec<JournalEntry>>);

    impl Journal for InMemory {
        fn id(&self) -> String {
            "journal-1".to_owned()
        }

        fn after(&self, seq: u64, limit: usize) -> Result<Vec<JournalEntry>, JournalError> {
            let entries = self.0.lock().unwrap();
            let after = entries.iter().filter(|entry| entry.seq > seq);
            Ok(after.take(limit).cloned().collect())
        }
    }

    impl InMemory {
        fn add(&self, action: &str, outcome: JournalOutcome, reason: Option<&str>) {
            let mut entries = self.0.lock().unwrap();
            let seq = entries.len() as u64 + 1;
            entries.push(JournalEntry {
                seq,
                at: DateTime::UNIX_EPOCH,
                instance: "request-1".to_owned(),
                account: Some("totp-1".to_owned()),
                action: action.to_owned(),
                outcome,
                reason: reason.map(str::to_owned),
                by: "worker".to_owned(),
            });
        }
    }

    fn store(folder: &Path) -> AuditStore {
        AuditStore::open(&folder.join(AUDIT_DATABASE), &[7; 32]).unwrap()
    }

    fn told(store: &AuditStore) -> Vec<String> {
        let all = AuditQuery {
            limit: 1_000,
            ..AuditQuery::default()
        };
        let entries = store.query(&all).unwrap();
        let told = entries.iter().map(|entry| {
            let event = &entry.event;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!(
                "{} {} {} {} {}|{}",
                event.journal.unwrap(),
                event.caller,
                event.action,
                event.outcome.as_str(),
                text(&event.problem),
                text(&event.reason),
            )
        });
        told.collect()
    }

    fn inside(folder: &Path, journal: &Arc<InMemory>) -> JournalState {
        JournalState {
            log: LogWriter::Folder(store(folder)),
            journal: Arc::clone(journal) as Arc<dyn Journal>,
            id: journal.id(),
            checked: false,
        }
    }

    #[test]
    fn what_a_worker_did_and_refused_is_copied_once() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Arc::new(InMemory::default());
        journal.add("store", JournalOutcome::Done, None);
        journal.add("seal", JournalOutcome::Refused, Some("mandate-unknown"));
        journal.add("describe", JournalOutcome::Refused, Some("no such mandate"));
        let mut first = inside(folder.path(), &journal);
        let mut second = inside(folder.path(), &journal);
        first.copy().unwrap();
        // A task that read the same entries before the other wrote them.
        let entries = journal.after(0, 10).unwrap();
        assert!(second.log.copy("journal-1", 0, &entries).is_err());
        journal.add("notify", JournalOutcome::Done, None);
        second.copy().unwrap();
        first.copy().unwrap();
        assert_eq!(
            told(&store(folder.path())),
            [
                "1 worker store done |",
                "2 worker seal refused mandate-unknown|",
                "3 worker work refused |describe no such mandate",
                "4 worker notify done |",
            ]
        );
        assert!(matches!(
            store(folder.path()).verify(None).unwrap(),
            ChainCheck::Intact(head) if head.sequence == 4
        ));
    }

    #[test]
    fn a_journal_that_went_back_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Arc::new(InMemory::default());
        journal.add("store", JournalOutcome::Done, None);
        journal.add("purge", JournalOutcome::Done, None);
        inside(folder.path(), &journal).copy().unwrap();
        journal.0.lock().unwrap().pop();
        let error = inside(folder.path(), &journal).copy().unwrap_err();
        assert!(error.to_string().contains("entry 2"), "{error}");
    }

    #[tokio::test]
    async fn the_task_copies_when_woken_and_once_more_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AUDIT_DATABASE);
        let journal = Arc::new(InMemory::default());
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let shared = Arc::clone(&journal) as Arc<dyn Journal>;
        let ingester = Ingester::open(&path, &[7; 32], shared, Arc::clone(&wake)).unwrap();
        let task = tokio::spawn(ingester.run(stop.clone()));
        journal.add("store", JournalOutcome::Done, None);
        wake.notify_one();
        let reader = store(folder.path());
        while told(&reader).is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        journal.add("seal", JournalOutcome::Done, None);
        task.await.unwrap();
        assert_eq!(told(&reader).len(), 2);
    }
}
