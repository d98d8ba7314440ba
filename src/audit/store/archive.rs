//! Old entries go into a file of their own, which continues the chain by itself; the record goes
//! on from where that file ends.
//!
//! What was archived and up to where stands in the record's database under a code of the
//! record's key, so that nobody without it can cut off the beginning and say that it was
//! archived. And it is an entry of the record.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::{AuditStore, append, beginning, end, link, place};
use crate::access::secret;
use crate::audit::change::FieldChange;
use crate::audit::entry::{Event, written};
use crate::audit::error::AuditError;
use crate::audit::head::Head;
use crate::private_file;

/// The version of the file's form.
const FORMAT: u32 = 1;
/// The most entries of one archive: they are taken out at once, while others wait.
const MOST: u64 = 100_000;
/// How many pages one step gives back to the disk.
const PAGES: u32 = 2_000;

/// Made when something is archived for the first time. It is no part of the schema's version:
/// a release that knows nothing of it finds a record that does not begin at the beginning.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS archived (
    -- The last entry that is in an archive.
    sequence INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL,
    code     BLOB NOT NULL
) STRICT;";
const TRIGGER: &str = "CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;";

/// The first line of an archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    countersign_audit_archive: u32,
    /// The entry before the first one here, and its hash.
    after: u64,
    after_hash: String,
    /// The last one here, and its hash.
    through: u64,
    through_hash: String,
}

/// Each further line: an entry as it was chained.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sequence: u64,
    hash: String,
    event: String,
}

/// What was archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// How many entries.
    pub entries: u64,
    /// The last of them, and its hash.
    pub through: Head,
}

impl AuditStore {
    /// Moves all entries from before `before`, but not the record's last one, nor one after
    /// `sent`, into the new file `to`, and appends `event`, which says so. The file is read
    /// back and its chain is followed before anything is taken out. Nothing if there is nothing
    /// that old. Blocks.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; what was not taken out is still in the record.
    pub fn archive(
        &mut self,
        to: &Path,
        before: DateTime<Utc>,
        sent: Option<u64>,
        event: &Event,
    ) -> Result<Option<Archived>, AuditError> {
        let start = start(&self.connection, &self.key)?;
        let last = end(&self.connection, &self.key)?;
        let through: Option<(i64, Vec<u8>)> = self
            .connection
            .query_row(
                "SELECT sequence, hash FROM entries
                 WHERE sequence < ?1 AND sequence <= ?2
                   AND sequence < coalesce(
                       (SELECT min(sequence) FROM entries WHERE at >= ?3), ?1)
                 ORDER BY sequence DESC LIMIT 1",
                params![
                    place(last.sequence),
                    place(sent.unwrap_or(u64::MAX).min(start.sequence + MOST)),
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
        self.write_archive(to, &start, &through)?;
        if let Err(error) = self.take_out(&start, &through, event) {
            // Nothing was taken out, so the entries belong in no archive, or in another one.
            let _ = std::fs::remove_file(to);
            return Err(error);
        }
        while durabletask_sqlite::shrink(&self.connection, PAGES, 0)? == PAGES {}
        Ok(Some(Archived {
            entries: through.sequence - start.sequence,
            through,
        }))
    }

    fn write_archive(&self, to: &Path, start: &Head, through: &Head) -> Result<(), AuditError> {
        let written = self.fill_archive(to, start, through).and_then(|()| {
            let mut chain = Chain {
                key: &self.key,
                end: start.clone(),
                kept: None,
            };
            chain.follow(to)?;
            match chain.end == *through {
                true => Ok(()),
                false => Err(AuditError::Archive {
                    path: to.to_owned(),
                    reason: "it reads back differently; look at the disk".to_owned(),
                }),
            }
        });
        let exists = matches!(
            &written,
            Err(AuditError::File(error)) if error.kind() == io::ErrorKind::AlreadyExists
        );
        if written.is_err() && !exists {
            // Best effort: the error that matters is the first one.
            let _ = std::fs::remove_file(to);
        }
        written
    }

    fn fill_archive(&self, to: &Path, start: &Head, through: &Head) -> Result<(), AuditError> {
        let file = private_file::create(to).map_err(AuditError::File)?;
        let mut out = BufWriter::new(file);
        let mut put = |line: Result<String, serde_json::Error>| {
            line.map_err(io::Error::from)
                .and_then(|line| writeln!(out, "{line}"))
                .map_err(AuditError::File)
        };
        put(serde_json::to_string(&Header {
            countersign_audit_archive: FORMAT,
            after: start.sequence,
            after_hash: HEXLOWER.encode(&start.hash),
            through: through.sequence,
            through_hash: HEXLOWER.encode(&through.hash),
        }))?;
        let mut statement = self.connection.prepare(
            "SELECT sequence, event, hash FROM entries WHERE sequence <= ?1 ORDER BY sequence",
        )?;
        let mut rows = statement.query([place(through.sequence)])?;
        while let Some(row) = rows.next()? {
            put(serde_json::to_string(&Line {
                sequence: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                event: row.get(1)?,
                hash: HEXLOWER.encode(&row.get::<_, Vec<u8>>(2)?),
            }))?;
        }
        out.flush().map_err(AuditError::File)?;
        out.get_ref().sync_all().map_err(AuditError::File)?;
        // Its name has to be on the disk too before anything is taken out.
        let folder = match to.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(AuditError::File)
    }

    /// Takes entries out that are in a file now: all of them, with the entry that says so, or
    /// none. What a part of an archive was taken out of could be verified with no archive.
    fn take_out(&mut self, start: &Head, through: &Head, event: &Event) -> Result<(), AuditError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self::start(&transaction, &self.key)? != *start {
            return Err(AuditError::ArchivedMeanwhile);
        }
        let (upto, hash) = (through.sequence, &through.hash);
        transaction.execute_batch("DROP TRIGGER entries_are_not_deleted")?;
        transaction.execute("DELETE FROM entries WHERE sequence <= ?1", [place(upto)])?;
        transaction.execute_batch(TRIGGER)?;
        transaction.execute_batch(TABLE)?;
        transaction.execute("DELETE FROM archived", [])?;
        transaction.execute(
            "INSERT INTO archived (sequence, hash, code) VALUES (?1, ?2, ?3)",
            params![place(upto), hash, code(&self.key, upto, hash)],
        )?;
        let end = end(&transaction, &self.key)?;
        let change = FieldChange::new(
            "beginsAfter",
            Some(&start.to_string()),
            Some(&through.to_string()),
        );
        let end = append(
            &transaction,
            &self.key,
            end,
            [&event.clone().changing(vec![change])],
        )?;
        transaction.commit()?;
        let losses = self.known.as_ref().map_or(0, |known| known.losses);
        let note = self.head.write(&end, losses).map_err(AuditError::File)?;
        self.known = Some(note);
        Ok(())
    }
}
