//! Purging finished instances.

use durabletask_scheduler_core::{is_entity_id, is_terminal};

use super::StoreError;
use super::query::{Place, StateFilter, places};
use super::rows::Slim;
use super::writer::{Slice, Tx};

/// What a filter purge deletes, a part at a time.
#[derive(Clone, Debug)]
pub(crate) struct PurgeFilter {
    pub(crate) filter: StateFilter,
    pub(crate) recursive: bool,
    /// Where the scan of the instances continues.
    pub(crate) after: Option<Place>,
    /// How many instances one part examines at most.
    pub(crate) limit: usize,
}

/// What one part of a purge has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) deleted: i32,
    /// Nothing is left to do; otherwise the same has to be asked for again.
    pub(crate) complete: bool,
}

impl Tx<'_> {
    /// Deletes an instance if it has finished, with its finished descendants if requested, until
    /// the time slice has ended. A missing or live instance counts as none.
    pub(crate) fn purge(
        &mut self,
        hub: i64,
        id: &str,
        recursive: bool,
        slice: Slice,
    ) -> Result<Purged, StoreError> {
        if is_entity_id(id) {
            return Ok(Purged {
                deleted: self.purge_entity(hub, id)?,
                complete: true,
            });
        }
        match self.slim_by_id(hub, id)? {
            Some(root) => self.purge_tree(root, recursive, slice),
            None => Ok(Purged {
                deleted: 0,
                complete: true,
            }),
        }
    }

    /// Deletes descendants before their parents, so that what is left when the time slice has ended, or
    /// when the process ends, is still found from the root.
    fn purge_tree(
        &mut self,
        root: Slim,
        recursive: bool,
        slice: Slice,
    ) -> Result<Purged, StoreError> {
        let mut deleted = 0;
        let mut waiting = vec![(root, false)];
        while let Some((slim, children_done)) = waiting.pop() {
            if !is_terminal(slim.status) {
                continue;
            }
            if deleted > 0 && slice.is_over() {
                return Ok(Purged {
                    deleted,
                    complete: false,
                });
            }
            let key = slim.header.key;
            if recursive && !children_done {
                waiting.push((slim, true));
                let children: Vec<i64> = self
                    .conn
                    .prepare_cached("SELECT key FROM instances WHERE parent_key = ?1 ORDER BY key")?
                    .query_map([key], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for child in children {
                    waiting.extend(self.slim_by_key(child)?.map(|child| (child, false)));
                }
                continue;
            }
            self.remove(slim.header.hub, key, &slim.header.instance_id)?;
            deleted += 1;
        }
        Ok(Purged {
            deleted,
            complete: true,
        })
    }

    /// Purges a part of what a filter selects, until the time slice has ended, and moves the filter on.
    pub(crate) fn purge_filter(
        &mut self,
        hub: i64,
        purge: &mut PurgeFilter,
        slice: Slice,
    ) -> Result<Purged, StoreError> {
        let places = places(self.conn, hub, &purge.filter, purge.after, purge.limit)?;
        let mut deleted = 0;
        for place in &places {
            if let Some(slim) = self.slim_by_key(place.key)? {
                let purged = self.purge_tree(slim, purge.recursive, slice)?;
                deleted += purged.deleted;
                if !purged.complete {
                    return Ok(Purged {
                        deleted,
                        complete: false,
                    });
                }
            }
            purge.after = Some(*place);
            if slice.is_over() {
                return Ok(Purged {
                    deleted,
                    complete: false,
                });
            }
        }
        Ok(Purged {
            deleted,
            complete: places.len() < purge.limit,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::store::{pending, schema};

    #[test]
    fn a_tree_is_purged_in_parts_from_its_leaves() {
        let conn = schema::open_memory().unwrap();
        // A root with two ended children and a live one; each of them with an ended child.
        conn.execute_batch(
            "INSERT INTO hubs (id, name) VALUES (1, 'h');
             INSERT INTO instances (key, hub, id, execution_id, name, status, held, next_seq,
                 created_us, updated_us, parent_key, details, terminate_children)
             SELECT column1, 1, 'i' || column1, 'e', 'n', column3, 0, 0, 0, 0, column2, x'', 0 FROM (VALUES
                 (1, NULL, 1), (2, 1, 1), (3, 1, 1), (4, 1, 0), (5, 2, 1), (6, 3, 1), (7, 4, 1));
             INSERT INTO payloads (instance) SELECT key FROM instances;",
        )
        .unwrap();
        let mut ids = pending::counters(&conn).unwrap();
        let mut parts = 0;
        loop {
            conn.execute_batch("BEGIN").unwrap();
            let mut tx = Tx::new(&conn, DateTime::<Utc>::UNIX_EPOCH, &mut ids);
            let purged = tx.purge(1, "i1", true, Slice::over()).unwrap();
            conn.execute_batch("COMMIT").unwrap();
            parts += 1;
            assert_eq!(purged.deleted, 1, "each part does something, and no more");
            let orphans: i64 = conn
                .query_row(
                    "SELECT count(*) FROM instances i WHERE status = 1 AND key <> 7
                     AND parent_key NOT IN (SELECT key FROM instances)",
                    (),
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(orphans, 0, "what is left is found from the root");
            if purged.complete {
                break;
            }
        }
        assert_eq!(parts, 5);
        let left: Vec<i64> = conn
            .prepare_cached("SELECT key FROM instances ORDER BY key")
            .unwrap()
            .query_map((), |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(left, [4, 7], "a live child stays, with its own");
    }
}
