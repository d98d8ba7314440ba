//! The one task of a server that writes the record.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::entry::{Entry, Event};
use super::store::{AuditError, AuditQuery, AuditStore};

/// How many events may wait to be written; whoever has more waits with them.
const WAITING: usize = 1024;
/// How many are written in one transaction.
const BATCH: usize = 256;

type Waiting = (Event, oneshot::Sender<Result<(), Arc<AuditError>>>);

/// The record as a server uses it. Clones write to the same one; when the last is
/// gone, what waits is written and the task ends.
#[derive(Clone)]
pub(crate) struct Audit {
    queue: mpsc::Sender<Waiting>,
    reader: AuditReader,
}

/// The record for those who only read it. Having one keeps nothing open.
#[derive(Clone)]
pub(crate) struct AuditReader {
    store: Arc<Mutex<AuditStore>>,
    appended: Arc<Notify>,
}

impl Audit {
    /// Opens the record and starts the task that writes it. Blocks for the opening.
    pub(crate) fn open(
        path: PathBuf,
        server_key: &[u8; 32],
    ) -> Result<(Self, JoinHandle<()>), AuditError> {
        let store = AuditStore::open(&path, server_key)?;
        let reader = AuditStore::open(&path, server_key)?;
        let (queue, waiting) = mpsc::channel(WAITING);
        let appended = Arc::new(Notify::new());
        let tell = Arc::clone(&appended);
        let task = tokio::task::spawn_blocking(move || write(store, waiting, &tell));
        let audit = Self {
            queue,
            reader: AuditReader {
                store: Arc::new(Mutex::new(reader)),
                appended,
            },
        };
        Ok((audit, task))
    }

    /// Records an event. When it has returned, the entry survives this process.
    pub(crate) async fn record(&self, event: Event) -> Result<(), Arc<AuditError>> {
        let (done, written) = oneshot::channel();
        let closed = || Arc::new(AuditError::Closed);
        self.queue.send((event, done)).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }

    /// The entries that a query asks for.
    pub(crate) async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, AuditError> {
        self.reader.query(query).await
    }

    /// The record for somebody who only reads it.
    pub(crate) fn reader(&self) -> AuditReader {
        self.reader.clone()
    }
}

impl AuditReader {
    /// The entries that a query asks for.
    pub(crate) async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, AuditError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            // Reading changes nothing that a panic could leave half done.
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.query(&query)
        })
        .await
        .map_err(|_| AuditError::Closed)?
    }

    /// Waits until this process has appended something that nobody waited for yet.
    pub(crate) async fn appended(&self) {
        self.appended.notified().await;
    }
}

fn write(mut store: AuditStore, mut waiting: mpsc::Receiver<Waiting>, appended: &Notify) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = waiting.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let written = store
            .append(batch.iter().map(|(event, _)| event))
            .map_err(Arc::new);
        if let Err(error) = &written {
            tracing::error!(%error, entries = batch.len(), "the audit record was not written");
        }
        appended.notify_one();
        for (_, done) in batch.drain(..) {
            // Whoever gave up waiting has its entry all the same.
            let _ = done.send(written.clone());
        }
    }
}
