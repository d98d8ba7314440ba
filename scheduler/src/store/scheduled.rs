//! Moving a scheduled start.

use durabletask_proto::HistoryEvent;
use durabletask_proto::history_event::EventType;
use prost::Message;

use super::instances::micros;
use super::query::inbox;
use super::writer::Tx;
use super::{Note, StoreError};

impl Tx<'_> {
    /// Reschedules an instance that waits for its scheduled start; a time in
    /// the past means now.
    pub(crate) fn reschedule(
        &mut self,
        hub: i64,
        id: &str,
        at: prost_types::Timestamp,
    ) -> Result<(), StoreError> {
        let slim = self
            .slim_by_id(hub, id)?
            .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        if !slim.held {
            return Err(StoreError::InvalidState(format!(
                "the instance {id:?} is not waiting for a scheduled start: it has started already"
            )));
        }
        let key = slim.header.key;
        let due = micros(&at);
        // The first event tells the worker the scheduled time.
        for (seq, event) in inbox(self.conn, key, usize::MAX)? {
            let HistoryEvent {
                event_type: Some(EventType::ExecutionStarted(mut started)),
                ..
            } = event
            else {
                continue;
            };
            started.scheduled_start_timestamp = Some(at);
            let event = HistoryEvent {
                event_type: Some(EventType::ExecutionStarted(started)),
                ..event
            };
            self.conn
                .prepare_cached("UPDATE inbox SET event = ?3 WHERE instance = ?1 AND seq = ?2")?
                .run((key, seq, event.encode_to_vec()))?;
        }
        self.conn
            .prepare_cached("UPDATE timers SET fire_us = ?2 WHERE instance = ?1 AND event IS NULL")?
            .run((key, due))?;
        self.conn
            .prepare_cached("UPDATE instances SET scheduled_us = ?2 WHERE key = ?1")?
            .run((key, due))?;
        self.notes.push(Note::TimerSet(due));
        self.changed(hub, id);
        Ok(())
    }
}
