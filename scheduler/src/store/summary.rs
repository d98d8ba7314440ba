//! The names of task hubs.

use std::collections::HashMap;

use super::engine::Connection;

use super::StoreError;

/// The names of all task hubs by number.
pub(crate) fn hub_names(conn: &Connection) -> Result<HashMap<i64, String>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, name FROM hubs")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
