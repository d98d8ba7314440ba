//! History events as the replay core sees them.
//!
//! This module, `action` and `rewind` are the only ones that touch the wire messages.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use durabletask_proto as proto;
use prost_types::value::Kind;
use proto::history_event::EventType;
use serde::{Deserialize, Serialize};

use crate::error::FailureDetails;

/// How deep a chain of recorded causes is read; deeper ones come from no honest peer.
const MAX_CAUSES: usize = 32;

/// One recorded fact of an instance's history (`HistoryEvent` on the wire).
///
/// ```
/// use durabletask::history::{HistoryEvent, HistoryPayload};
/// use durabletask::testing;
///
/// let called = HistoryPayload::TaskScheduled {
///     name: "greet".to_owned(),
///     version: None,
///     input: None,
/// };
/// let event = HistoryEvent::new(0, testing::epoch(), called);
/// let stored = serde_json::to_string(&event)?;
/// assert_eq!(serde_json::from_str::<HistoryEvent>(&stored)?, event);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// The action id for events that record an action, -1 for all others.
    pub event_id: i32,
    /// When it was recorded; absent if the wire message held no valid instant.
    pub timestamp: Option<DateTime<Utc>>,
    /// What was recorded.
    pub payload: HistoryPayload,
}

/// What a history event records. Payload strings are JSON text.
///
/// ```
/// use durabletask::history::{HistoryEvent, HistoryPayload};
///
/// /// The names of the activities in a history.
/// fn called(history: &[HistoryEvent]) -> Vec<&str> {
///     history
///         .iter()
///         .filter_map(|event| match &event.payload {
///             HistoryPayload::TaskScheduled { name, .. } => Some(name.as_str()),
///             _ => None,
///         })
///         .collect()
/// }
///
/// let history = durabletask::testing::HistoryBuilder::new().task_scheduled(0, "greet").build();
/// assert_eq!(called(&history), ["greet"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[allow(
    missing_docs,
    reason = "the fields are those of the wire messages of the same names"
)]
#[non_exhaustive]
pub enum HistoryPayload {
    /// A turn began; its timestamp is the turn's clock.
    OrchestratorStarted,
    /// A turn ended. Some schedulers record it, some do not.
    OrchestratorCompleted,
    /// The execution began.
    ExecutionStarted(Box<ExecutionStarted>),
    /// The execution ended.
    ExecutionCompleted {
        status: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureDetails>,
    },
    /// Someone asked to end the execution with `output`.
    ExecutionTerminated { output: Option<String> },
    /// Someone asked to pause the execution.
    ExecutionSuspended {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Resumed.
    ExecutionResumed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Rewound to before the failure; what follows is new.
    ExecutionRewound {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Action `event_id` was an activity call.
    TaskScheduled {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
    },
    /// The activity call `task_id` succeeded.
    TaskCompleted {
        task_id: i32,
        result: Option<String>,
    },
    /// The activity call `task_id` failed.
    TaskFailed {
        task_id: i32,
        failure: FailureDetails,
    },
    /// Action `event_id` was a sub-orchestration.
    SubOrchestrationCreated {
        name: String,
        instance_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
    },
    /// The sub-orchestration `task_id` succeeded.
    SubOrchestrationCompleted {
        task_id: i32,
        result: Option<String>,
    },
    /// The sub-orchestration `task_id` failed or was terminated.
    SubOrchestrationFailed {
        task_id: i32,
        failure: FailureDetails,
    },
    /// Action `event_id` was a timer.
    TimerCreated { fire_at: Option<DateTime<Utc>> },
    /// The timer `timer_id` is due.
    TimerFired { timer_id: i32 },
    /// Action `event_id` was an event sent to another instance.
    EventSent {
        name: String,
        instance_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
    },
    /// An external event arrived.
    EventRaised { name: String, input: Option<String> },
    /// Action `event_id` was a call of an entity.
    EntityOperationCalled {
        operation: String,
        entity_id: String,
    },
    /// Action `event_id` was a signal to an entity.
    EntityOperationSignaled {
        operation: String,
        entity_id: String,
    },
    /// The entity call `request_id` succeeded.
    EntityOperationCompleted {
        request_id: String,
        output: Option<String>,
    },
    /// The entity call `request_id` failed.
    EntityOperationFailed {
        request_id: String,
        failure: FailureDetails,
    },
    /// Action `event_id` was a request to lock entities.
    EntityLockRequested { critical_section_id: String },
    /// The entities of a critical section are locked.
    EntityLockGranted { critical_section_id: String },
    /// Action `event_id` released an entity.
    EntityUnlockSent { entity_id: String },
    /// Anything that the replay core does not act upon.
    Other { name: String },
}

/// With what an execution began (`ExecutionStartedEvent` on the wire).
///
/// ```
/// use durabletask::history::ExecutionStarted;
///
/// let started = ExecutionStarted {
///     name: "shop".to_owned(),
///     input: Some("5".to_owned()),
///     ..ExecutionStarted::default()
/// };
/// assert_eq!(started.parent, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecutionStarted {
    /// The orchestration's name.
    pub name: String,
    /// Its version; absent or empty if unversioned.
    pub version: Option<String>,
    /// Its input, JSON text.
    pub input: Option<String>,
    /// The id of this execution of the instance.
    pub execution_id: Option<String>,
    /// The orchestration that started it, if any.
    pub parent: Option<ParentInstance>,
    /// The W3C trace context of the start request.
    pub trace_context: Option<TraceContext>,
    /// The instance's tags.
    pub tags: BTreeMap<String, String>,
}

/// The orchestration that started a sub-orchestration.
///
/// ```
/// use durabletask::OrchestrationContext;
///
/// fn caller(ctx: &OrchestrationContext) -> String {
///     ctx.parent()
///         .map_or_else(|| "nobody".to_owned(), |parent| parent.instance_id.clone())
/// }
/// # let _ = caller;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentInstance {
    /// The parent's name.
    pub name: Option<String>,
    /// The parent's instance id.
    pub instance_id: String,
    /// The id of the task by which the parent started it.
    pub task_id: i32,
}

