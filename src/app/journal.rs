//! The ledger's journal, as the audit log copies it.

use countersign_ledger::{Ledger as _, Outcome, SqliteLedger};
use tokio::runtime::Handle;

use crate::audit::{Journal, JournalEntry, JournalError, JournalOutcome};

/// The caller in the journal's entries.
const WORKER: &str = "worker";

/// The journal of a ledger.
pub(super) struct LedgerJournal {
    ledger: SqliteLedger,
    /// The runtime for the ledger's calls: copying has a thread of its own.
    runtime: Handle,
}

impl LedgerJournal {
    /// Must be called on the runtime.
    pub(super) fn new(ledger: SqliteLedger) -> Self {
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
