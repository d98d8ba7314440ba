//! `/api/grants`: which accounts callers limited to granted accounts may read, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ids::account_id;
use super::views::maybe_moment;
use crate::access::{Grant, Granted, Grantee, Group, MAX_GRANTEE, Reads, grant_change};
use crate::audit::Action;
use crate::bounds::within;
use crate::codes::from_vault;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _};
use crate::http::edge::body::JsonBody;
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::parameters::parameters;
use crate::http::edge::parameters::refuse_past;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// Every grant.
#[derive(Serialize, ToSchema)]
struct GrantList {
    grants: Vec<GrantView>,
}

/// One account that a caller or a group may read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GrantView {
    /// The caller or group.
    #[serde(flatten)]
    to: Grantee,
    account: String,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    until: Option<DateTime<Utc>>,
    /// How many codes were granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<u32>,
    /// How many of them may still be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_left: Option<u32>,
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        Self {
            to: grant.to,
            account: grant.account,
            until: grant.until,
            reads: grant.reads.map(Reads::granted),
            reads_left: grant.reads.map(Reads::left),
        }
    }
}

/// An account to grant, to a caller or to a group.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewGrantBody {
    #[schema(max_length = 64)]
    caller: Option<String>,
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    group: Option<Group>,
    account: String,
    /// Until when; permanent if left out.
    until: Option<DateTime<Utc>>,
    /// How many codes may be read; unlimited if left out.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "within::<_, _, 1, 4_294_967_295>")]
    reads: Option<u32>,
}

/// Which grant to remove.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GrantParameters {
    /// The caller; either this or `group`.
    caller: Option<String>,
    /// The group.
    #[param(min_length = 1, max_length = 128)]
    group: Option<String>,
    /// The account.
    #[param(required, value_type = String)]
    account: Option<String>,
}

/// Lists grants
///
/// Including those that are used up or have expired.
#[utoipa::path(
    get, path = "/api/grants", tag = "operations", operation_id = "listGrants",
    responses((status = OK, description = "The grants", body = GrantList)),
    extensions(("x-roles" = json!(Administer::ROLES))),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
) -> Result<Response, ApiError> {
    let grants = door.access.grants().await?;
    let grants = grants.into_iter().map(GrantView::from).collect();
    Ok(no_store(Json(GrantList { grants }).into_response()))
}

/// Grants an account
///
/// Lets a caller or a group read it; replaces an earlier grant.
#[utoipa::path(
    post, path = "/api/grants", tag = "operations", operation_id = "grant",
    request_body = NewGrantBody,
    responses((status = CREATED, description = "The account is granted", body = GrantView)),
    extensions(
        ("x-audit" = json!(Action::Grant)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::InvalidParameter, ProblemCode::KeyNotLimited,
            ProblemCode::KeyRevoked, ProblemCode::KeyUnknown,
            ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn add(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    JsonBody(body): JsonBody<NewGrantBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let (grant, _) = granted(&door, body, false, &mut facts).await?;
        let view = Json(GrantView::from(grant));
        Ok(no_store((StatusCode::CREATED, view).into_response()))
    })
    .await;
    facts.on(answer)
}

/// Ensures that an account is granted
///
/// A grant with the same `until` and the same `reads` stays as it is: used reads stay used,
/// however often the request is repeated. Any other replaces the earlier grant, with all of its
/// reads left; POST always does so.
#[utoipa::path(
    put, path = "/api/grants", tag = "operations", operation_id = "ensureGrant",
    request_body = NewGrantBody,
    responses(
        (status = OK, description = "The same grant existed already", body = GrantView),
        (status = CREATED, description = "The account is granted", body = GrantView),
    ),
    extensions(
        ("x-audit" = json!(Action::Grant)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountUnknown, ProblemCode::InvalidParameter, ProblemCode::KeyNotLimited,
            ProblemCode::KeyRevoked, ProblemCode::KeyUnknown,
            ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn put(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    JsonBody(body): JsonBody<NewGrantBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let (grant, was_there) = granted(&door, body, true, &mut facts).await?;
        let status = match was_there {
            true => StatusCode::OK,
            false => StatusCode::CREATED,
        };
        Ok(no_store(
            (status, Json(GrantView::from(grant))).into_response(),
        ))
    })
    .await;
    facts.on(answer)
}

