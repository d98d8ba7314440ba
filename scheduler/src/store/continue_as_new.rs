//! Continue-as-new: which part of an inbox carries over to the next execution, and at what cost.
//!
//! Events that came from outside stay where they are, however many there are. The new
//! execution's own ones get numbers before theirs, which are free: the events that had them were
//! consumed by the turn. Results of the old execution's work are dropped. They are recognized
//! by their numbers, which are odd, so that no event has to be read.

use std::sync::Arc;

use super::engine::OptionalExtension;
use durabletask_proto::HistoryEvent;
use durabletask_proto::history_event::EventType;
use durabletask_scheduler_core::survives_continue_as_new;
use prost::Message;

use super::writer::Tx;
use super::{Header, Note, StoreError};

/// The schema step that adds this; [`renumber`] is part of it.
pub(super) const STEP: &str = "
ALTER TABLE instances ADD COLUMN status_carried INTEGER NOT NULL DEFAULT 0;
";

/// Renumbers the events of a database from before this scheme, in the same order.
pub(super) fn renumber(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    // In descending order, so that a new number never collides with an old one.
    let rows: Vec<(i64, i64, Vec<u8>)> = conn
        .prepare("SELECT instance, seq, event FROM inbox ORDER BY seq DESC")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut update = conn.prepare("UPDATE inbox SET seq = ?3 WHERE instance = ?1 AND seq = ?2")?;
    for (instance, seq, bytes) in rows {
        // Unreadable events stay; they are reported when they are dispatched.
        let ends = HistoryEvent::decode(&*bytes).is_ok_and(|event| ends_with_execution(&event));
        update.execute((instance, seq, number(seq, ends)))?;
    }
    Ok(())
}

/// Whether an event is for the execution that runs when it arrives, and for no later one.
pub(super) fn ends_with_execution(event: &HistoryEvent) -> bool {
    !event
        .event_type
        .as_ref()
        .is_some_and(survives_continue_as_new)
}

/// The number of an event that arrived as the `count`th.
pub(super) fn number(count: i64, ends_with_execution: bool) -> i64 {
    count
        .saturating_mul(2)
        .saturating_add(i64::from(ends_with_execution))
}

impl Tx<'_> {
    /// Begins the next execution of an instance: the old history and timers are removed, what came
    /// from outside stays, in order, behind `inbox`.
    pub(super) fn begin_execution(
        &mut self,
        header: &Arc<Header>,
        inbox: Vec<HistoryEvent>,
        paused: bool,
    ) -> Result<(), StoreError> {
        let key = header.key;
        self.conn
            .prepare_cached("DELETE FROM history WHERE instance = ?1")?
            .run([key])?;
        self.conn
            .prepare_cached("DELETE FROM timers WHERE instance = ?1")?
            .run([key])?;
        let dropped: Vec<i64> = self
            .conn
            .prepare_cached("DELETE FROM inbox WHERE instance = ?1 AND seq & 1 = 1 RETURNING seq")?
            .query_map([key], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let input = inbox.iter().find_map(|event| match &event.event_type {
            Some(EventType::ExecutionStarted(started)) => started.input.clone(),
            _ => None,
        });
        self.conn
            .prepare_cached(
                "UPDATE payloads SET input = ?2, output = NULL, failure = NULL WHERE instance = ?1",
            )?
            .run((key, input))?;
        let first: Option<i64> = self
            .conn
            .prepare_cached("SELECT seq FROM inbox WHERE instance = ?1 ORDER BY seq LIMIT 1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        let events = match first {
            None => self.push_inbox(key, inbox)?,
            Some(first) => {
                let count = i64::try_from(inbox.len()).unwrap_or(i64::MAX);
                let before = (first >> 1).saturating_sub(count);
                self.insert_inbox(key, inbox.into_iter().zip(before..))?
            }
        };
        self.notes.push(Note::Renewed {
            header: Arc::clone(header),
            events,
            dropped,
            paused,
        });
        Ok(())
    }

    /// Adds events to an inbox and returns them with their numbers.
    pub(crate) fn push_inbox(
        &mut self,
        key: i64,
        events: impl IntoIterator<Item = HistoryEvent>,
    ) -> Result<Vec<(i64, HistoryEvent)>, StoreError> {
        let from = self.ids.inbox + 1;
        let pushed = self.insert_inbox(key, events.into_iter().zip(from..))?;
        self.ids.inbox += i64::try_from(pushed.len()).unwrap_or(i64::MAX);
        Ok(pushed)
    }

    /// Adds events, each with the place that it has in the order of arrival.
    fn insert_inbox(
        &mut self,
        key: i64,
        events: impl IntoIterator<Item = (HistoryEvent, i64)>,
    ) -> Result<Vec<(i64, HistoryEvent)>, StoreError> {
        let mut insert = self
            .conn
            .prepare_cached("INSERT INTO inbox (instance, seq, event) VALUES (?1, ?2, ?3)")?;
        let events = events.into_iter();
        // Exactly: what waits in memory is this list.
        let mut pushed = Vec::with_capacity(events.size_hint().0);
        for (event, count) in events {
            let seq = number(count, ends_with_execution(&event));
            insert.run((key, seq, event.encode_to_vec()))?;
            pushed.push((seq, event));
        }
        Ok(pushed)
    }
}
