//! Answering one work item, of any kind.

use std::sync::Arc;

use durabletask_core::{CompletionStatus, Registry};
use durabletask_proto as proto;
use proto::completion::Result as Handed;
use proto::work_item::Request as Item;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use crate::client::Client;
use crate::payloads::PayloadStoreError;
use crate::spans::Spanned;

use super::cache::ExecutionCache;
use super::completion::{Delivery, deliver};
use super::completion_stream::Completions;
use super::limits::{DIVERGENCE_DELAY, HAND_BACK_DELAY, Options};
use super::orchestration::{NotRun, Turns, store_failure};
use super::running::{CancelActivities, RunningActivities};
use super::status::Health;
use super::{activity, entity, filters};

/// What the tasks of single work items need.
pub(super) struct Shared {
    pub(super) registry: Arc<Registry>,
    /// Sends the heartbeats of activities.
    pub(super) client: Client,
    pub(super) cache: ExecutionCache,
    pub(super) completions: Completions,
    pub(super) options: Arc<Options>,
    pub(super) running: RunningActivities,
    pub(super) health: Health,
}

impl Shared {
    pub(super) async fn orchestration(&self, request: proto::OrchestratorRequest, token: String) {
        let instance_id = request.instance_id.clone();
        let turns = Turns {
            registry: &self.registry,
            cache: &self.cache,
            options: &self.options,
        };
        let turn = turns
            .run(&self.completions.link().service(), request, token.clone())
            .await;
        let turn = match turn {
            Ok(turn) => turn,
            Err(NotRun::History(status)) => {
                tracing::warn!(instance_id, code = ?status.code(), reason = status.message(), "the history cannot be read; the work item is returned");
                self.abandon_orchestration(token).await;
                return;
            }
            Err(NotRun::Payloads(reason)) => {
                tracing::warn!(
                    instance_id,
                    reason,
                    "a payload is not available yet; the work item is returned"
                );
                tokio::time::sleep(HAND_BACK_DELAY).await;
                self.abandon_orchestration(token).await;
                return;
            }
            Err(NotRun::Diverged(reason)) => {
                tracing::error!(
                    instance_id,
                    reason,
                    "the code does not fit the history; the instance is held until a worker has code that does"
                );
                tokio::time::sleep(DIVERGENCE_DELAY).await;
                self.abandon_orchestration(token).await;
                return;
            }
            Err(NotRun::NotOurs(reason)) => {
                tracing::debug!(
                    instance_id,
                    reason,
                    "the work item is left to another worker"
                );
                tokio::time::sleep(HAND_BACK_DELAY).await;
                self.abandon_orchestration(token).await;
                return;
            }
        };
        let cached = match turn.live {
            // Kept before the scheduler answers: its next item for this instance
            // can overtake that answer, and it names this turn only if it took it.
            Some(live) if self.cache.is_enabled() && !token.is_empty() => {
                self.cache.put(token.clone(), live);
                true
            }
            _ => false,
        };
        for response in turn.responses {
            let delivery = deliver(&instance_id, "orchestration", || {
                self.completions
                    .hand_in(Handed::Orchestrator(response.clone()))
            })
            .await;
            if delivery == Delivery::Lost {
                if cached {
                    self.cache.forget(&instance_id, &token);
                }
                return;
            }
        }
        if let Some(steps) = turn.steps {
            Spanned::record_steps(steps);
        }
        if let Some(span) = turn.span {
            Spanned::record_orchestration(span);
        }
        let execution_id = turn.execution_id.as_deref();
        match (self.options.cancel_activities, turn.ended) {
            (CancelActivities::Never, _) => {}
            (_, Some(CompletionStatus::Terminated)) => {
                self.running.cancel_all(&instance_id, execution_id);
            }
            (CancelActivities::WhenTerminated, _) => {}
            (CancelActivities::WhenGivenUp, _) => {
                self.running
                    .cancel(&instance_id, execution_id, &turn.given_up);
            }
        }
    }

