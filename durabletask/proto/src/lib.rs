//! Wire types of the Durable Task Scheduler protocol.
//!
//! The messages are always there. The gRPC stubs of `TaskHubSidecarService`, and of our
//! extensions `CompletionStreamService` and `ForkService`, come with the features `client` and `server`. The code
//! is generated from the files in `proto/` and committed; a test regenerates it and compares.

mod generated {
    #![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
    #![allow(rust_2018_idioms)]
    include!("generated/task_hub_sidecar_service.rs");
}

pub use generated::*;

/// The name of a history event's kind, as the protocol documents spell it
/// (for example `TaskScheduled`); `Unknown` for an event without a payload.
#[must_use]
pub fn event_kind(event: &HistoryEvent) -> &'static str {
    use history_event::EventType as E;
    match &event.event_type {
        None => "Unknown",
        Some(E::ExecutionStarted(_)) => "ExecutionStarted",
        Some(E::ExecutionCompleted(_)) => "ExecutionCompleted",
        Some(E::ExecutionTerminated(_)) => "ExecutionTerminated",
        Some(E::TaskScheduled(_)) => "TaskScheduled",
        Some(E::TaskCompleted(_)) => "TaskCompleted",
        Some(E::TaskFailed(_)) => "TaskFailed",
        Some(E::SubOrchestrationInstanceCreated(_)) => "SubOrchestrationInstanceCreated",
        Some(E::SubOrchestrationInstanceCompleted(_)) => "SubOrchestrationInstanceCompleted",
        Some(E::SubOrchestrationInstanceFailed(_)) => "SubOrchestrationInstanceFailed",
        Some(E::TimerCreated(_)) => "TimerCreated",
        Some(E::TimerFired(_)) => "TimerFired",
        Some(E::OrchestratorStarted(_)) => "OrchestratorStarted",
        Some(E::OrchestratorCompleted(_)) => "OrchestratorCompleted",
        Some(E::EventSent(_)) => "EventSent",
        Some(E::EventRaised(_)) => "EventRaised",
        Some(E::GenericEvent(_)) => "GenericEvent",
        Some(E::HistoryState(_)) => "HistoryState",
        Some(E::ContinueAsNew(_)) => "ContinueAsNew",
        Some(E::ExecutionSuspended(_)) => "ExecutionSuspended",
        Some(E::ExecutionResumed(_)) => "ExecutionResumed",
        Some(E::EntityOperationSignaled(_)) => "EntityOperationSignaled",
        Some(E::EntityOperationCalled(_)) => "EntityOperationCalled",
        Some(E::EntityOperationCompleted(_)) => "EntityOperationCompleted",
        Some(E::EntityOperationFailed(_)) => "EntityOperationFailed",
        Some(E::EntityLockRequested(_)) => "EntityLockRequested",
        Some(E::EntityLockGranted(_)) => "EntityLockGranted",
        Some(E::EntityUnlockSent(_)) => "EntityUnlockSent",
        Some(E::ExecutionRewound(_)) => "ExecutionRewound",
    }
}
