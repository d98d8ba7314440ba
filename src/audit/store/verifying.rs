//! Checks the whole chain of a data folder's audit log.

use std::path::PathBuf;

use super::{AuditStore, archive};
use crate::access::secret;
use crate::audit::archive::check_all;
use crate::audit::chain::{ChainKeys, place};
use crate::audit::error::{AuditError, ChainCheck, Loss};
use crate::audit::head::{Found, Head};

impl AuditStore {
    /// Checks the whole chain, and compares its end with the head that is noted beside it
    /// and, if given, with one that was `kept` elsewhere.
    ///
    /// # Errors
    ///
    /// [`AuditError::Store`] when the file cannot be read.
    pub fn verify(&self, kept: Option<&Head>) -> Result<ChainCheck, AuditError> {
        self.verify_with(kept, &[])
    }

    /// As [`AuditStore::verify`], from the first entry on, with the archives that hold the entries
    /// that are no longer in the database.
    ///
    /// # Errors
    ///
    /// [`AuditError::Archive`] when one of them is invalid or missing.
    pub fn verify_with(
        &self,
        kept: Option<&Head>,
        archives: &[PathBuf],
    ) -> Result<ChainCheck, AuditError> {
        // One consistent view, also while entries are being archived.
        let _reading = self.connection.unchecked_transaction()?;
        let keys = ChainKeys::of(&self.keys);
        let start = archive::start(&self.connection, &keys)?;
        check_all(archives, &keys, &start, kept)?;
        // Before the entries: entries appended in the meantime are not counted as missing.
        let found = self.head.read().map_err(AuditError::File)?;
        let mut places: Vec<&Head> = kept.into_iter().collect();
        if let Found::Note(note) = &found {
            places.push(&note.head);
        }
        let mut statement = self
            .connection
            .prepare("SELECT sequence, event, hash FROM entries ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut end = start;
        let differs = |end: &Head| {
            let here = |place: &&&Head| place.sequence == end.sequence;
            places
                .iter()
                .filter(here)
                .any(|place| !secret::same(&place.hash, &end.hash))
        };
        let mut differing = differs(&end.head).then_some(end.head.sequence);
        while let Some(row) = rows.next()? {
            let sequence = end.head.sequence + 1;
            let text: String = row.get(1)?;
            let written: Vec<u8> = row.get(2)?;
            end = match keys.follow(&end, &text, &written)? {
                Some(next) if row.get::<_, i64>(0)? == place(sequence) => next,
                _ => return Ok(ChainCheck::Broken { sequence }),
            };
            if differs(&end.head) {
                differing.get_or_insert(sequence);
            }
        }
        if let Some(loss) = keys.lost_rotation(&end) {
            return Ok(ChainCheck::Incomplete(loss));
        }
        let end = end.head;
        let furthest = places.iter().max_by_key(|place| place.sequence);
        let loss = match (differing, &found) {
            (Some(sequence), _) => Some(Loss::Other { sequence }),
            (None, Found::Garbage) => Some(Loss::HeadUnreadable),
            (None, Found::Nothing) => Some(Loss::HeadMissing),
            (None, Found::Note(_)) => furthest
                .filter(|place| place.sequence > end.sequence)
                .map(|place| Loss::of(end.sequence, place)),
        };
        Ok(match loss {
            Some(loss) => ChainCheck::Incomplete(loss),
            None => ChainCheck::Intact(end),
        })
    }
}
