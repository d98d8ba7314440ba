//! `GET /api/keys`: which API keys there are, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::FrontDoor;
use super::auth::{Administer, Caller};
use super::enrollments::no_store;
use super::error::ApiError;
use super::views::{maybe_moment, moment};
use crate::access::{Group, KeyRecord, Role};

#[derive(Serialize)]
struct KeyList {
    keys: Vec<KeyView>,
}

/// A key: whose it is and what became of it, nothing that opens anything.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    name: String,
    role: Role,
    groups: Vec<Group>,
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
        }
    }
}

/// `GET /api/keys`.
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
) -> Result<Response, ApiError> {
    let keys = door.access.keys()?.into_iter().map(KeyView::from).collect();
    Ok(no_store(Json(KeyList { keys }).into_response()))
}
