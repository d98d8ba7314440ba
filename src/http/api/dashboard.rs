//! `/api/dashboard/tickets`: links to the task hub's dashboard, for administrators.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use durabletask_scheduler::TICKET_LIFE;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::views::moment;
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::parameters::parameters;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// The longest id of an instance.
const MAX_INSTANCE_ID: usize = 100;

/// What the dashboard should show.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketParameters {
    /// The id of an instance; the list of instances if left out.
    #[param(pattern = "^[A-Za-z0-9._-]{1,100}$")]
    instance: Option<String>,
}

/// A link that opens the dashboard once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TicketView {
    /// The address that logs a browser in to the dashboard, once.
    url: String,
    /// Until when the link is valid.
    #[serde(serialize_with = "moment")]
    expires_at: DateTime<Utc>,
}

/// Opens the task hub's dashboard
///
/// Returns a link that logs a browser in to the dashboard of this installation's own task hub,
/// once and within a minute. The dashboard's session is separate: neither session is accepted by
/// the other server.
#[utoipa::path(
    post, path = "/api/dashboard/tickets", tag = "operations", operation_id = "openDashboard",
    params(TicketParameters),
    responses((status = CREATED, description = "The link", body = TicketView)),
    extensions(
        ("x-audit" = json!(Action::OpenDashboard)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::InvalidParameter, ProblemCode::NoDashboard])),
    ),
)]
pub(super) async fn open(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    query: Result<Query<TicketParameters>, QueryRejection>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let instance = parameters(query)?.instance;
        if let Some(id) = &instance {
            let plain = (1..=MAX_INSTANCE_ID).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !plain {
                return Err(ApiError::InvalidParameter {
                    name: "instance",
                    detail: "1 to 100 of the characters A-Z a-z 0-9 . _ -".to_owned(),
                });
            }
            facts.subject.clone_from(&instance);
        }
        let made = Arc::clone(&door);
        // By the system's clock, which the dashboard uses.
        let now = SystemTime::now();
        let link = tokio::task::spawn_blocking(move || {
            made.server.dashboard.link(instance.as_deref(), now)
        })
        .await
        .map_err(|error| ApiError::Internal(Box::new(error)))?
        .map_err(|error| ApiError::Internal(Box::new(error)))?;
        let view = TicketView {
            url: link.ok_or(ApiError::NoDashboard)?,
            expires_at: DateTime::from(now + TICKET_LIFE),
        };
        Ok(no_store((StatusCode::CREATED, Json(view)).into_response()))
    })
    .await;
    facts.on(answer)
}
