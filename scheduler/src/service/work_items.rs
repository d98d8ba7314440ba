//! The worker's side: the stream of work items, completions, abandons.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use durabletask_proto::history_event::EventType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::{
    ActivityResponse, CompleteOrchestrationAction, CompleteTaskResponse, GetWorkItemsRequest,
    HealthPing, OrchestrationStatus, OrchestratorAction, OrchestratorEntityParameters,
    OrchestratorRequest, OrchestratorResponse, OrchestratorStartedEvent, TaskFailureDetails,
    WorkItem, WorkerCapability, work_item,
};
use durabletask_scheduler_core::event;
use futures_util::{StreamExt, stream};
use tonic::{Request, Status};

use super::entities::EntityForm;
use super::{Answers, Service, status};
use crate::dispatch::{Assignment, Caller, Claim, Settled};
use crate::store::{self, ActivityAnswer, FinishedTurn, StoreError, Tx};

/// Our extension: the completion token of the turn that this one goes on from.
const CONTINUES_FROM: &str = "durabletask.continuesFrom";
/// The most history that is sent inside a work item to a worker that can also stream it.
const INLINE_BYTES: usize = 1024 * 1024;
/// How many events a turn is given when they are read from the store.
const STORED_EVENTS: usize = 1000;
/// How many items of one stream are prepared at once.
const PREPARED: usize = 16;

