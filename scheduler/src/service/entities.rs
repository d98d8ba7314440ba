//! Entities: signal, get, query, clean; their batches to and from workers.

use std::collections::HashMap;
use std::sync::Arc;

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    CleanEntityStorageRequest, CleanEntityStorageResponse, CompleteTaskResponse,
    EntityBatchRequest, EntityBatchResult, EntityOperationSignaledEvent, EntityRequest,
    GetEntityRequest, GetEntityResponse, HistoryEvent, OperationRequest, QueryEntitiesRequest,
    QueryEntitiesResponse, SignalEntityRequest, SignalEntityResponse, TaskFailureDetails,
    work_item,
};
use durabletask_scheduler_core::{
    EntityMessage, OperationMessage, canonical_entity_id, entity_name, event, without_mark,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::bounds::{bound_batch, failed_operation};
use super::completions::Checked;
use super::sizes::{Lengths, Takes};
use super::status::already;
use super::{Service, invalid, status};
use crate::dispatch::{Claim, ClaimedEntity, ReturnReason, Settled};
use crate::store::{self, EntityFilter, StoreError, micros, timestamp};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// How many entities one call of CleanEntityStorage examines.
const SWEEP: usize = 500;
/// The header by which a worker requests the older form of entity work items.
const FORM_HEADER: &str = "entity-requests";
/// Where some workers put the token of a batch in the older form.
const TOKEN_HEADER: &str = "entity-completion-token";

/// How a stream's entity work items are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EntityForm {
    /// `EntityBatchRequest`: operations as `OperationRequest`s.
    V1,
    /// `EntityRequest`: operations as history events, as the hosted scheduler sends them.
    #[default]
    V2,
}

impl EntityForm {
    /// The form that the stream's headers request. The protocol's capabilities have no value for
    /// it, and every official worker understands the newer form.
    pub(super) fn of(headers: &MetadataMap) -> Result<Self, Status> {
        match headers.get(FORM_HEADER).map(|value| value.to_str()) {
            None | Some(Ok("v2")) => Ok(Self::V2),
            Some(Ok("v1")) => Ok(Self::V1),
            Some(_) => Err(invalid("the entity-requests header must be v1 or v2")),
        }
    }
}

impl Service {
    pub(super) async fn signal(
        &self,
        request: Request<SignalEntityRequest>,
    ) -> Result<SignalEntityResponse, Status> {
        let hub = self.hub(&request).await?;
        let signal = request.into_inner();
        let entity_id = check_entity_id(&signal.instance_id)?;
        if signal.name.is_empty() {
            return Err(invalid("a signal needs the operation's name"));
        }
        Lengths::default()
            .name("operation's name", &signal.name)
            .payload(
                "input",
                signal.input.as_ref(),
                self.config.max_payload_bytes,
            )
            .check()?;
        // Workers read the id as a UUID.
        let request_id = match signal.request_id.as_str() {
            "" => uuid::Uuid::new_v4(),
            id => id
                .parse()
                .map_err(|_| invalid("a signal's request id must be a UUID, or empty"))?,
        };
        let signaled = EntityOperationSignaledEvent {
            request_id: request_id.to_string(),
            operation: signal.name,
            scheduled_time: signal.scheduled_time,
            input: signal.input,
            target_instance_id: None,
        };
        let message = EntityMessage::Operation(Box::new(OperationMessage {
            entity_id,
            event: event(
                -1,
                timestamp(self.config.clock.now()),
                EventType::EntityOperationSignaled(signaled),
            ),
            caller: None,
            due: signal.scheduled_time,
        }));
        self.store
            .writer
            .write(move |tx| {
                tx.check_hub(hub)?;
                tx.entity_messages(hub, [message.clone()])
            })
            .await
            .map_err(status)?;
        Ok(SignalEntityResponse {})
    }

