//! `/healthz`: the process answers. `/readyz`: it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::FrontDoor;
use super::enrollments::no_store;

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn live() -> Response {
    no_store(Json(json!({"status": "ok"})).into_response())
}

pub(super) async fn ready(State(door): State<Arc<FrontDoor>>) -> Response {
    let hub = tokio::time::timeout(PATIENCE, door.enrollments.reachable());
    let vault = tokio::time::timeout(PATIENCE, door.vault.check());
    let (hub, vault) = tokio::join!(hub, vault);
    let hub = matches!(hub, Ok(Ok(())));
    let vault = matches!(vault, Ok(Ok(())));
    let word = |ok| if ok { "ok" } else { "unreachable" };
    let status = if hub && vault {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": word(hub && vault),
        "hub": word(hub),
        "vault": word(vault),
    });
    no_store((status, Json(body)).into_response())
}
