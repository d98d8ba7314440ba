//! Entities: their queues, their locks, and the batches that change them.
//!
//! Invariant between transactions: no lock request is at the head of an unlocked
//! entity's queue: every change to a queue also settles it, so that a worker is
//! needed only for operations.

use std::collections::VecDeque;
use std::sync::Arc;

use super::engine::{Connection, OptionalExtension, Row};
use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    EntityBatchResult, ExecutionStartedEvent, HistoryEvent, OrchestrationInstance,
    StartNewOrchestrationAction,
};
use durabletask_scheduler_core::{
    Batch, Caller, EntityMessage, LockRequest, Locked, OperationMessage, after_lock, apply_batch,
    is_instance_id, is_terminal, operations_done,
};
use prost::Message;

use super::instances::{Start, micros, timestamp};
use super::writer::Tx;
use super::{Note, StoreError};

/// What dispatch needs to know of an entity to find a worker for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntityHeader {
    pub(crate) hub: i64,
    pub(crate) key: i64,
    pub(crate) id: String,
}

/// Operations for a worker, with the state that they start from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EntityBatch {
    pub(crate) state: Option<String>,
    /// With their numbers in the queue.
    pub(crate) operations: Vec<(i64, HistoryEvent)>,
}

/// An entity's row without its state.
pub(super) struct Entity {
    pub(super) header: EntityHeader,
    has_state: bool,
    pub(super) lock: Option<(Caller, String)>,
}

const COLUMNS: &str =
    "SELECT hub, key, id, state IS NOT NULL, locked_by, lock_execution, lock_section FROM entities";

fn read(row: &Row<'_>) -> super::engine::Result<Entity> {
    let locked_by: Option<String> = row.get(4)?;
    let execution: Option<String> = row.get(5)?;
    let section: Option<String> = row.get(6)?;
    Ok(Entity {
        header: EntityHeader {
            hub: row.get(0)?,
            key: row.get(1)?,
            id: row.get(2)?,
        },
        has_state: row.get(3)?,
        lock: locked_by.map(|instance_id| {
            let caller = Caller {
                instance_id,
                execution_id: execution.unwrap_or_default(),
            };
            (caller, section.unwrap_or_default())
        }),
    })
}

/// Passes on all entities with an operation that can run.
pub(super) fn runnable(
    conn: &Connection,
    found: &mut dyn FnMut(EntityHeader),
) -> super::engine::Result<()> {
    let mut select = conn.prepare_cached(
        "SELECT e.hub, e.key, e.id FROM entities e WHERE EXISTS (
             SELECT 1 FROM entity_inbox b WHERE b.entity = e.key AND b.is_lock = 0
                 AND (e.locked_by IS NULL OR b.parent = e.locked_by))
         ORDER BY e.key",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        found(EntityHeader {
            hub: row.get(0)?,
            key: row.get(1)?,
            id: row.get(2)?,
        });
    }
    Ok(())
}

