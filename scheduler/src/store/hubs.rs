//! Task hubs: created, looked up, deleted.

use super::engine::{Connection, OptionalExtension};

use super::writer::{Slice, Tx};
use super::{Note, StoreError};

/// Creates missing task hubs.
pub(super) fn ensure_hubs(conn: &Connection, names: &[String]) -> super::engine::Result<()> {
    // Names are ASCII.
    let mut insert = conn.prepare_cached(
        "INSERT INTO hubs (name) SELECT ?1
         WHERE NOT EXISTS (SELECT 1 FROM hubs WHERE lower(name) = lower(?1))",
    )?;
    for name in names {
        insert.run([name])?;
    }
    Ok(())
}

impl Tx<'_> {
    /// The number of a task hub, if there is one of that name. Case does not matter,
    /// as on Azure; of two that an earlier version created, the exact match.
    pub(crate) fn hub_named(&self, name: &str) -> Result<Option<i64>, StoreError> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT id FROM hubs WHERE lower(name) = lower(?1) ORDER BY name <> ?1, id LIMIT 1",
            )?
            .query_row([name], |row| row.get(0))
            .optional()?)
    }

    /// The number of a task hub, created if it is new and fewer than `most` exist.
    pub(crate) fn ensure_hub(&mut self, name: &str, most: usize) -> Result<i64, StoreError> {
        if let Some(hub) = self.hub_named(name)? {
            return Ok(hub);
        }
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM hubs")?
            .query_row((), |row| row.get(0))?;
        if usize::try_from(count).is_ok_and(|count| count >= most) {
            return Err(StoreError::TooManyHubs(most));
        }
        Ok(self
            .conn
            .prepare_cached("INSERT INTO hubs (name) VALUES (?1) RETURNING id")?
            .query_row([name], |row| row.get(0))?)
    }

    /// Deletes a task hub and returns its number, which is never used again. From then
    /// on its content is unreachable; [`Tx::clear_hub`] removes that.
    pub(crate) fn delete_hub(&mut self, name: &str) -> Result<i64, StoreError> {
        let hub = self
            .hub_named(name)?
            .ok_or_else(|| StoreError::NoHub(name.to_owned()))?;
        self.conn
            .prepare_cached("DELETE FROM hubs WHERE id = ?1")?
            .run([hub])?;
        self.notes.push(Note::HubGone { hub });
        Ok(hub)
    }

    /// Recreates a task hub: returns its number and that of the one it replaces.
    pub(crate) fn recreate_hub(
        &mut self,
        name: &str,
        most: usize,
    ) -> Result<(i64, Option<i64>), StoreError> {
        let old = match self.delete_hub(name) {
            Ok(hub) => Some(hub),
            Err(StoreError::NoHub(_)) => None,
            Err(error) => return Err(error),
        };
        Ok((self.ensure_hub(name, most)?, old))
    }

    /// Removes up to `limit` instances and entities each of a deleted task hub, until the slice
    /// has ended; false once none is left.
    pub(crate) fn clear_hub(
        &mut self,
        hub: i64,
        limit: u32,
        slice: Slice,
    ) -> Result<bool, StoreError> {
        let instances: Vec<(i64, String)> = self
            .conn
            .prepare_cached("SELECT key, id FROM instances WHERE hub = ?1 LIMIT ?2")?
            .query_map((hub, limit), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, id) in &instances {
            self.remove(hub, *key, id)?;
            if slice.is_over() {
                return Ok(true);
            }
        }
        let entities: Vec<i64> = self
            .conn
            .prepare_cached("SELECT key FROM entities WHERE hub = ?1 LIMIT ?2")?
            .query_map((hub, limit), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for key in &entities {
            self.delete_entity(*key)?;
            if slice.is_over() {
                return Ok(true);
            }
        }
        Ok(!instances.is_empty() || !entities.is_empty())
    }

    /// Refuses a hub that has been deleted since its name was looked up.
    pub(crate) fn check_hub(&self, hub: i64) -> Result<(), StoreError> {
        check_hub(self.conn, hub)
    }
}

/// Refuses a hub that has been deleted since its name was looked up.
pub(crate) fn check_hub(conn: &Connection, hub: i64) -> Result<(), StoreError> {
    conn.prepare_cached("SELECT 1 FROM hubs WHERE id = ?1")?
        .query_row([hub], |_| Ok(()))
        .optional()?
        .ok_or_else(|| StoreError::NoHub(format!("number {hub}")))
}
