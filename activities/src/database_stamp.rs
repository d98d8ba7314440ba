//! A number that tells whether someone else has written to a SQLite database.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

/// How long a change that another connection has committed may stay unnoticed.
pub const NOTICED_WITHIN: Duration = Duration::from_millis(1);

/// Watches a database, so that what was read from it can be kept until it changes.
///
/// What was read belongs to the stamp that was taken *before* reading, and may be used for
/// as long as [`DatabaseStamp::now`] is the same. A change by anyone, another process
/// included, gives another stamp at most [`NOTICED_WITHIN`] after it was committed. Call
/// [`DatabaseStamp::touch`] after a write that must take effect immediately.
pub struct DatabaseStamp {
    /// Its own: SQLite counts for each connection what *others* have committed.
    watching: Mutex<Watching>,
    opened: Instant,
    /// When it was last looked, in microseconds after `opened`.
    looked: AtomicU64,
    stamp: AtomicU64,
}

struct Watching {
    connection: Connection,
    version: Option<i64>,
}

impl DatabaseStamp {
    /// Watches the database at `path`, which must be there and use a write-ahead log, so
    /// that looking neither waits for a writer nor keeps one waiting.
    ///
    /// # Errors
    ///
    /// What SQLite says when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        // Not for reading only: the first to open a database may have to bring its log up
        // to date.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        durabletask_sqlite::keep_log(&connection)?;
        let version = Some(data_version(&connection)?);
        Ok(Self {
            watching: Mutex::new(Watching {
                connection,
                version,
            }),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
        })
    }

    /// The stamp of this moment. Looks at the database when that was not done for
    /// [`NOTICED_WITHIN`], which takes a few microseconds. While it cannot be looked at, no
    /// two stamps are the same, so that nothing is kept.
    pub fn now(&self) -> u64 {
        let now = micros(self.opened.elapsed());
        let next = self.looked.load(Ordering::Acquire) + micros(NOTICED_WITHIN);
        if now >= next {
            let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
            let found = data_version(&watching.connection).ok();
            if found.is_none() || found != watching.version {
                watching.version = found;
                self.touch();
            }
            self.looked.fetch_max(now, Ordering::AcqRel);
        }
        self.stamp.load(Ordering::Acquire)
    }

    /// Gives another stamp from now on.
    pub fn touch(&self) {
        self.stamp.fetch_add(1, Ordering::AcqRel);
    }
}

/// Changes with every commit of another connection
/// (<https://www.sqlite.org/pragma.html#pragma_data_version>).
fn data_version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_stays_until_someone_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.sqlite3");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (n)").unwrap();
        let stamp = DatabaseStamp::open(&path).unwrap();
        let mut before = stamp.now();
        for _ in 0..3 {
            std::thread::sleep(NOTICED_WITHIN);
            assert_eq!(stamp.now(), before, "nobody wrote");
            writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
            std::thread::sleep(NOTICED_WITHIN);
            let after = stamp.now();
            assert_ne!(after, before, "somebody wrote");
            before = after;
        }
        stamp.touch();
        assert_ne!(stamp.now(), before);
    }
}
