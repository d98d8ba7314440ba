//! `/api/enrollments`: start, show, follow, list and end enrollments.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use countersign_enrollment::problem::InputProblem;
use futures_util::stream;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::{IntoParams, ToSchema};

use super::ids::{EnrollmentPath, enrollment_id};
use super::uploads::{JsonUpload, UploadBody, UploadForm};
use super::views::{EnrollmentPage, EnrollmentView, StartedView, status_path};
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Enroll, Follow, Permission as _};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::idempotency::IdempotencyKey;
use crate::http::edge::parameters::{
    ApprovalParameter, approval_parameter, limit, parameters, required_parameter, wait_parameter,
};
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{accepts_events, no_store, unless_stopped};
use crate::hub::{Cursor, EnrollmentOptions, HubError, ListQuery, NewEnrollment, Snapshot, Stage};
use crate::intake::Upload;

/// How long an event stream lasts before the browser has to reconnect.
const LONGEST_STREAM: Duration = Duration::from_secs(15 * 60);

/// The problems of starting an enrollment, besides those of the upload.
pub(super) const START: [ProblemCode; 5] = [
    ProblemCode::HubUnavailable,
    ProblemCode::IdempotencyKeyReused,
    ProblemCode::InvalidParameter,
    ProblemCode::LedgerUnavailable,
    ProblemCode::UnsupportedMediaType,
];

#[derive(Deserialize, IntoParams)]
// A misspelt `approval` would be ignored.
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StartQuery {
    /// Whether another person must approve; the server may require it anyway.
    #[param(inline, value_type = Option<ApprovalParameter>)]
    approval: Option<String>,
    /// Whether the account must be proved before it is in use; the server may
    /// require it anyway.
    #[param(inline, value_type = Option<ApprovalParameter>)]
    proof: Option<String>,
    /// What kind of codes the account gives, if its URI does not say so: Steam's own URIs do not.
    #[param(inline, value_type = Option<KindParameter>)]
    kind: Option<String>,
    /// What to do if an account with the same secret and codes is in use: `keep`
    /// both, with a warning, or `refuse` the new one.
    #[param(inline, value_type = Option<DuplicatesParameter>)]
    duplicates: Option<String>,
    /// A key, for callers that cannot send a header.
    #[serde(rename = "code")]
    #[param(ignore)]
    _code: Option<IgnoredAny>,
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
    /// The upload, with the caller's options. A text is turned into one of Steam's
    /// here if requested; an image by the worker, which reads it.
    pub(super) fn with_options(
        &self,
        upload: Upload,
    ) -> Result<(Upload, EnrollmentOptions), ApiError> {
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
        let options = EnrollmentOptions {
            steam,
            unless_there,
        };
        Ok((upload, options))
    }

    pub(super) fn approval_asked(&self) -> Result<bool, ApiError> {
        approval_parameter(self.approval.as_deref())
    }

    pub(super) fn proof_asked(&self) -> Result<bool, ApiError> {
        required_parameter("proof", self.proof.as_deref())
    }
}

/// Starts an enrollment
///
/// A repeated request with the same `Idempotency-Key` and body is the same enrollment.
#[utoipa::path(
    post, path = "/api/enrollments", tag = "enrollments", operation_id = "startEnrollment",
    params(StartQuery, IdempotencyKey),
    request_body(description = "An otpauth URI or an image of a QR code, of at most 10 MiB", content(
        (JsonUpload = "application/json"),
        (UploadForm = "multipart/form-data"),
        (String = "text/plain"),
        ("image/*"),
        ("application/octet-stream"),
    )),
    responses(
        (status = ACCEPTED, description = "The enrollment is running", body = StartedView),
        (
            status = OK, description = "An earlier request started it, and it has finished",
            body = EnrollmentView,
            headers(("location" = String, description = "Address of the status")),
        ),
    ),
    extensions(
        ("x-audit" = json!(Action::Enroll)),
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
        let snapshot = door
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
        Ok(started_response(
            snapshot.shown_to(caller.sight(&door).await?),
        ))
    })
    .await;
    facts.on(answer)
}

/// 202 with the links of a running enrollment.
pub(super) fn accepted_response(snapshot: &Snapshot) -> Response {
    running(snapshot, Json(StartedView::new(snapshot)))
}