impl Tx<'_> {
    /// Sends messages to entities, and those that follow from them, until none is left.
    pub(crate) fn entity_messages(
        &mut self,
        hub: i64,
        messages: impl IntoIterator<Item = EntityMessage>,
    ) -> Result<(), StoreError> {
        let mut open: VecDeque<EntityMessage> = messages.into_iter().collect();
        while let Some(message) = open.pop_front() {
            let next = match message {
                EntityMessage::Operation(operation) => self.enqueue_operation(hub, *operation)?,
                EntityMessage::Lock(request) => self.enqueue_lock(hub, request)?,
                EntityMessage::Unlock {
                    entity_id,
                    critical_section_id,
                    instance_id,
                } => self.unlock(hub, &entity_id, &critical_section_id, &instance_id)?,
            };
            // A request passes through all its entities before anything else moves.
            if let Some(next) = next {
                open.push_front(next);
            }
        }
        Ok(())
    }

    fn enqueue_operation(
        &mut self,
        hub: i64,
        operation: OperationMessage,
    ) -> Result<Option<EntityMessage>, StoreError> {
        let entity = self.ensure_entity(hub, &operation.entity_id)?;
        let key = entity.header.key;
        let now_us = micros(&timestamp(self.now));
        if let Some(due) = operation.due.as_ref().map(micros).filter(|at| *at > now_us) {
            self.set_timer(key, due, Some(&operation.event))?;
            return Ok(None);
        }
        let parent = operation.caller.map(|caller| caller.instance_id);
        self.push_entity_inbox(key, false, parent.as_deref(), None, &operation.event)?;
        self.settle_entity(entity)
    }

    /// Redirects the answer of a call that an earlier execution of its caller made, and that
    /// still waits or runs, to the execution that `again` names. False if there is no such
    /// call.
    pub(super) fn redirect_call(
        &mut self,
        hub: i64,
        again: &OperationMessage,
    ) -> Result<bool, StoreError> {
        let (Some(EventType::EntityOperationCalled(call)), Some(entity)) = (
            &again.event.event_type,
            self.entity_by_id(hub, &again.entity_id)?,
        ) else {
            return Ok(false);
        };
        for (find, change) in [
            (
                "SELECT seq, event FROM entity_inbox WHERE entity = ?1 AND is_lock = 0 ORDER BY seq",
                "UPDATE entity_inbox SET event = ?3 WHERE entity = ?1 AND seq = ?2",
            ),
            (
                "SELECT id, event FROM timers WHERE instance = ?1 AND event IS NOT NULL ORDER BY id",
                "UPDATE timers SET event = ?3 WHERE instance = ?1 AND id = ?2",
            ),
        ] {
            let key = entity.header.key;
            let found = {
                let mut find = self.conn.prepare_cached(find)?;
                let mut rows = find.query([key])?;
                let mut found = None;
                while let Some(row) = rows.next()? {
                    let bytes: Vec<u8> = row.get(1)?;
                    let event = HistoryEvent::decode(&*bytes)?;
                    if let Some(EventType::EntityOperationCalled(waiting)) = &event.event_type
                        && waiting.request_id == call.request_id
                        && waiting.parent_instance_id == call.parent_instance_id
                    {
                        found = Some((row.get::<_, i64>(0)?, event));
                        break;
                    }
                }
                found
            };
            let Some((row, mut event)) = found else {
                continue;
            };
            if let Some(EventType::EntityOperationCalled(waiting)) = &mut event.event_type {
                waiting
                    .parent_execution_id
                    .clone_from(&call.parent_execution_id);
            }
            self.conn
                .prepare_cached(change)?
                .run((key, row, event.encode_to_vec()))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn enqueue_lock(
        &mut self,
        hub: i64,
        request: LockRequest,
    ) -> Result<Option<EntityMessage>, StoreError> {
        let Some(entity_id) = request.lock_set.get(request.position) else {
            return Ok(None);
        };
        let entity = self.ensure_entity(hub, entity_id)?;
        if let Some((holder, section)) = &entity.lock
            && *holder == request.caller
            && *section == request.critical_section_id
        {
            // The lock set names this entity twice.
            return self.follow_lock(hub, request);
        }
        let event = request.to_event(timestamp(self.now));
        self.push_entity_inbox(
            entity.header.key,
            true,
            Some(&request.caller.instance_id),
            Some(&request.caller.execution_id),
            &event,
        )?;
        self.settle_entity(entity)
    }

    fn unlock(
        &mut self,
        hub: i64,
        entity_id: &str,
        section: &str,
        instance_id: &str,
    ) -> Result<Option<EntityMessage>, StoreError> {
        let Some(entity) = self.entity_by_id(hub, entity_id)? else {
            return Ok(None);
        };
        match &entity.lock {
            Some((holder, held))
                if holder.instance_id == instance_id && (section.is_empty() || section == held) =>
            {
                self.clear_lock(entity)
            }
            // A repeated unlock, or one of a section that was released already.
            _ => Ok(None),
        }
    }

    /// Releases every lock that an instance holds, because its execution has ended.
    pub(crate) fn release_locks(&mut self, hub: i64, instance_id: &str) -> Result<(), StoreError> {
        let held: Vec<Entity> = self
            .conn
            .prepare_cached(&format!(
                "{COLUMNS} WHERE hub = ?1 AND locked_by = ?2 ORDER BY key"
            ))?
            .query_map((hub, instance_id), read)?
            .collect::<Result<_, _>>()?;
        for entity in held {
            let next = self.clear_lock(entity)?;
            self.entity_messages(hub, next)?;
        }
        Ok(())
    }

    fn clear_lock(&mut self, mut entity: Entity) -> Result<Option<EntityMessage>, StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE entities SET locked_by = NULL, lock_execution = NULL, lock_section = NULL WHERE key = ?1",
            )?
            .run([entity.header.key])?;
        entity.lock = None;
        self.settle_entity(entity)
    }

    /// Settles a queue: grants the lock at its head, tells dispatch
    /// whether an operation can run, and removes an entity of which nothing is left.
    /// Returns the lock request that continues to its next entity.
    pub(super) fn settle_entity(
        &mut self,
        mut entity: Entity,
    ) -> Result<Option<EntityMessage>, StoreError> {
        let key = entity.header.key;
        let hub = entity.header.hub;
        let mut next = None;
        while entity.lock.is_none() {
            let head: Option<(i64, bool, Option<String>, Vec<u8>)> = self
                .conn
                .prepare_cached(
                    "SELECT seq, is_lock, parent_execution, event FROM entity_inbox
                     WHERE entity = ?1 ORDER BY seq LIMIT 1",
                )?
                .query_row([key], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((seq, true, execution, bytes)) = head else {
                break;
            };
            self.conn
                .prepare_cached("DELETE FROM entity_inbox WHERE entity = ?1 AND seq = ?2")?
                .run((key, seq))?;
            let request = LockRequest::from_event(
                HistoryEvent::decode(&*bytes)?,
                execution.unwrap_or_default(),
            );
            // A lock for an execution that has ended would never be released.
            if let Some(request) = request
                && self.is_running(hub, &request.caller)?
            {
                let caller = &request.caller;
                self.conn
                    .prepare_cached(
                        "UPDATE entities SET locked_by = ?2, lock_execution = ?3, lock_section = ?4 WHERE key = ?1",
                    )?
                    .run((
                        key,
                        &caller.instance_id,
                        &caller.execution_id,
                        &request.critical_section_id,
                    ))?;
                entity.lock = Some((caller.clone(), request.critical_section_id.clone()));
                next = self.follow_lock(hub, request)?;
            }
        }
        let runnable = match &entity.lock {
            None => self.exists(
                "SELECT EXISTS (SELECT 1 FROM entity_inbox WHERE entity = ?1)",
                [key],
            )?,
            Some((holder, _)) => self.exists(
                "SELECT EXISTS (SELECT 1 FROM entity_inbox WHERE entity = ?1 AND parent = ?2 AND is_lock = 0)",
                (key, &holder.instance_id),
            )?,
        };
        if !runnable && entity.lock.is_none() && !entity.has_state && !self.has_timers(key)? {
            self.conn
                .prepare_cached("DELETE FROM entities WHERE key = ?1")?
                .run([key])?;
            self.notes.push(Note::EntityGone { hub, key });
        } else {
            self.notes.push(Note::Entity {
                header: Arc::new(entity.header),
                runnable,
            });
        }
        Ok(next)
    }

    /// The step after a lock: the next entity, or the grant to the orchestration.
    fn follow_lock(
        &mut self,
        hub: i64,
        request: LockRequest,
    ) -> Result<Option<EntityMessage>, StoreError> {
        match after_lock(request, timestamp(self.now)) {
            Locked::Next(request) => Ok(Some(EntityMessage::Lock(request))),
            Locked::Granted(message) => {
                self.send(hub, *message)?;
                Ok(None)
            }
        }
    }

    fn is_running(&self, hub: i64, caller: &Caller) -> Result<bool, StoreError> {
        Ok(self
            .slim_by_id(hub, &caller.instance_id)?
            .is_some_and(|slim| {
                !is_terminal(slim.status) && slim.header.execution_id == caller.execution_id
            }))
    }

    fn exists(&self, sql: &str, values: impl super::engine::Params) -> Result<bool, StoreError> {
        Ok(self
            .conn
            .prepare_cached(sql)?
            .query_row(values, |row| row.get(0))?)
    }

    fn has_timers(&self, key: i64) -> Result<bool, StoreError> {
        self.exists(
            "SELECT EXISTS (SELECT 1 FROM timers WHERE instance = ?1)",
            [key],
        )
    }

    pub(super) fn entity_by_id(&self, hub: i64, id: &str) -> Result<Option<Entity>, StoreError> {
        Ok(self
            .conn
            .prepare_cached(&format!("{COLUMNS} WHERE hub = ?1 AND id = ?2"))?
            .query_row((hub, id), read)
            .optional()?)
    }

    fn entity_by_key(&self, key: i64) -> Result<Option<Entity>, StoreError> {
        Ok(self
            .conn
            .prepare_cached(&format!("{COLUMNS} WHERE key = ?1"))?
            .query_row([key], read)
            .optional()?)
    }

    pub(super) fn ensure_entity(&mut self, hub: i64, id: &str) -> Result<Entity, StoreError> {
        if let Some(entity) = self.entity_by_id(hub, id)? {
            return Ok(entity);
        }
        self.ids.instance += 1;
        let key = self.ids.instance;
        self.conn
            .prepare_cached(
                "INSERT INTO entities (key, hub, id, modified_us) VALUES (?1, ?2, ?3, ?4)",
            )?
            .run((key, hub, id, micros(&timestamp(self.now))))?;
        Ok(Entity {
            header: EntityHeader {
                hub,
                key,
                id: id.to_owned(),
            },
            has_state: false,
            lock: None,
        })
    }

    pub(super) fn push_entity_inbox(
        &mut self,
        key: i64,
        is_lock: bool,
        parent: Option<&str>,
        parent_execution: Option<&str>,
        event: &HistoryEvent,
    ) -> Result<(), StoreError> {
        self.ids.inbox += 1;
        self.conn
            .prepare_cached(
                "INSERT INTO entity_inbox (entity, seq, is_lock, parent, parent_execution, event)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .run((
                key,
                self.ids.inbox,
                is_lock,
                parent,
                parent_execution,
                event.encode_to_vec(),
            ))?;
        Ok(())
    }

    /// Delivers a scheduled operation whose time has come.
    pub(crate) fn fire_signal(
        &mut self,
        key: i64,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let (Some(entity), Some(bytes)) = (self.entity_by_key(key)?, bytes) else {
            return Ok(());
        };
        let hub = entity.header.hub;
        let event = HistoryEvent::decode(&*bytes)?;
        let parent = match &event.event_type {
            Some(EventType::EntityOperationCalled(call)) => call.parent_instance_id.clone(),
            _ => None,
        };
        self.push_entity_inbox(key, false, parent.as_deref(), None, &event)?;
        let next = self.settle_entity(entity)?;
        self.entity_messages(hub, next)
    }

    /// Commits a batch, or refuses it if its entity was removed.
    pub(crate) fn complete_batch(
        &mut self,
        key: i64,
        batch: &EntityBatch,
        result: &EntityBatchResult,
    ) -> Result<(), StoreError> {
        let mut entity = self.entity_by_key(key)?.ok_or(StoreError::WorkItemGone)?;
        let hub = entity.header.hub;
        // Read back, since a rewind may have changed which execution an answer goes to.
        let mut operations = Vec::new();
        let done = operations_done(result, batch.operations.len());
        for (seq, given) in batch.operations.iter().take(done) {
            let stored: Option<Vec<u8>> = self
                .conn
                .prepare_cached(
                    "DELETE FROM entity_inbox WHERE entity = ?1 AND seq = ?2 RETURNING event",
                )?
                .query_row((key, seq), |row| row.get(0))
                .optional()?;
            operations.push(match stored {
                Some(bytes) => HistoryEvent::decode(&*bytes)?,
                None => given.clone(),
            });
        }
        let effects = apply_batch(Batch {
            state: batch.state.clone(),
            operations,
            result: result.clone(),
            now: timestamp(self.now),
        });
        self.conn
            .prepare_cached("UPDATE entities SET state = ?2, modified_us = ?3 WHERE key = ?1")?
            .run((key, &effects.state, micros(&timestamp(self.now))))?;
        entity.has_state = effects.state.is_some();
        for reply in effects.replies {
            self.send(hub, reply)?;
        }
        let signals = effects.signals.into_iter().map(|mut signal| {
            if let Some(EventType::EntityOperationSignaled(signaled)) = &mut signal.event.event_type
            {
                signaled.request_id = uuid::Uuid::new_v4().to_string();
            }
            EntityMessage::Operation(Box::new(signal))
        });
        // The queue is settled first: a signal to this very entity settles it again.
        let next = self.settle_entity(entity)?;
        self.entity_messages(hub, next.into_iter().chain(signals))?;
        for start in effects.starts {
            self.start_from_entity(hub, start)?;
        }
        Ok(())
    }

    /// Starts an orchestration for an entity. Nobody waits for an answer, so
    /// a start that cannot be carried out is logged and dropped.
    fn start_from_entity(
        &mut self,
        hub: i64,
        start: StartNewOrchestrationAction,
    ) -> Result<(), StoreError> {
        let instance_id = if start.instance_id.is_empty() {
            uuid::Uuid::new_v4().simple().to_string()
        } else {
            start.instance_id
        };
        let valid = !start.name.is_empty() && is_instance_id(&instance_id);
        let taken = self
            .slim_by_id(hub, &instance_id)?
            .is_some_and(|slim| !is_terminal(slim.status));
        if !valid || taken {
            tracing::warn!(
                instance_id,
                name = start.name,
                "an entity's start of an orchestration was dropped: the id is not valid, or a live instance has it"
            );
            return Ok(());
        }
        self.start(&Start {
            hub,
            started: ExecutionStartedEvent {
                name: start.name,
                version: start.version,
                input: start.input,
                orchestration_instance: Some(OrchestrationInstance {
                    instance_id,
                    execution_id: Some(uuid::Uuid::new_v4().simple().to_string()),
                }),
                scheduled_start_timestamp: start.scheduled_time.filter(|at| at.seconds > 0),
                parent_trace_context: start.parent_trace_context,
                ..ExecutionStartedEvent::default()
            },
            policy: None,
            parent_key: None,
        })
    }

    /// Whether an instance holds the lock of an entity.
    pub(super) fn holds_locks(&self, hub: i64, instance_id: &str) -> Result<bool, StoreError> {
        Ok(self
            .conn
            .prepare_cached("SELECT 1 FROM entities WHERE hub = ?1 AND locked_by = ?2")?
            .exists((hub, instance_id))?)
    }

    /// One step of a sweep over the hub's entities: removes those of which nothing is
    /// left, releases locks whose holder has ended. Both also happen without it; this is
    /// for databases that were changed by other means. Returns the two counts.
    pub(crate) fn sweep_entities(
        &mut self,
        hub: i64,
        ids: &[String],
        remove_empty: bool,
        release_orphaned: bool,
    ) -> Result<(i32, i32), StoreError> {
        let (mut removed, mut released) = (0, 0);
        for id in ids {
            let Some(entity) = self.entity_by_id(hub, id)? else {
                continue;
            };
            let orphaned = match &entity.lock {
                Some((holder, _)) => !self.is_running(hub, holder)?,
                None => false,
            };
            if release_orphaned && orphaned {
                released += 1;
                let next = self.clear_lock(entity)?;
                self.entity_messages(hub, next)?;
            } else if remove_empty && entity.lock.is_none() && !entity.has_state {
                let before = entity.header.key;
                let next = self.settle_entity(entity)?;
                self.entity_messages(hub, next)?;
                removed += i32::from(self.entity_by_key(before)?.is_none());
            }
        }
        Ok((removed, released))
    }
}
