//! An instance between its turns, and which messages it accepts.

use std::collections::HashMap;

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    HistoryEvent, OrchestrationStatus, OrchestrationTraceContext, ParentInstanceInfo,
    TaskFailureDetails, TraceContext,
};
use prost_types::Timestamp;

use crate::is_entity_id;

/// The longest instance id, in characters.
pub const MAX_INSTANCE_ID: usize = 100;

/// Whether a text can be the id of an orchestration's instance: 1 to [`MAX_INSTANCE_ID`]
/// characters, the first of which is not `@`, with which entity ids begin.
#[must_use]
pub fn is_instance_id(text: &str) -> bool {
    !text.is_empty() && !is_entity_id(text) && text.chars().count() <= MAX_INSTANCE_ID
}

/// An instance's state besides its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The instance id, unique in its task hub.
    pub instance_id: String,
    /// The id of the current execution; continue-as-new changes it.
    pub execution_id: String,
    /// The orchestration's name.
    pub name: String,
    /// The orchestration's version, if it has one.
    pub version: Option<String>,
    /// The current status.
    pub status: OrchestrationStatus,
    /// The custom status, JSON text, as the last turn set it.
    pub custom_status: Option<String>,
    /// The custom status was set by an earlier execution, and stays until this one sets it.
    pub status_carried: bool,
    /// Labels given at the start.
    pub tags: HashMap<String, String>,
    /// The orchestration that started this one as its child.
    pub parent: Option<ParentInstanceInfo>,
    /// The trace context of the start.
    pub parent_trace: Option<TraceContext>,
    /// The span of this orchestration, carried from turn to turn.
    pub span: Option<OrchestrationTraceContext>,
    /// Whether a delivered termination includes the children.
    pub terminate_children: bool,
    /// The result, JSON text, once terminal.
    pub output: Option<String>,
    /// Why it failed, once FAILED.
    pub failure: Option<TaskFailureDetails>,
}

/// Whether an instance accepts a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It goes into the inbox.
    Accept,
    /// It is dropped, without an error for the sender.
    Drop(DropReason),
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The instance has finished.
    Ended,
    /// The message was meant for an earlier execution.
    OtherExecution,
    /// A start reached an instance that has started.
    AlreadyStarted,
}

/// Whether a status is final: COMPLETED, FAILED, CANCELED or TERMINATED.
#[must_use]
pub fn is_terminal(status: OrchestrationStatus) -> bool {
    use OrchestrationStatus as S;
    match status {
        S::Completed | S::Failed | S::Canceled | S::Terminated => true,
        S::Running | S::ContinuedAsNew | S::Pending | S::Suspended => false,
    }
}

/// Decides whether an instance in `status` accepts `event`. `sent_to` is the execution
/// the message was meant for; events raised from outside name none and reach the current one.
#[must_use]
pub fn accept(
    status: OrchestrationStatus,
    execution_id: &str,
    sent_to: Option<&str>,
    event: &EventType,
) -> Delivery {
    if is_terminal(status) {
        return Delivery::Drop(DropReason::Ended);
    }
    match sent_to {
        Some(id) if id != execution_id => return Delivery::Drop(DropReason::OtherExecution),
        Some(_) | None => {}
    }
    match event {
        EventType::ExecutionStarted(_) => Delivery::Drop(DropReason::AlreadyStarted),
        _ => Delivery::Accept,
    }
}

/// Whether an undelivered event continues to the next execution at continue-as-new.
/// Events from outside do; results of the old execution's work do not.
#[must_use]
pub fn survives_continue_as_new(event: &EventType) -> bool {
    matches!(
        event,
        EventType::EventRaised(_)
            | EventType::ExecutionTerminated(_)
            | EventType::ExecutionSuspended(_)
            | EventType::ExecutionResumed(_)
            | EventType::GenericEvent(_)
    )
}

/// Whether an instance is suspended after these events; `None` if none of them changes that.
pub fn suspension_after<'a>(events: impl IntoIterator<Item = &'a HistoryEvent>) -> Option<bool> {
    events
        .into_iter()
        .filter_map(|event| match event.event_type {
            Some(EventType::ExecutionSuspended(_)) => Some(true),
            Some(EventType::ExecutionResumed(_)) => Some(false),
            _ => None,
        })
        .last()
}

/// The number of the first event of an execution, as in histories of the hosted service;
/// other events that record no action have -1.
pub const STARTED_ID: i32 = 0;

/// A history event with the given id and time.
#[must_use]
pub fn event(event_id: i32, timestamp: Timestamp, event_type: EventType) -> HistoryEvent {
    HistoryEvent {
        event_id,
        timestamp: Some(timestamp),
        event_type: Some(event_type),
    }
}

#[cfg(test)]
mod tests {
    use durabletask_proto::{EventRaisedEvent, ExecutionStartedEvent};

    use super::*;

    #[test]
    fn messages_reach_only_the_execution_they_were_meant_for() {
        let raised = EventType::EventRaised(EventRaisedEvent::default());
        let started = EventType::ExecutionStarted(ExecutionStartedEvent::default());
        let running = OrchestrationStatus::Running;
        assert_eq!(accept(running, "e1", None, &raised), Delivery::Accept);
        assert_eq!(accept(running, "e1", Some("e1"), &raised), Delivery::Accept);
        assert_eq!(
            accept(running, "e2", Some("e1"), &raised),
            Delivery::Drop(DropReason::OtherExecution)
        );
        assert_eq!(
            accept(running, "e1", None, &started),
            Delivery::Drop(DropReason::AlreadyStarted)
        );
        for ended in [
            OrchestrationStatus::Completed,
            OrchestrationStatus::Terminated,
        ] {
            assert_eq!(
                accept(ended, "e1", None, &raised),
                Delivery::Drop(DropReason::Ended)
            );
        }
    }
}
