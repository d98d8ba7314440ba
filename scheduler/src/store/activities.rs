//! Activities that are waiting or running.

use std::sync::Arc;

use durabletask_proto::history_event::EventType;
use durabletask_proto::{ActivityRequest, TaskCompletedEvent, TaskFailedEvent, TaskFailureDetails};
use durabletask_scheduler_core::event;
use prost::Message;

use super::instances::timestamp;
use super::writer::Tx;
use super::{Header, Note, StoreError};

/// How an activity ended.
#[derive(Clone, Debug)]
pub(crate) enum ActivityAnswer {
    Completed(Option<String>),
    Failed(TaskFailureDetails),
}

impl Tx<'_> {
    pub(crate) fn schedule_activity(
        &mut self,
        header: &Arc<Header>,
        request: ActivityRequest,
    ) -> Result<(), StoreError> {
        self.ids.activity += 1;
        let id = self.ids.activity;
        self.conn
            .prepare_cached("INSERT INTO activities (id, instance, request) VALUES (?1, ?2, ?3)")?
            .execute((id, header.key, request.encode_to_vec()))?;
        self.notes.push(Note::Activity {
            header: Arc::clone(header),
            id,
            request: Arc::new(request),
        });
        Ok(())
    }

    /// Records an activity's end and notifies its orchestration. The row exists exactly
    /// once, so a second answer is refused; a finished or newer execution drops it.
    pub(crate) fn complete_activity(
        &mut self,
        id: i64,
        instance: i64,
        request: &ActivityRequest,
        answer: &ActivityAnswer,
    ) -> Result<(), StoreError> {
        if self
            .conn
            .prepare_cached("DELETE FROM activities WHERE id = ?1")?
            .execute([id])?
            == 0
        {
            return Err(StoreError::WorkItemGone);
        }
        let Some(slim) = self.slim_by_key(instance)? else {
            return Ok(());
        };
        let task_scheduled_id = request.task_id;
        let event_type = match answer.clone() {
            ActivityAnswer::Completed(result) => EventType::TaskCompleted(TaskCompletedEvent {
                task_scheduled_id,
                result,
            }),
            ActivityAnswer::Failed(details) => EventType::TaskFailed(TaskFailedEvent {
                task_scheduled_id,
                failure_details: Some(details),
            }),
        };
        let execution_id = request
            .orchestration_instance
            .as_ref()
            .and_then(|i| i.execution_id.as_deref());
        self.send_to(
            slim,
            execution_id,
            event(-1, timestamp(self.now), event_type),
        )
    }
}
