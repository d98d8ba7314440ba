//! Files that only their owner can read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens the file for writing and makes it, empty and for its owner only, if it is not
/// there. What is in it stays.
///
/// Databases are made this way first, because SQLite would let others read them if the
/// umask does.
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
