//! Running one turn of an orchestration.

use std::sync::Arc;

use durabletask_core::{
    ActionKind, CompletionStatus, Execution, FailureDetails, HistoryEvent, OrchestratorAction,
    Registry,
};
use durabletask_proto as proto;
use prost::Message;

use crate::connection::Service;

use super::cache::ExecutionCache;
use super::limits::MAX_RESPONSE_BYTES;

/// The work item's property that names the turn this one continues, for workers
/// that still hold the execution. Schedulers without it send the history.
const CONTINUES_FROM: &str = "durabletask.continuesFrom";

/// A turn that was run: what to answer, and the execution if it may go on.
pub(super) struct Turn {
    pub(super) response: proto::OrchestratorResponse,
    pub(super) execution: Option<Execution>,
}

/// Runs the turn that `request` asks for.
///
/// # Errors
///
/// The status of the history stream, if the history cannot be had; the item
/// should be abandoned then.
pub(super) async fn run(
    registry: &Arc<Registry>,
    cache: &ExecutionCache,
    service: &Service,
    request: proto::OrchestratorRequest,
    completion_token: String,
) -> Result<Turn, tonic::Status> {
    let held = cache.take(
        &request.instance_id,
        request.execution_id.as_deref(),
        continues_from(&request),
    );
    let mut execution = match held {
        Some(execution) => execution,
        None => {
            let mut execution = Execution::new(
                request.instance_id.as_str(),
                request.execution_id.clone(),
                Arc::clone(registry),
            );
            if request.requires_history_streaming {
                stream_history(&mut execution, service, &request).await?;
            }
            if !request.past_events.is_empty() {
                execution.replay(request.past_events.into_iter().map(HistoryEvent::from));
            }
            execution
        }
    };
    let result = execution.turn(request.new_events.into_iter().map(HistoryEvent::from));
    let mut completed = result.completed;
    let mut response = proto::OrchestratorResponse {
        instance_id: request.instance_id,
        actions: result.actions.into_iter().map(Into::into).collect(),
        custom_status: result.custom_status,
        completion_token,
        orchestration_trace_context: request.orchestration_trace_context,
        ..Default::default()
    };
    let size = response.encoded_len();
    if size > MAX_RESPONSE_BYTES {
        completed = true;
        response.actions = vec![too_large(size, &response.actions).into()];
    }
    Ok(Turn {
        response,
        execution: (!completed).then_some(execution),
    })
}

fn continues_from(request: &proto::OrchestratorRequest) -> Option<&str> {
    match &request.properties.get(CONTINUES_FROM)?.kind {
        Some(prost_types::value::Kind::StringValue(token)) => Some(token),
        _ => None,
    }
}

async fn stream_history(
    execution: &mut Execution,
    service: &Service,
    request: &proto::OrchestratorRequest,
) -> Result<(), tonic::Status> {
    let mut chunks = service
        .clone()
        .stream_instance_history(proto::StreamInstanceHistoryRequest {
            instance_id: request.instance_id.clone(),
            execution_id: request.execution_id.clone(),
            for_work_item_processing: true,
        })
        .await?
        .into_inner();
    while let Some(chunk) = chunks.message().await? {
        execution.replay(chunk.events.into_iter().map(HistoryEvent::from));
    }
    Ok(())
}

/// The end of an orchestration whose answer no scheduler would take.
fn too_large(size: usize, actions: &[proto::OrchestratorAction]) -> OrchestratorAction {
    OrchestratorAction {
        id: actions.iter().map(|action| action.id).max().unwrap_or(0),
        kind: ActionKind::Complete {
            status: CompletionStatus::Failed,
            result: None,
            failure: Some(FailureDetails {
                non_retriable: true,
                ..FailureDetails::new(
                    "OrchestratorResponseTooLarge",
                    format!(
                        "one turn of the orchestration decided {} actions of {size} bytes together, and {MAX_RESPONSE_BYTES} bytes is the limit; pass references instead of large payloads, or spread the work over sub-orchestrations",
                        actions.len()
                    ),
                )
            }),
            new_version: None,
            carryover: Vec::new(),
        },
    }
}
