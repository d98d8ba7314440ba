//! Why the data folder cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the data folder cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file with a secret can be read by others.
    #[error("{} can be read by other users: run `chmod 600 {}` and replace it if they might have read it", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// A file is in the folder's place.
    #[error("{} is a file, not a data folder: name a folder with --data-dir", .0.display())]
    NoFolder(PathBuf),
    /// Another process runs on this folder.
    #[error("another countersign already runs on {}: stop it, or choose another folder with --data-dir", .0.display())]
    InUse(PathBuf),
    /// Other users can write the folder, or a file in it.
    #[error("other users can write {}: run `chmod go-w '{}'` and check the folder first if they might have changed it", .0.display(), .0.display())]
    Writable(PathBuf),
    /// The folder, or a file in it, belongs to another user.
    #[error("{} belongs to another user (uid {owner}), who can change it: run `chown {own} '{}'`, or choose another folder with --data-dir", path.display(), path.display())]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// The user that it belongs to.
        owner: u32,
        /// The user that this process runs as.
        own: u32,
    },
    /// A file's content is not valid.
    #[error("the content of {} is not valid: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without its content.
        reason: &'static str,
    },
    /// A restore into the folder was interrupted.
    #[error(
        "restoring a backup into {} was interrupted: run `countersign backup restore` \
         again, which starts over", .0.display()
    )]
    Unfinished(PathBuf),
    /// A file that the folder has had is missing.
    #[error(
        "{} is missing: restore it from a backup{beside}. Without it, {loss}. If it is lost \
         permanently, remove its line from {}: the next start creates a new one",
        path.display(), note.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What else to restore, in words that follow.
        beside: &'static str,
        /// What a new one would mean.
        loss: &'static str,
        /// The file that names it.
        note: PathBuf,
    },
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
}
