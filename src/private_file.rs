//! Files that only their owner can read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens the file for writing and creates it, empty and for its owner only, if it does not
/// exist. Its content is kept.
///
/// # Errors
///
/// The operating system's error.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Creates the file, empty and for its owner only, if it does not exist. An existing one is not
/// opened.
///
/// Databases are created this way first, because SQLite would let others read them if the umask
/// does. Opening and closing one here would release every lock that SQLite holds on it in this
/// process: another process would believe to be its last user, and delete its log.
///
/// # Errors
///
/// The operating system's error.
pub(crate) fn ensure(path: &Path) -> io::Result<()> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Creates a new file for its owner only, for writing.
///
/// # Errors
///
/// The operating system's error; [`io::ErrorKind::AlreadyExists`] if there is one.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}
