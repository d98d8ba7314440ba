//! Running one turn of an orchestration.

use std::sync::Arc;

use durabletask_core::{
    ActionKind, CompletionStatus, Execution, FailureDetails, OrchestratorAction, Registry,
    rewound_history,
};
use durabletask_proto as proto;
use proto::orchestrator_action::OrchestratorActionType;
use uuid::Uuid;

use crate::connection::Service;
use crate::payloads::PayloadStoreError;
use crate::spans::{self, EndedOrchestration, EndedSteps};

use super::cache::{ExecutionCache, Live};
use super::chunks::{self, OversizedTurns};
use super::divergence::OnDivergence;
use super::limits::{MAX_RESPONSE_BYTES, Options};
use super::prepare::Prepared;
use super::versioning::Versioning;

/// The id of decisions that come from the worker and not from the code.
const WORKER_ACTION_ID: i32 = -1;

/// A turn that was run: what to answer, and the execution if it may continue.
pub(super) struct Turn {
    /// The answer, in several messages if it is too large for one.
    pub(super) responses: Vec<proto::OrchestratorResponse>,
    pub(super) live: Option<Live>,
    pub(super) execution_id: Option<String>,
    /// How the execution ended, if it did.
    pub(super) ended: Option<CompletionStatus>,
    /// Activities whose results the code no longer waits for.
    pub(super) given_up: Vec<i32>,
    /// The attributes of its span, if the execution ended.
    pub(super) span: Option<EndedOrchestration>,
    /// The spans of the steps that ended in this turn.
    pub(super) steps: Option<EndedSteps>,
}

/// Why a turn was not run.
#[derive(Debug)]
pub(super) enum NotRun {
    /// The history cannot be read.
    History(tonic::Status),
    /// A payload cannot be read from its store, or put there, for the time being.
    Payloads(String),
    /// The code diverges from the history, and the instance must be held.
    Diverged(String),
    /// Another worker should run it.
    NotOurs(String),
}

impl From<tonic::Status> for NotRun {
    fn from(status: tonic::Status) -> Self {
        Self::History(status)
    }
}

/// What a turn needs besides its request.
#[derive(Clone, Copy)]
pub(super) struct Turns<'a> {
    pub(super) registry: &'a Arc<Registry>,
    pub(super) cache: &'a ExecutionCache,
    pub(super) options: &'a Options,
}

impl Turns<'_> {
    /// Runs the turn that `request` asks for.
    ///
    /// # Errors
    ///
    /// [`NotRun`]; the item should be returned then.
    pub(super) async fn run(
        self,
        service: &Service,
        mut request: proto::OrchestratorRequest,
        token: String,
    ) -> Result<Turn, NotRun> {
        let mut new = std::mem::take(&mut request.new_events);
        let (mut live, slot) = match self.prepare(service, &mut request, &new).await? {
            Prepared::Ready(live, slot) => (*live, slot),
            Prepared::Rewind(past) => return Ok(rewind(request, token, past, new)),
            Prepared::Refused(details) => return Ok(refusal(request, token, details)),
        };
        if let Some(details) = self.fetch(&mut new).await? {
            return Ok(refusal(request, token, details));
        }
        let result = live.turn(new);
        drop(slot);
        if self.options.on_divergence == OnDivergence::Hold
            && let Some(details) = live.execution.divergence()
        {
            return Err(NotRun::Diverged(details.message));
        }
        let mut ended = result.actions.iter().find_map(end_of);
        spans::begin_execution(&mut request.orchestration_trace_context);
        let span = result
            .actions
            .last()
            .and_then(|action| ended_span(&live.execution, &request, action));
        let mut completed = result.completed;
        let mut response = proto::OrchestratorResponse {
            actions: self.with_default_version(result.actions),
            custom_status: result.custom_status,
            ..answer(&request, token)
        };
        live.steps.give_ids(&mut response.actions);
        if ended == Some(CompletionStatus::ContinuedAsNew) {
            spans::end_execution(&mut response.orchestration_trace_context);
        }
        if let Some(payloads) = &self.options.payloads {
            match payloads.store_in(&request.instance_id, &mut response).await {
                Ok(()) => {}
                Err(PayloadStoreError::Transient(reason)) => {
                    return Err(NotRun::Payloads(reason));
                }
                Err(error) => {
                    return Ok(refusal(
                        request,
                        response.completion_token,
                        store_failure(&error),
                    ));
                }
            }
        }
        let responses = match chunks::split(response, MAX_RESPONSE_BYTES) {
            Ok(responses)
                if responses.len() == 1 || self.options.oversized == OversizedTurns::Chunk =>
            {
                responses
            }
            Ok(responses) => {
                completed = true;
                ended = Some(CompletionStatus::Failed);
                vec![too_large(responses)]
            }
            Err(response) => {
                completed = true;
                ended = Some(CompletionStatus::Failed);
                vec![too_large(vec![*response])]
            }
        };
        live.steps
            .decided(responses.iter().flat_map(|response| &response.actions));
        let Live { execution, steps } = &mut live;
        let steps = steps.take_ended(
            execution.instance_id(),
            execution.execution_id(),
            execution.started(),
            request.orchestration_trace_context.as_ref(),
        );
        Ok(Turn {
            responses,
            execution_id: execution.execution_id().map(str::to_owned),
            steps,
            live: (!completed).then_some(live),
            ended,
            given_up: result.given_up,
            span,
        })
    }

    fn with_default_version(
        self,
        actions: Vec<OrchestratorAction>,
    ) -> Vec<proto::OrchestratorAction> {
        let default: Option<&str> = self
            .options
            .versioning
            .as_ref()
            .and_then(|versioning: &Versioning| versioning.default_version.as_deref());
        actions
            .into_iter()
            .map(|action| {
                let mut action = proto::OrchestratorAction::from(action);
                if let Some(OrchestratorActionType::CreateSubOrchestration(child)) =
                    &mut action.orchestrator_action_type
                    && child.version.is_none()
                {
                    child.version = default.map(str::to_owned);
                }
                action
            })
            .collect()
    }
}

