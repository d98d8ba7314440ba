//! `/api/accounts`: accounts, and the endpoint that enrolls and waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use countersign_activities::vault::order::ListPosition;
use countersign_activities::vault::{AccountRecord, Filter, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::problem::InputProblem;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::enrollments::{START, StartQuery, accepted_response};
use super::ids::AccountPath;
use super::permit::{READS_AT_ONCE, readable};
use super::uploads::{JsonUpload, UploadBody, UploadForm};
use super::views::{AccountPage, AccountView, CreatedView, StartedView};
use crate::access::Role;
use crate::audit::Action;
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Enroll, Permission as _, Read};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::idempotency::IdempotencyKey;
use crate::http::edge::parameters::{flag, limit, parameters};
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{no_store, unless_stopped};
use crate::hub::{NewEnrollment, Snapshot, Stage};

/// How long `POST` and `PUT /api/accounts` wait for the end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The longest text to search for, in bytes.
const MAX_SEARCH: usize = 200;

/// Enrolls an account and waits for the end
///
/// It waits for up to 30 seconds; an enrollment that takes longer, or needs approval, is answered
/// as by `POST /api/enrollments`.
#[utoipa::path(
    post, path = "/api/accounts", tag = "accounts", operation_id = "createAccount",
    params(StartQuery, IdempotencyKey),
    request_body(description = "An otpauth URI or an image of a QR code, of at most 10 MiB", content(
        (JsonUpload = "application/json"),
        (UploadForm = "multipart/form-data"),
        (String = "text/plain"),
        ("image/*"),
        ("application/octet-stream"),
    )),
    responses(
        (
            status = CREATED, description = "The account is enrolled", body = CreatedView<'static>,
            headers(("location" = String, description = "Address of the account")),
        ),
        (status = ACCEPTED, description = "The enrollment is running", body = StartedView),
    ),
    extensions(
        ("x-audit" = json!(Action::Enroll)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!([START.as_slice(), &[ProblemCode::EnrollmentFailed, ProblemCode::NotEnrolled]].concat())),
        ("x-input" = json!(InputProblem::CODES.as_slice())),
    ),
)]
pub(super) async fn create(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    query: Result<Query<StartQuery>, axum::extract::rejection::QueryRejection>,
    IdempotencyKey(key): IdempotencyKey,
    UploadBody(upload, recovery): UploadBody,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let query = parameters(query)?;
        let (approval_asked, proof_asked) = (query.approval_asked()?, query.proof_asked()?);
        let (upload, options) = query.with_options(upload)?;
        let accepting = door.intake.accept(caller.id(), upload);
        let accepted = caller.unless_gone(accepting).await?;
        let id = door.hub.id_for(caller.id(), key.as_deref());
        facts.about(&id);
        let person = person_of(&door, &caller).await?;
        let started = door
            .hub
            .start(NewEnrollment {
                id,
                accepted,
                caller: caller.requester(&person),
                approval_asked,
                proof_asked,
                options,
                recovery,
            })
            .await?;
        if started.approval_required && !started.stage.has_ended() {
            return Ok(accepted_response(&started));
        }
        let settling = door.hub.settle(started.clone(), PATIENCE);
        let snapshot = unless_stopped(&door, started, settling).await?;
        let snapshot = snapshot.shown_to(caller.sight(&door).await?);
        let Some(preview) = snapshot
            .preview
            .as_ref()
            .filter(|_| snapshot.stage == Stage::Enrolled)
        else {
            return not_enrolled(&snapshot);
        };
        let body = CreatedView::new(&snapshot, preview);
        let mut response = (StatusCode::CREATED, Json(body)).into_response();
        if let Ok(location) = HeaderValue::from_str(&format!("/api/accounts/{}", snapshot.id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(no_store(response))
    })
    .await;
    facts.on(answer)
}