    pub(super) async fn entity(
        &self,
        request: Request<GetEntityRequest>,
    ) -> Result<GetEntityResponse, Status> {
        let hub = self.hub(&request).await?;
        let takes = Takes::of(request.metadata(), self.config.max_message_bytes)?;
        let request = request.into_inner();
        let id = check_entity_id(&request.instance_id)?;
        let entity = self
            .store
            .read(move |conn| store::entity(conn, hub, &id, request.include_state))
            .await
            .map_err(status)?;
        let answer = GetEntityResponse {
            exists: entity.is_some(),
            entity,
        };
        takes.fits(answer)
    }

    pub(super) async fn entities(
        &self,
        request: Request<QueryEntitiesRequest>,
    ) -> Result<QueryEntitiesResponse, Status> {
        let hub = self.hub(&request).await?;
        let takes = Takes::of(request.metadata(), self.config.max_message_bytes)?;
        let query = request.into_inner().query.unwrap_or_default();
        let after = cursor(query.continuation_token)?;
        let limit = match query.page_size.map(usize::try_from) {
            None | Some(Ok(0) | Err(_)) => DEFAULT_PAGE,
            Some(Ok(limit)) => limit.min(MAX_PAGE),
        };
        let filter = EntityFilter {
            id_prefix: query
                .instance_id_starts_with
                .filter(|prefix| !prefix.is_empty())
                .map(|prefix| canonical_prefix(&prefix)),
            modified_from_us: query.last_modified_from.as_ref().map(micros),
            modified_to_us: query.last_modified_to.as_ref().map(micros),
            transient: query.include_transient,
        };
        let states = query.include_state;
        let page = self
            .store
            .browse(move |conn| {
                store::entities(conn, hub, &filter, after, (limit, takes.page()), states)
            })
            .await
            .map_err(status)?;
        let answer = QueryEntitiesResponse {
            entities: page.entities,
            continuation_token: page.next.map(|next| next.to_string()),
        };
        takes.fits(answer)
    }

    pub(super) async fn clean_entities(
        &self,
        request: Request<CleanEntityStorageRequest>,
    ) -> Result<CleanEntityStorageResponse, Status> {
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        let after = cursor(request.continuation_token)?;
        let all = EntityFilter {
            transient: true,
            ..EntityFilter::default()
        };
        let page = self
            .store
            .browse(move |conn| store::entities(conn, hub, &all, after, (SWEEP, usize::MAX), false))
            .await
            .map_err(status)?;
        let ids: Vec<String> = page.entities.into_iter().map(|e| e.instance_id).collect();
        let (remove, release) = (
            request.remove_empty_entities,
            request.release_orphaned_locks,
        );
        let (removed, released) = self
            .store
            .writer
            .write(move |tx| tx.sweep_entities(hub, &ids, remove, release))
            .await
            .map_err(status)?;
        Ok(CleanEntityStorageResponse {
            continuation_token: page.next.map(|next| next.to_string()),
            empty_entities_removed: removed,
            orphaned_locks_released: released,
        })
    }

    /// Reads an entity's next batch and writes it in the form that the worker accepts.
    pub(super) async fn fill_entity(
        &self,
        lease: u64,
        key: i64,
        form: EntityForm,
        room: usize,
    ) -> Result<Option<work_item::Request>, StoreError> {
        let read = self.store.read(move |conn| {
            let header = store::entity_header(conn, key)?;
            Ok((header, store::entity_batch(conn, key, room)?))
        });
        let (Some(header), Some(batch)) = read.await? else {
            return Ok(None);
        };
        let (header, batch) = (Arc::new(header), Arc::new(batch));
        self.dispatch.loaded_entity(lease, &header, &batch);
        tracing::debug!(
            entity = entity_name(&header.id),
            operations = batch.operations.len(),
            "entity batch handed out"
        );
        let operations = batch.operations.iter();
        let operations = operations.map(|(_, event)| without_mark(event.clone()));
        Ok(Some(match form {
            EntityForm::V2 => work_item::Request::EntityRequestV2(EntityRequest {
                instance_id: header.id.clone(),
                execution_id: String::new(),
                entity_state: batch.state.clone(),
                operation_requests: operations.collect(),
            }),
            EntityForm::V1 => work_item::Request::EntityRequest(EntityBatchRequest {
                instance_id: header.id.clone(),
                entity_state: batch.state.clone(),
                operations: operations
                    .filter_map(|event| operation_request(&event))
                    .collect(),
                properties: HashMap::new(),
            }),
        }))
    }

