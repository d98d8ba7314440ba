//! `/api/keys`: creating, showing, rotating and revoking API keys, for administrators.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::views::{maybe_moment, moment};
use crate::access::{Group, KeyError, KeyRecord, NewKey, Role};
use crate::audit::Action;
use crate::bounds::within;
use crate::http::FrontDoor;
use crate::http::edge::auth;
use crate::http::edge::auth::{Administer, Caller, Known, Permission as _};
use crate::http::edge::body::JsonBody;
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::parameters::refuse_past;
use crate::http::edge::path::Path;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// Every key, including revoked ones.
#[derive(Serialize, ToSchema)]
struct KeyList {
    keys: Vec<KeyView>,
}

/// A key: its caller, rights and state, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    name: String,
    role: Role,
    groups: Vec<Group>,
    /// Whether it reads only the accounts that were granted to it.
    granted_only: bool,
    #[serde(serialize_with = "moment")]
    created_at: DateTime<Utc>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    last_used_at: Option<DateTime<Utc>>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    expires_at: Option<DateTime<Utc>>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    revoked_at: Option<DateTime<Utc>>,
    /// Until when the key that it replaced is or was valid; present once it was rotated.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    former_key_until: Option<DateTime<Utc>>,
}

impl From<KeyRecord> for KeyView {
    fn from(record: KeyRecord) -> Self {
        Self {
            name: record.name,
            role: record.role,
            groups: record.groups,
            granted_only: record.granted_only,
            created_at: record.created_at,
            last_used_at: record.last_used_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            former_key_until: record.former_key_until,
        }
    }
}

/// A key to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewKeyBody {
    /// The caller's name: 1 to 64 of `A-Z a-z 0-9 . _ @ -`, never used before.
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    name: String,
    role: Role,
    /// The groups that the key is in, at most 32.
    #[serde(default)]
    #[schema(max_items = 32)]
    groups: Vec<Group>,
    /// Whether it reads only the accounts that are granted to it; for readers only.
    #[serde(default)]
    granted_only: bool,
    /// When it expires; never if left out.
    expires_at: Option<DateTime<Utc>>,
}

/// A new key with its secret, which is shown only once.
#[derive(Serialize, ToSchema)]
struct NewKeyView<'a> {
    #[serde(flatten)]
    record: KeyView,
    key: &'a str,
}

/// A revoked key.
#[derive(Serialize, ToSchema)]
struct RevokedView {
    name: String,
    /// Always true.
    revoked: bool,
}

/// Lists API keys
///
/// Their callers, rights and states, including revoked ones; never their secrets.
#[utoipa::path(
    get, path = "/api/keys", tag = "operations", operation_id = "listKeys",
    responses((status = OK, description = "The keys", body = KeyList)),
    extensions(("x-roles" = json!(Administer::ROLES))),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
) -> Result<Response, ApiError> {
    let records = door.access.keys().await?;
    let keys = records.into_iter().map(KeyView::from).collect();
    Ok(no_store(Json(KeyList { keys }).into_response()))
}

/// Shows an API key
///
/// Its caller, rights and state, also after it was revoked; never its secret.
#[utoipa::path(
    get, path = "/api/keys/{name}", tag = "operations", operation_id = "getKey",
    params(KeyPath),
    responses((status = OK, description = "The key", body = KeyView)),
    extensions(
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::KeyUnknown])),
    ),
)]
pub(super) async fn show(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let mut records = door.access.keys().await?.into_iter();
    let record = records.find(|record| record.name == name);
    let record = record.ok_or(KeyError::Unknown(name))?;
    Ok(no_store(Json(KeyView::from(record)).into_response()))
}

/// Creates an API key
///
/// It is shown only once. The requester of an export, a transfer or a removal cannot have it approved
/// with a key that they created.
#[utoipa::path(
    post, path = "/api/keys", tag = "operations", operation_id = "createKey",
    request_body = NewKeyBody,
    responses((
        status = CREATED, description = "The key", body = NewKeyView<'static>,
        headers(("location" = String, description = "The key's address")),
    )),
    extensions(
        ("x-audit" = json!(Action::CreateKey)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::InvalidParameter, ProblemCode::KeyNameTaken])),
    ),
)]
pub(super) async fn create(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let now = door.clock.now();
        refuse_past("expiresAt", body.expires_at, now)?;
        let new = NewKey {
            name: body.name,
            role: body.role,
            expires_at: body.expires_at,
            granted_only: body.granted_only,
            groups: body.groups,
        };
        let (record, key) = door.access.create_key(caller.id(), new, now).await?;
        facts.subject = Some(record.name.clone());
        facts.changes = record.made();
        let location = HeaderValue::from_str(&format!("/api/keys/{}", record.name));
        let view = NewKeyView {
            record: record.into(),
            key: &key,
        };
        let mut response = (StatusCode::CREATED, Json(view)).into_response();
        if let Ok(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(no_store(response))
    })
    .await;
    facts.on(answer)
}

