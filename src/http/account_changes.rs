//! `/api/accounts/{id}`: renaming, removing and restoring an account, and checking a
//! code that somebody else was given.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use countersign_enrollment::account::Labels;
use serde::{Deserialize, Deserializer, Serialize};

use super::FrontDoor;
use super::accounts::{account_id, account_response, readable};
use super::auth::{Administer, Caller, Read};
use super::body::{JsonBody, Wiped};
use super::enrollments::no_store;
use super::error::ApiError;
use super::observe;
use crate::audit::Action;
use crate::tokens::from_vault;
use crate::verify::Verdict;

/// New names and rules; a member that is left out stays as it is, and `"issuer": null`
/// removes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RenameBody {
    #[serde(default, deserialize_with = "present")]
    issuer: Option<Option<String>>,
    account_name: Option<String>,
    /// Whether codes are read with an approval only.
    read_approval: Option<bool>,
}

/// Tells a member that is null from one that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// `PATCH /api/accounts/{id}`.
pub(super) async fn rename(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<RenameBody>,
) -> Result<Response, ApiError> {
    let id = account_id(&id)?;
    let before = door.vault.describe(&id).await.map_err(from_vault)?;
    if before.deleted_at.is_some() {
        return Err(ApiError::AccountUnknown);
    }
    let issuer = match &body.issuer {
        Some(issuer) => issuer.as_deref(),
        None => before.preview.issuer.as_deref(),
    };
    let name = body
        .account_name
        .as_deref()
        .unwrap_or(&before.preview.account_name);
    let labels = Labels::new(issuer, name).map_err(ApiError::Input)?;
    if let Some(guarded) = body.read_approval {
        observe::note(|facts| facts.action = Some(Action::Guard));
        door.access.guard(id.as_str(), guarded)?;
    }
    let record = match (&body.issuer, &body.account_name) {
        (None, None) => before,
        _ => door.vault.rename(&id, &labels).await.map_err(from_vault)?,
    };
    account_response(&door, &record)
}

/// `DELETE /api/accounts/{id}`: out of use at once; it can be restored.
pub(super) async fn delete(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = account_id(&id)?;
    door.vault.delete(&id).await.map_err(from_vault)?;
    Ok(no_store(StatusCode::NO_CONTENT.into_response()))
}

/// `POST /api/accounts/{id}/restore`.
pub(super) async fn restore(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = account_id(&id)?;
    let record = door.vault.recover(&id).await.map_err(from_vault)?;
    account_response(&door, &record)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    token: Wiped,
}

#[derive(Serialize)]
struct VerifyView {
    valid: bool,
    /// Time steps that the code's clock is ahead of ours (negative: behind).
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Checks a code of an account that the caller may read.
pub(super) async fn verdict(
    door: &FrontDoor,
    caller: &Caller<Read>,
    id: &str,
    code: &str,
) -> Result<Verdict, ApiError> {
    let id = readable(door, caller, id)?;
    let account = door.vault.read(&id).await.map_err(from_vault)?;
    let now = door.clock.now();
    let checked = door
        .verifier
        .check(&id, &account, caller.id(), code, now)
        .await?;
    Ok(checked)
}

/// `POST /api/accounts/{id}/verify`: whether a code is right, each at most once.
pub(super) async fn verify(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Response, ApiError> {
    let view = match verdict(&door, &caller, &id, body.token.as_str()).await? {
        Verdict::Valid { drift } => VerifyView {
            valid: true,
            drift: Some(drift),
            reason: None,
        },
        Verdict::Wrong => VerifyView {
            valid: false,
            drift: None,
            reason: Some("wrong"),
        },
        Verdict::Used => VerifyView {
            valid: false,
            drift: None,
            reason: Some("already-used"),
        },
    };
    Ok(no_store(Json(view).into_response()))
}