/// The answer after waiting for an enrollment that has led to no account: it
/// is still running, or why there is no account.
pub(super) fn not_enrolled(snapshot: &Snapshot) -> Result<Response, ApiError> {
    match (snapshot.stage, snapshot.problem.clone()) {
        (Stage::Invalid, Some(problem)) => Err(ApiError::Input(problem)),
        (Stage::Failed, _) => Err(ApiError::EnrollmentFailed),
        (stage, _) if stage.has_ended() => Err(ApiError::NotEnrolled { stage }),
        _ => Ok(accepted_response(snapshot)),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Only accounts whose issuer or name contains this, ignoring case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only accounts of this group, ignoring case.
    #[param(max_length = 200)]
    group: Option<String>,
    /// Only accounts with this tag, ignoring case.
    #[param(max_length = 200)]
    tag: Option<String>,
    /// Accounts that were removed and can be restored, instead of those in use; for administrators.
    #[param(value_type = Option<bool>, default = false)]
    removed: Option<String>,
    /// The `next` of the previous page.
    cursor: Option<String>,
    /// How many accounts at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

/// Lists accounts
///
/// By issuer and name; a caller that reads only granted accounts sees those, all at once unless it
/// sets a limit.
#[utoipa::path(
    get, path = "/api/accounts", tag = "accounts", operation_id = "listAccounts",
    params(ListParameters),
    responses((status = OK, description = "A page of accounts", body = AccountPage)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([ProblemCode::InvalidParameter, ProblemCode::VaultUnavailable])),
    ),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    query: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let filter = Filter {
        search: sought("search", query.search)?,
        group: sought("group", query.group)?,
        tag: sought("tag", query.tag)?,
        deleted: flag("removed", query.removed.as_deref())?,
    };
    if filter.deleted && !caller.roles().contains(Role::Admin) {
        return Err(ApiError::Forbidden {
            needs: Administer::NEEDS,
        });
    }
    let granted = door.access.readable(caller.identity(), door.clock.now());
    let most = limit(query.limit.as_deref())?;
    let cursor = query.cursor.as_deref().filter(|text| !text.is_empty());
    if let Some(granted) = granted.await? {
        let all = query.limit.as_deref().is_none_or(str::is_empty);
        let most = if all { usize::MAX } else { most };
        return granted_page(&door, granted, &filter, cursor, most).await;
    }
    let page = door
        .vault
        .list_by(&filter, cursor, most)
        .await
        .map_err(|error| match error {
            VaultError::InvalidCursor => bad_cursor(),
            error => from_vault(error).into(),
        })?;
    let view = AccountPage {
        accounts: views(&door, &page.accounts).await?,
        next: page.next,
    };
    Ok(no_store(Json(view).into_response()))
}

fn bad_cursor() -> ApiError {
    ApiError::InvalidParameter {
        name: "cursor",
        detail: "use the `next` of an earlier page".to_owned(),
    }
}

/// The text to search for, if any.
fn sought(name: &'static str, text: Option<String>) -> Result<Option<String>, ApiError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() > MAX_SEARCH => Err(ApiError::InvalidParameter {
            name,
            detail: format!("at most {MAX_SEARCH} bytes"),
        }),
        text => Ok(text),
    }
}

/// The accounts that were granted to a caller, which are few: those behind the account that the
/// cursor names, and at most so many.
async fn granted_page(
    door: &FrontDoor,
    granted: Vec<String>,
    filter: &Filter,
    cursor: Option<&str>,
    most: usize,
) -> Result<Response, ApiError> {
    let ids = granted.into_iter().filter_map(|id| id.parse().ok());
    let mut found = stream::iter(ids)
        .map(async |id: EnrollmentId| door.vault.describe(&id).await)
        .buffered(READS_AT_ONCE);
    let mut records = Vec::new();
    while let Some(record) = found.next().await {
        match record {
            Ok(record) if record.deleted_at.is_none() && filter.lets_through(&record) => {
                records.push(record);
            }
            // A grant may outlive its account.
            Ok(_) | Err(VaultError::NotFound) => {}
            Err(error) => return Err(from_vault(error).into()),
        }
    }
    records.sort_by_cached_key(ListPosition::of);
    let skipped = match cursor {
        None => 0,
        Some(last) => records
            .iter()
            .position(|record| record.id.as_str() == last)
            .map(|at| at + 1)
            .ok_or_else(bad_cursor)?,
    };
    let rest = records.get(skipped..).unwrap_or_default();
    let page = rest.get(..most).unwrap_or(rest);
    let view = AccountPage {
        accounts: views(door, page).await?,
        next: (page.len() < rest.len())
            .then(|| page.last().map(|record| record.id.to_string()))
            .flatten(),
    };
    Ok(no_store(Json(view).into_response()))
}

async fn views(door: &FrontDoor, records: &[AccountRecord]) -> Result<Vec<AccountView>, ApiError> {
    let guarded = door.access.guarded().await?;
    Ok(records
        .iter()
        .map(|record| AccountView::new(record, guarded.contains(record.id.as_str())))
        .collect())
}

/// An account as an answer.
pub(super) async fn account_response(
    door: &FrontDoor,
    record: &AccountRecord,
) -> Result<Response, ApiError> {
    let guarded = door.access.is_guarded(record.id.as_str()).await?;
    let view = AccountView::new(record, guarded);
    Ok(no_store(Json(view).into_response()))
}

/// Shows an account
///
/// Its names and the parameters of its codes, never its secret. Only administrators, who can
/// restore it, see a removed account.
#[utoipa::path(
    get, path = "/api/accounts/{id}", tag = "accounts", operation_id = "getAccount",
    params(AccountPath),
    responses((status = OK, description = "The account", body = AccountView)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::GrantExpired, ProblemCode::GrantUsedUp, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn get(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = readable(&door, &caller, &id).await?;
    let record = door.vault.describe(&id).await.map_err(from_vault)?;
    if record.deleted_at.is_some() && !caller.roles().contains(Role::Admin) {
        return Err(ApiError::AccountUnknown);
    }
    account_response(&door, &record).await
}
