//! `/v1/…`: reading and checking codes as HashiCorp Vault's TOTP engine has them, and what
//! its clients ask first to see whether their token is good, so that its clients work here by another base URL. What is called a key there is
//! an account here, named by its id; the token is one of our API keys.
//!
//! Source: the API documentation of Vault's TOTP secrets engine and token method.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FrontDoor;
use super::account_changes::verdict;
use super::accounts::{AccountPath, readable};
use super::auth::{Caller, Known, Permission as _, Read};
use super::body::{UntypedJsonBody, Wiped};
use super::codes::Code as Problem;
use super::enrollments::no_store;
use super::error::ApiError;
use super::observe;
use super::path::Path;
use super::tokens::take_read;
use crate::access::Roles;
use crate::verify::Verdict;

/// What Vault wraps around every answer. Nothing here is leased.
#[derive(Serialize, ToSchema)]
struct Envelope<T> {
    request_id: String,
    /// Always empty.
    lease_id: &'static str,
    /// Always false.
    renewable: bool,
    /// Always 0.
    lease_duration: u32,
    data: T,
    /// Always null.
    #[schema(value_type = serde_json::Value)]
    wrap_info: Option<()>,
    /// Always null.
    #[schema(value_type = serde_json::Value)]
    warnings: Option<()>,
    /// Always null.
    #[schema(value_type = serde_json::Value)]
    auth: Option<()>,
}

impl<T: Serialize> Envelope<T> {
    fn around(data: T) -> Response {
        let envelope = Self {
            request_id: observe::current().0,
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data,
            wrap_info: None,
            warnings: None,
            auth: None,
        };
        no_store(Json(envelope).into_response())
    }
}

/// A code.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultCode)]
struct Code {
    code: String,
}

/// Whether a code is right.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultValid)]
struct Valid {
    valid: bool,
}

/// A code to check. Vault ignores other members, so they are ignored here.
#[derive(Deserialize, ToSchema)]
#[schema(as = VaultCodeBody)]
pub(super) struct CodeBody {
    #[schema(value_type = String)]
    code: Wiped,
}

/// Who a token is.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultToken)]
struct Token<'a> {
    /// What people call the caller.
    display_name: &'a str,
    /// Its roles.
    #[schema(value_type = Vec<crate::access::Role>)]
    policies: Roles,
    /// Always false.
    renewable: bool,
    /// Always 0: it does not end by an agreement with the client.
    ttl: u32,
}

/// Says who calls, for clients of HashiCorp Vault
///
/// Clients ask this first, to see whether their token is good.
#[utoipa::path(
    get, path = "/v1/auth/token/lookup-self", tag = "vault", operation_id = "vaultLookUpSelf",
    responses((status = OK, description = "Who the caller is", body = Envelope<Token<'static>>)),
    extensions(("x-roles" = json!(Known::ROLES))),
)]
pub(super) async fn look_up_self(caller: Caller<Known>) -> Response {
    Envelope::around(Token {
        display_name: caller.display_name(),
        policies: caller.roles(),
        renewable: false,
        ttl: 0,
    })
}

/// Reads a code, for clients of HashiCorp Vault
#[utoipa::path(
    get, path = "/v1/totp/code/{id}", tag = "vault", operation_id = "vaultReadCode",
    params(AccountPath),
    responses((status = OK, description = "The code that is shown now", body = Envelope<Code>)),
    extensions(
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([Problem::AccountPending, Problem::AccountUnknown, Problem::ApprovalNeeded, Problem::VaultUnavailable, Problem::AuditUnavailable])),
    ),
)]
pub(super) async fn read(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = readable(&door, &caller, &id)?;
    let token = door.tokens.lasting(&id, TimeDelta::zero()).await?;
    take_read(&door, &caller, &id, &token)?;
    Ok(Envelope::around(Code { code: token.token }))
}

/// What checking a code can be answered with.
const CHECK: [Problem; 5] = [
    Problem::AccountPending,
    Problem::AccountUnknown,
    Problem::VaultUnavailable,
    Problem::TooManyAttempts,
    Problem::AlreadyUsed,
];

/// Checks a code, for clients of HashiCorp Vault
///
/// Like Vault, it refuses a code that was used already.
#[utoipa::path(
    method(post, put), path = "/v1/totp/code/{id}", tag = "vault", operation_id = "vaultCheckCode",
    params(AccountPath),
    request_body = CodeBody,
    responses((status = OK, description = "Whether it is right", body = Envelope<Valid>)),
    extensions(("x-roles" = json!(Read::ROLES)), ("x-problems" = json!(CHECK))),
)]
pub(super) async fn check(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    UntypedJsonBody(body): UntypedJsonBody<CodeBody>,
) -> Result<Response, ApiError> {
    match verdict(&door, &caller, &id, body.code.as_str()).await? {
        Verdict::Valid { .. } => Ok(Envelope::around(Valid { valid: true })),
        Verdict::Wrong => Ok(Envelope::around(Valid { valid: false })),
        Verdict::Used => Err(ApiError::CodeUsed),
    }
}
