//! `/api/imports`: many accounts from files and images at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::ids::{EnrollmentId, ImportId};
use countersign_enrollment::import::MAX_ACCOUNTS;
use countersign_enrollment::import::job::{ImportProgress, ImportResult, ImportedAccount};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::problem::InputProblem;
use durabletask::client::Status;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::enrollments::{START, TERMINATE};
use super::uploads::{ImportBody, ImportForm};
use super::views::{ProblemView, WarningView, moment};
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Enroll, Follow, Permission as _};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::idempotency::IdempotencyKey;
use crate::http::edge::parameters::{
    ApprovalParameter, approval_parameter, flag, parameters, wait_parameter,
};
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{no_store, unless_stopped};
use crate::hub::{HubError, ImportSnapshot, NewImport};
use crate::telemetry;

/// The highest position that an account can have.
const MAX_POSITION: u32 = MAX_ACCOUNTS as u32;

/// An import's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that a malformed id is unknown")]
struct ImportPath {
    /// The import's id.
    #[param(example = "import-00000000-0000-4000-8000-000000000000")]
    id: String,
}

#[derive(Deserialize, IntoParams)]
// A misspelt `dryRun` would be ignored, and the import would enroll.
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StartQuery {
    /// Whether another person must approve each account.
    #[param(inline, value_type = Option<ApprovalParameter>)]
    approval: Option<String>,
    /// Whether only to report what would be done.
    #[serde(rename = "dryRun")]
    #[param(value_type = Option<bool>, default = false)]
    dry_run: Option<String>,
    /// Which accounts to enroll, by position counted from 1, such as `1,3-5`; all if not given.
    /// Positions without an account are refused, or reported among `problems` if images must
    /// be read first.
    #[param(pattern = "^[1-9][0-9]{0,2}(,[1-9][0-9]{0,2})*$")]
    pick: Option<String>,
    /// What to do with accounts whose secret and codes are in use under another
    /// name: `keep` both, with a warning, or `skip` them.
    #[param(inline, value_type = Option<ImportDuplicates>)]
    duplicates: Option<String>,
    /// A key, for callers that cannot send a header.
    #[serde(rename = "code")]
    #[param(ignore)]
    _code: Option<IgnoredAny>,
}

#[derive(ToSchema)]
#[schema(as = ImportDuplicatesParameter, rename_all = "lowercase", default = "keep")]
#[expect(dead_code, reason = "named in a parameter")]
enum ImportDuplicates {
    Keep,
    Skip,
}

/// Starts an import
///
/// One file as the body, or several as the form fields `file`; a file's kind is recognized by its content.
#[utoipa::path(
    post, path = "/api/imports", tag = "imports", operation_id = "startImport",
    params(StartQuery, IdempotencyKey),
    request_body(description = "At most 64 files of at most 10 MiB in total", content(
        (ImportForm = "multipart/form-data"),
        ("application/octet-stream"),
        ("application/json"),
        (String = "text/plain"),
        ("image/*"),
    )),
    responses(
        (status = ACCEPTED, description = "The import is running", body = ImportView),
        (
            status = OK, description = "An earlier request started it, and it has finished",
            body = ImportView,
            headers(("location" = String, description = "Address of the status")),
        ),
    ),
    extensions(
        ("x-audit" = json!(Action::Import)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!(START)),
        ("x-input" = json!(InputProblem::CODES.as_slice())),
    ),
)]
pub(super) async fn start(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    query: Result<Query<StartQuery>, axum::extract::rejection::QueryRejection>,
    IdempotencyKey(key): IdempotencyKey,
    ImportBody(upload): ImportBody,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let query = parameters(query)?;
        let approval_asked = approval_parameter(query.approval.as_deref())?;
        let dry_run = flag("dryRun", query.dry_run.as_deref())?;
        let skip_same = match query.duplicates.as_deref() {
            None | Some("" | "keep") => false,
            Some("skip") => true,
            Some(_) => {
                return Err(ApiError::InvalidParameter {
                    name: "duplicates",
                    detail: "`keep` or `skip`".to_owned(),
                });
            }
        };
        let pick = query
            .pick
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(positions)
            .transpose()?;
        let reading = door.intake.accept_import(caller.id(), upload, pick.clone());
        let material = caller.unless_gone(reading).await?;
        let id = door.hub.import_id_for(caller.id(), key.as_deref());
        facts.about(&id);
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .start_import(NewImport {
                id,
                material,
                pick,
                dry_run,
                skip_same,
                caller: caller.requester(&person),
                approval_asked,
            })
            .await?;
        let mut response = response(&snapshot, caller.sight(&door).await?);
        if let Ok(location) = HeaderValue::from_str(&path(&snapshot)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    })
    .await;
    facts.on(answer)
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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// How many seconds to wait for a change.
    #[param(value_type = Option<u32>, maximum = 60, default = 0)]
    wait: Option<String>,
}

/// Shows an import
#[utoipa::path(
    get, path = "/api/imports/{id}", tag = "imports", operation_id = "getImport",
    params(ImportPath, StatusQuery),
    responses(
        (status = OK, description = "It has finished, with any outcome", body = ImportView),
        (status = ACCEPTED, description = "It is running", body = ImportView),
    ),
    extensions(
        ("x-roles" = json!(Follow::ROLES)),
        ("x-problems" = json!([
            ProblemCode::EnrollmentUnknown, ProblemCode::HubUnavailable, ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable,
        ])),
    ),
)]
pub(super) async fn status(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Follow>,
    Path(id): Path<String>,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let wait = wait_parameter(parameters(query)?.wait.as_deref())?;
    let snapshot = door
        .hub
        .get_import(&import_id(&id)?, caller.sees_only())
        .await?;
    let following = door.hub.follow_import(snapshot.clone(), wait);
    let latest = unless_stopped(&door, snapshot, following).await?;
    Ok(response(&latest, caller.sight(&door).await?))
}