    pub(super) async fn complete_batch(
        &self,
        request: Request<EntityBatchResult>,
    ) -> Result<CompleteTaskResponse, Status> {
        let hub = self.hub(&request).await?;
        let header = request.metadata().get(TOKEN_HEADER);
        let token = header
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut result = request.into_inner();
        if result.completion_token.is_empty() {
            result.completion_token = token.unwrap_or_default();
        }
        let checked = self.check_batch(hub, result);
        self.write(checked).await
    }

    pub(super) fn check_batch(&self, hub: i64, mut result: EntityBatchResult) -> Checked {
        let token = std::mem::take(&mut result.completion_token);
        if token.is_empty() {
            return Checked::Answered(Err(invalid(
                "completing an entity's batch requires the work item's completion token",
            )));
        }
        let claimed = match self.dispatch.claim_entity(hub, &token) {
            Claim::Claimed(claimed) => claimed,
            other => return Checked::Answered(already(other)),
        };
        let nothing_done = result.results.is_empty() && result.failure_details.is_none();
        if result.requires_state || nothing_done {
            self.dispatch.settle(claimed.lease, Settled::NotApplied);
            self.dispatch.abandon(hub, &token, ReturnReason::AsksAgain);
            return Checked::Answered(Ok(CompleteTaskResponse {}));
        }
        bound_batch(&mut result, &claimed.batch, self.config.max_payload_bytes);
        let batch = Arc::clone(&claimed.batch);
        Checked::Write {
            lease: claimed.lease,
            work: Box::new(move |tx| tx.complete_batch(claimed.key, &batch, &result)),
        }
    }

    /// Fails the first operation of a batch that is too large for every worker together with the state.
    pub(super) async fn fail_operation(
        &self,
        claimed: ClaimedEntity,
        details: TaskFailureDetails,
    ) -> Result<CompleteTaskResponse, Status> {
        let result = EntityBatchResult {
            results: vec![failed_operation(details)],
            entity_state: claimed.batch.state.clone(),
            ..EntityBatchResult::default()
        };
        let batch = Arc::clone(&claimed.batch);
        self.commit(claimed.lease, move |tx| {
            tx.complete_batch(claimed.key, &batch, &result)
        })
        .await
    }
}

fn operation_request(event: &HistoryEvent) -> Option<OperationRequest> {
    let (request_id, operation, input) = match &event.event_type {
        Some(EventType::EntityOperationCalled(call)) => {
            (&call.request_id, &call.operation, &call.input)
        }
        Some(EventType::EntityOperationSignaled(signal)) => {
            (&signal.request_id, &signal.operation, &signal.input)
        }
        _ => return None,
    };
    Some(OperationRequest {
        operation: operation.clone(),
        request_id: request_id.clone(),
        input: input.clone(),
        trace_context: None,
    })
}

fn check_entity_id(id: &str) -> Result<String, Status> {
    canonical_entity_id(id)
        .ok_or_else(|| invalid("an entity id is @name@key, with at most 100 characters"))
}

/// A prefix as the stored ids have it: with `@` in front, the name in lower case.
fn canonical_prefix(prefix: &str) -> String {
    let rest = prefix.strip_prefix('@').unwrap_or(prefix);
    match rest.split_once('@') {
        Some((name, key)) => format!("@{}@{key}", name.to_lowercase()),
        None => format!("@{}", rest.to_lowercase()),
    }
}

fn cursor(token: Option<String>) -> Result<Option<i64>, Status> {
    match token.filter(|token| !token.is_empty()) {
        None => Ok(None),
        Some(token) => token
            .parse()
            .map(Some)
            .map_err(|_| invalid("the continuation token is not one of this scheduler's")),
    }
}
