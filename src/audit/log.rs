//! The audit log, wherever it is kept, for the tasks that write it. They have their own threads.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::entry::{Entry, Event};
use super::error::AuditError;
use super::journal_entry::JournalEntry;
use super::postgres::PostgresAudit;
use super::store::{AuditQuery, AuditStore, Syncing};

/// An audit log to append to. Its methods block.
pub(super) enum LogWriter {
    /// In a data folder.
    Folder(AuditStore),
    /// In a database that several front doors share, reached over this runtime.
    Shared(PostgresAudit, Handle),
}

impl LogWriter {
    /// Appends events in their order, all or none.
    pub(super) fn append<'a>(
        &mut self,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<(), AuditError> {
        match self {
            Self::Folder(store) => store.append(events),
            Self::Shared(audit, runtime) => {
                let events: Vec<Event> = events.cloned().collect();
                runtime.block_on(audit.append(&events)).map(drop)
            }
        }
    }

    /// What brings all that was appended so far to the disk; nothing if it is there, as what
    /// the shared database has committed is.
    pub(super) fn unflushed(&self) -> Option<Syncing> {
        match self {
            Self::Folder(store) => store.unflushed(),
            Self::Shared(..) => None,
        }
    }

    /// Notes that what [`Syncing`] said is on the disk.
    pub(super) fn flushed(&mut self, sequence: u64) {
        if let Self::Folder(store) = self {
            store.flushed(sequence);
        }
    }

    /// Waits until all that was appended so far is on the disk.
    pub(super) fn flush(&mut self) -> Result<(), AuditError> {
        match self {
            Self::Folder(store) => store.flush(),
            Self::Shared(..) => Ok(()),
        }
    }

    /// Up to which place the journal `id` was copied.
    pub(super) fn mark(&self, id: &str) -> Result<u64, AuditError> {
        match self {
            Self::Folder(store) => store.mark(id),
            Self::Shared(audit, runtime) => runtime.block_on(audit.mark(id)),
        }
    }

    /// Appends entries of the journal `id` that come after `from`; whether nobody else has
    /// copied them meanwhile, as other front doors on a shared audit log do.
    pub(super) fn copy(
        &mut self,
        id: &str,
        from: u64,
        entries: &[JournalEntry],
    ) -> Result<bool, AuditError> {
        match self {
            Self::Folder(store) => store.copy(id, from, entries).map(|()| true),
            Self::Shared(audit, runtime) => runtime.block_on(audit.copy(id, from, entries)),
        }
    }
}

/// An audit log to read. Clones share one instance.
#[derive(Clone)]
pub(super) enum LogReader {
    /// In a data folder.
    Folder(Arc<Mutex<AuditStore>>),
    /// In a shared database.
    Shared(Box<PostgresAudit>),
}

impl LogReader {
    /// The entries that a query asks for.
    pub(super) async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, AuditError> {
        match self {
            Self::Folder(store) => in_folder(store, move |store| store.query(&query)).await,
            Self::Shared(audit) => audit.query(&query).await,
        }
    }

    /// Checks that the log goes as far as is known.
    pub(super) async fn check(&self) -> Result<(), AuditError> {
        match self {
            Self::Folder(store) => in_folder(store, AuditStore::check).await,
            Self::Shared(audit) => audit.check().await,
        }
    }
}

async fn in_folder<T: Send + 'static>(
    store: &Arc<Mutex<AuditStore>>,
    work: impl FnOnce(&mut AuditStore) -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || {
        // Reading changes nothing that a panic could leave half done.
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut store)
    })
    .await
    .map_err(|_| AuditError::Closed)?
}
