//! Files that a data folder cannot lose without a word.
//!
//! A missing one would be created again, empty or with another key. So the folder notes which of
//! them it has had, and nothing starts while one of those is missing.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::{DataDir, DataDirError};

/// The file that names them, one a line.
pub(crate) const NOTED: &str = "installation.files";

/// Such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotedFile {
    /// Keys, grants and rules.
    Access,
    /// Which codes were accepted.
    Checks,
    /// The embedded task hub.
    Hub,
    /// The key of the secrets' fingerprints.
    Fingerprint,
    /// The key that signs decisions.
    Mandate,
    /// The key that signs notices.
    Webhook,
}

impl NotedFile {
    /// The databases of a front door.
    pub(crate) const DOOR: [Self; 2] = [Self::Access, Self::Checks];
    /// All of them.
    const ALL: [Self; 6] = [
        Self::Access,
        Self::Checks,
        Self::Hub,
        Self::Fingerprint,
        Self::Mandate,
        Self::Webhook,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Access => "access.sqlite3",
            Self::Checks => "verify.sqlite3",
            Self::Hub => "scheduler.sqlite3",
            Self::Fingerprint => "fingerprint.key",
            Self::Mandate => "mandate.key",
            Self::Webhook => "webhook-secret",
        }
    }

    /// Whether it is among the lines of the note.
    fn is_in(self, noted: &str) -> bool {
        noted.lines().any(|line| line.trim() == self.name())
    }

    /// What a start without it would mean.
    const fn loss(self) -> &'static str {
        match self {
            Self::Access => {
                "the API keys, grants and sessions, and which accounts need an approval to be read, \
                 are lost"
            }
            Self::Checks => "codes that were accepted a moment ago are accepted again",
            Self::Hub => {
                "the history of enrollments and requests is lost, and what is in progress ends \
                 without a result"
            }
            Self::Fingerprint => {
                "accounts that exist already are not recognized when they are added"
            }
            Self::Mandate => "everything in progress is refused and has to be submitted again",
            Self::Webhook => "receivers of notices refuse them until they have the new key",
        }
    }
}

impl DataDir {
    /// Refuses a folder that has had one of these files, and has it no longer. Blocks.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Missing`], and [`DataDirError::Io`] when that cannot be found out.
    pub(crate) fn refuse_missing(&self, files: &[NotedFile]) -> Result<(), DataDirError> {
        let noted = self.noted()?;
        for file in files {
            let path = self.path().join(file.name());
            let is_there = match std::fs::metadata(&path) {
                Ok(about) => about.len() > 0,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(source) => {
                    return Err(DataDirError::Io {
                        action: "read",
                        path,
                        source,
                    });
                }
            };
            if !is_there && file.is_in(&noted) {
                return Err(DataDirError::Missing {
                    path,
                    beside: match file.name().ends_with(".sqlite3") {
                        true => ", with its -wal file if there is one",
                        false => "",
                    },
                    loss: file.loss(),
                    note: self.path().join(NOTED),
                });
            }
        }
        Ok(())
    }

    /// Notes which of the files there are. Several processes may do so at once. Blocks.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Io`] when that cannot be written.
    pub(crate) fn note_files(&self) -> Result<(), DataDirError> {
        let noted = self.noted()?;
        let mut lines = String::new();
        for file in NotedFile::ALL {
            if !file.is_in(&noted) && self.path().join(file.name()).exists() {
                lines.push_str(file.name());
                lines.push('\n');
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.path().join(NOTED);
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(lines.as_bytes())?;
                file.sync_all()
            });
        written.map_err(|source| DataDirError::Io {
            action: "write",
            path,
            source,
        })
    }

    fn noted(&self) -> Result<String, DataDirError> {
        let path = self.path().join(NOTED);
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|source| DataDirError::Io {
                action: "read",
                path,
                source,
            }),
        }
    }
}
