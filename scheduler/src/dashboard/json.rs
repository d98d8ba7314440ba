//! The pages' data as JSON. Times are RFC 3339 in UTC with milliseconds.

use chrono::{DateTime, SecondsFormat};
use durabletask_proto::history_event::EventType as E;
use durabletask_proto::{HistoryEvent, OrchestrationState, TaskFailureDetails, event_kind};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use crate::status::status_name;

/// The most nested failures that are shown.
const MAX_CAUSES: usize = 20;

/// An instance as the list shows it, or with its payloads if they were read.
pub(super) fn instance(state: &OrchestrationState) -> Value {
    json!({
        "id": state.instance_id,
        "name": state.name,
        "version": state.version,
        "status": status_name(state.orchestration_status),
        "created": time(state.created_timestamp.as_ref()),
        "updated": time(state.last_updated_timestamp.as_ref()),
        "completed": time(state.completed_timestamp.as_ref()),
        "scheduledStart": time(state.scheduled_start_timestamp.as_ref()),
        "executionId": state.execution_id,
        "parentId": state.parent_instance_id,
        "tags": state.tags,
        "customStatus": state.custom_status,
        "input": state.input,
        "output": state.output,
        "failure": state.failure_details.as_ref().map(failure),
    })
}

/// A failure with its causes.
pub(super) fn failure(details: &TaskFailureDetails) -> Value {
    let mut causes = Vec::new();
    let mut next = details.inner_failure.as_deref();
    while let Some(cause) = next.filter(|_| causes.len() < MAX_CAUSES) {
        causes.push(json!({
            "type": cause.error_type,
            "message": cause.error_message,
            "stack": cause.stack_trace,
        }));
        next = cause.inner_failure.as_deref();
    }
    json!({
        "type": details.error_type,
        "message": details.error_message,
        "stack": details.stack_trace,
        "nonRetriable": details.is_non_retriable,
        "causes": causes,
    })
}

/// One history event: `kind`, `time`, `id` (if it has one) and the kind's own members.
/// `answers` is the id of the event that this one answers.
pub(super) fn event(event: &HistoryEvent) -> Value {
    let mut out = Map::new();
    out.insert("kind".to_owned(), event_kind(event).into());
    out.insert("time".to_owned(), time(event.timestamp.as_ref()).into());
    if event.event_id >= 0 {
        out.insert("id".to_owned(), event.event_id.into());
    }
    if let Some(event_type) = &event.event_type {
        let Value::Object(more) = details(event_type) else {
            return Value::Object(out);
        };
        out.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Value::Object(out)
}

fn details(event_type: &E) -> Value {
    match event_type {
        E::ExecutionStarted(e) => json!({
            "name": e.name, "version": e.version, "input": e.input, "tags": e.tags,
            "due": time(e.scheduled_start_timestamp.as_ref()),
        }),
        E::ExecutionCompleted(e) => json!({
            "status": status_name(e.orchestration_status), "output": e.result,
            "failure": e.failure_details.as_ref().map(failure),
        }),
        E::ExecutionTerminated(e) => json!({"input": e.input, "recursive": e.recurse}),
        E::TaskScheduled(e) => json!({
            "name": e.name, "version": e.version, "input": e.input, "tags": e.tags,
        }),
        E::TaskCompleted(e) => json!({"answers": e.task_scheduled_id, "output": e.result}),
        E::TaskFailed(e) => json!({
            "answers": e.task_scheduled_id,
            "failure": e.failure_details.as_ref().map(failure),
        }),
        E::SubOrchestrationInstanceCreated(e) => json!({
            "name": e.name, "version": e.version, "input": e.input, "instance": e.instance_id,
        }),
        E::SubOrchestrationInstanceCompleted(e) => {
            json!({"answers": e.task_scheduled_id, "output": e.result})
        }
        E::SubOrchestrationInstanceFailed(e) => json!({
            "answers": e.task_scheduled_id,
            "failure": e.failure_details.as_ref().map(failure),
        }),
        E::TimerCreated(e) => json!({"due": time(e.fire_at.as_ref())}),
        E::TimerFired(e) => json!({"answers": e.timer_id, "due": time(e.fire_at.as_ref())}),
        E::EventSent(e) => json!({"name": e.name, "input": e.input, "instance": e.instance_id}),
        E::EventRaised(e) => json!({"name": e.name, "input": e.input}),
        E::GenericEvent(e) => json!({"input": e.data}),
        E::ContinueAsNew(e) => json!({"input": e.input}),
        E::ExecutionSuspended(e) => json!({"input": e.input}),
        E::ExecutionResumed(e) => json!({"input": e.input}),
        E::ExecutionRewound(e) => json!({"input": e.reason}),
        E::EntityOperationSignaled(e) => json!({
            "name": e.operation, "input": e.input, "instance": e.target_instance_id,
            "request": e.request_id, "due": time(e.scheduled_time.as_ref()),
        }),
        E::EntityOperationCalled(e) => json!({
            "name": e.operation, "input": e.input, "instance": e.target_instance_id,
            "request": e.request_id, "due": time(e.scheduled_time.as_ref()),
        }),
        E::EntityOperationCompleted(e) => json!({"request": e.request_id, "output": e.output}),
        E::EntityOperationFailed(e) => json!({
            "request": e.request_id,
            "failure": e.failure_details.as_ref().map(failure),
        }),
        E::EntityLockRequested(e) => json!({
            "request": e.critical_section_id, "name": e.lock_set.join(", "),
        }),
        E::EntityLockGranted(e) => json!({"request": e.critical_section_id}),
        E::EntityUnlockSent(e) => json!({
            "request": e.critical_section_id, "instance": e.target_instance_id,
        }),
        E::OrchestratorStarted(_) | E::OrchestratorCompleted(_) | E::HistoryState(_) => json!({}),
    }
}

/// A time, if there is one that the calendar can represent.
pub(super) fn time(at: Option<&Timestamp>) -> Option<String> {
    let at = at?;
    let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use durabletask_proto::{TaskCompletedEvent, TaskFailedEvent};

    use super::*;

    #[test]
    fn an_event_says_what_it_has_and_nothing_else() {
        let completed = HistoryEvent {
            event_id: -1,
            timestamp: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 5_000_000,
            }),
            event_type: Some(E::TaskCompleted(TaskCompletedEvent {
                task_scheduled_id: 3,
                result: None,
            })),
        };
        assert_eq!(
            event(&completed),
            json!({"kind": "TaskCompleted", "time": "2023-11-14T22:13:20.005Z", "answers": 3})
        );
    }

    #[test]
    fn causes_are_shown_up_to_a_limit() {
        let deep = (0..100).fold(TaskFailureDetails::default(), |inner, n| {
            TaskFailureDetails {
                error_type: n.to_string(),
                inner_failure: Some(Box::new(inner)),
                ..TaskFailureDetails::default()
            }
        });
        let failed = HistoryEvent {
            event_type: Some(E::TaskFailed(TaskFailedEvent {
                failure_details: Some(deep),
                ..TaskFailedEvent::default()
            })),
            ..HistoryEvent::default()
        };
        let told = event(&failed);
        assert_eq!(told["failure"]["type"], "99");
        assert_eq!(
            told["failure"]["causes"].as_array().unwrap().len(),
            MAX_CAUSES
        );
    }
}