    pub(super) async fn activity(&self, request: proto::ActivityRequest, token: String) {
        if !self.options.filters.take_activity(
            &self.registry,
            &request.name,
            request.version.as_deref().unwrap_or_default(),
        ) {
            tracing::debug!(
                activity = request.name,
                "the work item is left to another worker"
            );
            tokio::time::sleep(HAND_BACK_DELAY).await;
            self.abandon_activity(token).await;
            return;
        }
        let slot = self.options.calls.slot(&request.name).await;
        let response = self.call(request, token.clone()).await;
        drop(slot);
        let response = match response {
            Ok(response) => activity::bounded(response),
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "a payload is not available yet; the work item is returned"
                );
                tokio::time::sleep(HAND_BACK_DELAY).await;
                self.abandon_activity(token).await;
                return;
            }
        };
        deliver(&response.instance_id, "activity", || {
            self.completions.hand_in(Handed::Activity(response.clone()))
        })
        .await;
    }

    pub(super) async fn entity(&self, request: entity::Request, token: String) {
        let instance_id = request.instance_id().to_owned();
        if !self
            .options
            .filters
            .take_entity(&self.registry, &instance_id)
        {
            tracing::debug!(instance_id, "the work item is left to another worker");
            tokio::time::sleep(HAND_BACK_DELAY).await;
            self.abandon_entity(token).await;
            return;
        }
        let payloads = self.options.payloads.as_ref();
        let name = filters::entity_name(&instance_id);
        let slot = self.options.batches.slot(&name).await;
        let response = entity::run(&self.registry, payloads, request, token.clone()).await;
        drop(slot);
        let response = match response {
            Ok(response) => response,
            Err(reason) => {
                tracing::warn!(
                    instance_id,
                    reason,
                    "a payload is not available yet; the work item is returned"
                );
                tokio::time::sleep(HAND_BACK_DELAY).await;
                self.abandon_entity(token).await;
                return;
            }
        };
        deliver(&instance_id, "entity", || {
            self.completions.hand_in(Handed::Entity(response.clone()))
        })
        .await;
    }

    async fn abandon_entity(&self, completion_token: String) {
        let mut service = self.completions.link().service();
        let request = proto::AbandonEntityTaskRequest { completion_token };
        note_refusal(service.abandon_task_entity_work_item(request).await.err());
    }

    /// Runs an activity, with its payloads from and to the store.
    ///
    /// # Errors
    ///
    /// The text of a transient error of the store.
    async fn call(
        &self,
        mut request: proto::ActivityRequest,
        token: String,
    ) -> Result<proto::ActivityResponse, String> {
        let Some(payloads) = &self.options.payloads else {
            return Ok(self.run(request, token).await);
        };
        let instance = request.orchestration_instance.clone().unwrap_or_default();
        let mut response = match payloads.fetch_into(&mut request).await {
            Ok(()) => self.run(request, token).await,
            Err(PayloadStoreError::Transient(reason)) => return Err(reason),
            Err(error) => proto::ActivityResponse {
                instance_id: instance.instance_id.clone(),
                task_id: request.task_id,
                failure_details: Some(store_failure(&error).into()),
                completion_token: token,
                ..Default::default()
            },
        };
        match payloads
            .store_in(&instance.instance_id, &mut response)
            .await
        {
            Ok(()) => {}
            Err(PayloadStoreError::Transient(reason)) => return Err(reason),
            Err(error) => {
                response.result = None;
                response.failure_details = Some(store_failure(&error).into());
            }
        }
        Ok(response)
    }

    async fn run(&self, request: proto::ActivityRequest, token: String) -> proto::ActivityResponse {
        activity::run(&self.registry, &self.running, &self.client, request, token).await
    }

    async fn abandon_activity(&self, completion_token: String) {
        let mut service = self.completions.link().service();
        let request = proto::AbandonActivityTaskRequest { completion_token };
        note_refusal(service.abandon_task_activity_work_item(request).await.err());
    }

    async fn abandon_orchestration(&self, completion_token: String) {
        let mut service = self.completions.link().service();
        let request = proto::AbandonOrchestrationTaskRequest { completion_token };
        note_refusal(
            service
                .abandon_task_orchestrator_work_item(request)
                .await
                .err(),
        );
    }

    pub(super) async fn abandon(&self, item: proto::WorkItem) {
        let completion_token = item.completion_token;
        match item.request {
            Some(Item::OrchestratorRequest(_)) => {
                self.abandon_orchestration(completion_token).await;
            }
            Some(Item::ActivityRequest(_)) => {
                self.abandon_activity(completion_token).await;
            }
            Some(Item::EntityRequest(_) | Item::EntityRequestV2(_)) => {
                self.abandon_entity(completion_token).await;
            }
            Some(Item::HealthPing(_)) | None => {}
        }
    }
}

pub(super) async fn permit(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // The semaphores are never closed, so this always yields one.
    Arc::clone(semaphore).acquire_owned().await.ok()
}

fn note_refusal(status: Option<Status>) {
    if let Some(status) = status
        && status.code() != Code::NotFound
    {
        tracing::debug!(code = ?status.code(), "the scheduler does not take a work item back; its lease ends with the stream");
    }
}
