//! `/api/accounts` and `/api/tokens`: accounts and their codes, and the endpoint that
//! enrolls and waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use countersign_activities::vault::order::Place;
use countersign_activities::vault::{AccountRecord, Filter, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::problem::InputProblem;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::FrontDoor;
use super::auth::{Caller, Enroll, Permission as _, Read};
use super::body::{JsonUpload, UploadBody, UploadForm};
use super::codes::Code;
use super::enrollments::{
    IdempotencyKey, START, StartQuery, accepted_response, limit, no_store, parameters,
    unless_stopped,
};
use super::error::ApiError;
use super::observe::{self, Exception};
use super::path::Path;
use super::views::{
    AccountPage, AccountView, Batch, BatchItem, CreatedView, StartedView, TokenView,
};
use crate::access::{Role, Taken};
use crate::audit::Outcome;
use crate::enrollments::{NewEnrollment, Stage};
use crate::telemetry;
use crate::tokens::from_vault;

/// How long `POST /api/accounts` waits for the end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest text to search for, in bytes.
const MAX_SEARCH: usize = 200;
/// How many codes are given at a time.
const MAX_BATCH: usize = 500;
/// The longest that a code can be asked to be good for, in seconds.
const MAX_VALIDITY: i64 = 60;
/// How many accounts are read from the vault at once.
const READS_AT_ONCE: usize = 8;

/// An account's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that what is no id is unknown")]
pub(super) struct AccountPath {
    /// The account's id, which is its enrollment's.
    #[param(example = "totp-00000000-0000-4000-8000-000000000000")]
    id: String,
}

/// Enrolls an account and waits for the end
///
/// It waits 30 seconds; what takes longer, or needs approval, is answered as
/// `POST /api/enrollments` does.
#[utoipa::path(
    post, path = "/api/accounts", tag = "accounts", operation_id = "createAccount",
    params(StartQuery, IdempotencyKey),
    request_body(description = "An otpauth URI or a picture of a QR code, of at most 10 MiB", content(
        (JsonUpload = "application/json"),
        (UploadForm = "multipart/form-data"),
        (String = "text/plain"),
        ("image/*"),
        ("application/octet-stream"),
    )),
    responses(
        (
            status = CREATED, description = "The account is enrolled", body = CreatedView<'static>,
            headers(("location" = String, description = "Where the account is")),
        ),
        (
            status = ACCEPTED, description = "The enrollment runs", body = StartedView,
            headers(
            ("location" = String, description = "Where the status is"),
            ("retry-after" = u32, description = "In how many seconds to ask"),
        ),
        ),
    ),
    extensions(
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!([START.as_slice(), &[Code::EnrollmentFailed, Code::NotEnrolled]].concat())),
        ("x-input" = json!(InputProblem::CODES.as_slice())),
    ),
)]
pub(super) async fn create(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    query: Result<Query<StartQuery>, axum::extract::rejection::QueryRejection>,
    IdempotencyKey(key): IdempotencyKey,
    UploadBody(upload): UploadBody,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let (approval_asked, proof_asked) = (query.approval_asked()?, query.proof_asked()?);
    let accepted = door.intake.accept(upload).await?;
    let id = door.enrollments.id_for(caller.id(), key.as_deref());
    observe::about(&id);
    let started = door
        .enrollments
        .start(NewEnrollment {
            id,
            accepted,
            caller: caller.id(),
            approval_asked,
            proof_asked,
        })
        .await?;
    if started.approval_required && !started.stage.has_ended() {
        return Ok(accepted_response(&started));
    }
    let settling = door.enrollments.settle(started.clone(), PATIENCE);
    let snapshot = unless_stopped(&door, started, settling).await?;
    match (snapshot.stage, &snapshot.preview, snapshot.problem.clone()) {
        (Stage::Enrolled, Some(preview), _) => {
            let body = CreatedView::new(&snapshot.id, preview, snapshot.proof_required);
            let mut response = (StatusCode::CREATED, Json(body)).into_response();
            if let Ok(location) = HeaderValue::from_str(&format!("/api/accounts/{}", snapshot.id)) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(no_store(response))
        }
        (Stage::Invalid, _, Some(problem)) => Err(ApiError::Input(problem)),
        (Stage::Failed, _, _) => Err(ApiError::EnrollmentFailed),
        (stage, _, _) if stage.has_ended() => Err(ApiError::NotEnrolled { stage }),
        _ => Ok(accepted_response(&snapshot)),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Only accounts whose issuer or name has this in it, in any case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only accounts of this group, in any case.
    #[param(max_length = 200)]
    group: Option<String>,
    /// Only accounts with this tag, in any case.
    #[param(max_length = 200)]
    tag: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many accounts at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

/// Lists accounts
///
/// By issuer and name; a caller that reads only granted accounts sees those, all at once.
#[utoipa::path(
    get, path = "/api/accounts", tag = "accounts", operation_id = "listAccounts",
    params(ListParameters),
    responses((status = OK, description = "A page of accounts", body = AccountPage)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([Code::InvalidParameter, Code::VaultUnavailable])),
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
    };
    if let Some(granted) = door.access.readable(caller.identity(), door.clock.now())? {
        return granted_page(&door, granted, &filter).await;
    }
    let cursor = query.cursor.as_deref().filter(|text| !text.is_empty());
    let page = door
        .vault
        .list_by(&filter, cursor, limit(query.limit.as_deref())?)
        .await
        .map_err(|error| match error {
            VaultError::InvalidCursor => ApiError::InvalidParameter {
                name: "cursor",
                detail: "use the `next` of an earlier page".to_owned(),
            },
            error => from_vault(error).into(),
        })?;
    let view = AccountPage {
        accounts: views(&door, &page.accounts)?,
        next: page.next,
    };
    Ok(no_store(Json(view).into_response()))
}

