//! `/api/enrollments`: start, see, follow, list and end enrollments.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::problem::InputProblem;
use futures_util::stream;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};
use utoipa::{IntoParams, ToSchema};

use super::FrontDoor;
use super::auth::{Caller, Enroll, Follow, Permission as _};
use super::body::{JsonUpload, UploadBody, UploadForm};
use super::codes::Code;
use super::error::ApiError;
use super::observe;
use super::path::Path;
use super::requests::hand_of;
use super::views::{EnrollmentPage, EnrollmentView, StartedView, status_path};
use crate::enrollments::{
    Cursor, EnrollmentError, ListQuery, NewEnrollment, Snapshot, Stage, Wishes,
};
use crate::intake::Upload;
use crate::telemetry;

/// The longest that a status request may ask to wait, in seconds.
const LONGEST_WAIT: u64 = 60;
/// The header that names a request for its repetitions.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How long a stream of changes lives before the browser has to connect again.
const LONGEST_STREAM: Duration = Duration::from_secs(15 * 60);
/// How many enrollments or accounts a page has unless asked for less or more.
pub(super) const DEFAULT_LIMIT: usize = 50;
/// How many it has at most.
pub(super) const MAX_LIMIT: usize = 200;

/// What a start can be answered with, besides what is wrong with the upload.
pub(super) const START: [Code; 5] = [
    Code::HubUnavailable,
    Code::IdempotencyKeyReused,
    Code::InvalidParameter,
    Code::LedgerUnavailable,
    Code::UnsupportedMediaType,
];

/// An enrollment's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that what is no id is unknown")]
pub(super) struct EnrollmentPath {
    /// The enrollment's id.
    #[param(example = "totp-00000000-0000-4000-8000-000000000000")]
    id: String,
}

#[derive(Deserialize, IntoParams)]
// A misspelt `approval` would be none.
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StartQuery {
    /// Whether somebody else has to agree; a rule of the server may demand it anyway.
    #[param(inline, value_type = Option<ApprovalParameter>)]
    approval: Option<String>,
    /// Whether the account has to be proved before it is in use; a rule of the server may
    /// demand it anyway.
    #[param(inline, value_type = Option<ApprovalParameter>)]
    proof: Option<String>,
    /// What kind of codes the account gives, if its URI does not say so: Steam's own URIs do not.
    #[param(inline, value_type = Option<KindParameter>)]
    kind: Option<String>,
    /// What to do where an account with the same secret and the same codes is in use: `keep`
    /// both, with a warning, or `refuse` to add another one.
    #[param(inline, value_type = Option<DuplicatesParameter>)]
    duplicates: Option<String>,
    /// Who calls, for whom the address is the only place to say it.
    #[serde(rename = "code")]
    #[param(ignore)]
    _code: Option<IgnoredAny>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a parameter")]
pub(super) enum ApprovalParameter {
    Required,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a parameter")]
pub(super) enum KindParameter {
    Steam,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "keep")]
#[expect(dead_code, reason = "named in a parameter")]
pub(super) enum DuplicatesParameter {
    Keep,
    Refuse,
}

impl StartQuery {
    /// What was sent, with what else the caller wants of it. A text is made one of Steam's
    /// here, where that is asked for; a picture by the worker, who reads it.
    pub(super) fn with_wishes(&self, upload: Upload) -> Result<(Upload, Wishes), ApiError> {
        let unless_there = match self.duplicates.as_deref() {
            None | Some("" | "keep") => false,
            Some("refuse") => true,
            Some(_) => {
                return Err(ApiError::InvalidParameter {
                    name: "duplicates",
                    detail: "`keep` or `refuse`".to_owned(),
                });
            }
        };
        let steam = match self.kind.as_deref() {
            None | Some("") => false,
            Some("steam") => true,
            Some(_) => {
                return Err(ApiError::InvalidParameter {
                    name: "kind",
                    detail: "the only value is `steam`".to_owned(),
                });
            }
        };
        let upload = if steam { upload.into_steam()? } else { upload };
        let wishes = Wishes {
            steam,
            unless_there,
        };
        Ok((upload, wishes))
    }

    pub(super) fn approval_asked(&self) -> Result<bool, ApiError> {
        approval_parameter(self.approval.as_deref())
    }

    pub(super) fn proof_asked(&self) -> Result<bool, ApiError> {
        required_parameter("proof", self.proof.as_deref())
    }
}

/// Whether the parameter `approval` asks for one.
pub(super) fn approval_parameter(text: Option<&str>) -> Result<bool, ApiError> {
    required_parameter("approval", text)
}

fn required_parameter(name: &'static str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("") => Ok(false),
        Some("required") => Ok(true),
        Some(_) => Err(ApiError::InvalidParameter {
            name,
            detail: "the only value is `required`".to_owned(),
        }),
    }
}

