//! `/api/requests` and `/api/accounts/{id}/requests`: acting on an account once
//! another person has approved it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use countersign_enrollment::account_request::{MAX_READS, MAX_REASON_CHARS, RequestKind};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::sealed::SealKey;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::decision::DecisionBody;
use super::ids::{AccountPath, RequestPath, request_id};
use super::permit::{readable, take_plainly, withheld};
use super::request_views::{ExportView, RequestPage, RequestView};
use super::views::{Alone, TokenView};
use crate::access::Role;
use crate::audit::Action;
use crate::bounds;
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Decide, Known, Permission as _, Read};
use crate::http::edge::body::JsonBody;
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::idempotency::IdempotencyKey;
use crate::http::edge::parameters::short_text;
use crate::http::edge::parameters::{limit, parameters, wait_parameter};
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{no_store, unless_stopped};
use crate::hub::{
    Cursor, HubError, Mandated, NewRequest, RequestQuery, RequestSnapshot, RequestStage,
};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What to do with an account. `kind` determines which other members there are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestBody {
    #[schema(inline, value_type = Kind)]
    kind: String,
    /// The reason, for the approvers.
    #[schema(max_length = 500)]
    reason: Option<String>,
    /// For `read`: how many codes.
    #[schema(minimum = 1, maximum = 50)]
    #[serde(default, deserialize_with = "bounds::within::<_, _, 1, 50>")]
    reads: Option<u32>,
    /// For `read` and `export`: for how long, in seconds; for `delete`: how much later.
    #[schema(maximum = 7_776_000)]
    #[serde(default, deserialize_with = "bounds::within::<_, _, 0, 7_776_000>")]
    seconds: Option<u64>,
    /// For `transfer`: the other installation's key.
    to: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a body")]
enum Kind {
    Read,
    Export,
    Transfer,
    Delete,
}

impl RequestBody {
    fn act(&self) -> Result<RequestKind, ApiError> {
        let reads = |usual| within("reads", self.reads.unwrap_or(usual), 1, MAX_READS);
        let seconds =
            |usual, least, most| within("seconds", self.seconds.unwrap_or(usual), least, most);
        let act = match self.kind.as_str() {
            "read" => RequestKind::Read {
                reads: reads(1)?,
                seconds: seconds(15 * MINUTE, 1, 30 * DAY)?,
            },
            "export" => RequestKind::Export {
                seconds: seconds(HOUR, 1, 7 * DAY)?,
            },
            "delete" => RequestKind::Delete {
                seconds: seconds(7 * DAY, 0, 90 * DAY)?,
            },
            "transfer" => RequestKind::Transfer {
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
            RequestKind::Read { .. } => self.to.is_some().then_some("to"),
            RequestKind::Export { .. } | RequestKind::Delete { .. } => {
                let reads = self.reads.is_some().then_some("reads");
                reads.or(self.to.is_some().then_some("to"))
            }
            RequestKind::Transfer { .. } | RequestKind::RecoveryCodes { .. } => {
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

    /// The other installation's key, in its canonical spelling, which is signed.
    fn recipient(&self) -> Result<String, ApiError> {
        let text = self.to.as_deref().unwrap_or_default();
        SealKey::from_text(text)
            .map(|key| key.to_text())
            .map_err(|_| ApiError::InvalidParameter {
                name: "to",
                detail: "the sealing key of the other installation, `sealKey` in its GET \
                         /api/system: countersign-seal-key-1 and 43 characters"
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

/// Requests an action on an account
///
/// Reading codes, exporting its URI, transferring it to another installation or destroying it:
/// each happens once another person has approved it, if the server requires that. All but reading
/// codes are for administrators.
#[utoipa::path(
    post, path = "/api/accounts/{id}/requests", tag = "requests", operation_id = "startRequest",
    params(AccountPath, IdempotencyKey),
    request_body = RequestBody,
    responses(
        (status = ACCEPTED, description = "The request is running", body = RequestView),
        (
            status = OK, description = "An earlier request started it, and it has finished",
            body = RequestView,
            headers(("location" = String, description = "Address of the status")),
        ),
    ),
    extensions(
        // The handler chooses the action once it has read the body.
        ("x-audit" = json!(Action::RequestRead)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::GrantExpired, ProblemCode::GrantUsedUp, ProblemCode::HubUnavailable, ProblemCode::IdempotencyKeyReused, ProblemCode::InvalidParameter,
            ProblemCode::LedgerUnavailable, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn start(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody<RequestBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let act = body.act()?;
        let reason = short_text("reason", body.reason, MAX_REASON_CHARS)?;
        facts.action = Some(match act {
            RequestKind::Read { .. } => Action::RequestRead,
            RequestKind::Export { .. } => Action::RequestExport,
            RequestKind::Transfer { .. } => Action::RequestTransfer,
            RequestKind::Delete { .. } => Action::RequestDelete,
            // Recovery codes are requested elsewhere.
            RequestKind::RecoveryCodes { .. } => Action::RequestRecoveryCodes,
        });
        facts.reason.clone_from(&reason);
        let account = readable(&door, &caller, &id).await?;
        if !matches!(act, RequestKind::Read { .. }) && !caller.roles().contains(Role::Admin) {
            return Err(ApiError::Forbidden {
                needs: Administer::NEEDS,
            });
        }
        let found = door.vault.read(&account).await.map_err(from_vault)?;
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .start_request(NewRequest {
                id: account,
                account: &found,
                act,
                reason,
                caller: caller.requester(&person),
                idempotency_key: key.as_deref(),
            })
            .await?;
        Ok(started(&snapshot))
    })
    .await;
    facts.on(answer)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// How many seconds to wait for another stage.
    #[param(value_type = Option<u32>, maximum = 60, default = 0)]
    wait: Option<String>,
    /// Wait until the stage differs from this; by default, from the current one.
    #[param(value_type = Option<RequestStage>)]
    since: Option<String>,
}

/// Shows a request
///
/// For its requester and for approvers.
#[utoipa::path(
    get, path = "/api/requests/{id}", tag = "requests", operation_id = "getRequest",
    params(RequestPath, StatusQuery),
    responses(
        (status = OK, description = "It has finished, with any outcome", body = RequestView),
        (status = ACCEPTED, description = "It is running", body = RequestView),
    ),
    extensions(
        ("x-roles" = json!(Known::ROLES)),
        ("x-problems" = json!([ProblemCode::HubUnavailable, ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable, ProblemCode::RequestUnknown])),
    ),
)]
pub(super) async fn status(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    Path(id): Path<String>,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let wait = wait_parameter(query.wait.as_deref())?;
    let since = stage_parameter("since", query.since.as_deref())?;
    let snapshot = door
        .hub
        .get_request(&request_id(&id)?, caller.sees_only())
        .await?;
    let since = since.unwrap_or(snapshot.stage);
    let following = door.hub.follow_request(snapshot.clone(), since, wait);
    let latest = unless_stopped(&door, snapshot, following).await?;
    Ok(response(&latest))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Only those in this stage.
    #[param(value_type = Option<RequestStage>)]
    stage: Option<String>,
    /// Only those about this account.
    #[param(pattern = "^totp-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    account: Option<String>,
    /// The `next` of the previous page.
    cursor: Option<String>,
    /// The most requests on the page.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

/// Lists requests
///
/// Newest first; callers that are not approvers see their own.
#[utoipa::path(
    get, path = "/api/requests", tag = "requests", operation_id = "listRequests",
    params(ListParameters),
    responses((status = OK, description = "A page of requests", body = RequestPage)),
    extensions(
        ("x-roles" = json!(Known::ROLES)),
        ("x-problems" = json!([ProblemCode::HubUnavailable, ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable])),
    ),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    query: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let stage = stage_parameter("stage", query.stage.as_deref())?;
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
        .hub
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

/// Approves or rejects a request
///
/// You cannot approve your own request or approve twice; one rejection is enough.
#[utoipa::path(
    post, path = "/api/requests/{id}/approval", tag = "requests", operation_id = "decideRequest",
    params(RequestPath),
    request_body = DecisionBody,
    responses((status = ACCEPTED, description = "The decision was accepted; the request continues", body = RequestView)),
    extensions(
        // The handler chooses the action once it has read the body.
        ("x-audit" = json!(Action::Approve)),
        ("x-roles" = json!(Decide::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AlreadyDecided, ProblemCode::ApprovalExpired, ProblemCode::ApproverGroupMissing, ProblemCode::HubUnavailable,
            ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable, ProblemCode::MandateRefused,
            ProblemCode::NotAwaitingApproval, ProblemCode::RequestUnknown,
            ProblemCode::SelfApprovalForbidden,
        ])),
    ),
)]
pub(super) async fn decide(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = request_id(&id)?;
        let (approved, comment) = body.read(&mut facts)?;
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .decide_request(&id, caller.decider(&person), approved, comment)
            .await?;
        door.inbox.look_again().await;
        Ok(accepted(&snapshot))
    })
    .await;
    facts.on(answer)
}

/// Withdraws a request, or rejects it
///
/// The requester withdraws it; for an approver it is a rejection. A removal that can be undone is
/// undone.
#[utoipa::path(
    delete, path = "/api/requests/{id}", tag = "requests", operation_id = "cancelRequest",
    params(RequestPath),
    responses((status = ACCEPTED, description = "It was asked to stop", body = RequestView)),
    extensions(
        ("x-audit" = json!(Action::CancelRequest)),
        ("x-roles" = json!(Known::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AlreadyDecided, ProblemCode::AlreadyEnded, ProblemCode::ApprovalExpired, ProblemCode::HubUnavailable,
            ProblemCode::LedgerUnavailable, ProblemCode::MandateRefused, ProblemCode::NotAwaitingApproval,
            ProblemCode::RequestUnknown, ProblemCode::SelfApprovalForbidden,
        ])),
    ),
)]
pub(super) async fn cancel(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = request_id(&id)?;
        if door.hub.is_of_another(&id, caller.id()).await? {
            facts.action = Some(Action::Reject);
        }
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .reject_request(&id, caller.decider(&person), None, caller.sees_only())
            .await?
            .ok_or(HubError::AlreadyEnded)?;
        door.inbox.look_again().await;
        Ok(accepted(&snapshot))
    })
    .await;
    facts.on(answer)
}