/// What to look for, if anything.
fn sought(name: &'static str, text: Option<String>) -> Result<Option<String>, ApiError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() > MAX_SEARCH => Err(ApiError::InvalidParameter {
            name,
            detail: format!("at most {MAX_SEARCH} bytes"),
        }),
        text => Ok(text),
    }
}

/// The accounts that were granted to a caller: few enough for one page.
async fn granted_page(
    door: &FrontDoor,
    granted: Vec<String>,
    filter: &Filter,
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
    records.sort_by_cached_key(Place::of);
    let view = AccountPage {
        accounts: views(door, &records)?,
        next: None,
    };
    Ok(no_store(Json(view).into_response()))
}

fn views(door: &FrontDoor, records: &[AccountRecord]) -> Result<Vec<AccountView>, ApiError> {
    let guarded = door.access.guarded()?;
    Ok(records
        .iter()
        .map(|record| AccountView::new(record, guarded.contains(record.id.as_str())))
        .collect())
}

/// An account as an answer.
pub(super) fn account_response(
    door: &FrontDoor,
    record: &AccountRecord,
) -> Result<Response, ApiError> {
    let guarded = door.access.is_guarded(record.id.as_str())?;
    let view = AccountView::new(record, guarded);
    Ok(no_store(Json(view).into_response()))
}

/// Refuses an account that the caller may not read as if there were none.
pub(super) fn readable(
    door: &FrontDoor,
    caller: &Caller<Read>,
    text: &str,
) -> Result<EnrollmentId, ApiError> {
    let id = account_id(text)?;
    let now = door.clock.now();
    if door.access.may_read(caller.identity(), id.as_str(), now)? {
        Ok(id)
    } else {
        Err(ApiError::AccountUnknown)
    }
}

/// Takes the read that an answer with a code, which is shown until `until`, is from what
/// the caller was granted. Where codes are read with an approval only, there is none to
/// take.
pub(super) fn take_read(
    door: &FrontDoor,
    caller: &Caller<Read>,
    id: &EnrollmentId,
    until: DateTime<Utc>,
) -> Result<(), ApiError> {
    if door.access.is_guarded(id.as_str())? {
        return Err(ApiError::ApprovalNeeded);
    }
    let now = door.clock.now();
    if caller.gets_no_body() {
        return Ok(());
    }
    match door.access.take_read(caller.identity(), id.as_str(), now)? {
        Taken::Nothing => Err(ApiError::AccountUnknown),
        Taken::Counted => Ok(()),
        Taken::Uncounted => {
            observe::note(|facts| facts.code_until = Some(until));
            Ok(())
        }
    }
}

