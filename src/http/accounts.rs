//! `/api/accounts` and `/api/tokens`: accounts and their codes, and the endpoint that
//! enrolls and waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_enrollment::ids::EnrollmentId;
use serde::Deserialize;
use serde_json::json;

use super::FrontDoor;
use super::auth::{Caller, Enroll, Read};
use super::body::UploadBody;
use super::enrollments::{
    StartQuery, accepted_response, idempotency_key, limit, no_store, parameters,
};
use super::error::ApiError;
use super::views::{AccountPage, AccountView, TokenView};
use crate::enrollments::{NewEnrollment, Stage};
use crate::telemetry;
use crate::tokens::from_vault;

/// How long `POST /api/accounts` waits for the end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest text to search for, in bytes.
const MAX_SEARCH: usize = 200;

/// `POST /api/accounts`: enrolls and waits.
pub(super) async fn create(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    query: Result<Query<StartQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    UploadBody(upload): UploadBody,
) -> Result<Response, ApiError> {
    let approval_asked = parameters(query)?.approval_asked()?;
    let key = idempotency_key(&headers)?;
    let accepted = door.intake.accept(upload).await?;
    let started = door
        .enrollments
        .start(NewEnrollment {
            accepted,
            caller: caller.name(),
            approval_asked,
            idempotency_key: key.as_deref(),
        })
        .await?;
    if started.approval_required && !started.stage.has_ended() {
        return Ok(accepted_response(&started));
    }
    let snapshot = tokio::select! {
        settled = door.enrollments.settle(started.clone(), PATIENCE) => settled?,
        () = door.stop.cancelled() => started,
    };
    match (snapshot.stage, &snapshot.preview, snapshot.problem.clone()) {
        (Stage::Enrolled, Some(preview), _) => {
            let body = json!({
                "message": "Account added",
                "secretName": snapshot.id.to_string(),
                "accountName": preview.account_name,
                "issuer": preview.issuer,
            });
            Ok(no_store((StatusCode::CREATED, Json(body)).into_response()))
        }
        (Stage::Invalid, _, Some(problem)) => Err(ApiError::Input(problem)),
        (Stage::Failed, _, _) => Err(ApiError::EnrollmentFailed),
        (stage, _, _) if stage.has_ended() => Err(ApiError::NotEnrolled { stage }),
        _ => Ok(accepted_response(&snapshot)),
    }
}

#[derive(Deserialize)]
pub(super) struct ListParameters {
    search: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// `GET /api/accounts`.
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Read>,
    query: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let search = query.search.as_deref().filter(|text| !text.is_empty());
    if search.is_some_and(|text| text.len() > MAX_SEARCH) {
        return Err(ApiError::InvalidParameter {
            name: "search",
            detail: format!("at most {MAX_SEARCH} bytes"),
        });
    }
    let cursor = query.cursor.as_deref().filter(|text| !text.is_empty());
    let page = door
        .vault
        .list(search, cursor, limit(query.limit.as_deref())?)
        .await
        .map_err(from_vault)?;
    let view = AccountPage {
        accounts: page.accounts.iter().map(AccountView::new).collect(),
        next: page.next,
    };
    Ok(no_store(Json(view).into_response()))
}

/// `GET /api/accounts/{id}`.
pub(super) async fn get(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let record = door
        .vault
        .describe(&account_id(&id)?)
        .await
        .map_err(from_vault)?;
    Ok(no_store(Json(AccountView::new(&record)).into_response()))
}

/// `GET /api/accounts/{id}/token`.
pub(super) async fn token(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    code(&door, &id, true).await
}

#[derive(Deserialize)]
pub(super) struct TokenParameters {
    id: Option<String>,
    detail: Option<String>,
}

/// `GET /api/tokens?id=`.
pub(super) async fn token_by_query(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Read>,
    query: Result<Query<TokenParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let id = query.id.ok_or_else(|| ApiError::InvalidParameter {
        name: "id",
        detail: "say which account: ?id=totp-...".to_owned(),
    })?;
    let detailed = matches!(query.detail.as_deref(), Some("true" | "1"));
    code(&door, &id, detailed).await
}

async fn code(door: &FrontDoor, id: &str, detailed: bool) -> Result<Response, ApiError> {
    let token = door.tokens.now(&account_id(id)?).await?;
    let view = Json(TokenView::new(token, detailed));
    Ok(no_store(view.into_response()))
}

fn account_id(text: &str) -> Result<EnrollmentId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::AccountUnknown)
}
