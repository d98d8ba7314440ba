//! Statistics of whole task hubs.

use std::collections::HashMap;

use rusqlite::Connection;

use super::StoreError;

/// The names of all task hubs by number.
pub(crate) fn hub_names(conn: &Connection) -> Result<HashMap<i64, String>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, name FROM hubs")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many instances of each hub have each status: hub, status number, count.
/// Reads only an index.
pub(crate) fn status_counts(conn: &Connection) -> Result<Vec<(i64, i32, i64)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT hub, status, count(*) FROM instances INDEXED BY instances_by_status
         GROUP BY hub, status ORDER BY hub, status",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