/// Starts an enrollment
///
/// A repeated request with the same `Idempotency-Key` and body is the same enrollment.
#[utoipa::path(
    post, path = "/api/enrollments", tag = "enrollments", operation_id = "startEnrollment",
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
            status = ACCEPTED, description = "The enrollment runs", body = StartedView,
            headers(
            ("location" = String, description = "Where the status is"),
            ("retry-after" = u32, description = "In how many seconds to ask"),
        ),
        ),
        (
            status = OK, description = "An earlier request has started it, and it has ended",
            body = EnrollmentView,
            headers(("location" = String, description = "Where the status is")),
        ),
    ),
    extensions(
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
    UploadBody(upload, recovery): UploadBody,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let (approval_asked, proof_asked) = (query.approval_asked()?, query.proof_asked()?);
    let (upload, wishes) = query.with_wishes(upload)?;
    let accepting = door.intake.accept(caller.id(), upload);
    let accepted = caller.unless_gone(accepting).await?;
    let id = door.enrollments.id_for(caller.id(), key.as_deref());
    observe::about(&id);
    let hand = hand_of(&door, &caller).await?;
    let snapshot = door
        .enrollments
        .start(NewEnrollment {
            id,
            accepted,
            caller: caller.requester(&hand),
            approval_asked,
            proof_asked,
            wishes,
            recovery,
        })
        .await?;
    Ok(started_response(snapshot.shown_to(caller.sight(&door))))
}

/// 202 with the links of an enrollment that runs.
pub(super) fn accepted_response(snapshot: &Snapshot) -> Response {
    running(snapshot, Json(StartedView::new(snapshot)))
}

/// What a start answers, the first time and whenever it is repeated: where the enrollment is,
/// and that it runs or how it has ended.
pub(super) fn started_response(snapshot: Snapshot) -> Response {
    if !snapshot.stage.has_ended() {
        return accepted_response(&snapshot);
    }
    let location = HeaderValue::from_str(&status_path(&snapshot));
    let mut response = status_response(snapshot);
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 202 with where and when to ask again.
fn running(snapshot: &Snapshot, body: impl IntoResponse) -> Response {
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Ok(location) = HeaderValue::from_str(&status_path(snapshot)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    retry_after(&mut response, snapshot.stage);
    no_store(response)
}

/// The status, of a snapshot as the caller may see it.
pub(super) fn status_response(snapshot: Snapshot) -> Response {
    let snapshot = &snapshot;
    let view = Json(EnrollmentView::new(snapshot));
    if snapshot.stage.has_ended() {
        return no_store(view.into_response());
    }
    running(snapshot, view)
}

/// A machine is done within the second; a person takes longer.
fn retry_after(response: &mut Response, stage: Stage) {
    let seconds = if stage == Stage::AwaitingApproval {
        "10"
    } else {
        "1"
    };
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
}

/// What the answer says may be different a moment later and is nobody else's business.
pub(super) fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// For how many seconds to wait for another stage.
    #[param(value_type = Option<u32>, maximum = 60, default = 0)]
    wait: Option<String>,
    /// Another stage than this; without it, than the present one.
    #[param(value_type = Option<Stage>)]
    since: Option<String>,
}

/// Shows an enrollment
///
/// It waits for the next stage if asked to. With `Accept: text/event-stream` every stage from the
/// present one to the end is an event named `status` whose data is the JSON of this answer.
#[utoipa::path(
    get, path = "/api/enrollments/{id}", tag = "enrollments", operation_id = "getEnrollment",
    params(EnrollmentPath, StatusQuery),
    responses(
        (status = OK, description = "It has ended, however that was; or the stream of events", content(
            (EnrollmentView = "application/json"),
            (String = "text/event-stream"),
        )),
        (
            status = ACCEPTED, description = "It runs", body = EnrollmentView,
            headers(
                ("location" = String, description = "Where the status is"),
                ("retry-after" = u32, description = "In how many seconds to ask"),
            ),
        ),
    ),
    extensions(
        ("x-roles" = json!(Follow::ROLES)),
        ("x-problems" = json!([
            Code::EnrollmentUnknown, Code::HubUnavailable, Code::InvalidParameter, Code::LedgerUnavailable,
        ])),
    ),
)]
pub(super) async fn status(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Follow>,
    Path(id): Path<String>,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let id = enrollment_id(&id)?;
    let wait = wait_parameter(query.wait.as_deref())?;
    let since = stage_parameter("since", query.since.as_deref())?;
    let snapshot = door.enrollments.get(&id, caller.sees_only()).await?;
    if accepts_events(&headers) {
        return Ok(no_store(changes(door, caller, snapshot).into_response()));
    }
    let since = since.unwrap_or(snapshot.stage);
    let following = door.enrollments.follow(snapshot.clone(), since, wait);
    let latest = unless_stopped(&door, snapshot, following).await?;
    Ok(status_response(latest.shown_to(caller.sight(&door))))
}