/// A key's name in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(
    dead_code,
    reason = "read as text, so that a malformed name is unknown"
)]
struct KeyPath {
    /// The key's name.
    name: String,
}

/// Revokes an API key
///
/// It is refused from the next request on. Its name can never be used again, so it stays in the
/// list.
#[utoipa::path(
    delete, path = "/api/keys/{name}", tag = "operations", operation_id = "revokeKey",
    params(KeyPath),
    responses((status = OK, description = "It is revoked", body = RevokedView)),
    extensions(
        ("x-audit" = json!(Action::RevokeKey)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::KeyUnknown])),
    ),
)]
pub(super) async fn revoke(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    Path(name): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let now = door.clock.now();
        let before = door.access.revoke_key(&name, now).await?;
        facts.subject = Some(name.clone());
        facts.changes = before.revoked(now);
        let view = RevokedView {
            name,
            revoked: true,
        };
        Ok(no_store(Json(view).into_response()))
    })
    .await;
    facts.on(answer)
}

/// How long the old key stays valid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RotateBody {
    /// In seconds from now; an hour if left out, at most thirty days, and 0 for not at all.
    #[schema(minimum = 0, maximum = 2_592_000)]
    #[serde(default, deserialize_with = "within::<_, _, 0, 2_592_000>")]
    overlap_seconds: Option<u32>,
}

/// How long the old key stays valid by default, and at most.
const OVERLAP: (u32, u32) = (3_600, 2_592_000);

/// Rotates an API key
///
/// The new key has the same name, role, groups and grants. The old key stays valid for the
/// overlap; one that was replaced earlier is revoked immediately, and so are its browser
/// sessions. Callers rotate their own key by presenting that key itself, not a session or a key
/// that was replaced; administrators rotate those that they, or their keys, created.
#[utoipa::path(
    post, path = "/api/keys/{name}/rotate", tag = "operations", operation_id = "rotateKey",
    params(KeyPath),
    request_body = RotateBody,
    responses((status = OK, description = "The new key", body = NewKeyView<'static>)),
    extensions(
        ("x-audit" = json!(Action::RotateKey)),
        ("x-roles" = json!(Known::ROLES)),
        ("x-problems" = json!([
            ProblemCode::InvalidParameter, ProblemCode::KeyNotPresented, ProblemCode::KeyOfAnother,
            ProblemCode::KeyRevoked, ProblemCode::KeyUnknown,
        ])),
    ),
)]
pub(super) async fn rotate(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
    Path(name): Path<String>,
    Presented(presented): Presented,
    JsonBody(body): JsonBody<RotateBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let by = caller.id();
        if by != name && !caller.roles().contains(Role::Admin) {
            // Only administrators may learn which keys exist.
            return Err(ApiError::KeyUnknown);
        }
        let overlap = body.overlap_seconds.unwrap_or(OVERLAP.0);
        if overlap > OVERLAP.1 {
            return Err(ApiError::InvalidParameter {
                name: "overlapSeconds",
                detail: format!("at most {}", OVERLAP.1),
            });
        }
        let overlap = TimeDelta::seconds(overlap.into());
        let now = door.clock.now();
        let presented = presented.as_ref().map(|text| text.as_str());
        let rotated = door.access.rotate_key(by, presented, &name, overlap, now);
        facts.subject = Some(name.clone());
        let (record, key) = rotated.await?;
        facts.changes = KeyRecord::renewed(now + overlap);
        let view = NewKeyView {
            record: record.into(),
            key: &key,
        };
        Ok(no_store(Json(view).into_response()))
    })
    .await;
    facts.on(answer)
}

/// The credential that a request presents.
pub(super) struct Presented(Option<Zeroizing<String>>);

impl FromRequestParts<Arc<FrontDoor>> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Arc<FrontDoor>,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(auth::presented(&parts.headers, &parts.uri)))
    }
}
