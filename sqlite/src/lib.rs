//! SQLite databases with a write-ahead log, which several processes of one machine use, and
//! which notice when they were copied without that log.
//!
//! While a database is in use, most of what was committed last is in the log beside the file
//! (`-wal`), and a copy of the file alone opens with nothing of it. So the file itself says
//! whether it is in use: if it is and there is no log, something is missing.
//!
//! ```text
//! in use     mark 1 in the file itself, a log beside it
//! killed     the same; the next process finds all that was committed
//! closed     everything is in the file, then the mark becomes 0; the log is empty or gone
//! copied     mark 1, no log: refused
//! ```
//!
//! A file lock (`-lock`) shows which process is the last one to close it. SQLite could remove
//! the log when its last connection closes, before the mark is cleared; this prevents that.

mod copy;
mod database;
mod file;
mod room;

pub use copy::{CopyError, copy, snapshot};
pub use database::{Database, OpenError, all_closed, clear_copy, keep_log, look};
pub use file::create_private;
pub use room::{shrink, write_back};
