//! Starting instances and sending them messages.

use super::engine::OptionalExtension;
use chrono::{DateTime, Utc};
use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    ExecutionStartedEvent, HistoryEvent, OrchestrationIdReusePolicy, OrchestrationStatus,
};
use durabletask_scheduler_core::{
    Delivery, Reuse, ReuseRefusal, STARTED_ID, accept, decide, event, is_terminal, parent_message,
};
use prost::Message;
use prost_types::Timestamp;

use super::rows::Slim;
use super::writer::Tx;
use super::{Note, StoreError};

/// A checked start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) hub: i64,
    /// The first event; `orchestration_instance` names the instance and its execution.
    pub(crate) started: ExecutionStartedEvent,
    pub(crate) policy: Option<OrchestrationIdReusePolicy>,
    /// The key of the parent's row, for a child.
    pub(crate) parent_key: Option<i64>,
}

/// Microseconds since 1970, saturating, rounded up so that nothing fires early.
pub(crate) fn micros(at: &Timestamp) -> i64 {
    let sub = (i64::from(at.nanos) + 999) / 1000;
    at.seconds.saturating_mul(1_000_000).saturating_add(sub)
}

/// A wire timestamp.
pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

impl Tx<'_> {
    /// Starts an instance for a client.
    pub(crate) fn start_in_hub(&mut self, start: &Start) -> Result<(), StoreError> {
        self.check_hub(start.hub)?;
        self.start(start)
    }

    /// Starts an instance.
    pub(crate) fn start(&mut self, start: &Start) -> Result<(), StoreError> {
        let id = start
            .started
            .orchestration_instance
            .clone()
            .unwrap_or_default()
            .instance_id;
        let existing = self.slim_by_id(start.hub, &id)?;
        match decide(
            existing.as_ref().map(|slim| slim.status),
            start.policy.as_ref(),
        ) {
            Reuse::AlreadyExists => return Err(StoreError::AlreadyExists(id)),
            Reuse::Contradiction => {
                return Err(StoreError::Reuse(ReuseRefusal::LiveWithoutTerminated));
            }
            Reuse::Ignore => return Ok(()),
            Reuse::Create => {}
            Reuse::Replace => {
                if let Some(old) = existing {
                    self.give_way(&old)?;
                }
            }
        }
        self.insert(start)
    }

    /// Removes an instance that a new one replaces; its parent sees a live one as terminated.
    fn give_way(&mut self, old: &Slim) -> Result<(), StoreError> {
        if !is_terminal(old.status)
            && let Some(mut full) = self.full(old.header.key)?
        {
            full.instance.status = OrchestrationStatus::Terminated;
            if let Some(message) = parent_message(&full.instance, timestamp(self.now)) {
                self.send(old.header.hub, message)?;
            }
        }
        self.remove(old.header.hub, old.header.key, &old.header.instance_id)
    }

    /// Inserts a new instance with its first event in the inbox.
    pub(super) fn insert(&mut self, start: &Start) -> Result<(), StoreError> {
        let key = self.insert_row(start, OrchestrationStatus::Pending)?;
        let Some(slim) = self.slim_by_key(key)? else {
            return Ok(());
        };
        let now = timestamp(self.now);
        self.deliver(
            slim,
            vec![event(
                STARTED_ID,
                now,
                EventType::ExecutionStarted(start.started.clone()),
            )],
        )
    }

    /// Inserts a new instance without any events; yields its key.
    pub(super) fn insert_row(
        &mut self,
        start: &Start,
        status: OrchestrationStatus,
    ) -> Result<i64, StoreError> {
        let started = &start.started;
        let identity = started.orchestration_instance.clone().unwrap_or_default();
        let now_us = micros(&timestamp(self.now));
        let due = started
            .scheduled_start_timestamp
            .as_ref()
            .map(micros)
            .filter(|due| *due > now_us);
        self.ids.instance += 1;
        let key = self.ids.instance;
        let details = ExecutionStartedEvent {
            tags: started.tags.clone(),
            parent_instance: started.parent_instance.clone(),
            parent_trace_context: started.parent_trace_context.clone(),
            ..ExecutionStartedEvent::default()
        };
        self.conn
            .prepare_cached(
                "INSERT INTO instances (key, hub, id, execution_id, name, version, status, held, next_seq, created_us,
                     updated_us, scheduled_us, parent_key, details, terminate_children)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?9, ?10, ?11, ?12, 0)",
            )?
            .run((
                key,
                start.hub,
                &identity.instance_id,
                &identity.execution_id,
                &started.name,
                &started.version,
                status as i32,
                due.is_some(),
                now_us,
                due,
                start.parent_key,
                details.encode_to_vec(),
            ))?;
        self.counts.plus(start.hub, status as i32);
        self.conn
            .prepare_cached("INSERT INTO payloads (instance, input) VALUES (?1, ?2)")?
            .run((key, &started.input))?;
        self.insert_tags(start.hub, key, &started.tags)?;
        if let Some(due) = due {
            self.set_timer(key, due, None)?;
        }
        self.changed(start.hub, &identity.instance_id);
        Ok(key)
    }

    /// Sends a message to an instance of the hub; one that cannot accept it drops it.
    pub(crate) fn send(
        &mut self,
        hub: i64,
        message: durabletask_scheduler_core::Message,
    ) -> Result<(), StoreError> {
        let Some(slim) = self.slim_by_id(hub, &message.instance_id)? else {
            tracing::debug!(
                instance_id = message.instance_id,
                "a message to a missing instance was dropped"
            );
            return Ok(());
        };
        self.send_to(slim, message.execution_id.as_deref(), message.event)
    }

    /// Like [`Tx::send`], from a client, which gets an error for a missing instance.
    pub(crate) fn raise(
        &mut self,
        hub: i64,
        instance_id: &str,
        event_type: EventType,
    ) -> Result<(), StoreError> {
        let slim = self
            .slim_by_id(hub, instance_id)?
            .ok_or_else(|| StoreError::NotFound(instance_id.to_owned()))?;
        self.send_to(slim, None, event(-1, timestamp(self.now), event_type))
    }

    pub(crate) fn send_to(
        &mut self,
        slim: Slim,
        execution_id: Option<&str>,
        event: HistoryEvent,
    ) -> Result<(), StoreError> {
        let Some(event_type) = &event.event_type else {
            return Ok(());
        };
        match accept(
            slim.status,
            &slim.header.execution_id,
            execution_id,
            event_type,
        ) {
            Delivery::Accept => match event_type {
                EventType::ExecutionTerminated(_) => self.tell_to_end(slim, event),
                EventType::ExecutionSuspended(_) => self.suspend(slim, event),
                EventType::ExecutionResumed(_) => self.resume(slim, event),
                _ => self.deliver(slim, vec![event]),
            },
            Delivery::Drop(reason) => {
                tracing::debug!(
                    instance_id = slim.header.instance_id,
                    ?reason,
                    "a message was dropped"
                );
                Ok(())
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        hub: i64,
        key: i64,
        instance_id: &str,
    ) -> Result<(), StoreError> {
        let status: Option<i32> = self
            .conn
            .prepare_cached("DELETE FROM instances WHERE key = ?1 RETURNING status")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        if let Some(status) = status {
            self.counts.minus(hub, status);
        }
        self.conn
            .prepare_cached("DELETE FROM payloads WHERE instance = ?1")?
            .run([key])?;
        self.conn
            .prepare_cached("DELETE FROM history WHERE instance = ?1")?
            .run([key])?;
        self.conn
            .prepare_cached("DELETE FROM inbox WHERE instance = ?1")?
            .run([key])?;
        self.conn
            .prepare_cached("DELETE FROM timers WHERE instance = ?1")?
            .run([key])?;
        self.remove_tags(key)?;
        self.release_locks(hub, instance_id)?;
        let activities = self.withdraw_activities(key)?;
        self.notes.push(Note::Gone {
            hub,
            key,
            instance_id: instance_id.to_owned(),
            activities,
        });
        Ok(())
    }

    /// Deletes an instance's unfinished activities and returns their numbers.
    pub(super) fn withdraw_activities(&mut self, key: i64) -> Result<Vec<i64>, StoreError> {
        Ok(self
            .conn
            .prepare_cached("DELETE FROM activities WHERE instance = ?1 RETURNING id")?
            .query_map([key], |row| row.get(0))?
            .collect::<Result<_, _>>()?)
    }
}
