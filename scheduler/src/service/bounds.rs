//! Limits on workers' completions. A part over its limit fails the orchestration
//! or the operation, because refusing the completion would only redeliver the same item.

use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_action::OperationActionType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::{
    EntityBatchResult, OperationResult, OperationResultFailure, OrchestratorAction,
    OrchestratorResponse, TaskFailureDetails,
};
use durabletask_scheduler_core::failed;
use prost::Message as _;

use super::sizes::{Lengths, TooLong};
use crate::store::EntityBatch;
use crate::{SchedulerConfig, Storage};

/// Turns a completion with a part over its limit into one that fails the orchestration.
pub(super) fn bound_turn(response: &mut OrchestratorResponse, config: &SchedulerConfig) {
    let limit = config.max_payload_bytes;
    let trace = response.orchestration_trace_context.as_ref();
    let span = trace.and_then(|trace| trace.span_id.as_deref());
    let long = Lengths::default()
        .payload("custom status", response.custom_status.as_ref(), limit)
        .id("span id", span.unwrap_or_default())
        .first()
        .or_else(|| {
            response.actions.iter().find_map(|action| {
                let action = action.orchestrator_action_type.as_ref()?;
                too_long(action, limit, &config.storage)
            })
        });
    if let Some(long) = long {
        *response = OrchestratorResponse {
            num_events_processed: response.num_events_processed,
            ..failing(long.failure())
        };
    }
}

/// A completion that fails the orchestration.
pub(super) fn failing(details: TaskFailureDetails) -> OrchestratorResponse {
    OrchestratorResponse {
        actions: vec![OrchestratorAction {
            id: -1,
            orchestrator_action_type: Some(Action::CompleteOrchestration(failed(details))),
        }],
        ..OrchestratorResponse::default()
    }
}

fn too_long(action: &Action, limit: usize, storage: &Storage) -> Option<TooLong> {
    let lengths = Lengths::default();
    match action {
        Action::ScheduleTask(task) => lengths
            .name("activity's name", &task.name)
            .version(task.version.as_ref())
            .tags(&task.tags)
            .trace(task.parent_trace_context.as_ref())
            .payload("activity's input", task.input.as_ref(), limit),
        Action::CreateSubOrchestration(child) => lengths
            .id("sub-orchestration's id", &child.instance_id)
            .name("sub-orchestration's name", &child.name)
            .version(child.version.as_ref())
            .tags(&child.tags)
            .indexed(storage, &child.instance_id, &child.name, &child.tags)
            .trace(child.parent_trace_context.as_ref())
            .payload("sub-orchestration's input", child.input.as_ref(), limit),
        Action::SendEvent(send) => {
            let target = send.instance.as_ref();
            lengths
                .id(
                    "target's id",
                    target.map_or("", |target| &target.instance_id),
                )
                .name("event's name", &send.name)
                .payload("event's payload", send.data.as_ref(), limit)
        }
        Action::TerminateOrchestration(terminate) => lengths
            .id("target's id", &terminate.instance_id)
            .payload("reason", terminate.reason.as_ref(), limit),
        Action::CompleteOrchestration(done) => {
            let failure = done.failure_details.as_ref();
            let size = done.result.as_ref().map_or(0, String::len)
                + failure.map_or(0, |failure| failure.encoded_len());
            let lengths = lengths.version(done.new_version.as_ref()).bytes(
                "result of the orchestration",
                size,
                limit,
            );
            done.carryover_events
                .iter()
                .fold(lengths, |lengths, event| match &event.event_type {
                    Some(EventType::EventRaised(raised)) => lengths
                        .name("event's name", &raised.name)
                        .payload("event's payload", raised.input.as_ref(), limit),
                    _ => lengths.bytes("carried event", event.encoded_len(), limit),
                })
        }
        Action::SendEntityMessage(message) => match &message.entity_message_type {
            Some(EntityMessageType::EntityOperationCalled(call)) => lengths
                .id(
                    "target's id",
                    call.target_instance_id.as_deref().unwrap_or_default(),
                )
                .id("request's id", &call.request_id)
                .name("operation's name", &call.operation)
                .payload("operation's input", call.input.as_ref(), limit),
            Some(EntityMessageType::EntityOperationSignaled(signal)) => lengths
                .id(
                    "target's id",
                    signal.target_instance_id.as_deref().unwrap_or_default(),
                )
                .id("request's id", &signal.request_id)
                .name("operation's name", &signal.operation)
                .payload("operation's input", signal.input.as_ref(), limit),
            Some(EntityMessageType::EntityLockRequested(request)) => lengths
                .id("critical section's id", &request.critical_section_id)
                .lock_set(&request.lock_set),
            Some(EntityMessageType::EntityUnlockSent(unlock)) => lengths
                .id("critical section's id", &unlock.critical_section_id)
                .id(
                    "target's id",
                    unlock.target_instance_id.as_deref().unwrap_or_default(),
                ),
            None => lengths,
        },
        Action::CreateTimer(_) | Action::RewindOrchestration(_) => lengths,
    }
    .first()
}

/// Turns an entity's batch with a part over its limit into one whose operations failed and
/// that keeps the old state.
pub(super) fn bound_batch(result: &mut EntityBatchResult, batch: &EntityBatch, limit: usize) {
    let lengths = Lengths::default().payload("entity's state", result.entity_state.as_ref(), limit);
    let lengths =
        result
            .results
            .iter()
            .fold(lengths, |lengths, result| match &result.result_type {
                Some(ResultType::Success(success)) => {
                    lengths.payload("operation's result", success.result.as_ref(), limit)
                }
                Some(ResultType::Failure(failure)) => {
                    let size = failure
                        .failure_details
                        .as_ref()
                        .map_or(0, |f| f.encoded_len());
                    lengths.bytes("operation's failure", size, limit)
                }
                None => lengths,
            });
    let lengths = result.actions.iter().fold(lengths, |lengths, action| {
        match &action.operation_action_type {
            Some(OperationActionType::SendSignal(signal)) => lengths
                .id("target's id", &signal.instance_id)
                .name("operation's name", &signal.name)
                .trace(signal.parent_trace_context.as_ref())
                .payload("operation's input", signal.input.as_ref(), limit),
            Some(OperationActionType::StartNewOrchestration(start)) => lengths
                .name("orchestration's name", &start.name)
                .version(start.version.as_ref())
                .trace(start.parent_trace_context.as_ref())
                .payload("orchestration's input", start.input.as_ref(), limit),
            None => lengths,
        }
    });
    let lengths = lengths.bytes(
        "batch's failure",
        result
            .failure_details
            .as_ref()
            .map_or(0, |f| f.encoded_len()),
        limit,
    );
    let Some(long) = lengths.first() else { return };
    if result.failure_details.is_some() {
        result.failure_details = Some(long.failure());
    }
    result.actions.clear();
    result.entity_state.clone_from(&batch.state);
    for result in &mut result.results {
        *result = failed_operation(long.failure());
    }
}

/// The result of an operation that failed.
pub(super) fn failed_operation(details: TaskFailureDetails) -> OperationResult {
    OperationResult {
        result_type: Some(ResultType::Failure(OperationResultFailure {
            failure_details: Some(details),
            ..OperationResultFailure::default()
        })),
    }
}
