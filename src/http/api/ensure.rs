//! `PUT /api/accounts`: ensures that an account exists, for tools that declare what should
//! exist and repeat that.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use countersign_activities::vault::order::keys;
use countersign_activities::vault::{AccountRecord, Filter, MAX_PAGE, VaultError};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::recovery::RecoveryCodes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::accounts::{PATIENCE, not_enrolled};
use super::enrollments::{START, accepted_response};
use super::views::{AccountView, StartedView, WarningView};
use crate::audit::Action;
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _};
use crate::http::edge::body::{JsonBody, Wiped};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{no_store, unless_stopped};
use crate::hub::{EnrollmentOptions, HubError, NewEnrollment, Snapshot, Stage, StartId};
use crate::intake::Upload;

/// How many ended enrollments of one account are checked that have left no account,
/// because they were rejected or the account was removed later.
const MOST_EARLIER: u32 = 64;

/// An account that should exist.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnsureBody {
    /// An `otpauth://` URI with the account's name.
    #[schema(value_type = String, example = "otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example")]
    uri: Wiped,
}

/// An account that exists.
#[derive(Serialize, ToSchema)]
struct EnsuredView {
    #[serde(flatten)]
    account: AccountView,
    /// Present if another account with the same secret existed, under another name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
}

/// Ensures that an account exists
///
/// Accounts are compared by name, ignoring case: an account in use with the same issuer, account
/// name, secret and parameters stays as it is, with its group, tags and rules. If no account has
/// the name, it is enrolled as by `POST /api/accounts`, under the server's rules. Repeating the
/// request, even concurrently or while it waits for approval, returns the same enrollment. A
/// secret is never replaced: if another account has the name, the request is refused.
#[utoipa::path(
    put, path = "/api/accounts", tag = "accounts", operation_id = "ensureAccount",
    request_body = EnsureBody,
    responses(
        (
            status = OK, description = "It existed before", body = EnsuredView,
            headers(("location" = String, description = "Address of the account")),
        ),
        (
            status = CREATED, description = "It is enrolled", body = EnsuredView,
            headers(("location" = String, description = "Address of the account")),
        ),
        (status = ACCEPTED, description = "The enrollment is running", body = StartedView),
    ),
    extensions(
        ("x-audit" = json!(Action::Enroll)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([
            START.as_slice(),
            &[ProblemCode::AccountDiffers, ProblemCode::EnrollmentFailed, ProblemCode::NotEnrolled, ProblemCode::VaultUnavailable],
        ].concat())),
        ("x-input" = json!(InputProblem::CODES.as_slice())),
    ),
)]
pub(super) async fn ensure(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
    JsonBody(body): JsonBody<EnsureBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let upload = Upload::uri(body.uri.as_str());
        let parsed = otpauth::parse(body.uri.as_str()).map_err(ApiError::Input)?;
        let wanted = parsed.account;
        if let Some(record) = there(&door, &wanted, &mut facts).await? {
            facts.about(&record.id);
            return ensured(&door, StatusCode::OK, &record, Vec::new()).await;
        }
        let uri = Zeroizing::new(wanted.to_uri());
        let started = match earlier(&door, &wanted, &uri).await? {
            Earlier::There(record) => {
                facts.about(&record.id);
                return ensured(&door, StatusCode::OK, &record, Vec::new()).await;
            }
            Earlier::Runs(snapshot) => {
                facts.about(&snapshot.id);
                *snapshot
            }
            Earlier::None(id) => {
                facts.about(&id);
                let accepted = door.intake.accept(caller.id(), upload).await?;
                let person = person_of(&door, &caller).await?;
                let new = NewEnrollment {
                    id,
                    accepted,
                    caller: caller.requester(&person),
                    approval_asked: false,
                    proof_asked: false,
                    options: EnrollmentOptions::default(),
                    recovery: RecoveryCodes::default(),
                };
                door.hub.start(new).await?
            }
        };
        if started.approval_required && !started.stage.has_ended() {
            return Ok(accepted_response(&started));
        }
        let settling = door.hub.settle(started.clone(), PATIENCE);
        let snapshot = unless_stopped(&door, started, settling).await?;
        let snapshot = snapshot.shown_to(caller.sight(&door).await?);
        if snapshot.stage != Stage::Enrolled {
            return not_enrolled(&snapshot);
        }
        let record = door
            .vault
            .describe(&snapshot.id)
            .await
            .map_err(from_vault)?;
        let warnings = snapshot.duplicates().map(WarningView::new).collect();
        ensured(&door, StatusCode::CREATED, &record, warnings).await
    })
    .await;
    facts.on(answer)
}

