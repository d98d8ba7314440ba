//! Purging entities.

use super::engine::OptionalExtension;
use durabletask_proto::history_event::EventType;
use durabletask_proto::{HistoryEvent, TaskFailureDetails};
use durabletask_scheduler_core::{Caller, canonical_entity_id, failed_call};
use prost::Message;

use super::instances::timestamp;
use super::writer::Tx;
use super::{Note, StoreError};

impl Tx<'_> {
    /// Deletes an entity with its state and its operations; returns 1 if there was one.
    /// No caller is left waiting: calls are answered with a failure, whether they run or
    /// not. A lock stays with its holder, and waiting lock requests keep their order.
    pub(crate) fn purge_entity(&mut self, hub: i64, id: &str) -> Result<i32, StoreError> {
        let Some(id) = canonical_entity_id(id) else {
            return Ok(0);
        };
        let Some(entity) = self.entity_by_id(hub, &id)? else {
            return Ok(0);
        };
        let key = entity.header.key;
        let (mut calls, mut locks) = (Vec::new(), Vec::new());
        for sql in [
            "SELECT event, is_lock, parent, parent_execution FROM entity_inbox WHERE entity = ?1 ORDER BY seq",
            "SELECT event, 0, NULL, NULL FROM timers WHERE instance = ?1 AND event IS NOT NULL ORDER BY id",
        ] {
            let mut select = self.conn.prepare_cached(sql)?;
            let mut rows = select.query([key])?;
            while let Some(row) = rows.next()? {
                let bytes: Vec<u8> = row.get(0)?;
                let event = HistoryEvent::decode(&*bytes)?;
                if row.get(1)? {
                    locks.push((event, row.get(2)?, row.get(3)?));
                } else if let Some(EventType::EntityOperationCalled(call)) = event.event_type {
                    calls.push(call);
                }
            }
        }
        self.delete_entity(key)?;
        if entity.lock.is_some() || !locks.is_empty() {
            self.carry_locks(hub, &id, entity.lock, locks)?;
        }
        let now = timestamp(self.now);
        for call in calls {
            let details = TaskFailureDetails {
                error_type: "EntityPurged".to_owned(),
                error_message: format!(
                    "The entity {id} was purged while the call of '{}' was waiting or running.",
                    call.operation
                ),
                ..TaskFailureDetails::default()
            };
            self.send(hub, failed_call(call, details, now))?;
        }
        Ok(1)
    }

    /// Recreates an entity that has only its lock and those who wait for it.
    fn carry_locks(
        &mut self,
        hub: i64,
        id: &str,
        lock: Option<(Caller, String)>,
        waiting: Vec<(HistoryEvent, Option<String>, Option<String>)>,
    ) -> Result<(), StoreError> {
        let mut entity = self.ensure_entity(hub, id)?;
        let key = entity.header.key;
        if let Some((holder, section)) = &lock {
            self.conn
                .prepare_cached(
                    "UPDATE entities SET locked_by = ?2, lock_execution = ?3, lock_section = ?4 WHERE key = ?1",
                )?
                .run((key, &holder.instance_id, &holder.execution_id, section))?;
        }
        entity.lock = lock;
        for (event, parent, execution) in waiting {
            self.push_entity_inbox(key, true, parent.as_deref(), execution.as_deref(), &event)?;
        }
        let next = self.settle_entity(entity)?;
        self.entity_messages(hub, next)
    }

    /// Deletes an entity with all that waits for it.
    pub(super) fn delete_entity(&mut self, key: i64) -> Result<(), StoreError> {
        let hub: Option<i64> = self
            .conn
            .prepare_cached("DELETE FROM entities WHERE key = ?1 RETURNING hub")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        for sql in [
            "DELETE FROM entity_inbox WHERE entity = ?1",
            "DELETE FROM timers WHERE instance = ?1",
        ] {
            self.conn.prepare_cached(sql)?.run([key])?;
        }
        if let Some(hub) = hub {
            self.notes.push(Note::EntityGone { hub, key });
        }
        Ok(())
    }
}
