//! The tables of keys and grants, and how older ones are brought up to date.

use rusqlite::{Connection, TransactionBehavior};

use super::key_error::KeyError;

/// Each step from one version, kept in the database itself, to the next.
pub(super) static STEPS: [&str; 8] = [
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8,
];

const VERSION_1: &str = "
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    hash BLOB NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT, WITHOUT ROWID;
";
/// Expiry, last use and limits of keys.
const VERSION_2: &str = "
ALTER TABLE keys ADD COLUMN expires_at TEXT;
ALTER TABLE keys ADD COLUMN last_used_at TEXT;
ALTER TABLE keys ADD COLUMN granted_only INTEGER NOT NULL DEFAULT 0;
CREATE TABLE grants (
    key_id     TEXT NOT NULL REFERENCES keys (id),
    account    TEXT NOT NULL,
    -- Unix seconds.
    until      INTEGER,
    reads_left INTEGER,
    PRIMARY KEY (key_id, account)
) STRICT, WITHOUT ROWID;
";
/// Keys in groups, and grants to callers of every kind and to groups.
const VERSION_3: &str = "
-- A JSON list of names.
ALTER TABLE keys ADD COLUMN member_of TEXT NOT NULL DEFAULT '[]';
CREATE TABLE grants_by_name (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('caller', 'group')),
    grantee    TEXT NOT NULL,
    account    TEXT NOT NULL,
    -- Unix seconds.
    until      INTEGER,
    reads_left INTEGER,
    UNIQUE (kind, grantee, account)
) STRICT;
INSERT INTO grants_by_name (kind, grantee, account, until, reads_left)
    SELECT 'caller', name, account, until, reads_left
    FROM grants JOIN keys ON keys.id = grants.key_id;
DROP TABLE grants;
ALTER TABLE grants_by_name RENAME TO grants;
";

/// Guarded accounts.
const VERSION_4: &str = "
CREATE TABLE guarded (
    account TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
";

/// The caller that created a caller's key.
const VERSION_5: &str = "
CREATE TABLE makers (
    name  TEXT PRIMARY KEY,
    maker TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Browser sessions that have not ended.
const VERSION_6: &str = "
CREATE TABLE sessions (
    -- The SHA-256 of the session's id, so that a copy of this file opens no session.
    id      BLOB PRIMARY KEY,
    -- Who is logged in: the administrator, or the key with this id.
    subject TEXT NOT NULL,
    -- Unix seconds.
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of ON sessions (subject, until);
";

/// Rotated keys: the previous one stays valid for a while.
const VERSION_7: &str = "
ALTER TABLE keys ADD COLUMN former_hash BLOB;
ALTER TABLE keys ADD COLUMN former_until TEXT;
";

/// How many reads were granted, beside how many are left. Of grants that were made before,
/// those that were left then.
const VERSION_8: &str = "
ALTER TABLE grants ADD COLUMN reads_granted INTEGER;
UPDATE grants SET reads_granted = reads_left;
";

/// The steps that tables lack.
///
/// # Errors
///
/// As [`bring_up`].
pub(super) fn missing(connection: &Connection) -> Result<&'static [&'static str], KeyError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).map_err(|_| KeyError::Newer(version))?;
    STEPS.get(done..).ok_or(KeyError::Newer(version))
}

/// Makes the tables, or brings those of an older release up to date.
///
/// # Errors
///
/// [`KeyError::Store`], and [`KeyError::Newer`] when a later release wrote them.
pub(super) fn bring_up(connection: &mut Connection) -> Result<(), KeyError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing(&transaction)? {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}