/// Shows an account
///
/// What it is called and how its codes are made; never its secret. One that was removed is seen by
/// administrators alone, who can restore it.
#[utoipa::path(
    get, path = "/api/accounts/{id}", tag = "accounts", operation_id = "getAccount",
    params(AccountPath),
    responses((status = OK, description = "The account", body = AccountView)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([Code::AccountUnknown, Code::VaultUnavailable])),
    ),
)]
pub(super) async fn get(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = readable(&door, &caller, &id)?;
    let record = door.vault.describe(&id).await.map_err(from_vault)?;
    if record.deleted_at.is_some() && !caller.roles().contains(Role::Admin) {
        return Err(ApiError::AccountUnknown);
    }
    account_response(&door, &record)
}

/// How a code is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand, beside ids that may repeat")]
struct CodeParameters {
    /// How many seconds the code has to be good for.
    #[param(rename = "minValidity", maximum = 60, default = 0)]
    min_validity: Option<u32>,
    /// When the present code is not good for that long: `wait` for one that is, or be given
    /// the `next` at once, whose time begins at `validFrom`.
    #[param(rename = "whenShort", inline)]
    when_short: Option<WhenShort>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "wait")]
#[expect(dead_code, reason = "named in a parameter")]
enum WhenShort {
    Wait,
    Next,
}

/// What reading a code can be answered with.
const READ: [Code; 6] = [
    Code::AccountPending,
    Code::AccountUnknown,
    Code::ApprovalNeeded,
    Code::AuditUnavailable,
    Code::InvalidParameter,
    Code::VaultUnavailable,
];

/// Reads an account's code
#[utoipa::path(
    get, path = "/api/accounts/{id}/token", tag = "codes", operation_id = "readCode",
    params(AccountPath, CodeParameters, IfNoneMatch),
    responses(
        (
            status = OK, description = "The code, with detail", body = TokenView,
            headers(("etag" = String, description = "Names the code's time step")),
        ),
        (
            status = NOT_MODIFIED, description = "It is the code that `If-None-Match` names",
            headers(("etag" = String, description = "Names the code's time step")),
        ),
    ),
    extensions(("x-roles" = json!(Read::ROLES)), ("x-problems" = json!(READ))),
)]
pub(super) async fn token(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
    wanted.detailed = true;
    code(&door, &caller, &id, &wanted, &headers).await
}

/// The header `If-None-Match`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by hand, since it may repeat")]
struct IfNoneMatch {
    /// An earlier answer's `ETag`: the code is not given again while it is the same.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// Reads codes by a query
///
/// With one id an answer of its own, with several a list: each a code or the problem with it.
#[utoipa::path(
    get, path = "/api/tokens", tag = "codes", operation_id = "readCodes",
    params(
        ("id" = Vec<String>, Query, description = "An account's id, at most 500 times", min_items = 1, max_items = 500),
        ("detail" = Option<bool>, Query, description = "Whether to tell more than `token` and `timeRemaining`"),
        CodeParameters,
        IfNoneMatch,
    ),
    responses(
        (
            status = OK, description = "The code, or the codes", body = inline(Codes),
            headers(("etag" = Option<String>, description = "Names a single code's time step")),
        ),
        (
            status = NOT_MODIFIED, description = "It is the code that `If-None-Match` names",
            headers(("etag" = String, description = "Names the code's time step")),
        ),
    ),
    extensions(("x-roles" = json!(Read::ROLES)), ("x-problems" = json!(READ))),
)]
pub(super) async fn token_by_query(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let wanted = Wanted::read(&query)?;
    let asked: Vec<String> = ids(&query).take(MAX_BATCH + 1).collect();
    match asked.as_slice() {
        [] => Err(ApiError::InvalidParameter {
            name: "id",
            detail: "say which account: ?id=totp-...".to_owned(),
        }),
        [id] => code(&door, &caller, id, &wanted, &headers).await,
        _ if asked.len() > MAX_BATCH => Err(ApiError::InvalidParameter {
            name: "id",
            detail: format!("at most {MAX_BATCH} at a time"),
        }),
        _ => Ok(batch(&door, &caller, asked, &wanted).await),
    }
}

/// One code or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "what an answer is one of")]
enum Codes {
    One(TokenView),
    Several(Batch),
}

/// The values of `id` in a query.
pub(super) fn ids(query: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "id")
        .map(|(_, value)| value.into_owned())
}

