//! Archives of the audit log: files with old entries, each of which holds its part of the chain;
//! the log continues from where the last one ends.
//!
//! The database notes what was archived under a message authentication code with the
//! log's key, so that someone without it cannot remove the beginning and claim that it was
//! archived. Archiving is also an entry of the log.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::chain::{ChainKeys, Position};
use super::change::FieldChange;
use super::entry::Event;
use super::error::AuditError;
use super::head::Head;
use crate::private_file;

/// The version of the file's form.
const FORMAT: u32 = 1;

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

/// The event that records that entries up to `through` were archived.
pub(super) fn recorded(event: &Event, start: &Head, through: &Head) -> Event {
    let change = FieldChange::new(
        "beginsAfter",
        Some(&start.to_string()),
        Some(&through.to_string()),
    );
    event.clone().changing(vec![change])
}

/// An archive that is being written. Unless it is finished, its file is removed.
pub(super) struct NewArchive<'h> {
    path: PathBuf,
    out: BufWriter<File>,
    start: &'h Position,
    through: &'h Head,
    is_whole: bool,
}

impl<'h> NewArchive<'h> {
    /// Creates the new file `to`, for the entries after `start` up to `through`.
    pub(super) fn create(
        to: &Path,
        start: &'h Position,
        through: &'h Head,
    ) -> Result<Self, AuditError> {
        let file = private_file::create(to).map_err(AuditError::File)?;
        let mut archive = Self {
            path: to.to_owned(),
            out: BufWriter::new(file),
            start,
            through,
            is_whole: false,
        };
        archive.put(&Header {
            countersign_audit_archive: FORMAT,
            after: start.head.sequence,
            after_hash: HEXLOWER.encode(&start.head.hash),
            through: through.sequence,
            through_hash: HEXLOWER.encode(&through.hash),
        })?;
        Ok(archive)
    }

    /// Adds the next entry.
    pub(super) fn add(
        &mut self,
        sequence: u64,
        event: String,
        hash: &[u8],
    ) -> Result<(), AuditError> {
        self.put(&Line {
            sequence,
            hash: HEXLOWER.encode(hash),
            event,
        })
    }

    fn put(&mut self, line: &impl Serialize) -> Result<(), AuditError> {
        serde_json::to_string(line)
            .map_err(io::Error::from)
            .and_then(|line| writeln!(self.out, "{line}"))
            .map_err(AuditError::File)
    }

    /// Flushes it to the disk, reads it back and checks its chain.
    pub(super) fn finish(mut self, keys: &ChainKeys) -> Result<(), AuditError> {
        self.out.flush().map_err(AuditError::File)?;
        self.out.get_ref().sync_all().map_err(AuditError::File)?;
        // Its directory entry must be on the disk too before anything is removed.
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(AuditError::File)?;
        let mut chain = Chain {
            keys,
            end: self.start.clone(),
            kept: None,
        };
        chain.follow(&self.path)?;
        if chain.end.head != *self.through {
            return Err(AuditError::Archive {
                path: self.path.clone(),
                reason: "it reads back differently; check the disk".to_owned(),
            });
        }
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for NewArchive<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            // Best effort: the error that matters is the first one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Checks archives from the very first entry on: they end where the log begins, at `start`.
pub(super) fn check_all(
    archives: &[PathBuf],
    keys: &ChainKeys,
    start: &Position,
    kept: Option<&Head>,
) -> Result<(), AuditError> {
    let Some(path) = archives.first() else {
        return match kept.filter(|kept| kept.sequence < start.head.sequence) {
            Some(kept) => Err(AuditError::InArchive(kept.sequence)),
            None => Ok(()),
        };
    };
    let mut chain = Chain {
        keys,
        end: keys.beginning(),
        kept,
    };
    chain.follow_all(archives)?;
    if chain.end != *start {
        return Err(AuditError::Archive {
            path: path.clone(),
            reason: format!(
                "the archives end at entry {}, and the audit log begins after entry {}",
                chain.end.head.sequence, start.head.sequence
            ),
        });
    }
    Ok(())
}

/// The chain while it is checked through archives.
struct Chain<'a> {
    keys: &'a ChainKeys,
    end: Position,
    /// An entry that has to be as it was noted elsewhere, if it is in an archive.
    kept: Option<&'a Head>,
}

impl Chain<'_> {
    /// Checks all archives, in whatever order they are given.
    fn follow_all(&mut self, archives: &[PathBuf]) -> Result<(), AuditError> {
        let mut left: Vec<&PathBuf> = archives.iter().collect();
        while !left.is_empty() {
            let mut next = None;
            for (at, path) in left.iter().enumerate() {
                if header(path)?.after == self.end.head.sequence {
                    next = Some(at);
                }
            }
            let at = next.ok_or_else(|| AuditError::Archive {
                path: left[0].clone(),
                reason: format!(
                    "no archive continues after entry {}",
                    self.end.head.sequence
                ),
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
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        for line in BufReader::new(file).lines().skip(1) {
            let line = line.map_err(|error| unreadable(path, &error))?;
            let line: Line = serde_json::from_str(&line)
                .map_err(|error| wrong(format!("a line is not an entry: {error}")))?;
            let sequence = self.end.head.sequence + 1;
            let written = HEXLOWER.decode(line.hash.as_bytes()).unwrap_or_default();
            self.end = match self.keys.follow(&self.end, &line.event, &written)? {
                Some(next) if line.sequence == sequence => next,
                _ => {
                    return Err(wrong(format!(
                        "it is not intact from entry {sequence} on: it was changed, or the one \
                         before it is missing"
                    )));
                }
            };
            let end = &self.end.head;
            if self
                .kept
                .is_some_and(|kept| kept.sequence == sequence && kept != end)
            {
                return Err(wrong(format!(
                    "entry {sequence} is not the one whose hash was noted"
                )));
            }
        }
        let end = &self.end.head;
        match header.through == end.sequence && header.through_hash == HEXLOWER.encode(&end.hash) {
            true => Ok(()),
            false => Err(wrong("its end is missing".to_owned())),
        }
    }
}

fn header(path: &Path) -> Result<Header, AuditError> {
    let mut line = String::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    BufReader::new(file)
        .read_line(&mut line)
        .map_err(|error| unreadable(path, &error))?;
    let header: Result<Header, _> = serde_json::from_str(&line);
    match header {
        Ok(header) if header.countersign_audit_archive == FORMAT => Ok(header),
        _ => Err(AuditError::Archive {
            path: path.to_owned(),
            reason: "it is not an archive in a format that this release can read".to_owned(),
        }),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> AuditError {
    AuditError::Archive {
        path: path.to_owned(),
        reason: format!("the archive cannot be read: {error}"),
    }
}
