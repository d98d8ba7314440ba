//! A connection to a database that is in use for as long as the connection lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

/// How long to wait for another connection that writes.
const BUSY: Duration = Duration::from_secs(5);
/// How often, and at which interval, something is retried that SQLite does not wait for
/// itself: in total [`BUSY`].
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// The table that says whether the file is in use. It is not part of any schema: a release that
/// does not know it leaves it alone.
const MARK: &str = "CREATE TABLE IF NOT EXISTS run (open INTEGER NOT NULL);
INSERT INTO run (open) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM run);";

/// How many databases this process has open, and a signal for when there are none.
static OPEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Waits until this process has closed every [`Database`], up to this long; whether it has.
/// For the end of a process: threads that it does not wait for may still have one.
pub fn all_closed(patience: Duration) -> bool {
    let open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = OPEN.1.wait_timeout_while(open, patience, |open| *open > 0);
    let (open, _) = waited.unwrap_or_else(PoisonError::into_inner);
    *open == 0
}

/// Counts a database that is open, until it is dropped.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Self {
        *OPEN.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
        OPEN.1.notify_all();
    }
}

/// Why a database cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It was copied while it was in use, without its log.
    #[error(
        "{} was in use when it was copied or moved here, and its log {}-wal is missing: what is in \
         the log would be lost. Copy the log too, or better restore a backup. If another program \
         has written the log back into the file and removed it, nothing is missing: then stop \
         every program that uses it, and make an empty log with `touch '{}-wal'`",
        .0.display(), .0.display(), .0.display()
    )]
    LogMissing(PathBuf),
    /// The lock beside it cannot be made or taken.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// There is no such file, or it cannot be reached.
    #[error("cannot open {}", path.display())]
    File {
        /// The database's file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// SQLite's error, or any other as SQLite's "cannot open", for callers that
    /// do not distinguish further.
    #[must_use]
    pub fn into_sqlite(self) -> rusqlite::Error {
        match self {
            Self::Sqlite(error) => error,
            other => rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some(other.to_string()),
            ),
        }
    }
}

/// A connection to a database with a write-ahead log. It dereferences to the
/// [`Connection`], to read and write.
///
/// The last one of all processes to be dropped leaves a file that holds everything.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// Shared by all that have the database open. Dropped after the connection is closed.
    lock: File,
    _counted: Counted,
}

impl Database {
    /// Opens the existing, perhaps empty, database at `path`. It waits for
    /// other writers; it has no log yet if it never had one: see
    /// [`Database::write_ahead`]. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError::LogMissing`] for a copy without its log; otherwise the system's or
    /// SQLite's error.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        // SQLite follows links too: the log lies beside the file itself.
        let path = &path.canonicalize().map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        let lock = lock(path)?;
        check(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        keep_log(&connection)?;
        Ok(Self {
            connection,
            lock,
            _counted: Counted::new(),
        })
    }

    /// Whether no one else has it open. If so, others wait until it is dropped.
    ///
    /// # Errors
    ///
    /// The system's error, when the lock beside it cannot be taken.
    pub fn is_alone(&self) -> Result<bool, io::Error> {
        // A lock that is shared may not become an exclusive one in one step.
        self.lock.unlock()?;
        match self.lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => self.lock.lock_shared().map(|()| false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Switches to a write-ahead log. Waits for processes that are just doing the
    /// same, which SQLite does not.
    ///
    /// # Errors
    ///
    /// SQLite's error.
    pub fn write_ahead(&self) -> Result<(), rusqlite::Error> {
        let mut tries = 0;
        loop {
            let switched =
                self.connection
                    .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
            match switched {
                Err(error) if tries < TRIES && is_busy(&error) => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Marks the file as in use, once its tables exist.
    ///
    /// # Errors
    ///
    /// SQLite's error.
    pub fn mark(&self) -> Result<(), rusqlite::Error> {
        if is_marked(&self.connection) {
            return Ok(());
        }
        self.set(true)?;
        if let Err(error) = self.write_back() {
            // Someone has been reading for too long. Then a copy is not detected
            // until the log is checkpointed, but nothing worse happens.
            tracing::debug!(%error, "the mark of a database is in its log only");
        }
        Ok(())
    }

    fn set(&self, open: bool) -> Result<(), rusqlite::Error> {
        let open = i32::from(open);
        self.connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {MARK} UPDATE run SET open = {open}; COMMIT;"
            ))
            .inspect_err(|_| roll_back(&self.connection))
    }

    /// Checkpoints the log into the file.
    fn write_back(&self) -> Result<(), rusqlite::Error> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self
            .connection
            .query_row(checkpoint, [], |row| row.get(0))?;
        if busy != 0 {
            // Someone is reading what would be overwritten.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                None,
            ));
        }
        Ok(())
    }

