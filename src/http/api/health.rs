//! `/healthz`: the process answers. `/readyz`: it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::http::FrontDoor;
use crate::http::edge::error::Problem;
use crate::http::edge::reply::no_store;

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long an answer is cached, so that frequent checks do not query the parts more often.
const FRESH: Duration = Duration::from_millis(500);

/// Which parts answered the last check.
#[derive(Default)]
pub(crate) struct LastAnswers {
    last: Mutex<Option<(Instant, bool, bool)>>,
}

impl LastAnswers {
    /// Whether the task hub and the vault answer. A check that arrives during another
    /// gets the same answer.
    async fn now(&self, door: &FrontDoor) -> (bool, bool) {
        let mut last = self.last.lock().await;
        if let Some((at, hub, vault)) = *last
            && at.elapsed() < FRESH
        {
            return (hub, vault);
        }
        let hub = tokio::time::timeout(PATIENCE, door.hub.reachable());
        let vault = tokio::time::timeout(PATIENCE, door.vault.check());
        let (hub, vault) = tokio::join!(hub, vault);
        let (hub, vault) = (matches!(hub, Ok(Ok(()))), matches!(vault, Ok(Ok(()))));
        *last = Some((Instant::now(), hub, vault));
        (hub, vault)
    }
}

impl FrontDoor {
    /// The parts that do not answer, in words; none once it is ready.
    pub(crate) async fn lacks(&self) -> Option<&'static str> {
        match self.last_answers.now(self).await {
            (true, true) => None,
            (false, true) => Some("the task hub"),
            (true, false) => Some("the vault"),
            (false, false) => Some("task hub and vault"),
        }
    }
}

/// The result of one check.
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

/// The process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    status: Answering,
}

/// Which parts answer.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// Whether all of them answer.
    status: Answering,
    /// The task hub.
    hub: Answering,
    vault: Answering,
}

/// Reports that the process answers
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

/// Reports whether the server is ready
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "ready",
    responses(
        (status = OK, description = "Task hub and vault are reachable", body = Readiness),
        (status = SERVICE_UNAVAILABLE, content(
            (Readiness = "application/json"),
            (Problem = "application/problem+json"),
        ), description = "One of them is unreachable"),
    ),
)]
pub(super) async fn ready(State(door): State<Arc<FrontDoor>>) -> Response {
    let (hub, vault) = door.last_answers.now(&door).await;
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
