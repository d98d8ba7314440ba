//! Entities: a page of them, one of them, and signals. As operations on instances, these
//! go through the gRPC service's own methods.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use durabletask_proto::task_hub_sidecar_service_server::TaskHubSidecarService as _;
use durabletask_proto::{
    EntityMetadata, EntityQuery, GetEntityRequest, QueryEntitiesRequest, SignalEntityRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operate::{present, to_hub};
use super::path::Segment;
use super::problem::Problem;
use super::{Dashboard, json};

/// How many entities a page lists.
const PAGE: i32 = 50;

/// The filter of a list of entities; empty means any.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EntityFilter {
    /// The prefix of the id, such as `@counter@`.
    prefix: String,
    /// The cursor from the previous page.
    cursor: String,
}

/// A page of entities, without their states.
pub(super) async fn list(
    State(dashboard): State<Dashboard>,
    Path(Segment(hub)): Path<Segment>,
    Query(asked): Query<EntityFilter>,
) -> Result<Json<Value>, Problem> {
    dashboard.hub(&hub).await?;
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let query = EntityQuery {
        instance_id_starts_with: text(asked.prefix),
        continuation_token: text(asked.cursor),
        include_transient: true,
        page_size: Some(PAGE),
        ..EntityQuery::default()
    };
    let request = to_hub(&hub, QueryEntitiesRequest { query: Some(query) })?;
    let page = dashboard
        .service
        .query_entities(request)
        .await?
        .into_inner();
    let entities: Vec<Value> = page.entities.iter().map(entity).collect();
    Ok(Json(
        json!({"entities": entities, "next": page.continuation_token}),
    ))
}

/// One entity with its state.
pub(super) async fn one(
    State(dashboard): State<Dashboard>,
    Path((Segment(hub), Segment(id))): Path<(Segment, Segment)>,
) -> Result<Json<Value>, Problem> {
    dashboard.hub(&hub).await?;
    let message = GetEntityRequest {
        instance_id: id.clone(),
        include_state: true,
    };
    let answer = dashboard.service.get_entity(to_hub(&hub, message)?).await?;
    let mut found = answer.into_inner().entity;
    if found.is_none() {
        // To clients, an entity without a state does not exist, but its waiting operations and its lock can
        // be inspected.
        let query = EntityQuery {
            instance_id_starts_with: Some(id.clone()),
            include_transient: true,
            page_size: Some(PAGE),
            ..EntityQuery::default()
        };
        let request = to_hub(&hub, QueryEntitiesRequest { query: Some(query) })?;
        let page = dashboard.service.query_entities(request).await?;
        let mut entities = page.into_inner().entities.into_iter();
        found = entities.find(|each| each.instance_id == id);
    }
    let found = found.ok_or_else(|| Problem::not_found("entity"))?;
    Ok(Json(json!({"entity": entity(&found)})))
}

fn entity(entity: &EntityMetadata) -> Value {
    json!({
        "id": entity.instance_id,
        "modified": json::time(entity.last_modified_time.as_ref()),
        "waiting": entity.backlog_queue_size,
        "lockedBy": entity.locked_by,
        "state": entity.serialized_state,
    })
}

/// The body of a signal.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Signal {
    /// The operation's name.
    name: String,
    /// Its input: any JSON; absent means none.
    #[serde(deserialize_with = "present")]
    payload: Option<Value>,
}

/// Signals an entity, which is created if it does not exist.
pub(super) async fn signal(
    State(dashboard): State<Dashboard>,
    Path((Segment(hub), Segment(id))): Path<(Segment, Segment)>,
    signal: Result<Json<Signal>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(signal) = signal.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    dashboard.hub(&hub).await?;
    let message = SignalEntityRequest {
        instance_id: id.clone(),
        name: signal.name,
        input: signal.payload.map(|payload| payload.to_string()),
        ..SignalEntityRequest::default()
    };
    dashboard
        .service
        .signal_entity(to_hub(&hub, message)?)
        .await?;
    tracing::info!(
        task_hub = hub,
        entity_id = id,
        "signalled for the dashboard"
    );
    Ok(Json(json!({})))
}
