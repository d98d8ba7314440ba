//! Rewinding: requesting it, and continuing from the new history.

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    ExecutionResumedEvent, ExecutionRewoundEvent, ExecutionStartedEvent, HistoryChunk,
    HistoryEvent, OrchestrationStatus, OrchestratorStartedEvent, TaskFailureDetails,
};
use durabletask_scheduler_core::{
    ChildStart, EntityMessage, Rewound, event, is_terminal, parent_message,
};
use prost::Message;

use super::instances::{micros, timestamp};
use super::rows::Slim;
use super::writer::Tx;
use super::{Header, Note, StoreError};

/// About how many bytes of a new history make up one row, which is read as a whole.
const ROW_BYTES: usize = 128 * 1024;

impl Tx<'_> {
    /// Asks a worker to rewind a failed instance, which is running again from then on.
    pub(crate) fn rewind(
        &mut self,
        hub: i64,
        id: &str,
        reason: Option<&String>,
    ) -> Result<(), StoreError> {
        let slim = self
            .slim_by_id(hub, id)?
            .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        if slim.status != OrchestrationStatus::Failed {
            return Err(StoreError::InvalidState(format!(
                "the instance {id:?} is {}; only a FAILED one can be rewound",
                slim.status
                    .as_str_name()
                    .trim_start_matches("ORCHESTRATION_STATUS_")
            )));
        }
        self.ask_for_rewind(slim, reason.cloned(), None)
    }

    /// `parent` is the parent's new execution where it is rewound itself.
    fn ask_for_rewind(
        &mut self,
        slim: Slim,
        reason: Option<String>,
        parent: Option<&str>,
    ) -> Result<(), StoreError> {
        let Header {
            hub,
            key,
            instance_id,
            ..
        } = slim.header.clone();
        let Some(full) = self.full(key)? else {
            return Ok(());
        };
        let now = timestamp(self.now);
        self.conn
            .prepare_cached(
                "UPDATE instances SET status = ?2, updated_us = ?3, completed_us = NULL, terminate_children = 0
                 WHERE key = ?1",
            )?
            .run((key, OrchestrationStatus::Running as i32, micros(&now)))?;
        self.counts.moved(
            hub,
            full.instance.status as i32,
            OrchestrationStatus::Running as i32,
        );
        self.conn
            .prepare_cached(
                "UPDATE payloads SET output = NULL, failure = NULL WHERE instance = ?1",
            )?
            .run([key])?;
        if self.is_suspended_in_history(key)? {
            // The suspension ended with its execution.
            let resumed = EventType::ExecutionResumed(ExecutionResumedEvent::default());
            self.append_history(key, full.next_seq, event(-1, now, resumed))?;
        }
        // Nobody waits for what the failed execution left running; what the new one
        // still needs is scheduled again.
        let activities = self.withdraw_activities(key)?;
        self.notes.push(Note::Withdrawn { hub, activities });
        self.changed(hub, &instance_id);
        let instance = full.instance;
        let rewound = ExecutionRewoundEvent {
            reason,
            parent_execution_id: parent.map(str::to_owned),
            instance_id: parent.map(|_| instance_id),
            parent_trace_context: instance.parent_trace,
            name: Some(instance.name),
            version: instance.version,
            input: self.input(key)?,
            parent_instance: instance.parent,
            tags: instance.tags,
        };
        self.deliver(
            slim,
            vec![event(-1, now, EventType::ExecutionRewound(rewound))],
        )
    }

    /// Adds an event to the history that belongs to no worker's turn.
    fn append_history(
        &mut self,
        key: i64,
        next_seq: i64,
        event: HistoryEvent,
    ) -> Result<(), StoreError> {
        let chunk = HistoryChunk {
            events: vec![event],
        };
        let bytes = chunk.encode_to_vec();
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.conn
            .prepare_cached("INSERT INTO history (instance, seq, events) VALUES (?1, ?2, ?3)")?
            .run((key, next_seq, bytes))?;
        self.conn
            .prepare_cached(
                "UPDATE instances SET next_seq = ?2, history_bytes = history_bytes + ?3 WHERE key = ?1",
            )?
            .run((key, next_seq + 1, size))?;
        Ok(())
    }

    /// Replaces an instance's whole history; returns the number of its next row.
    pub(super) fn replace_history(
        &mut self,
        key: i64,
        history: &[HistoryEvent],
    ) -> Result<i64, StoreError> {
        self.conn
            .prepare_cached("DELETE FROM history WHERE instance = ?1")?
            .run([key])?;
        let mut insert = self
            .conn
            .prepare_cached("INSERT INTO history (instance, seq, events) VALUES (?1, ?2, ?3)")?;
        let mut next = 0;
        let mut row = HistoryChunk::default();
        let mut size = 0;
        for event in history {
            let len = event.encoded_len();
            if size > 0 && size + len > ROW_BYTES {
                insert.run((key, next, row.encode_to_vec()))?;
                next += 1;
                row.events.clear();
                size = 0;
            }
            size += len;
            row.events.push(event.clone());
        }
        if !row.events.is_empty() {
            insert.run((key, next, row.encode_to_vec()))?;
            next += 1;
        }
        Ok(next)
    }

    /// Resumes a rewound instance and the children that it waits for.
    pub(super) fn go_on_rewound(
        &mut self,
        header: &Header,
        rewound: Rewound,
    ) -> Result<(), StoreError> {
        for child in rewound.children {
            self.go_on_with_child(header, child, rewound.reason.as_ref())?;
        }
        // Only now: the locks of the failed execution are released before.
        for answer in rewound.answers {
            self.send(header.hub, answer)?;
        }
        for message in rewound.entity_messages {
            self.ask_entity_again(header.hub, message)?;
        }
        let has_news = self
            .conn
            .prepare_cached("SELECT 1 FROM inbox WHERE instance = ?1")?
            .exists([header.key])?;
        if has_news {
            return Ok(());
        }
        // A turn without news: the worker replays and schedules again what had failed.
        if let Some(slim) = self.slim_by_key(header.key)? {
            let wake = EventType::OrchestratorStarted(OrchestratorStartedEvent {});
            self.deliver(slim, vec![event(-1, timestamp(self.now), wake)])?;
        }
        Ok(())
    }

    /// Redirects an entity's answers to the new execution: a call that waits or runs there is
    /// answered to it, any other is sent again, and so is a lock request (that of
    /// the failed execution is dropped when its turn comes).
    fn ask_entity_again(&mut self, hub: i64, message: EntityMessage) -> Result<(), StoreError> {
        if let EntityMessage::Operation(operation) = &message
            && self.redirect_call(hub, operation)?
        {
            return Ok(());
        }
        self.entity_messages(hub, [message])
    }

    /// Redirects a child's answer to the new execution of its parent: a failed one is rewound
    /// too, one that still runs answers later, any other end is reported again. A child
    /// that was removed, or now belongs to another parent, is started again.
    fn go_on_with_child(
        &mut self,
        parent: &Header,
        child: ChildStart,
        reason: Option<&String>,
    ) -> Result<(), StoreError> {
        let Some(slim) = self.slim_by_id(parent.hub, &child.instance_id)? else {
            return self.start_child(parent, child);
        };
        let key = slim.header.key;
        let Some(full) = self.full(key)? else {
            return Ok(());
        };
        let mut instance = full.instance;
        let ours = instance
            .parent
            .as_ref()
            .and_then(|info| info.orchestration_instance.as_ref())
            .is_some_and(|identity| identity.instance_id == parent.instance_id);
        if !ours {
            return self.start_child(parent, child);
        }
        instance.parent = child.started.parent_instance;
        let details = ExecutionStartedEvent {
            tags: instance.tags.clone(),
            parent_instance: instance.parent.clone(),
            parent_trace_context: instance.parent_trace.clone(),
            ..ExecutionStartedEvent::default()
        };
        self.conn
            .prepare_cached("UPDATE instances SET details = ?2, parent_key = ?3 WHERE key = ?1")?
            .run((key, details.encode_to_vec(), parent.key))?;
        if slim.status == OrchestrationStatus::Failed {
            return self.ask_for_rewind(slim, reason.cloned(), Some(&parent.execution_id));
        }
        if !is_terminal(slim.status) {
            return Ok(());
        }
        let (output, failure): (Option<String>, Option<Vec<u8>>) = self
            .conn
            .prepare_cached("SELECT output, failure FROM payloads WHERE instance = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        instance.output = output;
        instance.failure = failure
            .map(|bytes| TaskFailureDetails::decode(&*bytes))
            .transpose()?;
        if let Some(message) = parent_message(&instance, timestamp(self.now)) {
            self.send(parent.hub, message)?;
        }
        Ok(())
    }
}
