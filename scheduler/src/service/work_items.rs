//! The stream of work items, and giving one back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    CompleteTaskResponse, GetWorkItemsRequest, HealthPing, OrchestratorEntityParameters,
    OrchestratorRequest, OrchestratorStartedEvent, WorkItem, WorkerCapability, work_item,
};
use durabletask_scheduler_core::event;
use futures_util::{StreamExt, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::bounds::failing;
use super::completions::news;
use super::entities::EntityForm;
use super::sizes::{Takes, item_too_large};
use super::{Answers, Service, status};
use crate::access::{Access, Pass};
use crate::dispatch::{
    Assignment, Batch, Claim, ReturnReason, Settled, TURN_BYTES, TURN_EVENTS, WorkerIdentity,
};
use crate::store::{self, ActivityAnswer, StoreError};

/// Our extension: the completion token of the turn that this one continues from.
const CONTINUES_FROM: &str = "durabletask.continuesFrom";
/// The most history that is sent inside a work item to a worker that can also stream it.
const INLINE_BYTES: usize = 1024 * 1024;
/// The framing of a work item: the token, lengths, flags.
const ENVELOPE: usize = 1024;
/// How many items of one stream are prepared at once.
const PREPARED: usize = 16;

/// Returns once the caller that opened a stream would no longer be admitted.
pub(super) async fn no_longer_good(access: &Access, pass: Option<Pass>) {
    match pass {
        Some(pass) => access.revoked(pass).await,
        None => std::future::pending().await,
    }
}

/// What a stream's worker accepts.
#[derive(Clone, Copy)]
struct Intake {
    hub: i64,
    streaming: bool,
    entity_form: EntityForm,
    max_bytes: usize,
}

/// The result of preparing an assignment.
enum Filled {
    Request(Box<work_item::Request>),
    /// There is nothing left to do.
    Gone,
    /// The history does not fit, and the worker cannot stream it: its size in bytes.
    History(usize),
}

impl Service {
    pub(super) async fn work_items(
        &self,
        request: Request<GetWorkItemsRequest>,
    ) -> Result<Answers<WorkItem>, Status> {
        let hub = self.hub(&request).await?;
        let task_hub = self.hub_name(&request)?;
        let entity_form = EntityForm::of(request.metadata())?;
        let caller = WorkerIdentity::of(request.metadata());
        let access = self.config.access.clone();
        let pass = request.extensions().get::<Pass>().copied();
        let max_bytes = Takes::of(request.metadata(), self.config.max_message_bytes)?.bytes();
        let request = request.into_inner();
        let takes = Intake {
            hub,
            streaming: request
                .capabilities
                .contains(&(WorkerCapability::HistoryStreaming as i32)),
            entity_form,
            max_bytes,
        };
        let window = self.config.default_window;
        let (handle, assignments) = self
            .dispatch
            .open_stream(hub, &request, window, max_bytes, caller);
        tracing::info!(task_hub, stream = handle.id(), "worker stream opened");
        let service = self.clone();
        // The dispatcher closes the channel when the task hub is deleted, or is another node's.
        let over = CancellationToken::new();
        let closing = over.clone();
        let assignments = stream::unfold(assignments, move |mut assignments| {
            let closing = closing.clone();
            async move {
                let next = assignments.recv().await;
                if next.is_none() {
                    closing.cancel();
                }
                next.map(|assignment| (assignment, assignments))
            }
        });
        let items = assignments
            .map(move |assignment| {
                let service = service.clone();
                async move { service.prepare(assignment, takes).await }
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
        let closed = over.clone();
        let store = self.store.clone();
        // A stop ends streams too, and is no fault.
        let stopping = self.dispatch.ended.clone();
        let revoked = CancellationToken::new();
        let shut_out = revoked.clone();
        let last = stream::once(async move {
            if shut_out.is_cancelled() {
                let reason = "the token that opened this stream is no longer accepted; reopen it with a current one";
                return Some(Err(Status::unauthenticated(reason)));
            }
            let deleted = || {
                let lost = store.term().err();
                lost.unwrap_or_else(|| StoreError::NoHub("this worker's".to_owned()))
            };
            let unexpected = closed.is_cancelled() && !stopping.is_cancelled();
            unexpected.then(|| Err(status(deleted())))
        })
        .filter_map(std::future::ready);
        let answers = stream::select(items, pings)
            .map(move |item| {
                // The stream owns its leases: when it is dropped they go back.
                let _ = &handle;
                Ok(item)
            })
            .take_until(async move {
                tokio::select! {
                    () = ending.cancelled() => {}
                    () = over.cancelled() => {}
                    () = no_longer_good(&access, pass) => revoked.cancel(),
                }
            })
            .chain(last);
        Ok(Box::pin(answers))
    }

    /// Turns an assignment into a work item, reading what is not in memory. One that the
    /// stream's worker cannot receive goes to another one, or fails with the reason.
    async fn prepare(&self, assignment: Assignment, takes: Intake) -> Option<WorkItem> {
        let lease = match &assignment {
            Assignment::Turn { lease, .. }
            | Assignment::Activity { lease, .. }
            | Assignment::Entity { lease, .. } => *lease,
        };
        match self.fill(assignment, takes).await {
            Ok(Filled::Request(request)) => {
                let item = WorkItem {
                    completion_token: self.dispatch.token(lease),
                    request: Some(*request),
                };
                let size = item.encoded_len();
                if size > takes.max_bytes {
                    let what = match &item.request {
                        Some(work_item::Request::ActivityRequest(_)) => "activity's input",
                        Some(work_item::Request::OrchestratorRequest(_)) => "turn's events",
                        _ => "entity's state and the operation",
                    };
                    self.refuse(lease, what, size, takes).await;
                    return None;
                }
                self.dispatch.sent(lease, size);
                Some(item)
            }
            Ok(Filled::Gone) => {
                self.dispatch.settle(lease, Settled::Gone);
                None
            }
            Ok(Filled::History(size)) => {
                self.refuse(lease, "history", size, takes).await;
                None
            }
            Err(error) => {
                tracing::error!(%error, "a work item could not be read; returning it to its queue");
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.dispatch.give_back(lease);
                None
            }
        }
    }

    /// Decides what to do with an item that its worker cannot receive.
    async fn refuse(&self, lease: u64, what: &str, size: usize, takes: Intake) {
        if self.dispatch.pass_on(lease, size) {
            return;
        }
        let details = item_too_large(what, size, takes.max_bytes);
        tracing::warn!(
            bytes = size,
            limit = takes.max_bytes,
            "a work item is larger than any connected worker accepts, and fails: {what}"
        );
        let token = self.dispatch.token(lease);
        let hub = takes.hub;
        let done = if let Claim::Claimed(claimed) = self.dispatch.claim_turn(hub, &token, "") {
            let all = claimed.events.len();
            let turn = self.finished(claimed, all, failing(details));
            self.commit(lease, move |tx| tx.complete_turn(turn.clone()))
                .await
        } else if let Claim::Claimed(claimed) = self.dispatch.claim_activity(hub, &token, "", 0) {
            let answer = ActivityAnswer::Failed(details);
            self.commit(lease, move |tx| {
                tx.complete_activity(claimed.id, claimed.instance, &claimed.request, &answer)
            })
            .await
        } else if let Claim::Claimed(claimed) = self.dispatch.claim_entity(hub, &token) {
            self.fail_operation(claimed, details).await
        } else {
            Ok(CompleteTaskResponse {})
        };
        if let Err(error) = done {
            tracing::error!(%error, "the failure could not be written; retrying the item");
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.dispatch.give_back(lease);
        }
    }

    async fn fill(&self, assignment: Assignment, takes: Intake) -> Result<Filled, StoreError> {
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
                            return Ok(Filled::Gone);
                        };
                        let request = Arc::new(request);
                        self.dispatch.loaded_activity(lease, &request);
                        request
                    }
                };
                let request = work_item::Request::ActivityRequest((*request).clone());
                return Ok(Filled::Request(Box::new(request)));
            }
            Assignment::Entity { lease, key } => {
                let room = takes.max_bytes.saturating_sub(ENVELOPE);
                let filled = self.fill_entity(lease, key, takes.entity_form, room);
                return Ok(filled
                    .await?
                    .map_or(Filled::Gone, |request| Filled::Request(Box::new(request))));
            }
        };
        let key = header.key;
        let (header, events) = match events {
            Some(events) => (header, events),
            None => {
                let read = self
                    .store
                    .read(move |conn| store::waiting_turn(conn, key, TURN_EVENTS, TURN_BYTES))
                    .await?;
                let Some(mut read) = read else {
                    return Ok(Filled::Gone);
                };
                let header = Arc::new(read.header);
                let mut batch = Batch::of(&header);
                let end = read
                    .events
                    .iter()
                    .position(|(_, event)| !batch.takes(event));
                read.events.truncate(end.unwrap_or(read.events.len()));
                let events = Arc::new(read.events);
                self.dispatch
                    .loaded_turn(lease, &header, &events, read.last_seq);
                (header, events)
            }
        };
        if events.is_empty() {
            return Ok(Filled::Gone);
        }
        let mut request = OrchestratorRequest {
            instance_id: header.instance_id.clone(),
            execution_id: Some(header.execution_id.clone()),
            orchestration_trace_context: header.span.clone(),
            // Its presence tells the worker that entities are supported.
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
            .extend(news(&events).map(|(_, event)| event.clone()));
        if header.has_history {
            let continues = continues.filter(|last| last.execution_id == header.execution_id);
            if let Some(previous) = continues {
                let token = prost_types::Value::from(self.dispatch.token(previous.lease));
                request.requires_history_streaming = true;
                request.properties = HashMap::from([(CONTINUES_FROM.to_owned(), token)]);
            } else {
                let room = takes
                    .max_bytes
                    .saturating_sub(request.encoded_len() + ENVELOPE);
                let limit = match takes.streaming {
                    true => room.min(INLINE_BYTES),
                    false => room,
                };
                let page = self
                    .store
                    .read(move |conn| store::history_page(conn, key, 0, limit))
                    .await?;
                let whole = page.next.is_none() && page.bytes <= limit;
                if whole {
                    request.past_events = page.events;
                } else if takes.streaming {
                    request.requires_history_streaming = true;
                } else {
                    let bytes = self
                        .store
                        .read(move |conn| store::history_bytes(conn, key))
                        .await?;
                    return Ok(Filled::History(bytes.saturating_add(request.encoded_len())));
                }
            }
        }
        let request = work_item::Request::OrchestratorRequest(request);
        Ok(Filled::Request(Box::new(request)))
    }

    pub(super) async fn abandon<T>(&self, request: &Request<T>, token: &str) -> Result<(), Status> {
        let hub = self.hub(request).await?;
        if self.dispatch.abandon(hub, token, ReturnReason::Abandoned) {
            Ok(())
        } else {
            Err(status(StoreError::WorkItemGone))
        }
    }
}
