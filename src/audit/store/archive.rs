//! Moves old entries into a file of their own, which holds its part of the chain; the log continues
//! from where that file ends.
//!
//! The database notes what was archived under a message authentication code with the
//! log's key, so that someone without it cannot remove the beginning and claim that it was
//! archived. Archiving is also an entry of the log.

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

/// Each further line: an entry as in the chain.
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
            // Nothing was removed, so the entries may still go into another archive.
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
                    reason: "it reads back differently; check the disk".to_owned(),
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
        // Its directory entry must be on the disk too before anything is removed.
        let folder = match to.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(AuditError::File)
    }

    /// Removes entries that are in a file now: all of them, with the entry that records it, or
    /// none. A log from which part of an archive was removed could not be verified.
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

/// The entry before the first one in the database: it is in an archive, or it is
/// the chain's beginning.
pub(super) fn start(connection: &Connection, key: &[u8; 32]) -> Result<Head, AuditError> {
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
    let Some((sequence, hash, noted)) = noted else {
        return Ok(Head {
            sequence: 0,
            hash: beginning(key),
        });
    };
    let sequence = u64::try_from(sequence).unwrap_or(0);
    let hash: [u8; 32] = hash
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    match secret::same(&noted, &code(key, sequence, &hash)) {
        true => Ok(Head { sequence, hash }),
        // Someone without the key has written it.
        false => Err(AuditError::Unreadable { sequence }),
    }
}

/// What makes the table of what was archived.
pub(in crate::audit) const fn table() -> &'static str {
    TABLE
}

/// Proves that this program archived the entries up to there.
pub(in crate::audit) fn code(key: &[u8; 32], sequence: u64, hash: &[u8; 32]) -> [u8; 32] {
    secret::mac(key, &[b"archived", &sequence.to_be_bytes(), hash])
}

/// The chain while it is checked through archives.
pub(super) struct Chain<'a> {
    pub(super) key: &'a [u8; 32],
    pub(super) end: Head,
    /// An entry that has to be as it was noted elsewhere, if it is in an archive.
    pub(super) kept: Option<&'a Head>,
}

impl Chain<'_> {
    /// Checks all archives, in whatever order they are given.
    pub(super) fn follow_all(&mut self, archives: &[PathBuf]) -> Result<(), AuditError> {
        let mut left: Vec<&PathBuf> = archives.iter().collect();
        while !left.is_empty() {
            let mut next = None;
            for (at, path) in left.iter().enumerate() {
                if header(path)?.after == self.end.sequence {
                    next = Some(at);
                }
            }
            let at = next.ok_or_else(|| AuditError::Archive {
                path: left[0].clone(),
                reason: format!("no archive continues after entry {}", self.end.sequence),
            })?;
            let path = left.remove(at);
            self.follow(path)?;
        }
        Ok(())
    }

    /// Checks one archive.
    fn follow(&mut self, path: &Path) -> Result<(), AuditError> {
        let wrong = |reason: String| AuditError::Archive {
            path: path.to_owned(),
            reason,
        };
        let header = header(path)?;
        let file = File::open(path).map_err(AuditError::File)?;
        for line in BufReader::new(file).lines().skip(1) {
            let line = line.map_err(AuditError::File)?;
            let line: Line = serde_json::from_str(&line)
                .map_err(|error| wrong(format!("a line is not an entry: {error}")))?;
            self.end.sequence += 1;
            self.end.hash = link(self.key, &self.end.hash, self.end.sequence, &line.event);
            if line.sequence != self.end.sequence || line.hash != HEXLOWER.encode(&self.end.hash) {
                return Err(wrong(format!(
                    "it is not intact from entry {} on: it was changed, or the one before it is \
                     missing",
                    self.end.sequence
                )));
            }
            if self
                .kept
                .is_some_and(|kept| kept.sequence == self.end.sequence && *kept != self.end)
            {
                return Err(wrong(format!(
                    "entry {} is not the one whose hash was noted",
                    self.end.sequence
                )));
            }
        }
        match header.through == self.end.sequence
            && header.through_hash == HEXLOWER.encode(&self.end.hash)
        {
            true => Ok(()),
            false => Err(wrong("its end is missing".to_owned())),
        }
    }
}

fn header(path: &Path) -> Result<Header, AuditError> {
    let mut line = String::new();
    let file = File::open(path).map_err(AuditError::File)?;
    BufReader::new(file)
        .read_line(&mut line)
        .map_err(AuditError::File)?;
    let header: Result<Header, _> = serde_json::from_str(&line);
    match header {
        Ok(header) if header.countersign_audit_archive == FORMAT => Ok(header),
        _ => Err(AuditError::Archive {
            path: path.to_owned(),
            reason: "it is not an archive in a format that this release can read".to_owned(),
        }),
    }
}