/// Reads a code that a request has granted
///
/// It uses one of the granted reads.
#[utoipa::path(
    post, path = "/api/requests/{id}/code", tag = "requests", operation_id = "readGrantedCode",
    params(RequestPath),
    responses((status = OK, description = "The code, with detail", body = TokenView)),
    extensions(
        ("x-audit" = json!(Action::ReadCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([USE.as_slice(), &[ProblemCode::AccountPending]].concat())),
    ),
)]
pub(super) async fn code(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let request = granted(&door, &caller, &id, "read", &mut facts).await?;
        // The code is computed before the use is recorded.
        let code = door
            .codes
            .lasting(&request.account, TimeDelta::zero())
            .await?;
        let account = door
            .vault
            .read(&request.account)
            .await
            .map_err(from_vault)?;
        caller.reauthenticate().await?;
        door.hub.claim(&request, "read", &account).await?;
        // Without an approval it is an ordinary read, counted against the caller's grant.
        if request.approvals_needed == 0 {
            take_plainly(&door, &caller, &request.account).await?;
        }
        // Only one code: the next one would be another use.
        Ok(no_store(
            Json(TokenView::new(code, true, Alone::Yes)).into_response(),
        ))
    })
    .await;
    facts.on(answer)
}

/// Reads the URI that a request has granted
///
/// The account's URI, QR code and recovery codes, once. Those count as given out from then on.
#[utoipa::path(
    post, path = "/api/requests/{id}/export", tag = "requests", operation_id = "export",
    params(RequestPath),
    responses((status = OK, description = "The account with its secret", body = ExportView)),
    extensions(
        ("x-audit" = json!(Action::Export)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([USE.as_slice(), &[ProblemCode::AccountChanged]].concat())),
    ),
)]
pub(super) async fn export(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let request = granted(&door, &caller, &id, "export", &mut facts).await?;
        let account = door
            .vault
            .read(&request.account)
            .await
            .map_err(from_vault)?;
        let codes = door.vault.recovery(&request.account).await;
        let codes = codes.map_err(from_vault)?;
        caller.reauthenticate().await?;
        let permit = door.hub.claim(&request, "export", &account).await?;
        let taken = door
            .hub
            .take_all_recovery(&permit, &request.account, &codes);
        let taken = taken.await?;
        if !taken.is_empty() {
            let reason = facts.reason.take().unwrap_or_default();
            facts.reason = Some(format!("{reason}, with {} recovery codes", taken.len()));
        }
        let view = ExportView::new(&permit, &request, &account, &taken)
            .map_err(|e| ApiError::Internal(Box::new(e)))?;
        Ok(no_store(Json(view).into_response()))
    })
    .await;
    facts.on(answer)
}

