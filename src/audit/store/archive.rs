//! Moves old entries out of the database in a data folder, into a file of their own.

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{AuditStore, append, end, key_after};
use crate::audit::archive::{Archived, NewArchive, recorded};
use crate::audit::chain::{ChainKeys, Position, place, unsigned};
use crate::audit::entry::{Event, written};
use crate::audit::error::AuditError;
use crate::audit::head::Head;

/// The most entries of one archive: they are removed in one transaction, while writers wait.
const MOST: u64 = 100_000;
/// How many pages one step frees.
const PAGES: u32 = 2_000;

/// Created when something is archived for the first time. It is not part of the schema's version:
/// an older release finds a log that does not start at its first entry.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS archived (
    -- The last entry that is in an archive.
    sequence INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL,
    code     BLOB NOT NULL
) STRICT;";
const TRIGGER: &str = "CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;";

impl AuditStore {
    /// Moves all entries from before `before`, except the log's last one and those after
    /// `sent`, into the new file `to`, and appends `event`, which records that. The file is read
    /// back and its chain is checked before anything is removed. None if there is nothing
    /// that old. Blocks.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; what was not removed is still in the log.
    pub fn archive(
        &mut self,
        to: &Path,
        before: DateTime<Utc>,
        sent: Option<u64>,
        event: &Event,
    ) -> Result<Option<Archived>, AuditError> {
        let keys = ChainKeys::of(&self.keys);
        let start = start(&self.connection, &keys)?;
        let last = end(&self.connection, &keys)?;
        let through: Option<(i64, Vec<u8>)> = self
            .connection
            .query_row(
                "SELECT sequence, hash FROM entries
                 WHERE sequence < ?1 AND sequence <= ?2
                   AND sequence < coalesce(
                       (SELECT min(sequence) FROM entries WHERE at >= ?3), ?1)
                 ORDER BY sequence DESC LIMIT 1",
                params![
                    place(last.head.sequence),
                    place(sent.unwrap_or(u64::MAX).min(start.head.sequence + MOST)),
                    written(before)
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((sequence, hash)) = through else {
            return Ok(None);
        };
        let sequence = u64::try_from(sequence).unwrap_or(0);
        let through = Head {
            sequence,
            hash: hash
                .try_into()
                .map_err(|_| AuditError::Unreadable { sequence })?,
        };
        self.write_archive(to, &keys, &start, &through)?;
        if let Err(error) = self.take_out(&keys, &start, &through, event) {
            // Nothing was removed, so the entries may still go into another archive.
            let _ = std::fs::remove_file(to);
            return Err(error);
        }
        while durabletask_sqlite::shrink(&self.connection, PAGES, 0)? == PAGES {}
        Ok(Some(Archived {
            entries: through.sequence - start.head.sequence,
            through,
        }))
    }

    fn write_archive(
        &self,
        to: &Path,
        keys: &ChainKeys,
        start: &Position,
        through: &Head,
    ) -> Result<(), AuditError> {
        let mut archive = NewArchive::create(to, start, through)?;
        let mut statement = self.connection.prepare(
            "SELECT sequence, event, hash FROM entries WHERE sequence <= ?1 ORDER BY sequence",
        )?;
        let mut rows = statement.query([place(through.sequence)])?;
        while let Some(row) = rows.next()? {
            let (sequence, event): (i64, String) = (row.get(0)?, row.get(1)?);
            archive.add(unsigned(sequence), event, &row.get::<_, Vec<u8>>(2)?)?;
        }
        archive.finish(keys)
    }

    /// Removes entries that are in a file now: all of them, with the entry that records it, or
    /// none. A log from which part of an archive was removed could not be verified.
    fn take_out(
        &mut self,
        keys: &ChainKeys,
        start: &Position,
        through: &Head,
        event: &Event,
    ) -> Result<(), AuditError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self::start(&transaction, keys)? != *start {
            return Err(AuditError::ArchivedMeanwhile);
        }
        let upto = through.sequence;
        let code = code(&transaction, keys, through)?;
        transaction.execute_batch("DROP TRIGGER entries_are_not_deleted")?;
        transaction.execute("DELETE FROM entries WHERE sequence <= ?1", [place(upto)])?;
        transaction.execute_batch(TRIGGER)?;
        transaction.execute_batch(TABLE)?;
        transaction.execute("DELETE FROM archived", [])?;
        transaction.execute(
            "INSERT INTO archived (sequence, hash, code) VALUES (?1, ?2, ?3)",
            params![place(upto), through.hash, code],
        )?;
        let end = end(&transaction, keys)?;
        let event = recorded(event, &start.head, through);
        let end = append(&transaction, keys, end, [&event])?.head;
        transaction.commit()?;
        let losses = self.known.as_ref().map_or(0, |known| known.losses);
        let note = self.head.write(&end, losses).map_err(AuditError::File)?;
        self.known = Some(note);
        Ok(())
    }
}

/// Proves that entries up to `through`, which are in the database still, were archived.
fn code(
    transaction: &Connection,
    keys: &ChainKeys,
    through: &Head,
) -> Result<[u8; 32], AuditError> {
    let key = match key_after(transaction, keys, through.sequence)? {
        Some(id) => keys.find(&id, through.sequence)?,
        None => keys.current(),
    };
    Ok(key.archived(through))
}

/// The entry before the first one in the database: it is in an archive, or it is
/// the chain's beginning.
pub(super) fn start(connection: &Connection, keys: &ChainKeys) -> Result<Position, AuditError> {
    let there: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'archived')",
        [],
        |row| row.get(0),
    )?;
    let noted: Option<(i64, Vec<u8>, Vec<u8>)> = match there {
        false => None,
        true => connection
            .query_row(
                "SELECT sequence, hash, code FROM archived ORDER BY sequence DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?,
    };
    let Some((sequence, hash, code)) = noted else {
        return Ok(keys.beginning());
    };
    let sequence = u64::try_from(sequence).unwrap_or(0);
    let hash = hash
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    keys.after_archive(Head { sequence, hash }, &code)
        .ok_or(AuditError::ArchiveUnproven(sequence))
}

/// What makes the table of what was archived.
pub(in crate::audit) const fn table() -> &'static str {
    TABLE
}
