//! `/api/requests` and `/api/accounts/{id}/requests`: doing something with an account once
//! somebody else has agreed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use countersign_enrollment::account_request::{Act, MAX_READS, MAX_REASON_CHARS};
use countersign_enrollment::ids::{EnrollmentId, RequestId};
use countersign_enrollment::sealed::SealKey;
use serde::Deserialize;

use super::FrontDoor;
use super::accounts::readable;
use super::approvals::{DecisionBody, short_text};
use super::auth::{Administer, Caller, Decide, Known, Permission as _, Read};
use super::body::JsonBody;
use super::enrollments::{idempotency_key, limit, no_store, parameters, wait_parameter};
use super::error::ApiError;
use super::observe;
use super::request_views::{ExportView, RequestPage, RequestView};
use super::views::TokenView;
use crate::access::Role;
use crate::audit::Action;
use crate::enrollments::{
    Cursor, EnrollmentError, NewRequest, RequestQuery, RequestSnapshot, RequestStage,
};
use crate::telemetry;
use crate::tokens::from_vault;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What to do with an account. Which members belong to which kind says `kind`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestBody {
    kind: String,
    reason: Option<String>,
    /// `read`: how many codes.
    reads: Option<u32>,
    /// `read` and `export`: for how long, in seconds; `delete`: how much later.
    seconds: Option<u64>,
    /// `transfer`: the other installation's key.
    to: Option<String>,
}

impl RequestBody {
    fn act(&self) -> Result<Act, ApiError> {
        let reads = |usual| within("reads", self.reads.unwrap_or(usual), 1, MAX_READS);
        let seconds =
            |usual, least, most| within("seconds", self.seconds.unwrap_or(usual), least, most);
        let act = match self.kind.as_str() {
            "read" => Act::Read {
                reads: reads(1)?,
                seconds: seconds(15 * MINUTE, 1, 30 * DAY)?,
            },
            "export" => Act::Export {
                seconds: seconds(HOUR, 1, 7 * DAY)?,
            },
            "delete" => Act::Delete {
                seconds: seconds(7 * DAY, 0, 90 * DAY)?,
            },
            "transfer" => Act::Transfer {
                to: self.recipient()?,
            },
            _ => {
                return Err(ApiError::InvalidParameter {
                    name: "kind",
                    detail: "one of read, export, transfer, delete".to_owned(),
                });
            }
        };
        let out_of_place = match act {
            Act::Read { .. } => self.to.is_some().then_some("to"),
            Act::Export { .. } | Act::Delete { .. } => {
                let reads = self.reads.is_some().then_some("reads");
                reads.or(self.to.is_some().then_some("to"))
            }
            Act::Transfer { .. } => {
                let reads = self.reads.is_some().then_some("reads");
                reads.or(self.seconds.is_some().then_some("seconds"))
            }
        };
        match out_of_place {
            None => Ok(act),
            Some(name) => Err(ApiError::InvalidParameter {
                name,
                detail: format!("does not belong to a request of the kind {}", act.kind()),
            }),
        }
    }

    /// The other installation's key, in the one spelling that is signed.
    fn recipient(&self) -> Result<String, ApiError> {
        let text = self.to.as_deref().unwrap_or_default();
        SealKey::from_text(text)
            .map(|key| key.to_text())
            .map_err(|_| ApiError::InvalidParameter {
                name: "to",
                detail: "the sealing key of the other installation: countersign-seal-key-1 and 43 \
                         characters"
                    .to_owned(),
            })
    }
}

fn within<N: PartialOrd + std::fmt::Display>(
    name: &'static str,
    number: N,
    least: N,
    most: N,
) -> Result<N, ApiError> {
    if number < least || number > most {
        return Err(ApiError::InvalidParameter {
            name,
            detail: format!("a whole number from {least} to {most}"),
        });
    }
    Ok(number)
}

/// `POST /api/accounts/{id}/requests`.
pub(super) async fn start(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RequestBody>,
) -> Result<Response, ApiError> {
    let act = body.act()?;
    let reason = short_text("reason", body.reason, MAX_REASON_CHARS)?;
    observe::note(|facts| {
        facts.action = Some(match act {
            Act::Read { .. } => Action::RequestRead,
            Act::Export { .. } => Action::RequestExport,
            Act::Transfer { .. } => Action::RequestTransfer,
            Act::Delete { .. } => Action::RequestDelete,
        });
        facts.reason.clone_from(&reason);
    });
    let account = readable(&door, &caller, &id)?;
    if !matches!(act, Act::Read { .. }) && !caller.roles().contains(Role::Admin) {
        return Err(ApiError::Forbidden {
            needs: Administer::NEEDS,
        });
    }
    let record = door.vault.describe(&account).await.map_err(from_vault)?;
    if record.deleted_at.is_some() {
        return Err(ApiError::AccountUnknown);
    }
    let key = idempotency_key(&headers)?;
    let snapshot = door
        .enrollments
        .start_request(NewRequest {
            account,
            act,
            reason,
            caller: caller.id(),
            idempotency_key: key.as_deref(),
        })
        .await?;
    Ok(response(&snapshot))
}

#[derive(Deserialize)]
pub(super) struct StatusQuery {
    wait: Option<String>,
}