/// A W3C trace context.
///
/// ```
/// use durabletask::history::TraceContext;
///
/// let context = TraceContext {
///     parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
///     state: None,
/// };
/// assert_eq!(context.parent.len(), 55);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceContext {
    /// The `traceparent` value.
    pub parent: String,
    /// The `tracestate` value.
    pub state: Option<String>,
}

impl HistoryEvent {
    /// An event of the given kind; `event_id` is -1 unless it records an action.
    #[must_use]
    pub fn new(event_id: i32, timestamp: DateTime<Utc>, payload: HistoryPayload) -> Self {
        Self {
            event_id,
            timestamp: Some(timestamp),
            payload,
        }
    }

    /// An external event as a wire message, to be carried over to the next execution.
    pub(crate) fn raised_to_wire(
        name: String,
        input: Option<String>,
        timestamp: Option<DateTime<Utc>>,
    ) -> proto::HistoryEvent {
        proto::HistoryEvent {
            event_id: -1,
            timestamp: timestamp.map(timestamp_to_wire),
            event_type: Some(EventType::EventRaised(proto::EventRaisedEvent {
                name,
                input,
            })),
        }
    }
}

impl From<proto::HistoryEvent> for HistoryEvent {
    fn from(event: proto::HistoryEvent) -> Self {
        let name = proto::event_kind(&event);
        let payload = match event.event_type {
            Some(EventType::OrchestratorStarted(_)) => HistoryPayload::OrchestratorStarted,
            Some(EventType::OrchestratorCompleted(_)) => HistoryPayload::OrchestratorCompleted,
            Some(EventType::ExecutionStarted(started)) => {
                HistoryPayload::ExecutionStarted(Box::new(started.into()))
            }
            Some(EventType::ExecutionCompleted(completed)) => HistoryPayload::ExecutionCompleted {
                status: completed.orchestration_status,
                result: completed.result,
                failure: completed.failure_details.map(Into::into),
            },
            Some(EventType::ExecutionTerminated(terminated)) => {
                HistoryPayload::ExecutionTerminated {
                    output: terminated.input,
                }
            }
            Some(EventType::ExecutionSuspended(suspended)) => HistoryPayload::ExecutionSuspended {
                reason: suspended.input,
            },
            Some(EventType::ExecutionResumed(resumed)) => HistoryPayload::ExecutionResumed {
                reason: resumed.input,
            },
            Some(EventType::ExecutionRewound(rewound)) => HistoryPayload::ExecutionRewound {
                reason: rewound.reason,
            },
            Some(EventType::TaskScheduled(scheduled)) => HistoryPayload::TaskScheduled {
                name: scheduled.name,
                version: scheduled.version,
                input: scheduled.input,
            },
            Some(EventType::TaskCompleted(completed)) => HistoryPayload::TaskCompleted {
                task_id: completed.task_scheduled_id,
                result: completed.result,
            },
            Some(EventType::TaskFailed(failed)) => HistoryPayload::TaskFailed {
                task_id: failed.task_scheduled_id,
                failure: failure_or_unknown(failed.failure_details),
            },
            Some(EventType::SubOrchestrationInstanceCreated(created)) => {
                HistoryPayload::SubOrchestrationCreated {
                    name: created.name,
                    instance_id: created.instance_id,
                    version: created.version,
                    input: created.input,
                }
            }
            Some(EventType::SubOrchestrationInstanceCompleted(completed)) => {
                HistoryPayload::SubOrchestrationCompleted {
                    task_id: completed.task_scheduled_id,
                    result: completed.result,
                }
            }
            Some(EventType::SubOrchestrationInstanceFailed(failed)) => {
                HistoryPayload::SubOrchestrationFailed {
                    task_id: failed.task_scheduled_id,
                    failure: failure_or_unknown(failed.failure_details),
                }
            }
            Some(EventType::TimerCreated(created)) => HistoryPayload::TimerCreated {
                fire_at: created.fire_at.and_then(timestamp_from_wire),
            },
            Some(EventType::TimerFired(fired)) => HistoryPayload::TimerFired {
                timer_id: fired.timer_id,
            },
            Some(EventType::EventSent(sent)) => HistoryPayload::EventSent {
                name: sent.name,
                instance_id: sent.instance_id,
                input: sent.input,
            },
            Some(EventType::EventRaised(raised)) => HistoryPayload::EventRaised {
                name: raised.name,
                input: raised.input,
            },
            Some(EventType::EntityOperationCalled(called)) => {
                HistoryPayload::EntityOperationCalled {
                    operation: called.operation,
                    entity_id: called.target_instance_id.unwrap_or_default(),
                }
            }
            Some(EventType::EntityOperationSignaled(signaled)) => {
                HistoryPayload::EntityOperationSignaled {
                    operation: signaled.operation,
                    entity_id: signaled.target_instance_id.unwrap_or_default(),
                }
            }
            Some(EventType::EntityOperationCompleted(completed)) => {
                HistoryPayload::EntityOperationCompleted {
                    request_id: completed.request_id,
                    output: completed.output,
                }
            }
            Some(EventType::EntityOperationFailed(failed)) => {
                HistoryPayload::EntityOperationFailed {
                    request_id: failed.request_id,
                    failure: failure_or_unknown(failed.failure_details),
                }
            }
            Some(EventType::EntityLockRequested(requested)) => {
                HistoryPayload::EntityLockRequested {
                    critical_section_id: requested.critical_section_id,
                }
            }
            Some(EventType::EntityLockGranted(granted)) => HistoryPayload::EntityLockGranted {
                critical_section_id: granted.critical_section_id,
            },
            Some(EventType::EntityUnlockSent(sent)) => HistoryPayload::EntityUnlockSent {
                entity_id: sent.target_instance_id.unwrap_or_default(),
            },
            _ => HistoryPayload::Other {
                name: name.to_owned(),
            },
        };
        Self {
            event_id: event.event_id,
            timestamp: event.timestamp.and_then(timestamp_from_wire),
            payload,
        }
    }
}

