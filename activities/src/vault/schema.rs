//! The embedded vault's file and its tables.

use std::path::Path;

use durabletask_sqlite::{Database, OpenError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// The version of the tables below. Kept in the file's `user_version`.
pub(super) const VERSION: i64 = 4;
/// Marks the file as ours: "CSVT".
const APPLICATION_ID: i64 = 0x4353_5654;

const TABLES: &str = "
CREATE TABLE accounts (
    id           TEXT PRIMARY KEY,
    issuer       TEXT,
    account_name TEXT NOT NULL,
    label_issuer TEXT,
    -- Lower case, for order and search.
    issuer_key   TEXT NOT NULL,
    name_key     TEXT NOT NULL,
    algorithm    TEXT NOT NULL,
    digits       INTEGER NOT NULL,
    period       INTEGER NOT NULL,
    key_id       TEXT NOT NULL,
    nonce        BLOB NOT NULL,
    ciphertext   BLOB NOT NULL,
    -- Microseconds of Unix time.
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    deleted_at   INTEGER,
    group_name   TEXT,
    -- Separated by commas.
    tags         TEXT NOT NULL DEFAULT '',
    -- Who has to prove the account before it is in use.
    pending_for  TEXT,
    -- A keyed hash of the secret and how its codes are made.
    content      BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_in_order ON accounts (issuer_key, name_key, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_by_content ON accounts (content, created_at, id);
-- One row an account that has recovery codes, all of them encrypted together.
CREATE TABLE recovery_codes (
    account    TEXT PRIMARY KEY,
    key_id     TEXT NOT NULL,
    nonce      BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    set_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Ids that are not used again.
CREATE TABLE purged (
    id        TEXT PRIMARY KEY,
    purged_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// From the tables of version 1 to those of version 2.
const FROM_1: &str = "ALTER TABLE accounts ADD COLUMN label_issuer TEXT;";
/// From there to those of version 3.
const FROM_2: &str = "
ALTER TABLE accounts ADD COLUMN group_name TEXT;
ALTER TABLE accounts ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN pending_for TEXT;
";
/// From there to those above. What accounts have as `content` is filled in when the vault is
/// opened, since it takes the key.
const FROM_3: &str = "
ALTER TABLE accounts ADD COLUMN content BLOB;
CREATE INDEX accounts_by_content ON accounts (content, created_at, id);
CREATE TABLE recovery_codes (
    account    TEXT PRIMARY KEY,
    key_id     TEXT NOT NULL,
    nonce      BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    set_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Which key encrypts, once the first one was rotated. It is not part of the version: a release
/// that knows nothing of it encrypts with the first key of the file, which is the same.
const CURRENT_KEY: &str = "CREATE TABLE IF NOT EXISTS current_key (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    key_id TEXT NOT NULL
) STRICT;";

/// What a file is, once it is open.
pub(super) enum Opened {
    /// It has the tables of this release.
    Ready(Database),
    /// It has those of a later one.
    Newer(i64),
    /// It belongs to another program.
    Foreign,
}

/// What wrote a file.
pub(super) enum Written {
    /// This release or an earlier one; nothing yet if the version is 0.
    Known(i64),
    /// A later release.
    Newer(i64),
    /// Another program.
    Foreign,
}

/// What wrote the file of this connection.
pub(super) fn written(connection: &Connection) -> Result<Written, rusqlite::Error> {
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(match (application, version(connection)?) {
        (APPLICATION_ID, version @ 1..=VERSION) => Written::Known(version),
        (0, 0) => Written::Known(0),
        (APPLICATION_ID, version) if version > VERSION => Written::Newer(version),
        _ => Written::Foreign,
    })
}

/// Opens the file and makes the tables if it is new.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let mut connection = Database::open(path)?;
    // A statement stays prepared whatever values it is run with.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    match written(&connection)? {
        Written::Known(_) => {}
        Written::Newer(version) => return Ok(Opened::Newer(version)),
        Written::Foreign => return Ok(Opened::Foreign),
    }
    connection.write_ahead()?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Overwrites what is purged.
    connection.pragma_update(None, "secure_delete", true)?;

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have made or changed them in the meantime.
    match self::version(&transaction)? {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        found @ 1..VERSION => {
            for (before, change) in [(2, FROM_1), (3, FROM_2), (4, FROM_3)] {
                if found < before {
                    transaction.execute_batch(change)?;
                }
            }
        }
        _ => {}
    }
    transaction.execute_batch(CURRENT_KEY)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    connection.mark()?;
    Ok(Opened::Ready(connection))
}

/// The id of the key that encrypts, if one was ever rotated.
pub(super) fn current_key(connection: &Connection) -> Result<Option<String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT key_id FROM current_key")?
        .query_row([], |row| row.get(0))
        .optional()
}

/// Makes another key the one that encrypts.
pub(super) fn set_current_key(
    connection: &Connection,
    key_id: &str,
) -> Result<(), rusqlite::Error> {
    connection
        .execute(
            "INSERT OR REPLACE INTO current_key (only, key_id) VALUES (1, ?1)",
            [key_id],
        )
        .map(drop)
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns that came with a version, as they are in today's tables.
    const SINCE_2: &str = "    label_issuer TEXT,\n";
    const SINCE_3: &str = ",
    group_name   TEXT,
    -- Separated by commas.
    tags         TEXT NOT NULL DEFAULT '',
    -- Who has to prove the account before it is in use.
    pending_for  TEXT";
    const SINCE_4: &str = ",
    -- A keyed hash of the secret and how its codes are made.
    content      BLOB";
    const INDEX_SINCE_4: &str =
        "CREATE INDEX accounts_by_content ON accounts (content, created_at, id);";
    const TABLE_SINCE_4: &str = "CREATE TABLE recovery_codes (
    account    TEXT PRIMARY KEY,
    key_id     TEXT NOT NULL,
    nonce      BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    set_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

    #[test]
    fn a_file_of_an_earlier_version_gets_todays_tables() {
        let since_4 = [SINCE_4, INDEX_SINCE_4, TABLE_SINCE_4];
        for (number, earlier) in [(1, &[SINCE_3, SINCE_2][..]), (2, &[SINCE_3]), (3, &[])] {
            let missing = since_4.iter().chain(earlier);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("vault.sqlite3");
            let old = Connection::open(&path).unwrap();
            let tables = missing.fold(TABLES.to_owned(), |tables, columns| {
                assert!(tables.contains(columns), "{columns}");
                tables.replace(columns, "")
            });
            old.execute_batch(&tables).unwrap();
            old.pragma_update(None, "application_id", APPLICATION_ID)
                .unwrap();
            old.pragma_update(None, "user_version", number).unwrap();
            old.execute_batch(
                "INSERT INTO accounts (id, issuer, account_name, issuer_key, name_key, algorithm,
                 digits, period, key_id, nonce, ciphertext, created_at, updated_at)
                 VALUES ('a', 'Ex', 'x', 'ex', 'x', 'SHA1', 6, 30, 'k', x'', x'', 1, 1)",
            )
            .unwrap();
            drop(old);
            // Twice: the second finds today's.
            for _ in 0..2 {
                let Opened::Ready(connection) = open(&path).unwrap() else {
                    panic!("it is ours");
                };
                let kept: (String, Option<String>, String, Option<String>) = connection
                    .query_row(
                        "SELECT id, label_issuer, tags, pending_for FROM accounts",
                        [],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                    )
                    .unwrap();
                assert_eq!(kept, ("a".to_owned(), None, String::new(), None));
                let since_4: (Option<Vec<u8>>, i64) = connection
                    .query_row(
                        "SELECT content, (SELECT count(*) FROM recovery_codes) FROM accounts",
                        [],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .unwrap();
                assert_eq!(since_4, (None, 0));
                assert_eq!(version(&connection).unwrap(), VERSION);
            }
        }
    }
}