/// The answer to a start, also when it is repeated: where the enrollment is,
/// and that it is running or how it has ended.
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

/// The status of an enrollment, limited to what the caller may see.
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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// How many seconds to wait for another stage.
    #[param(value_type = Option<u32>, maximum = 60, default = 0)]
    wait: Option<String>,
    /// Wait until the stage differs from this; by default, from the current one.
    #[param(value_type = Option<Stage>)]
    since: Option<String>,
}

/// Shows an enrollment
///
/// It waits for the next stage if `wait` is given. With `Accept: text/event-stream`, every stage
/// from the current one to the end is an event named `status` whose data is the JSON of this
/// response.
#[utoipa::path(
    get, path = "/api/enrollments/{id}", tag = "enrollments", operation_id = "getEnrollment",
    params(EnrollmentPath, StatusQuery),
    responses(
        (status = OK, description = "It has finished, with any outcome; or the stream of events", content(
            (EnrollmentView = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = ACCEPTED, description = "It is running", body = EnrollmentView),
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
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let id = enrollment_id(&id)?;
    let wait = wait_parameter(query.wait.as_deref())?;
    let since = stage_parameter("since", query.since.as_deref())?;
    let snapshot = door.hub.get(&id, caller.sees_only()).await?;
    if accepts_events(&headers) {
        return Ok(no_store(changes(door, caller, snapshot).into_response()));
    }
    let since = since.unwrap_or(snapshot.stage);
    let following = door.hub.follow(snapshot.clone(), since, wait);
    let latest = unless_stopped(&door, snapshot, following).await?;
    Ok(status_response(latest.shown_to(caller.sight(&door).await?)))
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
                        latest = door.hub.follow(snapshot, since, left) => latest.ok()?,
                        () = door.stop.cancelled() => return None,
                    };
                    if latest.stage == since {
                        return None;
                    }
                    latest
                }
            };
            // A stream that cannot say what its caller may see ends; the caller asks again.
            let sees = caller.sight(&door).await.ok()?;
            let event = Event::default()
                .event("status")
                .json_data(EnrollmentView::new(&latest.clone().shown_to(sees)))
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
    /// The `next` of the previous page.
    cursor: Option<String>,
    /// The most enrollments on the page.
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
        ("x-problems" = json!([ProblemCode::HubUnavailable, ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable])),
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
        .hub
        .list(ListQuery {
            stage: stage_parameter("stage", query.stage.as_deref())?,
            only: caller.sees_only().map(str::to_owned),
            cursor,
            limit: limit(query.limit.as_deref())?,
        })
        .await?;
    let sees = caller.sight(&door).await?;
    let items = page.items.into_iter();
    let view = EnrollmentPage {
        enrollments: items
            .map(|item| EnrollmentView::new(&item.shown_to(&sees)))
            .collect(),
        next: page.next.map(|cursor| cursor.to_text()),
    };
    Ok(no_store(Json(view).into_response()))
}

/// The problems of ending something that runs.
pub(super) const TERMINATE: [ProblemCode; 4] = [
    ProblemCode::AlreadyEnded,
    ProblemCode::EnrollmentUnknown,
    ProblemCode::HubUnavailable,
    ProblemCode::LedgerUnavailable,
];

/// Stops a running enrollment
#[utoipa::path(
    delete, path = "/api/enrollments/{id}", tag = "enrollments", operation_id = "terminateEnrollment",
    params(EnrollmentPath),
    responses((status = ACCEPTED, description = "It was asked to stop", body = StartedView)),
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
    let id = enrollment_id(&id)?;
    let snapshot = door.hub.get(&id, caller.sees_only()).await?;
    if snapshot.stage.has_ended() {
        return Err(HubError::AlreadyEnded.into());
    }
    door.hub
        .terminate(id.as_str(), caller.sees_only(), caller.id())
        .await?;
    Ok(accepted_response(&snapshot))
}

/// Stops a running enrollment, for clients that can only send POST
#[utoipa::path(
    post, path = "/api/enrollments/{id}/terminate", tag = "enrollments",
    operation_id = "terminateEnrollmentByPost",
    params(EnrollmentPath),
    responses((status = ACCEPTED, description = "It was asked to stop", body = StartedView)),
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
