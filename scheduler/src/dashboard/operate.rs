//! Operations on instances. Each goes through the gRPC service's method, so
//! it is checked, refused and made durable like a client's call.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use durabletask_proto::task_hub_sidecar_service_server::TaskHubSidecarService as _;
use durabletask_proto::{
    ForkInstanceRequest, PurgeInstancesRequest, RaiseEventRequest, RestartInstanceRequest,
    ResumeRequest, RewindInstanceRequest, SuspendRequest, TerminateRequest,
    purge_instances_request,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::Dashboard;
use super::path::Segment;
use super::problem::Problem;
use crate::store::timestamp;

/// The body of an operation; each uses the members that it knows and ignores others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Details {
    /// The event's name, of `raise-event`.
    name: String,
    /// The event's payload or the output of `terminate`: any JSON; absent means none.
    #[serde(deserialize_with = "present")]
    payload: Option<Value>,
    /// The reason, of `suspend`, `resume` and `rewind`.
    reason: Option<String>,
    /// Whether children are included, of `terminate` and `purge`.
    recursive: bool,
    /// When to start, RFC 3339, of `reschedule`; absent means now.
    at: Option<DateTime<Utc>>,
    /// Whether `restart` creates an instance with a new id.
    new_id: bool,
    /// The place of the event in the history, of `fork`.
    event: Option<u32>,
    /// The execution whose history that is, of `fork`; absent means the present one.
    execution_id: Option<String>,
    /// The new instance's id, of `fork`; empty means a generated one.
    instance_id: String,
}

/// Distinguishes an explicit `null` from an absent member.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// `POST /api/hubs/{hub}/instances/{id}/{operation}`.
pub(super) async fn operate(
    State(dashboard): State<Dashboard>,
    Path((Segment(hub), Segment(id), operation)): Path<(Segment, Segment, String)>,
    details: Result<Json<Details>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(details) = details.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    // An operation creates no task hub.
    dashboard.hub(&hub).await?;
    let told = carry_out(&dashboard, &hub, &id, &operation, details).await?;
    tracing::info!(
        task_hub = hub,
        instance_id = id,
        operation,
        "carried out for the dashboard"
    );
    Ok(Json(told))
}

async fn carry_out(
    dashboard: &Dashboard,
    hub: &str,
    id: &str,
    operation: &str,
    details: Details,
) -> Result<Value, Problem> {
    let service = &dashboard.service;
    let instance_id = id.to_owned();
    let payload = details.payload.map(|payload| payload.to_string());
    let reason = details.reason.filter(|reason| !reason.is_empty());
    match operation {
        "raise-event" => {
            if details.name.is_empty() {
                return Err(Problem::bad("An event needs a name."));
            }
            let message = RaiseEventRequest {
                instance_id,
                name: details.name,
                input: payload,
            };
            service.raise_event(to_hub(hub, message)?).await?;
        }
        "suspend" => {
            let message = SuspendRequest {
                instance_id,
                reason,
            };
            service.suspend_instance(to_hub(hub, message)?).await?;
        }
        "resume" => {
            let message = ResumeRequest {
                instance_id,
                reason,
            };
            service.resume_instance(to_hub(hub, message)?).await?;
        }
        "terminate" => {
            let message = TerminateRequest {
                instance_id,
                output: payload,
                recursive: details.recursive,
            };
            service.terminate_instance(to_hub(hub, message)?).await?;
        }
        "reschedule" => {
            let number = dashboard.hub(hub).await?;
            let at = timestamp(details.at.unwrap_or_else(|| service.config.clock.now()));
            service
                .store
                .writer
                .write(move |tx| tx.reschedule(number, &instance_id, at))
                .await
                .map_err(crate::service::status)?;
        }
        "restart" => {
            let message = RestartInstanceRequest {
                instance_id,
                restart_with_new_instance_id: details.new_id,
            };
            let answer = service.restart_instance(to_hub(hub, message)?).await?;
            return Ok(json!({"instanceId": answer.into_inner().instance_id}));
        }
        "rewind" => {
            let message = RewindInstanceRequest {
                instance_id,
                reason,
            };
            service.rewind_instance(to_hub(hub, message)?).await?;
        }
        "fork" => {
            let Some(event) = details.event else {
                return Err(Problem::bad(
                    "A fork needs the event: its place in the history, from 0.",
                ));
            };
            let message = ForkInstanceRequest {
                instance_id,
                execution_id: details.execution_id,
                event,
                new_instance_id: details.instance_id,
            };
            let answer = service.fork_instance(to_hub(hub, message)?).await?;
            return Ok(json!({"instanceId": answer.instance_id}));
        }
        "purge" => {
            let message = PurgeInstancesRequest {
                request: Some(purge_instances_request::Request::InstanceId(instance_id)),
                recursive: details.recursive,
                ..PurgeInstancesRequest::default()
            };
            let answer = service.purge_instances(to_hub(hub, message)?).await?;
            let deleted = answer.into_inner().deleted_instance_count;
            if deleted == 0 {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    "Nothing was purged: the instance no longer exists, or has not finished; terminate it first.",
                ));
            }
            return Ok(json!({"deleted": deleted}));
        }
        _ => return Err(Problem::not_found("operation")),
    }
    Ok(json!({}))
}

pub(super) fn to_hub<T>(hub: &str, message: T) -> Result<Request<T>, Problem> {
    let mut request = Request::new(message);
    let name = MetadataValue::try_from(hub).map_err(|_| Problem::not_found("task hub"))?;
    request.metadata_mut().insert("taskhub", name);
    Ok(request)
}
