//! `/api/accounts/{id}`: renaming, filing, removing and restoring an account, and checking a
//! code that someone else received.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use countersign_activities::vault::{AccountRecord, Change, VaultError};
use countersign_enrollment::account::{Labels, one_line};
use countersign_enrollment::filing::Filing;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::accounts::account_response;
use super::ids::{AccountPath, account_id};
use super::permit::readable;
use super::views::AccountView;
use crate::audit::{Action, Changes, listed};
use crate::codes::{ReadCodeError, from_vault};
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _, Read};
use crate::http::edge::body::{JsonBody, Wiped};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, SubjectAction, caught};
use crate::http::edge::path::Path;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;
use crate::verify::CodeCheck;

/// New names, another group, other tags, other rules; a member that is left out stays as
/// it is, and `null` removes an issuer or group.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ChangeBody {
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "present")]
    issuer: Option<Option<String>>,
    account_name: Option<String>,
    /// At most 64 characters.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "present")]
    group: Option<Option<String>>,
    /// At most ten, each of at most 24 characters without a comma.
    tags: Option<Vec<String>>,
    /// Whether each reading of its codes needs an approved request.
    read_approval: Option<bool>,
}

/// Distinguishes a null member from an absent one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The problems of changing an account.
const CHANGE: [ProblemCode; 2] = [ProblemCode::AccountUnknown, ProblemCode::VaultUnavailable];

/// Changes an account's names, group, tags and rules
///
/// A member that is left out stays as it is; `"issuer": null` removes the issuer, and `"group":
/// null` the group. All changes are made together.
#[utoipa::path(
    patch, path = "/api/accounts/{id}", tag = "accounts", operation_id = "changeAccount",
    params(AccountPath),
    request_body = ChangeBody,
    responses((status = OK, description = "The account as it is now", body = AccountView)),
    extensions(
        // The handler adds the other actions.
        ("x-audit" = json!(Action::Rename)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::AccountUnknown, ProblemCode::InvalidParameter, ProblemCode::VaultUnavailable])),
        ("x-input" = json!(["label-malformed", "label-too-long"])),
    ),
)]
pub(super) async fn change(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ChangeBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = account_id(&id)?;
        let changing = async {
            let before = door.vault.describe(&id).await.map_err(from_vault)?;
            if before.deleted_at.is_some() {
                return Err(ApiError::AccountUnknown);
            }
            let mut change = Change::default();
            let is_blank = |text: &String| one_line(text).is_empty();
            if body.account_name.as_ref().is_some_and(is_blank) {
                return Err(ApiError::InvalidParameter {
                    name: "accountName",
                    detail: "a name that is not blank".to_owned(),
                });
            }
            if body.issuer.is_some() || body.account_name.is_some() {
                let issuer = match &body.issuer {
                    Some(issuer) => issuer.as_deref(),
                    None => before.preview.issuer.as_deref(),
                };
                let name = body.account_name.as_deref();
                let name = name.unwrap_or(&before.preview.account_name);
                change.labels = Some(Labels::new(issuer, name).map_err(ApiError::Input)?);
            }
            if body.group.is_some() || body.tags.is_some() {
                let group = match &body.group {
                    Some(group) => group.as_deref(),
                    None => before.filing.group(),
                };
                let tags = body.tags.as_deref();
                let tags = tags.unwrap_or(before.filing.tags());
                let filing = Filing::new(group, tags).map_err(|error| unfit(error.to_string()))?;
                change.filing = Some(filing);
            }
            let mut record = before.clone();
            if change != Change::default() {
                if change.labels.is_none() {
                    facts.action = Some(Action::File);
                }
                let changed = door.vault.change(&id, &change).await;
                record = changed.map_err(|error| match error {
                    VaultError::Full { reason } => unfit(reason.to_owned()),
                    error => from_vault(error).into(),
                })?;
                note_labels(&mut facts, &before, &record);
            }
            if let Some(guarded) = body.read_approval {
                facts.action = Some(Action::Guard);
                let was = door.access.guard(id.as_str(), guarded).await?;
                note_done(
                    &mut facts,
                    Action::Guard,
                    Changes::default().flag("readApproval", was, guarded),
                );
            }
            account_response(&door, &record).await
        };
        door.account_locks.within(&id, changing).await
    })
    .await;
    facts.on(answer)
}

/// For the audit log: an account's name, group and tags before
/// and after.
fn note_labels(facts: &mut Facts, before: &AccountRecord, after: &AccountRecord) {
    let (old, new) = (&before.preview, &after.preview);
    let names = Changes::default()
        .note("issuer", old.issuer.as_deref(), new.issuer.as_deref())
        .note(
            "accountName",
            Some(&old.account_name),
            Some(&new.account_name),
        );
    note_done(facts, Action::Rename, names);
    let (old, new) = (&before.filing, &after.filing);
    let (old_tags, new_tags) = (listed(old.tags()), listed(new.tags()));
    let filing = Changes::default()
        .note("group", old.group(), new.group())
        .note("tags", old_tags.as_deref(), new_tags.as_deref());
    note_done(facts, Action::File, filing);
}