/// What comes of following something, or, when the server stops, what is known of it
/// already: its shutdown does not wait for polls.
pub(super) async fn unless_stopped<S>(
    door: &FrontDoor,
    known: S,
    following: impl Future<Output = Result<S, EnrollmentError>>,
) -> Result<S, EnrollmentError> {
    tokio::select! {
        latest = following => latest,
        () = door.stop.cancelled() => Ok(known),
    }
}

/// Whether a caller wants a stream of events instead of one answer.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.contains("text/event-stream"))
    })
}

/// Every stage from the present one to the end, as server-sent events named `status`.
fn changes(
    door: Arc<FrontDoor>,
    caller: Caller<Follow>,
    snapshot: Snapshot,
) -> Sse<impl stream::Stream<Item = Result<Event, Infallible>>> {
    enum Next {
        Now(Snapshot),
        After(Snapshot),
        Done,
    }
    let until = tokio::time::Instant::now() + LONGEST_STREAM;
    let caller = Arc::new(caller);
    let events = stream::unfold(Next::Now(snapshot), move |next| {
        let door = Arc::clone(&door);
        let caller = Arc::clone(&caller);
        async move {
            let latest = match next {
                Next::Done => return None,
                Next::Now(snapshot) => snapshot,
                Next::After(snapshot) => {
                    let since = snapshot.stage;
                    let left = until.saturating_duration_since(tokio::time::Instant::now());
                    let latest = tokio::select! {
                        latest = door.enrollments.follow(snapshot, since, left) => latest.ok()?,
                        () = door.stop.cancelled() => return None,
                    };
                    if latest.stage == since {
                        return None;
                    }
                    latest
                }
            };
            let event = Event::default()
                .event("status")
                .json_data(EnrollmentView::new(
                    &latest.clone().shown_to(caller.sight(&door)),
                ))
                .ok()?;
            let next = if latest.stage.has_ended() {
                Next::Done
            } else {
                Next::After(latest)
            };
            Some((Ok(event), next))
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Only those in this stage.
    #[param(value_type = Option<Stage>)]
    stage: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many enrollments at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

/// Lists enrollments
///
/// Newest first; an enroller sees its own.
#[utoipa::path(
    get, path = "/api/enrollments", tag = "enrollments", operation_id = "listEnrollments",
    params(ListParameters),
    responses((status = OK, description = "A page of enrollments", body = EnrollmentPage)),
    extensions(
        ("x-roles" = json!(Follow::ROLES)),
        ("x-problems" = json!([Code::HubUnavailable, Code::InvalidParameter, Code::LedgerUnavailable])),
    ),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Follow>,
    query: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let cursor = match query.cursor.as_deref() {
        None | Some("") => None,
        Some(text) => Some(
            Cursor::from_text(text).ok_or_else(|| ApiError::InvalidParameter {
                name: "cursor",
                detail: "use the `next` of an earlier page".to_owned(),
            })?,
        ),
    };
    let page = door
        .enrollments
        .list(ListQuery {
            stage: stage_parameter("stage", query.stage.as_deref())?,
            only: caller.sees_only().map(str::to_owned),
            cursor,
            limit: limit(query.limit.as_deref())?,
        })
        .await?;
    let items = page.items.into_iter();
    let view = EnrollmentPage {
        enrollments: items
            .map(|item| EnrollmentView::new(&item.shown_to(caller.sight(&door))))
            .collect(),
        next: page.next.map(|cursor| cursor.to_text()),
    };
    Ok(no_store(Json(view).into_response()))
}

/// What ending something that runs can be answered with.
pub(super) const TERMINATE: [Code; 4] = [
    Code::AlreadyEnded,
    Code::EnrollmentUnknown,
    Code::HubUnavailable,
    Code::LedgerUnavailable,
];

/// Ends an enrollment that runs
#[utoipa::path(
    delete, path = "/api/enrollments/{id}", tag = "enrollments", operation_id = "terminateEnrollment",
    params(EnrollmentPath),
    responses((
        status = ACCEPTED, description = "It is told to end", body = StartedView,
        headers(
        ("location" = String, description = "Where the status is"),
        ("retry-after" = u32, description = "In how many seconds to ask"),
        ),
    )),
    extensions(("x-roles" = json!(Enroll::ROLES)), ("x-problems" = json!(TERMINATE))),
)]
pub(super) async fn terminate(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = enrollment_id(&id)?;
    let snapshot = door.enrollments.get(&id, caller.sees_only()).await?;
    if snapshot.stage.has_ended() {
        return Err(EnrollmentError::AlreadyEnded.into());
    }
    door.enrollments
        .terminate(id.as_str(), caller.sees_only(), caller.id())
        .await?;
    Ok(accepted_response(&snapshot))
}

/// Ends an enrollment that runs, for clients that only post
#[utoipa::path(
    post, path = "/api/enrollments/{id}/terminate", tag = "enrollments",
    operation_id = "terminateEnrollmentByPost",
    params(EnrollmentPath),
    responses((
        status = ACCEPTED, description = "It is told to end", body = StartedView,
        headers(
        ("location" = String, description = "Where the status is"),
        ("retry-after" = u32, description = "In how many seconds to ask"),
        ),
    )),
    extensions(("x-roles" = json!(Enroll::ROLES)), ("x-problems" = json!(TERMINATE))),
)]
pub(super) async fn terminate_by_post(
    door: State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    id: Path<String>,
) -> Result<Response, ApiError> {
    terminate(door, caller, id).await
}

