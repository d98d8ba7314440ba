//! Files that only their owner can read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens the file for writing and makes it, empty and for its owner only, if it is not
/// there. What is in it stays.
///
/// # Errors
///
/// What the operating system says.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Makes the file, empty and for its owner only, if it is not there. One that is there is not
/// opened.
///
/// Databases are made this way first, because SQLite would let others read them if the umask
/// does. To open one here and close it would end every lock that SQLite has on it in this
/// process: another process would take itself for the last one that uses it, and delete its log.
///
/// # Errors
///
/// What the operating system says.
pub(crate) fn ensure(path: &Path) -> io::Result<()> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Makes a new file for its owner only, to be written.
///
/// # Errors
///
/// What the operating system says; [`io::ErrorKind::AlreadyExists`] where there is one.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}