    /// Leaves a complete file, if no one else has it open.
    fn settle(&self) -> Result<(), rusqlite::Error> {
        // Later openers wait for this; it does not wait for present ones.
        if self.lock.unlock().is_err() || self.lock.try_lock().is_err() {
            return Ok(());
        }
        if is_marked(&self.connection) {
            self.connection.busy_timeout(Duration::ZERO)?;
            // In this order: a file that is marked as closed is complete.
            self.write_back()?;
            self.set(false)?;
            self.write_back()?;
        }
        // Nothing needs the log any more: SQLite may remove it.
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map(drop)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.settle() {
            // Its log stays beside it, so nothing is lost.
            tracing::debug!(%error, "a database was left with its log");
        }
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Keeps SQLite from removing the log when `connection` is the last one that closes: a file
/// that is marked as in use would lack it. For connections that are not a [`Database`].
///
/// # Errors
///
/// SQLite's error.
pub fn keep_log(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
}

/// Opens the database at `path` for reading, if there is one that is not empty, and neither changes
/// nor creates it. Another process may use it. Blocks.
///
/// # Errors
///
/// As [`Database::open`].
pub fn look(path: &Path) -> Result<Option<Connection>, OpenError> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(OpenError::File { path, source });
        }
    };
    if std::fs::metadata(&path).is_ok_and(|about| about.len() == 0) {
        return Ok(None);
    }
    check(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = match beside(&path, "-wal").exists() {
        true => Connection::open_with_flags(&path, flags)?,
        // Nobody uses it, and opening it the usual way would create a log.
        false => Connection::open_with_flags(immutable(&path), flags)?,
    };
    connection.busy_timeout(BUSY)?;
    keep_log(&connection)?;
    Ok(Some(connection))
}

/// Removes the mark from a complete copy, if it has one.
///
/// # Errors
///
/// SQLite's error.
pub fn clear_copy(connection: &Connection) -> Result<(), rusqlite::Error> {
    match is_marked(connection) {
        true => connection.execute("UPDATE run SET open = 0", []).map(drop),
        false => Ok(()),
    }
}

/// Whether the file is marked as in use; one without a mark is not.
fn is_marked(connection: &Connection) -> bool {
    connection
        .query_row("SELECT open FROM run", [], |row| row.get(0))
        .unwrap_or(false)
}

/// Refuses a file that was in use when it was copied, without its log.
fn check(file: &Path) -> Result<(), OpenError> {
    let size = std::fs::metadata(file).map_or(0, |about| about.len());
    if beside(file, "-wal").exists() || size == 0 {
        return Ok(());
    }
    // Opening it the usual way would create a log.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let marked = Connection::open_with_flags(immutable(file), flags)
        .is_ok_and(|connection| is_marked(&connection));
    match marked {
        true => Err(OpenError::LogMissing(file.to_owned())),
        // Problems of any other file are reported when it is opened for use.
        false => Ok(()),
    }
}

fn lock(database: &Path) -> Result<File, OpenError> {
    let path = beside(database, "-lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let locked = options.open(&path).and_then(|file| {
        file.lock_shared()?;
        Ok(file)
    });
    locked.map_err(|source| OpenError::Lock { path, source })
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// A batch that fails halfway leaves its transaction open.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::debug!(%error, "nothing was left to roll back");
    }
}

/// The URI of a file that nobody changes in the meantime.
fn immutable(file: &Path) -> String {
    let path = file.to_string_lossy();
    let mut address = "file:".to_owned();
    for character in path.chars() {
        match character {
            '%' => address.push_str("%25"),
            '?' => address.push_str("%3f"),
            '#' => address.push_str("%23"),
            other => address.push(other),
        }
    }
    address.push_str("?immutable=1");
    address
}
