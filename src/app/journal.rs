//! The ledger's journal, as the audit log copies it.

use countersign_ledger::{Ledger as _, Outcome, SqliteLedger};

use crate::audit::{Journal, JournalEntry, JournalError, JournalOutcome};

/// Who writes the journal.
const WORKER: &str = "worker";

/// The journal of a ledger.
pub(super) struct LedgerJournal(pub(super) SqliteLedger);

impl Journal for LedgerJournal {
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    fn after(&self, seq: u64, limit: usize) -> Result<Vec<JournalEntry>, JournalError> {
        let entries = self.0.journal_after(seq, limit)?;
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
