//! `/api/accounts/{id}/recovery-codes` and `…/recovery-code`: codes that a service issues, to be
//! used once each when the authenticator is lost, kept beside the account.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use countersign_enrollment::account_request::MAX_REASON_CHARS;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::{MAX_CODES, RecoveryCodes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::ids::RequestPath;
use super::ids::{AccountPath, account_id};
use super::permit::{ReadPermit, readable, take_plainly};
use super::request_views::RequestView;
use super::requests::{USE, granted, started};
use crate::audit::Action;
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _, Read};
use crate::http::edge::body::{JsonBody, Wiped};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::idempotency::IdempotencyKey;
use crate::http::edge::parameters::short_text;
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;
use crate::hub::NewRecoveryCodes;

/// How many recovery codes an account has.
#[derive(Serialize, ToSchema)]
struct RecoveryCount {
    /// All of them.
    total: usize,
    /// Those that were not given out yet.
    left: usize,
}

/// A recovery code, which is not given out again.
#[derive(Serialize, ToSchema)]
struct RecoveryCode {
    #[schema(value_type = String)]
    code: Zeroizing<String>,
    /// How many are left.
    left: usize,
}

/// An account's new recovery codes, in place of any others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryBody {
    /// At most 64, each of at most 128 bytes; none to remove existing ones.
    #[schema(value_type = Vec<String>, max_items = 64)]
    codes: Vec<Wiped>,
    /// The reason, for the approvers.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// The codes of a body.
pub(super) fn codes(given: &[Wiped]) -> Result<RecoveryCodes, ApiError> {
    RecoveryCodes::new(given.iter().map(Wiped::as_str)).map_err(|error| {
        ApiError::InvalidParameter {
            name: "codes",
            detail: error.to_string(),
        }
    })
}

/// Counts an account's recovery codes
///
/// The codes themselves are given out one by one.
#[utoipa::path(
    get, path = "/api/accounts/{id}/recovery-codes", tag = "codes", operation_id = "countRecoveryCodes",
    params(AccountPath),
    responses((status = OK, description = "How many there are", body = RecoveryCount)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::GrantExpired, ProblemCode::GrantUsedUp, ProblemCode::LedgerUnavailable,
            ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn count(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = readable(&door, &caller, &id).await?;
    let codes = door.vault.recovery(&id).await.map_err(from_vault)?;
    let view = RecoveryCount {
        total: codes.len(),
        left: door.hub.recovery_left(&id, &codes).await?,
    };
    Ok(no_store(Json(view).into_response()))
}

/// Sets an account's recovery codes
///
/// This starts a request, which is followed like any other. If the account already has codes,
/// they are destroyed, and another person must approve that if the server's rules require it.
#[utoipa::path(
    put, path = "/api/accounts/{id}/recovery-codes", tag = "codes", operation_id = "setRecoveryCodes",
    params(AccountPath, IdempotencyKey),
    request_body = RecoveryBody,
    responses(
        (status = ACCEPTED, description = "The request is running", body = RequestView),
        (
            status = OK, description = "An earlier request started it, and it has finished",
            body = RequestView,
            headers(("location" = String, description = "Address of the status")),
        ),
    ),
    extensions(
        ("x-audit" = json!(Action::RequestRecoveryCodes)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::HubUnavailable, ProblemCode::IdempotencyKeyReused, ProblemCode::InvalidParameter,
            ProblemCode::LedgerUnavailable, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn set(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
    Path(id): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody<RecoveryBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let wanted = codes(&body.codes)?;
        let reason = short_text("reason", body.reason, MAX_REASON_CHARS)?;
        facts.reason.clone_from(&reason);
        let id: EnrollmentId = account_id(&id)?;
        let account = door.vault.read(&id).await.map_err(from_vault)?;
        let kept = door.vault.recovery(&id).await.map_err(from_vault)?;
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .set_recovery(NewRecoveryCodes {
                id,
                account: &account,
                codes: &wanted,
                replaces: !kept.is_empty(),
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

/// Takes one of an account's recovery codes
///
/// Each is given out once, and never again. It uses one of a limited number of granted reads.
#[utoipa::path(
    post, path = "/api/accounts/{id}/recovery-code", tag = "codes", operation_id = "takeRecoveryCode",
    params(AccountPath),
    responses((status = OK, description = "The code", body = RecoveryCode)),
    extensions(
        ("x-audit" = json!(Action::TakeRecoveryCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountPending, ProblemCode::AccountUnknown, ProblemCode::ApprovalNeeded, ProblemCode::AuditUnavailable,
            ProblemCode::GrantExpired, ProblemCode::GrantUsedUp, ProblemCode::LedgerUnavailable, ProblemCode::NoneToRecoverWith, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn take(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let permit = ReadPermit::of(&door, &caller, &id).await?;
    let id = permit.account().clone();
    let codes = available(&door, &id).await?;
    caller.reauthenticate().await?;
    permit.take_recovery_code().await?;
    let taken = door.hub.take_recovery(&id, &codes).await?;
    given(taken)
}

/// Takes a recovery code that a request has granted
///
/// It uses one of the granted reads.
#[utoipa::path(
    post, path = "/api/requests/{id}/recovery-code", tag = "requests", operation_id = "takeGrantedRecoveryCode",
    params(RequestPath),
    responses((status = OK, description = "The code", body = RecoveryCode)),
    extensions(
        ("x-audit" = json!(Action::TakeRecoveryCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([USE.as_slice(), &[ProblemCode::AccountPending, ProblemCode::NoneToRecoverWith]].concat())),
    ),
)]
pub(super) async fn take_granted(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let request = granted(&door, &caller, &id, "read", &mut facts).await?;
        let codes = available(&door, &request.account).await?;
        let account = door
            .vault
            .read(&request.account)
            .await
            .map_err(from_vault)?;
        caller.reauthenticate().await?;
        let permit = door.hub.claim(&request, "read", &account).await?;
        // Without an approval it is an ordinary read, as for codes. It was made with a
        // request, which a guarded account requires.
        if request.approvals_needed == 0 {
            take_plainly(&door, &caller, &request.account).await?;
        }
        let taken = door
            .hub
            .take_granted_recovery(&permit, &request.account, &codes);
        given(taken.await?)
    })
    .await;
    facts.on(answer)
}

/// The recovery codes of an account in use, if one is left.
async fn available(door: &FrontDoor, id: &EnrollmentId) -> Result<RecoveryCodes, ApiError> {
    let reading = door.vault.read_for_code(id).await.map_err(from_vault)?;
    if reading.pending_for.is_some() {
        return Err(ApiError::AccountPending);
    }
    let codes = door.vault.recovery(id).await.map_err(from_vault)?;
    match door.hub.recovery_left(id, &codes).await? {
        0 => Err(ApiError::NoRecoveryCode),
        _ => Ok(codes),
    }
}

/// The answer with a code; another caller may have taken the last one a moment ago.
fn given(taken: Option<(&str, usize)>) -> Result<Response, ApiError> {
    let (code, left) = taken.ok_or(ApiError::NoRecoveryCode)?;
    let view = RecoveryCode {
        code: Zeroizing::new(code.to_owned()),
        left,
    };
    Ok(no_store(Json(view).into_response()))
}

const _: () = assert!(MAX_CODES == 64, "the description says so");