/// The grant as it is now, and whether it existed before; with `keep`, an equal one
/// stays.
async fn granted(
    door: &Arc<FrontDoor>,
    body: NewGrantBody,
    keep: bool,
    facts: &mut Facts,
) -> Result<(Grant, bool), ApiError> {
    let to = grantee(body.caller, body.group)?;
    refuse_past("until", body.until, door.clock.now())?;
    if body.reads == Some(0) {
        return Err(ApiError::InvalidParameter {
            name: "reads",
            detail: "a number of 1 or more".to_owned(),
        });
    }
    let account = account_id(&body.account)?;
    note(
        facts,
        account.as_str(),
        &describe(&to, body.until, body.reads),
    );
    let record = door.vault.describe(&account).await.map_err(from_vault)?;
    if record.deleted_at.is_some() {
        return Err(ApiError::AccountUnknown);
    }
    let grant = Grant {
        to,
        account: account.to_string(),
        until: body.until.map(|time| time.trunc_subsecs(0)),
        reads: body.reads.map(Reads::new),
    };
    let granted = match keep {
        true => door.access.grant_once(&grant).await?,
        false => door.access.grant(&grant).await?,
    };
    let before = match granted {
        Granted::Now(before) => before,
        Granted::Before(same) => return Ok((same, true)),
    };
    facts.changes = grant_change(before.as_ref(), Some(&grant));
    Ok((grant, false))
}

/// Removes a grant
#[utoipa::path(
    delete, path = "/api/grants", tag = "operations", operation_id = "withdraw",
    params(GrantParameters),
    responses((status = NO_CONTENT, description = "The grant is removed")),
    extensions(
        ("x-audit" = json!(Action::Withdraw)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::AccountUnknown, ProblemCode::GrantUnknown, ProblemCode::InvalidParameter])),
    ),
)]
pub(super) async fn remove(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    query: Result<Query<GrantParameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let query = parameters(query)?;
        let group = query.group.filter(|text| !text.is_empty());
        let group = group.map(|text| text.parse::<Group>()).transpose();
        let group = group.map_err(|error| ApiError::InvalidParameter {
            name: "group",
            detail: error.to_string(),
        })?;
        let from = grantee(query.caller.filter(|text| !text.is_empty()), group)?;
        let account = account_id(query.account.as_deref().unwrap_or_default())?;
        note(&mut facts, account.as_str(), &format!("from {from}"));
        let before = door.access.withdraw(&from, account.as_str()).await?;
        let before = before.ok_or(ApiError::GrantUnknown)?;
        facts.changes = grant_change(Some(&before), None);
        Ok(no_store(StatusCode::NO_CONTENT.into_response()))
    })
    .await;
    facts.on(answer)
}

fn grantee(caller: Option<String>, group: Option<Group>) -> Result<Grantee, ApiError> {
    match (caller, group) {
        (Some(caller), None) if caller.len() <= MAX_GRANTEE => Ok(Grantee::Caller(caller)),
        (None, Some(group)) => Ok(Grantee::Group(group)),
        _ => Err(ApiError::InvalidParameter {
            name: "caller",
            detail: "name either a `caller` or a `group`".to_owned(),
        }),
    }
}

/// For the audit log: the account and its grant.
fn note(facts: &mut Facts, account: &str, what: &str) {
    facts.subject = Some(account.to_owned());
    facts.in_words = Some(what.to_owned());
}

fn describe(to: &Grantee, until: Option<DateTime<Utc>>, reads: Option<u32>) -> String {
    let mut text = format!("to {to}");
    if let Some(until) = until {
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        text.push_str(&format!(" until {until}"));
    }
    if let Some(reads) = reads {
        let plural = if reads == 1 { "" } else { "s" };
        text.push_str(&format!(", {reads} read{plural}"));
    }
    text
}
