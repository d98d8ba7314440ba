//! Instances: start, restart, get, wait, signal, purge.

use std::time::Duration;

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    CreateInstanceRequest, CreateInstanceResponse, ExecutionStartedEvent, GetInstanceRequest,
    GetInstanceResponse, OrchestrationInstance, OrchestrationState, OrchestrationStatus,
    PurgeInstancesRequest, PurgeInstancesResponse, RestartInstanceRequest, RestartInstanceResponse,
    RewindInstanceRequest, RewindInstanceResponse, SkipGracefulOrchestrationTerminationsRequest,
    SkipGracefulOrchestrationTerminationsResponse, purge_instances_request,
};
use durabletask_scheduler_core::{check_policy, is_terminal};
use tonic::{Request, Status};

use super::sizes::{Lengths, Takes};
use super::{Service, check_instance_id, invalid, status, status_midway};
use crate::store::{self, PurgeFilter, Purged, Slice, Start, StateFilter, micros};

const MAX_BATCH: usize = 500;
/// How many instances one transaction of a filter purge examines at most.
const PURGE_STEP: usize = 200;

impl Service {
    pub(super) async fn start(
        &self,
        request: Request<CreateInstanceRequest>,
    ) -> Result<CreateInstanceResponse, Status> {
        let hub = self.hub(&request).await?;
        let task_hub = self.hub_name(&request)?;
        let mut start = request.into_inner();
        if start.name.is_empty() {
            return Err(invalid("a start needs the orchestration's name"));
        }
        if start.instance_id.is_empty() {
            start.instance_id = uuid::Uuid::new_v4().simple().to_string();
        }
        check_instance_id(&start.instance_id)?;
        Lengths::default()
            .name("orchestration's name", &start.name)
            .version(start.version.as_ref())
            .id(
                "execution's id",
                start.execution_id.as_deref().unwrap_or_default(),
            )
            .tags(&start.tags)
            .indexed(
                &self.config.storage,
                &start.instance_id,
                &start.name,
                &start.tags,
            )
            .trace(start.parent_trace_context.as_ref())
            .payload("input", start.input.as_ref(), self.config.max_payload_bytes)
            .check()?;
        let policy = start.orchestration_id_reuse_policy;
        check_policy(policy.as_ref()).map_err(|refusal| invalid(refusal.to_string()))?;
        let instance_id = start.instance_id.clone();
        let execution_id = start
            .execution_id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let started = ExecutionStartedEvent {
            name: start.name,
            version: start.version,
            input: start.input,
            orchestration_instance: Some(OrchestrationInstance {
                instance_id: start.instance_id,
                execution_id: Some(execution_id),
            }),
            // Some clients always set the field, to 1970 where they mean now.
            scheduled_start_timestamp: start.scheduled_start_timestamp.filter(|at| at.seconds > 0),
            parent_trace_context: start.parent_trace_context,
            tags: start.tags,
            ..ExecutionStartedEvent::default()
        };
        let start = Start {
            hub,
            started,
            policy,
            parent_key: None,
        };
        self.store
            .writer
            .write(move |tx| tx.start_in_hub(&start))
            .await
            .map_err(status)?;
        tracing::info!(task_hub, instance_id, "instance started");
        Ok(CreateInstanceResponse { instance_id })
    }

    pub(super) async fn restart(
        &self,
        request: Request<RestartInstanceRequest>,
    ) -> Result<RestartInstanceResponse, Status> {
        let hub = self.hub(&request).await?;
        let task_hub = self.hub_name(&request)?;
        let request = request.into_inner();
        let id = request.instance_id;
        let target = if request.restart_with_new_instance_id {
            uuid::Uuid::new_v4().simple().to_string()
        } else {
            id.clone()
        };
        let execution_id = uuid::Uuid::new_v4().simple().to_string();
        let instance_id = target.clone();
        self.store
            .writer
            .write(move |tx| tx.restart(hub, &id, &target, &execution_id))
            .await
            .map_err(status)?;
        tracing::info!(task_hub, instance_id, "instance restarted");
        Ok(RestartInstanceResponse { instance_id })
    }

