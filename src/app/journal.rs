//! The ledger's journal, as the audit log copies it.

use std::sync::Arc;

use countersign_ledger::{Ledger, Outcome};
use tokio::runtime::Handle;

use crate::audit::{Journal, JournalEntry, JournalError, JournalOutcome};

/// The caller in the journal's entries.
const WORKER: &str = "worker";

/// The journal of a ledger.
pub(super) struct LedgerJournal {
    ledger: Arc<dyn Ledger>,
    /// Where the ledger's calls run: the copying has a thread of its own.
    runtime: Handle,
}

impl LedgerJournal {
    /// To be called on the runtime.
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            runtime: Handle::current(),
        }
    }
}

impl Journal for LedgerJournal {
    fn id(&self) -> String {
        self.ledger.id().to_string()
    }

    fn after(&self, seq: u64, limit: usize) -> Result<Vec<JournalEntry>, JournalError> {
        let entries = self
            .runtime
            .block_on(self.ledger.journal_after(seq, limit))?;
        Ok(entries
            .into_iter()
            .map(|it| JournalEntry {
                seq: it.seq,
                at: it.entry.at,
                instance: it.entry.about,
                account: it.entry.account,
                action: it.entry.action,
                outcome: match it.entry.outcome {
                    Outcome::Done => JournalOutcome::Done,
                    Outcome::Refused => JournalOutcome::Refused,
                },
                reason: it.entry.reason,
                by: WORKER.to_owned(),
            })
            .collect())
    }
}
