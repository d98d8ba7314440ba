//! Suspending and resuming: the status changes at once, workers learn of it with their next turn.

use durabletask_proto::{HistoryChunk, HistoryEvent, OrchestrationStatus};
use durabletask_scheduler_core::suspension_after;
use prost::Message;

use super::StoreError;
use super::instances::{micros, timestamp};
use super::rows::Slim;
use super::writer::Tx;

impl Tx<'_> {
    /// Suspends a live instance. A second suspension is kept from workers: an official
    /// one buffers it with the events that it holds back, and never ends the turn that resumes.
    pub(super) fn suspend(
        &mut self,
        mut slim: Slim,
        suspended: HistoryEvent,
    ) -> Result<(), StoreError> {
        if self.is_suspended(&slim)? {
            return Ok(());
        }
        let resumes_to = match slim.status {
            OrchestrationStatus::Pending => OrchestrationStatus::Pending,
            _ => OrchestrationStatus::Running,
        };
        let before = slim.status as i32;
        slim.status = OrchestrationStatus::Suspended;
        self.counts
            .moved(slim.header.hub, before, slim.status as i32);
        self.conn
            .prepare_cached(
                "UPDATE instances SET status = ?2, resumes_to = ?3, updated_us = ?4 WHERE key = ?1",
            )?
            .run((
                slim.header.key,
                slim.status as i32,
                resumes_to as i32,
                micros(&timestamp(self.now)),
            ))?;
        self.changed(slim.header.hub, &slim.header.instance_id);
        self.deliver(slim, vec![suspended])
    }

    /// Resumes a suspended instance; any other drops it.
    pub(super) fn resume(
        &mut self,
        mut slim: Slim,
        resumed: HistoryEvent,
    ) -> Result<(), StoreError> {
        if !self.is_suspended(&slim)? {
            return Ok(());
        }
        let before = slim.status as i32;
        slim.status = OrchestrationStatus::Running;
        let after: i32 = self
            .conn
            .prepare_cached(
                "UPDATE instances SET status = coalesce(resumes_to, ?2), resumes_to = NULL, updated_us = ?3
                 WHERE key = ?1 RETURNING status",
            )?
            .query_row(
                (
                    slim.header.key,
                    slim.status as i32,
                    micros(&timestamp(self.now)),
                ),
                |row| row.get(0),
            )?;
        self.counts.moved(slim.header.hub, before, after);
        self.changed(slim.header.hub, &slim.header.instance_id);
        self.deliver(slim, vec![resumed])
    }

    /// Whether the instance will be suspended once it has received all of its inbox.
    fn is_suspended(&self, slim: &Slim) -> Result<bool, StoreError> {
        // An earlier version of this program changed the status with the worker's turn, so
        // the inbox takes precedence if it has such an event.
        let waiting = self.suspension_waiting(slim.header.key, i64::MIN)?;
        Ok(waiting.unwrap_or(slim.status == OrchestrationStatus::Suspended))
    }

    /// The last suspension or resumption in the inbox after the event `through`.
    pub(super) fn suspension_waiting(
        &self,
        key: i64,
        through: i64,
    ) -> Result<Option<bool>, StoreError> {
        let waiting = super::query::inbox(self.conn, key, usize::MAX)?;
        Ok(suspension_after(
            waiting
                .iter()
                .filter(|(seq, _)| *seq > through)
                .map(|(_, event)| event),
        ))
    }

    /// Whether the history leaves an instance suspended.
    pub(super) fn is_suspended_in_history(&self, key: i64) -> Result<bool, StoreError> {
        let mut select = self
            .conn
            .prepare_cached("SELECT events FROM history WHERE instance = ?1 ORDER BY seq DESC")?;
        let mut rows = select.query([key])?;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            let chunk = HistoryChunk::decode(&*bytes)?;
            if let Some(suspended) = suspension_after(&chunk.events) {
                return Ok(suspended);
            }
        }
        Ok(false)
    }
}