impl Service {
    pub(super) async fn work_items(
        &self,
        request: Request<GetWorkItemsRequest>,
    ) -> Result<Answers<WorkItem>, Status> {
        let hub = self.hub(&request).await?;
        let entity_form = EntityForm::of(request.metadata())?;
        let caller = Caller::of(request.metadata());
        let request = request.into_inner();
        let streaming = request
            .capabilities
            .contains(&(WorkerCapability::HistoryStreaming as i32));
        let (handle, assignments) =
            self.dispatch
                .open_stream(hub, &request, self.config.default_window, caller);
        tracing::info!(task_hub = hub, "worker stream opened");
        let service = self.clone();
        let assignments = stream::unfold(assignments, |mut assignments| async move {
            assignments
                .recv()
                .await
                .map(|assignment| (assignment, assignments))
        });
        let items = assignments
            .map(move |assignment| {
                let service = service.clone();
                async move { service.prepare(assignment, streaming, entity_form).await }
            })
            .buffer_unordered(PREPARED)
            .filter_map(std::future::ready);
        let every = self
            .config
            .health_ping_interval
            .max(Duration::from_millis(10));
        let pings = stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((
                WorkItem {
                    request: Some(work_item::Request::HealthPing(HealthPing {})),
                    ..WorkItem::default()
                },
                (),
            ))
        });
        let ending = self.ending.clone();
        let answers = stream::select(items, pings)
            .map(move |item| {
                // The stream owns its leases: when it is dropped they go back.
                let _ = &handle;
                Ok(item)
            })
            .take_until(async move { ending.cancelled().await });
        Ok(Box::pin(answers))
    }

    /// Makes a work item of an assignment, reading what is not in memory.
    async fn prepare(
        &self,
        assignment: Assignment,
        streaming: bool,
        entity_form: EntityForm,
    ) -> Option<WorkItem> {
        let lease = match &assignment {
            Assignment::Turn { lease, .. }
            | Assignment::Activity { lease, .. }
            | Assignment::Entity { lease, .. } => *lease,
        };
        match self.fill(assignment, streaming, entity_form).await {
            Ok(Some(request)) => Some(WorkItem {
                completion_token: self.dispatch.token(lease),
                request: Some(request),
            }),
            Ok(None) => {
                self.dispatch.settle(lease, Settled::Gone);
                None
            }
            Err(error) => {
                tracing::error!(%error, "a work item could not be read; it goes back to its queue");
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.dispatch.give_back(lease);
                None
            }
        }
    }

    async fn fill(
        &self,
        assignment: Assignment,
        streaming: bool,
        entity_form: EntityForm,
    ) -> Result<Option<work_item::Request>, StoreError> {
        let (lease, header, started, events, continues) = match assignment {
            Assignment::Turn {
                lease,
                header,
                started,
                events,
                continues,
            } => (lease, header, started, events, continues),
            Assignment::Activity { lease, id, request } => {
                let request = match request {
                    Some(request) => request,
                    None => {
                        let Some(request) = self.store.activity(id).await? else {
                            return Ok(None);
                        };
                        let request = Arc::new(request);
                        self.dispatch.loaded_activity(lease, &request);
                        request
                    }
                };
                return Ok(Some(work_item::Request::ActivityRequest(
                    (*request).clone(),
                )));
            }
            Assignment::Entity { lease, header } => {
                return self.fill_entity(lease, &header, entity_form).await;
            }
        };
        let key = header.key;
        let events = match events {
            Some(events) => events,
            None => {
                let read = self
                    .store
                    .read(move |conn| store::inbox(conn, key, STORED_EVENTS))
                    .await?;
                let read = Arc::new(read);
                self.dispatch.loaded_turn(lease, &read);
                read
            }
        };
        if events.is_empty() {
            return Ok(None);
        }
        let mut request = OrchestratorRequest {
            instance_id: header.instance_id.clone(),
            execution_id: Some(header.execution_id.clone()),
            orchestration_trace_context: header.span.clone(),
            // Its presence tells the worker that there are entities here.
            entity_parameters: Some(OrchestratorEntityParameters {
                entity_message_reorder_window: Some(prost_types::Duration::default()),
            }),
            ..OrchestratorRequest::default()
        };
        request.new_events.push(event(
            -1,
            started,
            EventType::OrchestratorStarted(OrchestratorStartedEvent {}),
        ));
        request
            .new_events
            .extend(events.iter().map(|(_, event)| event.clone()));
        if header.has_history {
            if let Some(previous) = continues {
                let token = prost_types::Value::from(self.dispatch.token(previous));
                request.requires_history_streaming = true;
                request.properties = HashMap::from([(CONTINUES_FROM.to_owned(), token)]);
            } else {
                let limit = if streaming { INLINE_BYTES } else { usize::MAX };
                let page = self
                    .store
                    .read(move |conn| store::history_page(conn, key, 0, limit))
                    .await?;
                if page.next.is_some() {
                    request.requires_history_streaming = true;
                } else {
                    request.past_events = page.events;
                }
            }
        }
        Ok(Some(work_item::Request::OrchestratorRequest(request)))
    }

    #[allow(deprecated)]
    pub(super) async fn complete_turn(
        &self,
        request: Request<OrchestratorResponse>,
    ) -> Result<CompleteTaskResponse, Status> {
        let hub = self.hub(&request).await?;
        let mut response = request.into_inner();
        if response.is_partial || response.chunk_index.is_some() {
            return Err(Status::unimplemented(
                "this scheduler takes a turn's completion in one message (up to 64 MiB), not in chunks; \
                 raise the worker's chunk size",
            ));
        }
        let claimed =
            match self
                .dispatch
                .claim_turn(hub, &response.completion_token, &response.instance_id)
            {
                Claim::Claimed(claimed) => claimed,
                other => return already(other),
            };
        let lease = claimed.lease;
        if response.requires_history {
            self.dispatch.settle(lease, Settled::NotApplied);
            let token = self.dispatch.token(lease);
            self.dispatch.abandon(hub, &token);
            return Ok(CompleteTaskResponse {});
        }
        let consumed = response
            .num_events_processed
            .and_then(|count| usize::try_from(count).ok())
            .map_or(claimed.events.len(), |count| {
                count.min(claimed.events.len())
            });
        self.bound_actions(&mut response);
        let mut delivered = vec![event(
            -1,
            claimed.started,
            EventType::OrchestratorStarted(OrchestratorStartedEvent {}),
        )];
        delivered.extend(
            claimed
                .events
                .iter()
                .take(consumed)
                .map(|(_, event)| event.clone()),
        );
        let through = match consumed
            .checked_sub(1)
            .and_then(|last| claimed.events.get(last))
        {
            Some((seq, _)) => *seq,
            None => claimed.events.first().map_or(0, |(seq, _)| seq - 1),
        };
        let turn = FinishedTurn {
            key: claimed.header.key,
            execution_id: claimed.header.execution_id.clone(),
            delivered,
            through,
            response,
            next_execution_id: uuid::Uuid::new_v4().simple().to_string(),
        };
        self.commit(lease, move |tx| tx.complete_turn(turn.clone()))
            .await
    }

    pub(super) async fn complete_activity(
        &self,
        request: Request<ActivityResponse>,
    ) -> Result<CompleteTaskResponse, Status> {
        let hub = self.hub(&request).await?;
        let response = request.into_inner();
        let claim = self.dispatch.claim_activity(
            hub,
            &response.completion_token,
            &response.instance_id,
            response.task_id,
        );
        let claimed = match claim {
            Claim::Claimed(claimed) => claimed,
            other => return already(other),
        };
        let answer = match (response.failure_details, response.result) {
            (Some(details), _) => ActivityAnswer::Failed(details),
            (None, Some(result)) if result.len() > self.config.max_payload_bytes => {
                ActivityAnswer::Failed(self.too_large("activity's result", result.len()))
            }
            (None, result) => ActivityAnswer::Completed(result),
        };
        self.commit(claimed.lease, move |tx| {
            tx.complete_activity(claimed.id, claimed.instance, &claimed.request, &answer)
        })
        .await
    }

    /// Writes a claimed completion and settles the claim. In a task of its own, which
    /// ends with the write: a caller that goes away must not leave the claim open.
    pub(super) async fn commit<F>(
        &self,
        lease: u64,
        work: F,
    ) -> Result<CompleteTaskResponse, Status>
    where
        F: FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let service = self.clone();
        let writing = tokio::spawn(async move {
            let outcome = service.store.writer.write(work).await;
            let how = match &outcome {
                Ok(()) => Settled::Applied,
                Err(StoreError::WorkItemGone) => Settled::Gone,
                Err(_) => Settled::NotApplied,
            };
            service.dispatch.settle(lease, how);
            outcome
        });
        let outcome = writing
            .await
            .map_err(|_| Status::internal("the completion's task ended early; retry"))?;
        outcome.map(|()| CompleteTaskResponse {}).map_err(status)
    }

    pub(super) async fn abandon<T>(&self, request: &Request<T>, token: &str) -> Result<(), Status> {
        let hub = self.hub(request).await?;
        if self.dispatch.abandon(hub, token) {
            Ok(())
        } else {
            Err(status(StoreError::WorkItemGone))
        }
    }

    /// A payload over the limit fails the orchestration, because refusing the
    /// completion would only bring the same turn again.
    fn bound_actions(&self, response: &mut OrchestratorResponse) {
        let limit = self.config.max_payload_bytes;
        let size = |payload: &Option<String>| payload.as_ref().map_or(0, String::len);
        let largest = response
            .actions
            .iter()
            .map(|action| match &action.orchestrator_action_type {
                Some(Action::ScheduleTask(task)) => size(&task.input),
                Some(Action::CreateSubOrchestration(child)) => size(&child.input),
                Some(Action::SendEvent(send)) => size(&send.data),
                Some(Action::CompleteOrchestration(done)) => size(&done.result),
                Some(Action::TerminateOrchestration(terminate)) => size(&terminate.reason),
                Some(Action::SendEntityMessage(message)) => match &message.entity_message_type {
                    Some(EntityMessageType::EntityOperationCalled(call)) => size(&call.input),
                    Some(EntityMessageType::EntityOperationSignaled(signal)) => size(&signal.input),
                    Some(
                        EntityMessageType::EntityLockRequested(_)
                        | EntityMessageType::EntityUnlockSent(_),
                    )
                    | None => 0,
                },
                Some(Action::CreateTimer(_) | Action::RewindOrchestration(_)) | None => 0,
            })
            .chain([size(&response.custom_status)])
            .max()
            .unwrap_or(0);
        if largest <= limit {
            return;
        }
        response.custom_status = None;
        response.actions = vec![OrchestratorAction {
            id: -1,
            orchestrator_action_type: Some(Action::CompleteOrchestration(
                CompleteOrchestrationAction {
                    orchestration_status: OrchestrationStatus::Failed as i32,
                    failure_details: Some(self.too_large("largest payload of the turn", largest)),
                    ..CompleteOrchestrationAction::default()
                },
            )),
        }];
    }

    pub(super) fn too_large(&self, what: &str, size: usize) -> TaskFailureDetails {
        let limit = self.config.max_payload_bytes;
        TaskFailureDetails {
            error_type: "PayloadTooLarge".to_owned(),
            error_message: format!(
                "The {what} has {size} bytes, over the scheduler's limit of {limit}; pass a reference to the data instead."
            ),
            is_non_retriable: true,
            ..TaskFailureDetails::default()
        }
    }
}

pub(super) fn already<T>(claim: Claim<T>) -> Result<CompleteTaskResponse, Status> {
    match claim {
        Claim::AlreadyApplied => Ok(CompleteTaskResponse {}),
        Claim::InProgress => Err(Status::unavailable(
            "this completion is being applied by another call; retry",
        )),
        Claim::Unknown | Claim::Claimed(_) => Err(status(StoreError::WorkItemGone)),
    }
}