/// The account in use with this name and content.
///
/// # Errors
///
/// [`ApiError::AccountDiffers`] where only others have the name.
async fn there(
    door: &FrontDoor,
    wanted: &TotpAccount,
    facts: &mut Facts,
) -> Result<Option<AccountRecord>, ApiError> {
    let same = door.vault.same_as(wanted).await.map_err(from_vault)?;
    if let Some(record) = same.into_iter().find(|record| is_called(record, wanted)) {
        return Ok(Some(record));
    }
    let filter = Filter {
        search: Some(wanted.account_name().to_owned()),
        ..Filter::default()
    };
    let mut cursor: Option<String> = None;
    loop {
        let listing = door.vault.list_by(&filter, cursor.as_deref(), MAX_PAGE);
        let page = listing.await.map_err(from_vault)?;
        let mut named = page.accounts.iter();
        if let Some(other) = named.find(|record| is_called(record, wanted)) {
            facts.about(&other.id);
            return Err(ApiError::AccountDiffers);
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(None),
        }
    }
}

/// Whether an account has the same names as another, in any case.
fn is_called(record: &AccountRecord, wanted: &TotpAccount) -> bool {
    let preview = &record.preview;
    keys(preview.issuer.as_deref(), &preview.account_name)
        == keys(wanted.issuer(), wanted.account_name())
}

/// What became of an earlier declaration of the same account.
enum Earlier {
    /// It was stored just now.
    There(Box<AccountRecord>),
    /// It is running.
    Runs(Box<Snapshot>),
    /// It left no account; the id to enroll it under.
    None(StartId<EnrollmentId>),
}

async fn earlier(door: &FrontDoor, wanted: &TotpAccount, uri: &str) -> Result<Earlier, ApiError> {
    for turn in 0..MOST_EARLIER {
        let id = door.hub.id_declared(uri, turn);
        match door.vault.describe(&id).await {
            Ok(record) if record.deleted_at.is_none() && is_called(&record, wanted) => {
                return Ok(Earlier::There(Box::new(record)));
            }
            // Removed or renamed in the meantime: a new one is needed.
            Ok(_) | Err(VaultError::Deleted) => continue,
            Err(VaultError::NotFound) => {}
            Err(error) => return Err(from_vault(error).into()),
        }
        match door.hub.get(&id, None).await {
            Ok(snapshot) if !snapshot.stage.has_ended() => {
                return Ok(Earlier::Runs(Box::new(snapshot)));
            }
            // It ended between the two lookups, and is in the vault, or was destroyed.
            Ok(snapshot) if snapshot.stage == Stage::Enrolled => {
                match door.vault.describe(&id).await {
                    Ok(record) if record.deleted_at.is_none() => {
                        return Ok(Earlier::There(Box::new(record)));
                    }
                    Ok(_) | Err(VaultError::NotFound | VaultError::Deleted) => {}
                    Err(error) => return Err(from_vault(error).into()),
                }
            }
            Ok(_) => {}
            Err(HubError::Unknown) => return Ok(Earlier::None(id)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Earlier::None(StartId::drawn(EnrollmentId::random())))
}

async fn ensured(
    door: &FrontDoor,
    status: StatusCode,
    record: &AccountRecord,
    warnings: Vec<WarningView>,
) -> Result<Response, ApiError> {
    let guarded = door.access.is_guarded(record.id.as_str()).await?;
    let account = AccountView::new(record, guarded);
    let mut response = (status, Json(EnsuredView { account, warnings })).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/accounts/{}", record.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(no_store(response))
}
