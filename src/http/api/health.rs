//! `/healthz`: the process answers. `/readyz`: it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use countersign_database::Trouble;
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

/// Which parts answered.
#[derive(Clone, Copy)]
struct Answers {
    hub: bool,
    vault: bool,
    /// None where no database is shared.
    database: Option<bool>,
    /// What is wrong with it.
    trouble: Option<Trouble>,
}

/// Which parts answered when they were last asked.
#[derive(Default)]
pub(crate) struct LastAnswers {
    last: Mutex<Option<(Instant, Answers)>>,
}

impl LastAnswers {
    /// Whether task hub, vault and shared database answer. A check that arrives while they are
    /// being asked gets the same answer.
    async fn now(&self, door: &FrontDoor) -> Answers {
        let mut last = self.last.lock().await;
        if let Some((at, answers)) = *last
            && at.elapsed() < FRESH
        {
            return answers;
        }
        let hub = tokio::time::timeout(PATIENCE, door.hub.reachable());
        let vault = tokio::time::timeout(PATIENCE, door.vault.check());
        let database = async {
            let database = door.database.as_ref()?;
            let trouble = match tokio::time::timeout(PATIENCE, database.ping()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.trouble()),
                Err(_) => Some(Trouble::Late),
            };
            // And its changes are heard: without, nothing that is remembered counts.
            let unheard = (!door.access.hears_changes()).then_some(Trouble::Unheard);
            let trouble = trouble.or(unheard);
            // One that answers may refuse changes, for lack of space say.
            Some((trouble.is_none(), trouble.or_else(|| database.trouble())))
        };
        let (hub, vault, database) = tokio::join!(hub, vault, database);
        let answers = Answers {
            hub: matches!(hub, Ok(Ok(()))),
            vault: matches!(vault, Ok(Ok(()))),
            database: database.map(|(answers, _)| answers),
            trouble: database.and_then(|(_, trouble)| trouble),
        };
        *last = Some((Instant::now(), answers));
        answers
    }
}

impl FrontDoor {
    /// The parts that do not answer, in words; none once it is ready.
    pub(crate) async fn lacks(&self) -> Option<&'static str> {
        let answers = self.last_answers.now(self).await;
        match (answers.database, answers.hub, answers.vault) {
            (Some(false), _, _) => Some("the database"),
            (_, true, true) => None,
            (_, false, true) => Some("the task hub"),
            (_, true, false) => Some("the vault"),
            (_, false, false) => Some("task hub and vault"),
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
#[serde(rename_all = "camelCase")]
struct Readiness {
    /// Whether all of them answer.
    status: Answering,
    /// The task hub.
    hub: Answering,
    vault: Answering,
    /// The shared database, and whether its notifications arrive; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Answering>,
    /// What is wrong with the shared database: `unreachable`, `full`, `read-only` and so on, as in
    /// problems. Where the database answers, it is what a change has met in the last ten seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_problem: Option<&'static str>,
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
        (status = OK, description = "Task hub, vault and shared database are reachable", body = Readiness),
        (status = SERVICE_UNAVAILABLE, content(
            (Readiness = "application/json"),
            (Problem = "application/problem+json"),
        ), description = "One of them is unreachable"),
    ),
)]
pub(super) async fn ready(State(door): State<Arc<FrontDoor>>) -> Response {
    let answers = door.last_answers.now(&door).await;
    let is_ready = answers.hub && answers.vault && answers.database.unwrap_or(true);
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Readiness {
        status: is_ready.into(),
        hub: answers.hub.into(),
        vault: answers.vault.into(),
        database: answers.database.map(Answering::from),
        database_problem: answers.trouble.map(Trouble::as_str),
    };
    no_store((status, Json(body)).into_response())
}
