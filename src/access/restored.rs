//! Keys and grants of a restored backup.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::key_error::KeyError;
use super::keys::KeyStore;

impl KeyStore {
    /// How many keys that are not revoked, and how many grants, the database at `path` holds: a
    /// copy that nobody changes in the meantime.
    pub(crate) fn contents(path: &Path) -> Result<(u64, u64), KeyError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let counts: (i64, i64) = connection.query_row(
            "SELECT (SELECT count(*) FROM keys WHERE revoked_at IS NULL),
                    (SELECT count(*) FROM grants)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let count = |count| u64::try_from(count).unwrap_or(0);
        Ok((count(counts.0), count(counts.1)))
    }

    /// Revokes what may have been used up or ended since the backup: counted
    /// grants, and browser sessions. Returns how many of each.
    pub(crate) fn end_counted(&self) -> Result<(usize, usize), KeyError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let grants = transaction.execute("DELETE FROM grants WHERE reads_left IS NOT NULL", [])?;
        let sessions = transaction.execute("DELETE FROM sessions", [])?;
        transaction.commit()?;
        Ok((grants, sessions))
    }
}