/// The problems of using a granted request.
pub(super) const USE: [ProblemCode; 9] = [
    ProblemCode::AccountUnknown,
    ProblemCode::AuditUnavailable,
    ProblemCode::GrantExpired,
    ProblemCode::GrantUsedUp,
    ProblemCode::LedgerUnavailable,
    ProblemCode::MandateRefused,
    ProblemCode::NotGranted,
    ProblemCode::RequestUnknown,
    ProblemCode::VaultUnavailable,
];

/// The caller's granted request of this kind, as the front door has signed it.
/// Whether it may still be used is checked on use.
pub(super) async fn granted<P>(
    door: &FrontDoor,
    caller: &Caller<P>,
    id: &str,
    kind: &str,
    facts: &mut Facts,
) -> Result<Mandated, ApiError> {
    let id = request_id(id)?;
    let request = door.hub.mandated(&id, caller.id()).await?;
    facts.subject = Some(request.account.to_string());
    facts.reason = Some(match &request.reason {
        Some(reason) => format!("{id}: {reason}"),
        None => id.to_string(),
    });
    if request.act.kind() != kind {
        return Err(HubError::NotGranted.into());
    }
    // The caller may have lost access to the account in the meantime.
    let now = door.clock.now();
    let account = &request.account;
    let may_read = door
        .access
        .may_read(caller.identity(), account.as_str(), now);
    if !may_read.await? {
        return Err(withheld(door, caller.identity(), account, now).await?);
    }
    Ok(request)
}

fn stage_parameter(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<RequestStage>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => RequestStage::named(text).map(Some).ok_or_else(|| {
            let stages = RequestStage::ALL.iter();
            let names: Vec<_> = stages.map(|stage| stage.as_str()).collect();
            ApiError::InvalidParameter {
                name,
                detail: format!("one of {}", names.join(", ")),
            }
        }),
    }
}

/// The answer to a start, also when it is repeated.
pub(super) fn started(snapshot: &RequestSnapshot) -> Response {
    let mut response = response(snapshot);
    locate(&mut response, snapshot);
    response
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
    locate(&mut response, snapshot);
    // A machine is done within the second; a person or a timer takes longer.
    let seconds = match snapshot.stage {
        RequestStage::Pending | RequestStage::Acting => "1",
        _ => "10",
    };
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    no_store(response)
}

/// Adds the address of the status.
fn locate(response: &mut Response, snapshot: &RequestSnapshot) {
    if let Ok(location) = HeaderValue::from_str(&RequestView::path(snapshot)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
}
