//! The ledger's tables.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::{LedgerError, recovery};

/// Marks the file as a ledger of this program: `CSLG`.
const APPLICATION: i64 = 0x4353_4c47;
/// The schema that this release writes.
const VERSION: i64 = 1;
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE ledger (id TEXT NOT NULL);
    CREATE TABLE mandates (
        run TEXT NOT NULL PRIMARY KEY,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        digest TEXT NOT NULL,
        registered_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE matters (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES mandates (run),
        about TEXT NOT NULL,
        status TEXT NOT NULL,
        version INTEGER NOT NULL,
        UNIQUE (run, about)
    );
    CREATE INDEX matters_about ON matters (about);
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY,
        matter INTEGER NOT NULL REFERENCES matters (number),
        nonce TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL
    );
    CREATE INDEX decisions_matter ON decisions (matter);
    CREATE TABLE uses (
        number INTEGER PRIMARY KEY,
        matter INTEGER NOT NULL REFERENCES matters (number),
        deed TEXT NOT NULL,
        name TEXT NOT NULL,
        begun_at INTEGER NOT NULL,
        done_at INTEGER,
        result TEXT
    );
    CREATE INDEX uses_matter ON uses (matter);
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        about TEXT NOT NULL,
        account TEXT,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT
    );
";

/// Makes the file, empty and for its owner only, if it is not there: SQLite would let others
/// read it if the umask does.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// A connection to the ledger at `path`, with its tables. `synchronous` is `FULL` or
/// `NORMAL`.
pub(crate) fn open(path: &Path, synchronous: &str) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    let foreign = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            LedgerError::Foreign(path.to_owned())
        }
        _ => error.into(),
    };
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(foreign)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(foreign)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    match (application, version) {
        (0, 0) => {
            let tables: i64 =
                transaction
                    .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if tables > 0 {
                return Err(LedgerError::Foreign(path.to_owned()));
            }
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION, VERSION) => {}
        (APPLICATION, found) if found > VERSION => {
            return Err(LedgerError::Newer {
                path: path.to_owned(),
                found,
            });
        }
        _ => return Err(LedgerError::Foreign(path.to_owned())),
    }
    transaction.execute_batch(recovery::TABLE)?;
    transaction.commit()?;
    Ok(connection)
}
