//! `/healthz`: the process answers. `/readyz`: it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::FrontDoor;
use super::enrollments::no_store;
use super::error::Problem;

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether something answers.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Answering {
    Ok,
    Unreachable,
}

impl From<bool> for Answering {
    fn from(ok: bool) -> Self {
        if ok { Self::Ok } else { Self::Unreachable }
    }
}

/// That the process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    status: Answering,
}

/// Which parts answer.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// Whether all of them do.
    status: Answering,
    /// The task hub.
    hub: Answering,
    vault: Answering,
}

/// Tells that the process answers
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/healthz", tag = "operations", operation_id = "live",
    responses((status = OK, description = "It answers", body = Alive)),
)]
pub(super) async fn live() -> Response {
    no_store(
        Json(Alive {
            status: Answering::Ok,
        })
        .into_response(),
    )
}

/// Tells whether it can do its work
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "ready",
    responses(
        (status = OK, description = "Task hub and vault answer", body = Readiness),
        (status = SERVICE_UNAVAILABLE, content(
            (Readiness = "application/json"),
            (Problem = "application/problem+json"),
        ), description = "One of them does not"),
    ),
)]
pub(super) async fn ready(State(door): State<Arc<FrontDoor>>) -> Response {
    let hub = tokio::time::timeout(PATIENCE, door.enrollments.reachable());
    let vault = tokio::time::timeout(PATIENCE, door.vault.check());
    let (hub, vault) = tokio::join!(hub, vault);
    let hub = matches!(hub, Ok(Ok(())));
    let vault = matches!(vault, Ok(Ok(())));
    let status = if hub && vault {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Readiness {
        status: (hub && vault).into(),
        hub: hub.into(),
        vault: vault.into(),
    };
    no_store((status, Json(body)).into_response())
}
