//! Finished instances that are old enough to be purged.

use super::engine::Connection;

use super::StoreError;
use super::writer::{Slice, Tx};

/// Finds ended instances by their end, across task hubs.
pub(super) const INDEX: &str = "
CREATE INDEX instances_by_end ON instances (status, completed_us) WHERE completed_us IS NOT NULL;
";

/// When the first instance of a status ended, in microseconds since 1970.
pub(crate) fn first_end(conn: &Connection, status: i32) -> Result<Option<i64>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT min(completed_us) FROM instances INDEXED BY instances_by_end
         WHERE status = ?1 AND completed_us IS NOT NULL",
    )?;
    Ok(statement.query_row([status], |row| row.get(0))?)
}

impl Tx<'_> {
    /// Purges instances of a status that ended at `until_us` or before, the oldest first,
    /// at most `limit` of them and until the time slice has ended; returns how many were purged.
    pub(crate) fn purge_old(
        &mut self,
        status: i32,
        until_us: i64,
        limit: u32,
        slice: Slice,
    ) -> Result<usize, StoreError> {
        let old: Vec<(i64, String)> = self
            .conn
            .prepare_cached(
                "SELECT hub, id FROM instances INDEXED BY instances_by_end
                 WHERE status = ?1 AND completed_us <= ?2 AND completed_us IS NOT NULL
                 ORDER BY completed_us LIMIT ?3",
            )?
            .query_map((status, until_us, limit), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut purged = 0;
        for (hub, id) in &old {
            self.purge(*hub, id, false, slice)?;
            purged += 1;
            if slice.is_over() {
                break;
            }
        }
        Ok(purged)
    }
}