/// Stops a running import and the enrollments that it waits for
#[utoipa::path(
    delete, path = "/api/imports/{id}", tag = "imports", operation_id = "terminateImport",
    params(ImportPath),
    responses((status = ACCEPTED, description = "It was asked to stop", body = ImportView)),
    extensions(
        ("x-audit" = json!(Action::Terminate)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!(TERMINATE)),
    ),
)]
pub(super) async fn terminate(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = import_id(&id)?;
    let snapshot = door.hub.get_import(&id, caller.sees_only()).await?;
    if snapshot.has_ended() {
        return Err(HubError::AlreadyEnded.into());
    }
    door.hub
        .terminate(id.as_str(), caller.sees_only(), caller.id())
        .await?;
    Ok(response(&snapshot, caller.sight(&door).await?))
}

/// Stops a running import, for clients that can only send POST
#[utoipa::path(
    post, path = "/api/imports/{id}/terminate", tag = "imports",
    operation_id = "terminateImportByPost",
    params(ImportPath),
    responses((status = ACCEPTED, description = "It was asked to stop", body = ImportView)),
    extensions(
        ("x-audit" = json!(Action::Terminate)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!(TERMINATE)),
    ),
)]
pub(super) async fn terminate_by_post(
    door: State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    id: Path<String>,
) -> Result<Response, ApiError> {
    terminate(door, caller, id).await
}

/// The id in a path; a malformed one is answered like an unknown one.
fn import_id(text: &str) -> Result<ImportId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(HubError::Unknown))
}

/// An import, without the ids of accounts that the caller neither may see nor has added.
fn response(snapshot: &ImportSnapshot, sees: impl Fn(&EnrollmentId) -> bool) -> Response {
    let view = Json(ImportView::new(snapshot, sees));
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ImportView {
    id: String,
    stage: ImportStage,
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
    #[schema(required = false)]
    problems: Vec<SourceProblemView>,
}

/// An import's stage.
#[derive(Serialize, ToSchema)]
enum ImportStage {
    Pending,
    Reading,
    Planning,
    Importing,
    Done,
    Failed,
    Terminated,
}

/// How many accounts it covers.
#[derive(Serialize, ToSchema)]
struct ProgressView {
    total: u32,
    started: u32,
    ended: u32,
}

/// The result of one account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportedAccountView)]
struct AccountView {
    /// Its position, counted from 1.
    position: u32,
    /// Its name in the source.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    name: String,
    /// Its enrollment, and its name in the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<AccountPreview>,
    result: ImportResult,
    /// The position of the first, if it is repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
    /// How many recovery codes came with it.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    recovery_codes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_query_get_uri: Option<String>,
}

/// A problem with the sources, apart from single accounts.
#[derive(Serialize, ToSchema)]
struct SourceProblemView {
    /// The file, counted from 1; none if the problem concerns all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<u32>,
    /// The image in the file, if it is an archive or a page with several.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    problem: ProblemView,
}

impl ImportView {
    fn new(snapshot: &ImportSnapshot, sees: impl Fn(&EnrollmentId) -> bool) -> Self {
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
            accounts: outcome.map(|it| {
                it.accounts
                    .iter()
                    .map(|account| AccountView::new(account, &sees))
                    .collect()
            }),
            problems: outcome
                .map(|it| &it.problems)
                .into_iter()
                .flatten()
                .map(|problem| SourceProblemView {
                    source: problem.source,
                    name: Some(problem.name.clone()).filter(|name| !name.is_empty()),
                    problem: ProblemView::new(&problem.problem),
                })
                .collect(),
        }
    }
}

impl AccountView {
    fn new(account: &ImportedAccount, sees: impl Fn(&EnrollmentId) -> bool) -> Self {
        let found = matches!(
            account.result,
            ImportResult::AlreadyThere | ImportResult::Deleted
        );
        let id = account.id.as_ref().filter(|id| !found || sees(id));
        let warnings = account.warnings.iter().cloned().map(|mut warning| {
            if let Warning::Duplicate { accounts } = &mut warning {
                accounts.retain(&sees);
            }
            WarningView::new(&warning)
        });
        Self {
            position: account.position,
            name: account.name.clone(),
            id: id.map(ToString::to_string),
            preview: account.preview.clone(),
            result: account.result,
            repeats: account.repeats,
            warnings: warnings.collect(),
            recovery_codes: account.recovery_codes,
            problem: account.problem.as_ref().map(ProblemView::new),
            status_query_get_uri: id.map(|id| format!("/api/enrollments/{id}")),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn stage(snapshot: &ImportSnapshot) -> ImportStage {
    match snapshot.status {
        Status::Completed => ImportStage::Done,
        Status::Failed => ImportStage::Failed,
        Status::Terminated | Status::Canceled => ImportStage::Terminated,
        _ => match snapshot.progress {
            None => ImportStage::Pending,
            Some(ImportProgress::Reading) => ImportStage::Reading,
            Some(ImportProgress::Planning) => ImportStage::Planning,
            Some(ImportProgress::Importing { .. }) => ImportStage::Importing,
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
        for wrong in ["", "0", "a", "1-", "-1", "1,,2", "501", "1-4294967295"] {
            assert!(positions(wrong).is_err(), "{wrong}");
        }
    }
}