/// How somebody wants a code.
struct Wanted {
    detailed: bool,
    /// How long it has to be good for.
    validity: TimeDelta,
    /// Whether to wait for such a code instead of giving one whose time has not begun.
    wait: bool,
}

impl Wanted {
    /// Parameters of which a second value would contradict the first.
    const ONCE: [&str; 3] = ["detail", "minValidity", "whenShort"];

    fn read(query: &str) -> Result<Self, ApiError> {
        let mut wanted = Self {
            detailed: false,
            validity: TimeDelta::zero(),
            wait: true,
        };
        let mut seen = [false; Self::ONCE.len()];
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            for (once, seen) in Self::ONCE.into_iter().zip(&mut seen) {
                if name == once && std::mem::replace(seen, true) {
                    return Err(ApiError::InvalidParameter {
                        name: once,
                        detail: "only once".to_owned(),
                    });
                }
            }
            match (name.as_ref(), value.as_ref()) {
                ("detail", "true" | "1") => wanted.detailed = true,
                ("detail", "false" | "0" | "") => wanted.detailed = false,
                ("detail", _) => {
                    return Err(ApiError::InvalidParameter {
                        name: "detail",
                        detail: "`true` or `false`".to_owned(),
                    });
                }
                ("minValidity", "") => wanted.validity = TimeDelta::zero(),
                ("minValidity", value) => {
                    let seconds = value
                        .parse()
                        .ok()
                        .filter(|seconds| (0..=MAX_VALIDITY).contains(seconds))
                        .ok_or_else(|| ApiError::InvalidParameter {
                            name: "minValidity",
                            detail: format!("whole seconds from 0 to {MAX_VALIDITY}"),
                        })?;
                    wanted.validity = TimeDelta::seconds(seconds);
                }
                ("whenShort", "wait" | "") => wanted.wait = true,
                ("whenShort", "next") => wanted.wait = false,
                ("whenShort", _) => {
                    return Err(ApiError::InvalidParameter {
                        name: "whenShort",
                        detail: "wait or next".to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(wanted)
    }
}

async fn code(
    door: &FrontDoor,
    caller: &Caller<Read>,
    id: &str,
    wanted: &Wanted,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let id = &readable(door, caller, id)?;
    let mut token = door.tokens.lasting(id, wanted.validity).await?;
    let ahead = token.valid_from - token.server_time;
    if let (true, Ok(ahead)) = (wanted.wait, ahead.to_std()) {
        tokio::select! {
            () = tokio::time::sleep(ahead) => token = door.tokens.lasting(id, TimeDelta::zero()).await?,
            // A server that stops answers at once, with the code whose time comes.
            () = door.stop.cancelled() => {}
        }
    }
    let tag = format!("\"{}\"", token.valid_from.timestamp());
    // Weakly compared, and `*` is any (RFC 9110, section 13.1.2).
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|value| value == "*" || value.strip_prefix("W/").unwrap_or(value) == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        take_read(door, caller, id, token.valid_until)?;
        Json(TokenView::new(token, wanted.detailed || !wanted.wait)).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("W/{tag}")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(no_store(response))
}

/// The codes of several accounts: each a code or the problem with it.
async fn batch(
    door: &FrontDoor,
    caller: &Caller<Read>,
    ids: Vec<String>,
    wanted: &Wanted,
) -> Response {
    let tokens: Vec<BatchItem> = stream::iter(ids)
        .map(async |text| {
            let token = async {
                let id = readable(door, caller, &text)?;
                let token = door.tokens.lasting(&id, wanted.validity).await?;
                take_read(door, caller, &id, token.valid_until)?;
                Ok::<_, ApiError>(token)
            };
            match token.await {
                Ok(token) => BatchItem::code(text, token),
                Err(error) => {
                    observe::note(|facts| {
                        facts.exceptions.push(Exception {
                            subject: text.clone(),
                            problem: error.code(),
                            outcome: match error.is_ours() {
                                true => Outcome::Failed,
                                false => Outcome::Refused,
                            },
                        });
                    });
                    BatchItem::problem(text, &error)
                }
            }
        })
        .buffered(READS_AT_ONCE)
        .collect()
        .await;
    no_store(Json(Batch { tokens }).into_response())
}

pub(super) fn account_id(text: &str) -> Result<EnrollmentId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::AccountUnknown)
}