impl From<proto::ExecutionStartedEvent> for ExecutionStarted {
    fn from(started: proto::ExecutionStartedEvent) -> Self {
        Self {
            name: started.name,
            version: started.version,
            input: started.input,
            execution_id: started
                .orchestration_instance
                .and_then(|instance| instance.execution_id),
            parent: started.parent_instance.map(|parent| ParentInstance {
                name: parent.name,
                instance_id: parent
                    .orchestration_instance
                    .map(|instance| instance.instance_id)
                    .unwrap_or_default(),
                task_id: parent.task_scheduled_id,
            }),
            trace_context: started.parent_trace_context.map(Into::into),
            tags: started.tags.into_iter().collect(),
        }
    }
}

impl From<proto::TraceContext> for TraceContext {
    fn from(context: proto::TraceContext) -> Self {
        Self {
            parent: context.trace_parent,
            state: context.trace_state,
        }
    }
}

impl From<TraceContext> for proto::TraceContext {
    fn from(context: TraceContext) -> Self {
        #[allow(
            deprecated,
            reason = "the message has the field, so it must be given a value"
        )]
        Self {
            trace_parent: context.parent,
            span_id: String::new(),
            trace_state: context.state,
        }
    }
}

impl From<proto::TaskFailureDetails> for FailureDetails {
    fn from(details: proto::TaskFailureDetails) -> Self {
        fn convert(details: proto::TaskFailureDetails, remaining: usize) -> FailureDetails {
            FailureDetails {
                error_type: details.error_type,
                message: details.error_message,
                stack_trace: details.stack_trace,
                non_retriable: details.is_non_retriable,
                inner: match details.inner_failure {
                    Some(inner) if remaining > 0 => Some(Box::new(convert(*inner, remaining - 1))),
                    _ => None,
                },
                retry_after: details
                    .properties
                    .get(RETRY_AFTER)
                    .and_then(retry_after_from_wire),
            }
        }
        convert(details, MAX_CAUSES)
    }
}

