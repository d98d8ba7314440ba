//! `/api/accounts/{id}/proof`: an account that waits to be proved is in use once its
//! requester has seen the other service accept two consecutive codes of it.
//!
//! Until then its codes are available only here, to the requester and administrators: a code that
//! the other service does not know is useless to anyone else, and automation that relied
//! on it would fail far from the cause.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use countersign_activities::vault::Change;
use countersign_enrollment::ids::EnrollmentId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::accounts::account_response;
use super::ids::{AccountPath, account_id};
use super::views::{AccountView, Alone, TokenView};
use crate::access::Role;
use crate::audit::{Action, FieldChange};
use crate::codes::{Pending, from_vault};
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Enroll, Permission as _};
use crate::http::edge::body::{JsonBody, Wiped};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::path::Path;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// The problems of reading the codes.
const SHOW: [ProblemCode; 4] = [
    ProblemCode::AccountUnknown,
    ProblemCode::AlreadyProved,
    ProblemCode::AuditUnavailable,
    ProblemCode::VaultUnavailable,
];
/// The problems of proving an account.
const PROVE: [ProblemCode; 5] = [
    ProblemCode::AccountUnknown,
    ProblemCode::AlreadyProved,
    ProblemCode::InvalidParameter,
    ProblemCode::ProofWrong,
    ProblemCode::VaultUnavailable,
];

/// Shows the codes that prove an account
///
/// The current code and the next one of a pending account, for the person who enrolled it and for
/// administrators.
#[utoipa::path(
    get, path = "/api/accounts/{id}/proof", tag = "accounts", operation_id = "getProof",
    params(AccountPath),
    responses((status = OK, description = "The codes, with detail", body = TokenView)),
    extensions(
        ("x-audit" = json!(Action::ReadCode)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!(SHOW)),
    ),
)]
pub(super) async fn codes(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (_, pending) = pending(&door, &caller, &id).await?;
    let view = TokenView::new(pending.code()?, true, Alone::No);
    Ok(no_store(Json(view).into_response()))
}

/// Whether the other service has accepted two codes, and the codes, the earlier one first.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    accepted: bool,
    /// Needed if they were accepted.
    #[schema(value_type = Option<Vec<String>>, min_items = 2, max_items = 2)]
    codes: Option<[Wiped; 2]>,
}

/// Proves an account
///
/// Enables it or, if the other service did not accept its codes, removes it.
#[utoipa::path(
    post, path = "/api/accounts/{id}/proof", tag = "accounts", operation_id = "prove",
    params(AccountPath),
    request_body = ProofBody,
    responses(
        (status = OK, description = "The account, which is enabled now", body = AccountView),
        (status = NO_CONTENT, description = "It is disabled"),
    ),
    extensions(
        ("x-audit" = json!(Action::Prove)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!(PROVE)),
    ),
)]
pub(super) async fn prove(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ProofBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        if !body.accepted {
            facts.action = Some(Action::Delete);
        }
        let (id, pending) = pending(&door, &caller, &id).await?;
        if !body.accepted {
            door.vault.delete(&id).await.map_err(from_vault)?;
            facts.changes = vec![became("removed")];
            return Ok(no_store(StatusCode::NO_CONTENT.into_response()));
        }
        let Some([first, second]) = &body.codes else {
            return Err(ApiError::InvalidParameter {
                name: "codes",
                detail: "the two codes that were accepted, the earlier one first".to_owned(),
            });
        };
        if !pending.is_proved_by(first.as_str(), second.as_str())? {
            return Err(ApiError::ProofWrong);
        }
        let proved = Change {
            proved: true,
            ..Change::default()
        };
        let record = door.vault.change(&id, &proved).await.map_err(from_vault)?;
        facts.changes = vec![became("active")];
        account_response(&door, &record).await
    })
    .await;
    facts.on(answer)
}

/// What becomes of a pending account.
fn became(state: &str) -> FieldChange {
    FieldChange::new("state", Some("pending"), Some(state))
}

/// The account, for those who may prove it; for others it is unknown.
async fn pending(
    door: &FrontDoor,
    caller: &Caller<Enroll>,
    text: &str,
) -> Result<(EnrollmentId, Pending), ApiError> {
    let id = account_id(text)?;
    let is_admin = caller.roles().any_of(&[Role::Admin]);
    let pending = door.codes.pending(&id).await?;
    // The vault may have taken a while.
    caller.reauthenticate().await?;
    match pending {
        Some(pending) if is_admin || pending.by.as_str() == caller.id() => Ok((id, pending)),
        None if is_admin => Err(ApiError::AlreadyProved),
        Some(_) | None => Err(ApiError::AccountUnknown),
    }
}