    /// Rewinds a failed instance to before its failures.
    pub(super) async fn rewind(
        &self,
        request: Request<RewindInstanceRequest>,
    ) -> Result<RewindInstanceResponse, Status> {
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        self.check_payload("reason", request.reason.as_ref())?;
        let id = request.instance_id;
        self.store
            .writer
            .write(move |tx| tx.rewind(hub, &id, request.reason.as_ref()))
            .await
            .map_err(status)?;
        Ok(RewindInstanceResponse {})
    }

    async fn state(
        &self,
        hub: i64,
        id: &str,
        payloads: bool,
    ) -> Result<Option<OrchestrationState>, Status> {
        let id = id.to_owned();
        let found = self
            .store
            .read(move |conn| {
                let found = store::state(conn, hub, &id, payloads)?;
                if found.is_none() {
                    // An existing instance belongs to an existing hub.
                    store::check_hub(conn, hub)?;
                }
                Ok(found)
            })
            .await
            .map_err(status)?;
        Ok(found.map(|(_, mut state)| {
            if !payloads {
                bare(&mut state);
            }
            state
        }))
    }

    pub(super) async fn get(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<GetInstanceResponse, Status> {
        let hub = self.hub(&request).await?;
        let takes = Takes::of(request.metadata(), self.config.max_message_bytes)?;
        let request = request.into_inner();
        let state = self
            .state(hub, &request.instance_id, request.get_inputs_and_outputs)
            .await?;
        let answer = GetInstanceResponse {
            exists: state.is_some(),
            orchestration_state: state,
        };
        takes.fits(answer)
    }

    /// Waits until `done` holds for the status. Woken by commits; never polls. An instance
    /// that does not exist yet is waited for too: a client may wait for a child right after
    /// it started the parent. One that is removed in the meantime is missing.
    pub(super) async fn wait(
        &self,
        request: Request<GetInstanceRequest>,
        done: fn(OrchestrationStatus) -> bool,
    ) -> Result<GetInstanceResponse, Status> {
        let deadline = grpc_timeout(request.metadata())
            .unwrap_or(Duration::MAX)
            .min(self.config.max_wait);
        let takes = Takes::of(request.metadata(), self.config.max_message_bytes)?;
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        let id = request.instance_id;
        let waiting = async {
            let waiter = self.dispatch.waiters.register(hub, &id);
            let mut seen = false;
            loop {
                let changed = waiter.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                match self.state(hub, &id, request.get_inputs_and_outputs).await? {
                    Some(state) => {
                        seen = true;
                        let reached = OrchestrationStatus::try_from(state.orchestration_status);
                        if done(reached.unwrap_or_default()) {
                            let answer = GetInstanceResponse {
                                exists: true,
                                orchestration_state: Some(state),
                            };
                            return takes.fits(answer);
                        }
                    }
                    None if seen => return Err(status(store::StoreError::NotFound(id.clone()))),
                    // An invalid instance id is not waited for.
                    None => check_instance_id(&id)?,
                }
                changed.await;
            }
        };
        tokio::select! {
            answer = tokio::time::timeout(deadline, waiting) => answer.unwrap_or_else(|_| {
                Err(Status::deadline_exceeded("the instance did not reach this state in time; wait again, or query its status"))
            }),
            () = self.ending.cancelled() => Err(Status::unavailable("the scheduler is shutting down; wait again")),
        }
    }

    /// Sends an event to a live instance; a finished one drops it.
    pub(super) async fn tell<T>(
        &self,
        request: &Request<T>,
        id: &str,
        payload: Option<&String>,
        event: EventType,
    ) -> Result<(), Status> {
        let hub = self.hub(request).await?;
        self.check_payload("payload", payload)?;
        let id = id.to_owned();
        self.store
            .writer
            .write(move |tx| tx.raise(hub, &id, event.clone()))
            .await
            .map_err(status)
    }

    /// Ends instances as TERMINATED without a turn.
    pub(super) async fn terminate_now(
        &self,
        request: Request<SkipGracefulOrchestrationTerminationsRequest>,
    ) -> Result<SkipGracefulOrchestrationTerminationsResponse, Status> {
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        self.check_payload("reason", request.reason.as_ref())?;
        let ids = request.instance_batch.unwrap_or_default().instance_ids;
        if ids.len() > MAX_BATCH {
            return Err(batch_too_long());
        }
        let unterminated_instance_ids = self
            .store
            .writer
            .write(move |tx| tx.terminate_now(hub, &ids, request.reason.as_ref()))
            .await
            .map_err(status)?;
        Ok(SkipGracefulOrchestrationTerminationsResponse {
            unterminated_instance_ids,
        })
    }

    pub(super) async fn purge(
        &self,
        request: Request<PurgeInstancesRequest>,
    ) -> Result<PurgeInstancesResponse, Status> {
        use purge_instances_request::Request as Which;
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        let recursive = request.recursive;
        let ids = match request.request {
            Some(Which::InstanceId(id)) => vec![id],
            Some(Which::InstanceBatch(batch)) if batch.instance_ids.len() <= MAX_BATCH => {
                batch.instance_ids
            }
            Some(Which::InstanceBatch(_)) => {
                return Err(batch_too_long());
            }
            Some(Which::PurgeInstanceFilter(filter)) => {
                let wanted = StateFilter {
                    statuses: filter.runtime_status,
                    created_from_us: filter.created_time_from.as_ref().map(micros),
                    created_to_us: filter.created_time_to.as_ref().map(micros),
                    id_prefix: None,
                };
                let limit = filter
                    .timeout
                    .and_then(|t| Duration::try_from(t).ok())
                    .unwrap_or(Duration::MAX);
                return self.purge_filter(hub, wanted, recursive, limit).await;
            }
            None => {
                return Err(invalid(
                    "a purge needs an instance id, a batch of them, or a filter",
                ));
            }
        };
        let mut deleted = 0;
        for id in ids {
            loop {
                let id = id.clone();
                let purged = self
                    .store
                    .writer
                    .write_behind(move |tx| tx.purge(hub, &id, recursive, Slice::begin()))
                    .await
                    .map_err(status_midway)?;
                deleted += purged.deleted;
                if purged.complete {
                    break;
                }
            }
        }
        Ok(PurgeInstancesResponse {
            deleted_instance_count: deleted,
            is_complete: Some(true),
        })
    }

    async fn purge_filter(
        &self,
        hub: i64,
        filter: StateFilter,
        recursive: bool,
        limit: Duration,
    ) -> Result<PurgeInstancesResponse, Status> {
        let begun = tokio::time::Instant::now();
        let mut purge = PurgeFilter {
            filter,
            recursive,
            after: None,
            limit: PURGE_STEP,
        };
        let mut deleted = 0;
        loop {
            let step = purge.clone();
            let (purged, after): (Purged, _) = self
                .store
                .writer
                .write_behind(move |tx| {
                    let mut step = step.clone();
                    let purged = tx.purge_filter(hub, &mut step, Slice::begin())?;
                    Ok((purged, step.after))
                })
                .await
                .map_err(status_midway)?;
            deleted += purged.deleted;
            if purged.complete || begun.elapsed() >= limit {
                return Ok(PurgeInstancesResponse {
                    deleted_instance_count: deleted,
                    is_complete: Some(purged.complete),
                });
            }
            purge.after = after;
        }
    }
}

/// Removes from a state what is omitted along with inputs and outputs, as .NET's client documents
/// and its server does.
pub(super) fn bare(state: &mut OrchestrationState) {
    state.custom_status = None;
    state.failure_details = None;
}

fn batch_too_long() -> Status {
    invalid("a batch can have at most 500 instance ids; send several")
}

/// Whether a worker has started the instance.
pub(super) fn has_started(status: OrchestrationStatus) -> bool {
    status != OrchestrationStatus::Pending
}

/// Whether the instance has finished.
pub(super) fn has_ended(status: OrchestrationStatus) -> bool {
    is_terminal(status)
}

/// The caller's deadline, shortened a little so that our answer gets there first.
/// Follows the gRPC specification: `grpc-timeout` is up to 8 digits and a unit.
fn grpc_timeout(metadata: &tonic::metadata::MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(value.saturating_mul(3600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    };
    Some(timeout.saturating_sub((timeout / 10).min(Duration::from_millis(500))))
}