/// How long a status request asks to wait.
pub(super) fn wait_parameter(text: Option<&str>) -> Result<Duration, ApiError> {
    match text {
        None | Some("") => Ok(Duration::ZERO),
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| *seconds <= LONGEST_WAIT)
            .map(Duration::from_secs)
            .ok_or_else(|| ApiError::InvalidParameter {
                name: "wait",
                detail: format!("a whole number of seconds from 0 to {LONGEST_WAIT}"),
            }),
    }
}

/// The id in a path; what cannot be one is as unknown as one that is not used.
pub(super) fn enrollment_id(text: &str) -> Result<EnrollmentId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(EnrollmentError::Unknown))
}

/// The query's parameters, or the problem with them.
pub(super) fn parameters<T>(
    query: Result<Query<T>, axum::extract::rejection::QueryRejection>,
) -> Result<T, ApiError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| {
            // What was sent is not repeated; what could be sent comes last, and from the
            // server alone.
            let text = rejection.body_text();
            let detail = match text.rsplit_once(", expected ") {
                Some((what, names)) if what.contains("unknown field ") => {
                    format!("there is a parameter that is not known here; it may be {names}")
                }
                _ => "the part after `?` cannot be read, or a parameter is there twice".to_owned(),
            };
            ApiError::InvalidParameter {
                name: "query",
                detail,
            }
        })
}

/// A parameter that is true or false; false if it is not there.
pub(super) fn flag(name: &'static str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(ApiError::InvalidParameter {
            name,
            detail: "`true` or `false`".to_owned(),
        }),
    }
}

/// How many rows a page may have.
pub(super) fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    match text {
        None | Some("") => Ok(DEFAULT_LIMIT),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| ApiError::InvalidParameter {
                name: "limit",
                detail: format!("a whole number from 1 to {MAX_LIMIT}"),
            }),
    }
}

fn stage_parameter(name: &'static str, text: Option<&str>) -> Result<Option<Stage>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => Stage::named(text).map(Some).ok_or_else(|| {
            let names: Vec<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
            ApiError::InvalidParameter {
                name,
                detail: format!("one of {}", names.join(", ")),
            }
        }),
    }
}

/// The `Idempotency-Key` header: one visible ASCII text of up to 255 characters, with
/// or without the quotes of a structured field.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => idempotency_key(value).map(|key| Self(Some(key))),
            // Which of them would count is anybody's guess.
            (Some(_), Some(_)) => Err(unusable_key()),
        }
    }
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[!-~]{1,255}$"));
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "A text that this caller uses for this request alone, so that it can be sent again",
            ))
            .schema(Some(text));
        vec![parameter.build()]
    }
}

fn idempotency_key(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().map_err(|_| unusable_key())?.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(unusable_key())
    }
}

fn unusable_key() -> ApiError {
    ApiError::InvalidParameter {
        name: "Idempotency-Key",
        detail: "one text of 1 to 255 visible ASCII characters".to_owned(),
    }
}