/// The end of work whose payload the store refuses.
pub(super) fn store_failure(error: &PayloadStoreError) -> FailureDetails {
    FailureDetails::new("PayloadStoreError", error.to_string()).permanent()
}

fn end_of(action: &OrchestratorAction) -> Option<CompletionStatus> {
    match action.kind {
        ActionKind::Complete { status, .. } => Some(status),
        _ => None,
    }
}

/// The attributes of the execution's span, if `action` ends it.
fn ended_span(
    execution: &Execution,
    request: &proto::OrchestratorRequest,
    action: &OrchestratorAction,
) -> Option<EndedOrchestration> {
    let ActionKind::Complete {
        status, failure, ..
    } = &action.kind
    else {
        return None;
    };
    let status = match status {
        CompletionStatus::Completed => "Completed",
        CompletionStatus::Failed => "Failed",
        CompletionStatus::Terminated => "Terminated",
        CompletionStatus::ContinuedAsNew => "ContinuedAsNew",
    };
    let started = execution.started()?;
    Some(EndedOrchestration {
        name: started.name.clone(),
        version: started.version.clone(),
        instance_id: execution.instance_id().to_owned(),
        execution_id: execution.execution_id().map(str::to_owned),
        parent: started.trace_context.clone(),
        kept: request.orchestration_trace_context.clone(),
        status,
        failure: failure.as_ref().map(|failure| failure.message.clone()),
    })
}

/// An answer that decides nothing.
fn answer(request: &proto::OrchestratorRequest, token: String) -> proto::OrchestratorResponse {
    proto::OrchestratorResponse {
        instance_id: request.instance_id.clone(),
        completion_token: token,
        orchestration_trace_context: request.orchestration_trace_context.clone(),
        ..Default::default()
    }
}

fn without_code(
    request: &proto::OrchestratorRequest,
    response: proto::OrchestratorResponse,
    ended: Option<CompletionStatus>,
) -> Turn {
    Turn {
        responses: vec![response],
        live: None,
        execution_id: request.execution_id.clone(),
        ended,
        given_up: Vec::new(),
        span: None,
        steps: None,
    }
}

/// The answer to a rewind: the history as it is to stand.
fn rewind(
    request: proto::OrchestratorRequest,
    token: String,
    past: Vec<proto::HistoryEvent>,
    new: Vec<proto::HistoryEvent>,
) -> Turn {
    let execution_id = Uuid::new_v4().simple().to_string();
    let action = proto::RewindOrchestrationAction {
        new_history: rewound_history(past, new, &execution_id),
    };
    let response = proto::OrchestratorResponse {
        actions: vec![proto::OrchestratorAction {
            id: WORKER_ACTION_ID,
            orchestrator_action_type: Some(OrchestratorActionType::RewindOrchestration(action)),
        }],
        ..answer(&request, token)
    };
    without_code(&request, response, None)
}

/// The end of an orchestration that the worker does not run.
fn refusal(request: proto::OrchestratorRequest, token: String, details: FailureDetails) -> Turn {
    let response = proto::OrchestratorResponse {
        actions: vec![failed(WORKER_ACTION_ID, details)],
        ..answer(&request, token)
    };
    without_code(&request, response, Some(CompletionStatus::Failed))
}

fn failed(id: i32, details: FailureDetails) -> proto::OrchestratorAction {
    OrchestratorAction {
        id,
        kind: ActionKind::Complete {
            status: CompletionStatus::Failed,
            result: None,
            failure: Some(details),
            new_version: None,
            carryover: Vec::new(),
        },
    }
    .into()
}

/// The end of an orchestration whose answer no scheduler would take.
fn too_large(responses: Vec<proto::OrchestratorResponse>) -> proto::OrchestratorResponse {
    let size: usize = responses.iter().map(prost::Message::encoded_len).sum();
    let actions = responses.iter().flat_map(|response| &response.actions);
    let count = actions.clone().count();
    let last = actions.map(|action| action.id).max().unwrap_or(0);
    let details = FailureDetails::new(
            "OrchestratorResponseTooLarge",
            format!(
                "one turn of the orchestration decided {count} actions of {size} bytes together, and {MAX_RESPONSE_BYTES} bytes is the limit; pass references instead of large payloads, spread the work over sub-orchestrations, or let the worker send large turns in chunks"
            ),
        ).permanent();
    let first = responses.into_iter().next().unwrap_or_default();
    chunks::alone(first, vec![failed(last, details)])
}
