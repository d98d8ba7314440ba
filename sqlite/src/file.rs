//! The file of a database before SQLite opens it.

use std::fs::File;
use std::io;
use std::path::Path;

/// Creates the file of a database, empty and for its owner only, if it does not exist: SQLite
/// would let others read it if the umask does.
///
/// # Errors
///
/// The system's, when the file cannot be created or opened for writing.
pub fn create_private(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