impl From<FailureDetails> for proto::TaskFailureDetails {
    fn from(details: FailureDetails) -> Self {
        Self {
            error_type: details.error_type,
            error_message: details.message,
            stack_trace: details.stack_trace,
            inner_failure: details.inner.map(|inner| Box::new((*inner).into())),
            is_non_retriable: details.non_retriable,
            properties: details
                .retry_after
                .map(|delay| (RETRY_AFTER.to_owned(), retry_after_to_wire(delay)))
                .into_iter()
                .collect(),
        }
    }
}

/// The property of a failure with the delay before a retry, in milliseconds.
const RETRY_AFTER: &str = "durabletask.retryAfterMs";

fn retry_after_to_wire(delay: Duration) -> prost_types::Value {
    // As text, because a number on the wire is a float.
    let milliseconds = delay.as_millis().to_string();
    prost_types::Value {
        kind: Some(Kind::StringValue(milliseconds)),
    }
}

fn retry_after_from_wire(value: &prost_types::Value) -> Option<Duration> {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.parse().ok().map(Duration::from_millis),
        _ => None,
    }
}

/// A wire timestamp as an instant; `None` if it lies outside the calendar.
///
/// ```
/// use durabletask_core::{timestamp_from_wire, timestamp_to_wire};
/// use durabletask::testing::epoch;
///
/// assert_eq!(timestamp_from_wire(timestamp_to_wire(epoch())), Some(epoch()));
/// ```
#[must_use]
pub fn timestamp_from_wire(timestamp: prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
}

/// An instant as a wire timestamp.
///
/// ```
/// let wire = durabletask_core::timestamp_to_wire(durabletask::testing::epoch());
/// assert_eq!((wire.seconds, wire.nanos), (1_704_164_645, 0));
/// ```
#[must_use]
pub fn timestamp_to_wire(instant: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: instant.timestamp(),
        // Below 2 * 10^9 even in a leap second, so it fits.
        nanos: i32::try_from(instant.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

fn failure_or_unknown(details: Option<proto::TaskFailureDetails>) -> FailureDetails {
    details.map_or_else(
        || {
            FailureDetails::new(
                "UnknownFailure",
                "the scheduler recorded a failure without details; the task may have been terminated",
            )
        },
        Into::into,
    )
}
