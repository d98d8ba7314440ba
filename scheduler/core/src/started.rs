//! The activities, timers and children behind the events of a history. A turn
//! schedules them, and a rewind reschedules those that must run again.

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    ActivityRequest, ExecutionStartedEvent, OrchestrationInstance, ParentInstanceInfo,
    SubOrchestrationInstanceCreatedEvent, TaskFailureDetails, TaskScheduledEvent,
    TimerCreatedEvent, TimerFiredEvent,
};
use prost_types::Timestamp;

use crate::effects::{ChildStart, TimerSet};
use crate::{Instance, event};

/// The activity of a `TaskScheduled` event.
pub(crate) fn activity(
    instance: &Instance,
    id: i32,
    scheduled: &TaskScheduledEvent,
) -> ActivityRequest {
    ActivityRequest {
        name: scheduled.name.clone(),
        version: scheduled.version.clone(),
        input: scheduled.input.clone(),
        orchestration_instance: Some(identity(instance)),
        task_id: id,
        parent_trace_context: scheduled.parent_trace_context.clone(),
        tags: scheduled.tags.clone(),
    }
}

/// The timer of a `TimerCreated` event; without a time it is due at once.
pub(crate) fn timer_set(id: i32, created: &TimerCreatedEvent, now: Timestamp) -> TimerSet {
    let fire_at = created.fire_at.unwrap_or(now);
    let fired = TimerFiredEvent {
        fire_at: created.fire_at,
        timer_id: id,
    };
    TimerSet {
        fire_at,
        event: event(-1, fire_at, EventType::TimerFired(fired)),
    }
}

/// The child of a `SubOrchestrationInstanceCreated` event.
pub(crate) fn child_start(
    parent: &Instance,
    id: i32,
    created: &SubOrchestrationInstanceCreatedEvent,
) -> ChildStart {
    let started = ExecutionStartedEvent {
        name: created.name.clone(),
        version: created.version.clone(),
        input: created.input.clone(),
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: created.instance_id.clone(),
            execution_id: None,
        }),
        parent_instance: Some(ParentInstanceInfo {
            task_scheduled_id: id,
            name: Some(parent.name.clone()),
            version: parent.version.clone(),
            orchestration_instance: Some(identity(parent)),
        }),
        parent_trace_context: created.parent_trace_context.clone(),
        tags: created.tags.clone(),
        ..ExecutionStartedEvent::default()
    };
    ChildStart {
        instance_id: created.instance_id.clone(),
        task_id: id,
        started,
    }
}

/// An instance as other instances refer to it.
pub(crate) fn identity(instance: &Instance) -> OrchestrationInstance {
    OrchestrationInstance {
        instance_id: instance.instance_id.clone(),
        execution_id: Some(instance.execution_id.clone()),
    }
}

/// The failure for an action that this scheduler does not support.
pub(crate) fn unsupported(what: &str) -> Box<TaskFailureDetails> {
    Box::new(TaskFailureDetails {
        error_type: "NotSupportedByScheduler".to_owned(),
        error_message: format!(
            "The worker answered with {what}, which this scheduler does not support."
        ),
        is_non_retriable: true,
        ..TaskFailureDetails::default()
    })
}
