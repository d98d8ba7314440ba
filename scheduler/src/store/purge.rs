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
    /// the slice is over. A missing or live instance counts as none.
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

    /// Deletes descendants before their parents, so that what is left when the slice is over, or
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
                    .prepare_cached("SELECT key FROM instances WHERE parent_key = ?1")?
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

    /// Purges a part of what a filter selects, until the slice is over, and moves the filter on.
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