/// `GET /api/requests/{id}`.
pub(super) async fn status(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    Path(id): Path<String>,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let wait = wait_parameter(parameters(query)?.wait.as_deref())?;
    let snapshot = door
        .enrollments
        .get_request(&request_id(&id)?, caller.sees_only())
        .await?;
    let following = door.enrollments.follow_request(snapshot.clone(), wait);
    let latest = tokio::select! {
        latest = following => latest?,
        () = door.stop.cancelled() => snapshot,
    };
    Ok(response(&latest))
}

#[derive(Deserialize)]
pub(super) struct ListParameters {
    stage: Option<String>,
    account: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// `GET /api/requests`.
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    query: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let stage = match text(&query.stage) {
        None => None,
        Some(name) => Some(RequestStage::named(&name).ok_or_else(|| {
            let names: Vec<_> = RequestStage::ALL
                .iter()
                .map(|stage| stage.as_str())
                .collect();
            ApiError::InvalidParameter {
                name: "stage",
                detail: format!("one of {}", names.join(", ")),
            }
        })?),
    };
    let account: Option<EnrollmentId> = match text(&query.account) {
        None => None,
        Some(id) => Some(id.parse().map_err(|_| ApiError::InvalidParameter {
            name: "account",
            detail: "an account's id, such as totp-...".to_owned(),
        })?),
    };
    let cursor = match text(&query.cursor) {
        None => None,
        Some(cursor) => {
            Some(
                Cursor::from_text(&cursor).ok_or_else(|| ApiError::InvalidParameter {
                    name: "cursor",
                    detail: "use the `next` of an earlier page".to_owned(),
                })?,
            )
        }
    };
    let page = door
        .enrollments
        .list_requests(RequestQuery {
            stage,
            account,
            only: caller.sees_only().map(str::to_owned),
            cursor,
            limit: limit(query.limit.as_deref())?,
        })
        .await?;
    let view = RequestPage {
        requests: page.items.iter().map(RequestView::new).collect(),
        next: page.next.map(|cursor| cursor.to_text()),
    };
    Ok(no_store(Json(view).into_response()))
}

/// `POST /api/requests/{id}/approval`.
pub(super) async fn decide(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Result<Response, ApiError> {
    let id = request_id(&id)?;
    let (approved, comment) = body.read()?;
    let snapshot = door
        .enrollments
        .decide_request(&id, caller.id(), approved, comment)
        .await?;
    Ok(accepted(&snapshot))
}

/// `DELETE /api/requests/{id}`: takes a request back, and undoes what can be undone.
pub(super) async fn cancel(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = request_id(&id)?;
    let before = door
        .enrollments
        .get_request(&id, caller.sees_only())
        .await?;
    if before.stage.has_ended() {
        return Err(EnrollmentError::AlreadyEnded.into());
    }
    let snapshot = door
        .enrollments
        .decide_request(&id, caller.id(), false, None)
        .await?;
    Ok(accepted(&snapshot))
}

/// `POST /api/requests/{id}/code`: uses one of the granted reads.
pub(super) async fn code(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let request = granted(&door, &caller, &id, "read").await?;
    let token = door
        .tokens
        .lasting(&request.account, TimeDelta::zero())
        .await?;
    Ok(no_store(Json(TokenView::new(token, true)).into_response()))
}

/// `POST /api/requests/{id}/export`: the account's URI and QR code, once.
pub(super) async fn export(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let request = granted(&door, &caller, &id, "export").await?;
    let account = door
        .vault
        .read(&request.account)
        .await
        .map_err(from_vault)?;
    if !door.enrollments.is_what_was_approved(&request, &account) {
        return Err(ApiError::AccountChanged);
    }
    let view = ExportView::new(&request, &account).map_err(|e| ApiError::Internal(Box::new(e)))?;
    Ok(no_store(Json(view).into_response()))
}

/// Takes one use of what a request of this kind has granted to the caller.
async fn granted<P>(
    door: &FrontDoor,
    caller: &Caller<P>,
    id: &str,
    kind: &str,
) -> Result<RequestSnapshot, ApiError> {
    let id = request_id(id)?;
    let before = door.enrollments.get_request(&id, Some(caller.id())).await?;
    observe::note(|facts| {
        facts.subject = Some(before.account.to_string());
        facts.reason = Some(match &before.reason {
            Some(reason) => format!("{id}: {reason}"),
            None => id.to_string(),
        });
    });
    if before.act.kind() != kind {
        return Err(EnrollmentError::NotGranted.into());
    }
    // Somebody may have lost the account in the meantime.
    let now = door.clock.now();
    let account = before.account.as_str();
    if !door.access.may_read(caller.identity(), account, now)? {
        return Err(ApiError::AccountUnknown);
    }
    Ok(door.enrollments.claim(&id, caller.id()).await?)
}

/// The id in a path; what cannot be one is as unknown as one that is not used.
fn request_id(text: &str) -> Result<RequestId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(EnrollmentError::RequestUnknown))
}

fn response(snapshot: &RequestSnapshot) -> Response {
    if snapshot.stage.has_ended() {
        return no_store(Json(RequestView::new(snapshot)).into_response());
    }
    accepted(snapshot)
}

fn accepted(snapshot: &RequestSnapshot) -> Response {
    let view = Json(RequestView::new(snapshot));
    let mut response = (StatusCode::ACCEPTED, view).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&RequestView::path(snapshot)) {
        headers.insert(header::LOCATION, location);
    }
    // A machine is done within the second; a person or a timer takes longer.
    let seconds = match snapshot.stage {
        RequestStage::Pending | RequestStage::Acting => "1",
        _ => "10",
    };
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    no_store(response)
}
