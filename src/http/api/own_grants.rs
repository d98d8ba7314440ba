//! `/api/grants/mine`: what a caller was granted itself, and what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use countersign_activities::vault::{AccountRecord, VaultError};
use countersign_enrollment::ids::EnrollmentId;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::permit::READS_AT_ONCE;
use super::views::maybe_moment;
use crate::access::{Grant, Grantee, Identity, Reads};
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Permission as _, Read};
use crate::http::edge::error::ApiError;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// What a caller was granted.
#[derive(Serialize, ToSchema)]
struct OwnGrants {
    grants: Vec<OwnGrant>,
}

/// A grant to the caller or to one of its groups.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnGrant {
    /// To which caller or group.
    #[serde(flatten)]
    to: Grantee,
    /// The account's id.
    account: String,
    /// The service that the account is at, if it is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    account_name: String,
    /// Until when; permanent if left out.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    until: Option<DateTime<Utc>>,
    /// How many codes were granted; unlimited if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<u32>,
    /// How many of them may still be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_left: Option<u32>,
    state: GrantState,
}

/// Whether a grant still gives codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum GrantState {
    /// It does.
    Active,
    /// All of its codes were read.
    UsedUp,
    /// Its time has passed.
    Over,
}

impl GrantState {
    fn of(grant: &Grant, now: DateTime<Utc>) -> Self {
        if grant.until.is_some_and(|until| until <= now) {
            Self::Over
        } else if grant.reads.is_some_and(|reads| reads.left() == 0) {
            Self::UsedUp
        } else {
            Self::Active
        }
    }
}

/// Lists the grants of the caller
///
/// Includes used-up and expired grants, so that they can be distinguished from accounts that do
/// not exist. Grants of accounts that were removed are left out.
#[utoipa::path(
    get, path = "/api/grants/mine", tag = "accounts", operation_id = "listOwnGrants",
    responses((status = OK, description = "The grants", body = OwnGrants)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([ProblemCode::VaultUnavailable])),
    ),
)]
pub(super) async fn mine(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
) -> Result<Response, ApiError> {
    let mut own = door.access.grants().await?;
    own.retain(|grant| is_to(&grant.to, caller.identity()));
    let accounts = described(&door, &own).await?;
    let now = door.clock.now();
    let grants = own.into_iter().filter_map(|grant| {
        let record = accounts.get(&grant.account)?;
        Some(OwnGrant {
            state: GrantState::of(&grant, now),
            issuer: record.preview.issuer.clone(),
            account_name: record.preview.account_name.clone(),
            reads: grant.reads.map(Reads::granted),
            reads_left: grant.reads.map(Reads::left),
            until: grant.until,
            account: grant.account,
            to: grant.to,
        })
    });
    let view = OwnGrants {
        grants: grants.collect(),
    };
    Ok(no_store(Json(view).into_response()))
}

fn is_to(to: &Grantee, caller: &Identity) -> bool {
    match to {
        Grantee::Caller(id) => *id == caller.id,
        Grantee::Group(group) => caller.groups.contains(group),
    }
}

/// The accounts of grants that are in use, by id.
async fn described(
    door: &FrontDoor,
    grants: &[Grant],
) -> Result<BTreeMap<String, AccountRecord>, ApiError> {
    let ids: Vec<EnrollmentId> = grants
        .iter()
        .filter_map(|grant| grant.account.parse().ok())
        .collect();
    let mut found = stream::iter(ids)
        .map(async |id: EnrollmentId| door.vault.describe(&id).await)
        .buffered(READS_AT_ONCE);
    let mut accounts = BTreeMap::new();
    while let Some(record) = found.next().await {
        match record {
            Ok(record) if record.deleted_at.is_none() => {
                accounts.insert(record.id.to_string(), record);
            }
            Ok(_) | Err(VaultError::NotFound) => {}
            Err(error) => return Err(from_vault(error).into()),
        }
    }
    Ok(accounts)
}
