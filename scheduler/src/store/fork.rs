//! Forking: a new instance with another one's history up to an event.

use std::sync::Arc;

use durabletask_proto::{HistoryChunk, HistoryEvent, OrchestrationStatus};
use durabletask_scheduler_core::{Fork, Forked, fork};
use prost::Message;

use super::StoreError;
use super::instances::{Start, micros, timestamp};
use super::writer::Tx;

/// A checked request for a fork.
#[derive(Clone, Debug)]
pub(crate) struct NewFork {
    pub(crate) hub: i64,
    /// The instance whose history is taken.
    pub(crate) source: String,
    /// The execution of it that is meant, if not the present one.
    pub(crate) source_execution: Option<String>,
    /// The place of the last event that is taken, from 0.
    pub(crate) event: usize,
    /// The new instance's id.
    pub(crate) instance_id: String,
    pub(crate) execution_id: String,
}

impl Tx<'_> {
    /// Creates an instance whose history is another one's up to an event. The other one stays as it is.
    pub(crate) fn fork(&mut self, new: &NewFork) -> Result<(), StoreError> {
        self.check_hub(new.hub)?;
        let missing = || StoreError::NotFound(new.source.clone());
        let slim = self.slim_by_id(new.hub, &new.source)?.ok_or_else(missing)?;
        let key = slim.header.key;
        let present = &slim.header.execution_id;
        if let Some(wanted) = &new.source_execution
            && wanted != present
        {
            return Err(StoreError::InvalidState(format!(
                "the instance {:?} is in another execution by now, {present:?}, whose history is another one; read that first",
                new.source
            )));
        }
        if self.slim_by_id(new.hub, &new.instance_id)?.is_some() {
            return Err(StoreError::AlreadyExists(new.instance_id.clone()));
        }
        let full = self.full(key)?.ok_or_else(missing)?;
        let input = self.input(key)?;
        let forked = fork(Fork {
            source: full.instance,
            history: self.whole_history(key)?,
            event: new.event,
            instance_id: new.instance_id.clone(),
            execution_id: new.execution_id.clone(),
            now: timestamp(self.now),
        })?;
        self.apply_fork(new.hub, input, forked)
    }

    fn apply_fork(
        &mut self,
        hub: i64,
        input: Option<String>,
        forked: Forked,
    ) -> Result<(), StoreError> {
        let mut started = forked.started;
        started.input = input;
        let start = Start {
            hub,
            started,
            policy: None,
            parent_key: None,
        };
        if forked.instance.status == OrchestrationStatus::Pending {
            // Nothing but its beginning, and what had been delivered with that.
            self.insert(&start)?;
            let slim = self.slim_by_id(hub, &forked.instance.instance_id)?;
            return match slim {
                Some(slim) if !forked.news.is_empty() => self.deliver(slim, forked.news),
                _ => Ok(()),
            };
        }
        let key = self.insert_row(&start, forked.instance.status)?;
        let next_seq = self.replace_history(key, &forked.past)?;
        let size: usize = forked.past.iter().map(Message::encoded_len).sum();
        self.conn
            .prepare_cached(
                "UPDATE instances SET next_seq = ?2, history_bytes = ?3 WHERE key = ?1",
            )?
            .run((key, next_seq, i64::try_from(size).unwrap_or(i64::MAX)))?;
        let Some(slim) = self.slim_by_key(key)? else {
            return Ok(());
        };
        let header = Arc::new(slim.header.clone());
        // The news first: what is known is not answered again.
        self.deliver(slim, forked.news)?;
        for timer in forked.timers {
            self.set_timer(key, micros(&timer.fire_at), Some(&timer.event))?;
        }
        for request in forked.activities {
            self.schedule_activity(&header, request)?;
        }
        for child in forked.children {
            self.start_child(&header, child)?;
        }
        for answer in forked.answers {
            self.send(hub, answer)?;
        }
        self.entity_messages(hub, forked.entity_messages)
    }

    /// All events of an instance's present execution.
    fn whole_history(&self, key: i64) -> Result<Vec<HistoryEvent>, StoreError> {
        let mut select = self
            .conn
            .prepare_cached("SELECT events FROM history WHERE instance = ?1 ORDER BY seq")?;
        let mut rows = select.query([key])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            events.extend(HistoryChunk::decode(&*bytes)?.events);
        }
        Ok(events)
    }
}