/// Adds an action, unless it changed nothing.
fn note_done(facts: &mut Facts, action: Action, changes: Changes) {
    let changes = changes.list();
    if !changes.is_empty() {
        facts.actions.push(SubjectAction { action, changes });
    }
}

/// For the audit log: an account's change of state.
pub(super) fn note_state(facts: &mut Facts, before: &AccountRecord, after: &str) {
    let was = match (&before.deleted_at, &before.pending_for) {
        (Some(_), _) => "removed",
        (None, Some(_)) => "pending",
        (None, None) => "active",
    };
    facts.changes = Changes::default()
        .note("state", Some(was), Some(after))
        .list();
}

/// The state of an account after it was restored or proved.
const fn state(record: &AccountRecord) -> &'static str {
    if record.pending_for.is_some() {
        "pending"
    } else {
        "active"
    }
}

/// The problem with an invalid group or tags.
const fn unfit(detail: String) -> ApiError {
    ApiError::InvalidParameter {
        name: "group, tags",
        detail,
    }
}

/// Removes an account
///
/// It is disabled immediately, and can be restored.
#[utoipa::path(
    delete, path = "/api/accounts/{id}", tag = "accounts", operation_id = "deleteAccount",
    params(AccountPath),
    responses((status = NO_CONTENT, description = "It is disabled")),
    extensions(
        ("x-audit" = json!(Action::Delete)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!(CHANGE)),
    ),
)]
pub(super) async fn delete(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = account_id(&id)?;
        let changing = async {
            let before = door.vault.describe(&id).await.map_err(from_vault)?;
            door.vault.delete(&id).await.map_err(from_vault)?;
            note_state(&mut facts, &before, "removed");
            Ok(no_store(StatusCode::NO_CONTENT.into_response()))
        };
        door.account_locks.within(&id, changing).await
    })
    .await;
    facts.on(answer)
}

/// Restores a removed account
#[utoipa::path(
    post, path = "/api/accounts/{id}/restore", tag = "accounts", operation_id = "restoreAccount",
    params(AccountPath),
    responses((status = OK, description = "It is enabled again", body = AccountView)),
    extensions(
        ("x-audit" = json!(Action::Restore)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!(CHANGE)),
    ),
)]
pub(super) async fn restore(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = account_id(&id)?;
        let changing = async {
            let before = door.vault.describe(&id).await.map_err(from_vault)?;
            let record = door.vault.recover(&id).await.map_err(from_vault)?;
            note_state(&mut facts, &before, state(&record));
            account_response(&door, &record).await
        };
        door.account_locks.within(&id, changing).await
    })
    .await;
    facts.on(answer)
}

/// A code to check; spaces and hyphens in it are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    #[schema(value_type = String)]
    token: Wiped,
}

/// The result of a check.
#[derive(Serialize, ToSchema)]
struct VerifyView {
    /// Whether it is correct and was not accepted before.
    valid: bool,
    /// Time steps that the code's clock is ahead of ours (negative: behind).
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<i64>,
    /// Why it is not valid: `wrong` or `already-used`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// Why a code is not valid.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = VerifyReason)]
enum Reason {
    /// It is not this account's current code.
    Wrong,
    /// It, or a later one, was accepted before.
    AlreadyUsed,
}

/// Checks a code of an account that the caller may read.
pub(super) async fn verdict(
    door: &FrontDoor,
    caller: &Caller<Read>,
    id: &str,
    code: &str,
) -> Result<CodeCheck, ApiError> {
    let id = readable(door, caller, id).await?;
    let reading = door.vault.read_for_code(&id).await.map_err(from_vault)?;
    if reading.pending_for.is_some() {
        return Err(ReadCodeError::Pending.into());
    }
    // The vault may have taken a while.
    caller.reauthenticate().await?;
    let id = readable(door, caller, id.as_str()).await?;
    let now = door.clock.now();
    let checked = door
        .verifier
        .check(&id, &reading.account, caller.id(), code, now)
        .await?;
    Ok(checked)
}

/// Checks a code
///
/// A code may be one time step early or late, and is accepted once: neither it nor an earlier one
/// is accepted again, even after a restart. After too many wrong codes for an account, the caller
/// gets 429.
#[utoipa::path(
    post, path = "/api/accounts/{id}/verify", tag = "codes", operation_id = "verifyCode",
    params(AccountPath),
    request_body = VerifyBody,
    responses((status = OK, description = "Whether it is valid", body = VerifyView)),
    extensions(
        ("x-audit" = json!(Action::VerifyCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountPending, ProblemCode::AccountUnknown, ProblemCode::GrantExpired, ProblemCode::GrantUsedUp,
            ProblemCode::TooManyAttempts, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn verify(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Response, ApiError> {
    let view = match verdict(&door, &caller, &id, body.token.as_str()).await? {
        CodeCheck::Valid { drift } => VerifyView {
            valid: true,
            drift: Some(drift),
            reason: None,
        },
        CodeCheck::Wrong => VerifyView {
            valid: false,
            drift: None,
            reason: Some(Reason::Wrong),
        },
        CodeCheck::Used => VerifyView {
            valid: false,
            drift: None,
            reason: Some(Reason::AlreadyUsed),
        },
    };
    Ok(no_store(Json(view).into_response()))
}
