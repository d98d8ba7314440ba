//! Tags of instances, stored so that instances can be found by them.

use std::collections::HashMap;

use super::StoreError;
use super::writer::Tx;
use durabletask_proto::ExecutionStartedEvent;
use prost::Message;

/// The tables; one row for each tag of each instance.
pub(super) const TABLES: &str = "
CREATE TABLE tags (
    hub INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, instance INTEGER NOT NULL,
    PRIMARY KEY (hub, key, value, instance)
) WITHOUT ROWID;
CREATE INDEX tags_by_instance ON tags (instance);
";

/// Finds the instances that have a tag of any value, in order of their numbers. A release that does
/// not know it keeps it up to date all the same.
pub(super) const BY_KEY: &str =
    "CREATE INDEX IF NOT EXISTS tags_by_key ON tags (hub, key, instance)";

const INSERT: &str =
    "INSERT OR IGNORE INTO tags (hub, key, value, instance) VALUES (?1, ?2, ?3, ?4)";

/// Fills the tables from the instances of a database that had no such tables.
pub(super) fn backfill(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    let mut insert = conn.prepare(INSERT)?;
    let mut select = conn.prepare("SELECT hub, key, details FROM instances")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (hub, instance): (i64, i64) = (row.get(0)?, row.get(1)?);
        let details: Vec<u8> = row.get(2)?;
        let details = ExecutionStartedEvent::decode(&*details).unwrap_or_default();
        for (key, value) in details.tags {
            insert.execute((hub, key, value, instance))?;
        }
    }
    Ok(())
}

impl Tx<'_> {
    pub(super) fn insert_tags(
        &self,
        hub: i64,
        instance: i64,
        tags: &HashMap<String, String>,
    ) -> Result<(), StoreError> {
        for (key, value) in tags {
            self.conn
                .prepare_cached(INSERT)?
                .run((hub, key, value, instance))?;
        }
        Ok(())
    }

    pub(super) fn remove_tags(&self, instance: i64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM tags WHERE instance = ?1")?
            .run([instance])?;
        Ok(())
    }
}
