//! Purging finished instances.

use durabletask_scheduler_core::{is_entity_id, is_terminal};

use super::StoreError;
use super::query::{Place, StateFilter, query};
use super::writer::Tx;

/// What a filter purge deletes, a bounded number of instances per transaction.
#[derive(Clone, Debug)]
pub(crate) struct PurgeFilter {
    pub(crate) filter: StateFilter,
    pub(crate) recursive: bool,
    /// Where the scan of the instances continues.
    pub(crate) after: Option<Place>,
    pub(crate) limit: usize,
}

impl Tx<'_> {
    /// Deletes an instance if it has finished, with its finished descendants if requested;
    /// returns how many were deleted. A missing or live instance counts as none.
    pub(crate) fn purge(&mut self, hub: i64, id: &str, recursive: bool) -> Result<i32, StoreError> {
        if is_entity_id(id) {
            return self.purge_entity(hub, id);
        }
        let Some(root) = self.slim_by_id(hub, id)? else {
            return Ok(0);
        };
        let mut waiting = vec![root];
        let mut deleted = 0;
        while let Some(slim) = waiting.pop() {
            if !is_terminal(slim.status) {
                continue;
            }
            let key = slim.header.key;
            if recursive {
                let children: Vec<i64> = self
                    .conn
                    .prepare_cached("SELECT key FROM instances WHERE parent_key = ?1")?
                    .query_map([key], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for child in children {
                    waiting.extend(self.slim_by_key(child)?);
                }
            }
            self.remove(hub, key, &slim.header.instance_id)?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Purges one batch of a filter; returns how many were deleted and where to continue.
    pub(crate) fn purge_filter(
        &mut self,
        hub: i64,
        purge: &PurgeFilter,
    ) -> Result<(i32, Option<Place>), StoreError> {
        let page = query(
            self.conn,
            hub,
            &purge.filter,
            purge.after,
            (purge.limit, usize::MAX),
            false,
        )?;
        let mut deleted = 0;
        for state in page.states {
            deleted += self.purge(hub, &state.instance_id, purge.recursive)?;
        }
        Ok((deleted, page.next))
    }
}
