//! `/api/imports`: many accounts from files and pictures at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use countersign_enrollment::ids::ImportId;
use countersign_enrollment::import::job::{ImportProgress, ImportedAccount};
use durabletask::Status;
use serde::{Deserialize, Serialize};

use super::FrontDoor;
use super::auth::{Caller, Enroll, Follow};
use super::body::ImportBody;
use super::enrollments::{
    approval_parameter, idempotency_key, no_store, parameters, wait_parameter,
};
use super::error::ApiError;
use super::views::{ProblemView, WarningView, moment};
use crate::enrollments::{EnrollmentError, ImportSnapshot, NewImport};
use crate::telemetry;

/// The highest position that can be picked.
const MAX_POSITION: u32 = 10_000;

#[derive(Deserialize)]
pub(super) struct StartQuery {
    approval: Option<String>,
    #[serde(rename = "dryRun")]
    dry_run: Option<String>,
    pick: Option<String>,
}

/// `POST /api/imports`.
pub(super) async fn start(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    query: Result<Query<StartQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    ImportBody(upload): ImportBody,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let approval_asked = approval_parameter(query.approval.as_deref())?;
    let dry_run = match query.dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => {
            return Err(ApiError::InvalidParameter {
                name: "dryRun",
                detail: "`true` or `false`".to_owned(),
            });
        }
    };
    let pick = query.pick.as_deref().map(positions).transpose()?;
    let key = idempotency_key(&headers)?;
    let material = door.intake.accept_import(upload).await?;
    let snapshot = door
        .enrollments
        .start_import(NewImport {
            material,
            pick,
            dry_run,
            caller: caller.id(),
            approval_asked,
            idempotency_key: key.as_deref(),
        })
        .await?;
    Ok(response(&snapshot))
}

/// Positions like `1,3-5`.
fn positions(text: &str) -> Result<Vec<u32>, ApiError> {
    let wrong = || ApiError::InvalidParameter {
        name: "pick",
        detail: format!("positions from 1 to {MAX_POSITION}, such as `1,3-5`"),
    };
    let number = |text: &str| {
        let number = text.trim().parse::<u32>().ok();
        number.filter(|number| (1..=MAX_POSITION).contains(number))
    };
    let mut positions = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (
            number(first).ok_or_else(wrong)?,
            number(last).ok_or_else(wrong)?,
        );
        positions.extend(first..=last);
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

#[derive(Deserialize)]
pub(super) struct StatusQuery {
    wait: Option<String>,
}

/// `GET /api/imports/{id}`.
pub(super) async fn status(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Follow>,
    Path(id): Path<String>,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let wait = wait_parameter(parameters(query)?.wait.as_deref())?;
    let snapshot = door
        .enrollments
        .get_import(&import_id(&id)?, caller.sees_only())
        .await?;
    let following = door.enrollments.follow_import(snapshot.clone(), wait);
    let latest = tokio::select! {
        latest = following => latest?,
        () = door.stop.cancelled() => snapshot,
    };
    Ok(response(&latest))
}

/// `DELETE /api/imports/{id}`.
pub(super) async fn terminate(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = import_id(&id)?;
    let snapshot = door.enrollments.get_import(&id, caller.sees_only()).await?;
    if snapshot.has_ended() {
        return Err(EnrollmentError::AlreadyEnded.into());
    }
    door.enrollments.terminate(id.as_str(), caller.id()).await?;
    Ok(response(&snapshot))
}

/// The id in a path; what cannot be one is as unknown as one that is not used.
fn import_id(text: &str) -> Result<ImportId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(EnrollmentError::Unknown))
}

fn response(snapshot: &ImportSnapshot) -> Response {
    let view = Json(ImportView::new(snapshot));
    if snapshot.has_ended() {
        return no_store(view.into_response());
    }
    let mut response = (StatusCode::ACCEPTED, view).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&path(snapshot)) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    no_store(response)
}

fn path(snapshot: &ImportSnapshot) -> String {
    format!("/api/imports/{}", snapshot.id)
}

/// An import.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportView {
    id: String,
    stage: &'static str,
    status_query_get_uri: String,
    terminate_post_uri: String,
    dry_run: bool,
    approval_required: bool,
    requested_by: String,
    #[serde(serialize_with = "moment")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment")]
    last_updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<AccountView>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<SourceProblemView>,
}

#[derive(Serialize)]
struct ProgressView {
    total: u32,
    started: u32,
    ended: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountView {
    #[serde(flatten)]
    account: ImportedAccount,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_query_get_uri: Option<String>,
}

#[derive(Serialize)]
struct SourceProblemView {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<u32>,
    #[serde(flatten)]
    problem: ProblemView,
}

impl ImportView {
    fn new(snapshot: &ImportSnapshot) -> Self {
        let path = path(snapshot);
        let outcome = snapshot.outcome.as_ref();
        Self {
            id: snapshot.id.to_string(),
            stage: stage(snapshot),
            terminate_post_uri: format!("{path}/terminate"),
            status_query_get_uri: path,
            dry_run: snapshot.dry_run,
            approval_required: snapshot.approval_required,
            requested_by: snapshot.requested_by.clone(),
            created_at: snapshot.created_at,
            last_updated_at: snapshot.last_updated_at,
            progress: match snapshot.progress {
                Some(ImportProgress::Importing {
                    total,
                    started,
                    ended,
                }) => Some(ProgressView {
                    total,
                    started,
                    ended,
                }),
                _ => None,
            },
            accounts: outcome.map(|it| it.accounts.iter().map(AccountView::new).collect()),
            problems: outcome
                .map(|it| &it.problems)
                .into_iter()
                .flatten()
                .map(|problem| SourceProblemView {
                    source: problem.source,
                    problem: ProblemView::new(&problem.problem),
                })
                .collect(),
        }
    }
}

impl AccountView {
    fn new(account: &ImportedAccount) -> Self {
        Self {
            warnings: account.warnings.iter().map(WarningView::new).collect(),
            problem: account.problem.as_ref().map(ProblemView::new),
            status_query_get_uri: account
                .id
                .as_ref()
                .map(|id| format!("/api/enrollments/{id}")),
            // What is shown in another form above.
            account: ImportedAccount {
                warnings: Vec::new(),
                problem: None,
                ..account.clone()
            },
        }
    }
}

fn stage(snapshot: &ImportSnapshot) -> &'static str {
    match snapshot.status {
        Status::Completed => "Done",
        Status::Failed => "Failed",
        Status::Terminated | Status::Canceled => "Terminated",
        _ => match snapshot.progress {
            None => "Pending",
            Some(ImportProgress::Reading) => "Reading",
            Some(ImportProgress::Planning) => "Planning",
            Some(ImportProgress::Importing { .. }) => "Importing",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_lists_of_ranges() {
        assert_eq!(positions("1").unwrap(), [1]);
        assert_eq!(positions("5,1-3, 2").unwrap(), [1, 2, 3, 5]);
        for wrong in ["", "0", "a", "1-", "-1", "1,,2", "10001", "1-4294967295"] {
            assert!(positions(wrong).is_err(), "{wrong}");
        }
    }
}
