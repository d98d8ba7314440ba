//! `/api/system`: the server's version and surroundings, for administrators.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::views::moment;
use crate::http::FrontDoor;
use crate::http::Guard;
use crate::http::OwnNames;
use crate::http::edge::auth::{Administer, Caller, Permission as _};
use crate::http::edge::reply::no_store;
use crate::local_hub::Dashboard;
use crate::local_proof::LocalProof;

/// Facts about the server that requests need.
pub(crate) struct ServerInfo {
    /// The task hub's name.
    pub(crate) task_hub: String,
    /// The address of an instance on another dashboard, with `{id}` in place of the id.
    pub(crate) instance_link: Option<String>,
    /// The dashboard of this installation.
    pub(crate) dashboard: Dashboard,
    /// The limits on requests.
    pub(crate) guard: Guard,
    /// How long a client may stall a body.
    pub(crate) body_timeout: Duration,
    /// The origins whose pages may call the API.
    pub(crate) cors_origins: Vec<String>,
    /// The names under which browsers may reach this server.
    pub(crate) names: OwnNames,
    /// The address that people use, if the settings name one.
    pub(crate) public_url: Option<url::Url>,
    /// Whether callers use HTTPS.
    pub(crate) tls: bool,
    /// Proves to commands on the data folder that this is its server.
    pub(crate) proof: LocalProof,
}

/// The server's version, time and task hub.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SystemView<'a> {
    /// The program's version.
    version: &'static str,
    #[serde(serialize_with = "moment")]
    server_time: DateTime<Utc>,
    /// The task hub's name.
    task_hub: &'a str,
    /// The address of an instance on the task hub's dashboard, with `{id}` in place of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_link: Option<String>,
    /// Whether that dashboard accepts links of `POST /api/dashboard/tickets`.
    dashboard_tickets: bool,
    /// The public key that other installations seal accounts for this one with.
    seal_key: String,
}

/// Shows the server's version, time and task hub
#[utoipa::path(
    get, path = "/api/system", tag = "operations", operation_id = "system",
    responses((status = OK, description = "Version, time and task hub", body = SystemView<'static>)),
    extensions(("x-roles" = json!(Administer::ROLES))),
)]
pub(super) async fn system(State(door): State<Arc<FrontDoor>>, _: Caller<Administer>) -> Response {
    let ours = door.server.dashboard.instance_link();
    let named = door.server.instance_link.clone();
    let view = SystemView {
        version: env!("CARGO_PKG_VERSION"),
        server_time: door.clock.now(),
        task_hub: &door.server.task_hub,
        dashboard_tickets: ours.is_some() && (named.is_none() || named == ours),
        instance_link: named.or(ours),
        seal_key: door.hub.seal_key(),
    };
    no_store(Json(view).into_response())
}
