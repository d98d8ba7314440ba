//! How far the audit log was sent to a collector: noted in the data folder, or in the database that
//! front doors share, which then send in turns.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_database::Turn;

use super::error::AuditError;
use super::postgres::PostgresAudit;
use super::writer::AuditReader;
use crate::private_file;

/// Where it is noted.
pub(super) enum Mark {
    /// In this file, beside the log.
    Folder(Arc<PathBuf>),
    /// In the database with the log. An earlier release has noted it in this file.
    Shared(Box<PostgresAudit>, PathBuf),
}

/// The right to send what comes after a place.
pub(super) struct Sending<'a> {
    mark: &'a Mark,
    turn: Option<Turn>,
    /// The last entry that was sent. 0 if it is unknown: sending twice is better than never.
    pub(super) after: u64,
}

/// Why it could not be noted or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    #[error(transparent)]
    File(std::io::Error),
    #[error(transparent)]
    Database(AuditError),
}

impl Mark {
    /// That of the log which `audit` reads, whose folder has or had the file `path`.
    pub(super) fn of(audit: &AuditReader, path: PathBuf) -> Self {
        match audit.shared() {
            Some(shared) => Self::Shared(Box::new(shared.clone()), path),
            None => Self::Folder(Arc::new(path)),
        }
    }

    /// Begins to send; none while another front door is sending.
    pub(super) async fn begin(&self) -> Result<Option<Sending<'_>>, MarkError> {
        let (turn, after) = match self {
            Self::Folder(path) => (None, sent(path).map_err(MarkError::File)?),
            Self::Shared(audit, earlier) => {
                let turn = audit.turn_to_send().await.map_err(MarkError::Database)?;
                let Some(turn) = turn else { return Ok(None) };
                let noted = audit.sent().await.map_err(MarkError::Database)?;
                let earlier = sent(earlier).map_err(MarkError::File)?;
                (Some(turn), noted.max(earlier))
            }
        };
        Ok(Some(Sending {
            mark: self,
            turn,
            after: after.unwrap_or(0),
        }))
    }
}

impl Sending<'_> {
    /// Notes that everything was sent up to `last`.
    pub(super) async fn note(&mut self, last: u64) -> Result<(), MarkError> {
        self.after = last;
        match self.mark {
            Mark::Folder(path) => {
                let path = Arc::clone(path);
                let written = tokio::task::spawn_blocking(move || write(&path, last)).await;
                let written = written.map_err(|_| MarkError::Database(AuditError::Closed))?;
                written.map_err(MarkError::File)
            }
            Mark::Shared(audit, _) => {
                audit.note_sent(last).await.map_err(MarkError::Database)?;
                let Some(turn) = &self.turn else {
                    return Ok(());
                };
                let kept = turn.go_on().await;
                kept.map_err(|error| MarkError::Database(error.into()))
            }
        }
    }

    /// Lets other front doors send.
    pub(super) async fn end(self) {
        if let Some(turn) = self.turn {
            turn.end().await;
        }
    }
}

/// The last entry that a collector has received, by the file `mark`; none where there is no
/// collector. An unreadable place means that nothing was sent.
///
/// # Errors
///
/// The operating system's error when the file cannot be read.
pub(crate) fn sent(mark: &Path) -> std::io::Result<Option<u64>> {
    match std::fs::read_to_string(mark) {
        Ok(text) => Ok(Some(text.trim().parse().unwrap_or(0))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(mark: &Path, sequence: u64) -> std::io::Result<()> {
    let next = mark.with_extension("next");
    let mut file = private_file::open(&next)?;
    file.set_len(0)?;
    writeln!(file, "{sequence}")?;
    std::fs::rename(&next, mark)
}
