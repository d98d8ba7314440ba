//! `/v1/totp/code/{id}`: reading and checking codes as HashiCorp Vault's TOTP engine has
//! them, so that its clients work here by another base URL. What is called a key there is
//! an account here, named by its id; the token is one of our API keys.
//!
//! Source: the API documentation of Vault's TOTP secrets engine.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::FrontDoor;
use super::account_changes::verdict;
use super::accounts::{readable, take_read};
use super::auth::{Caller, Read};
use super::body::{JsonBody, Wiped};
use super::enrollments::no_store;
use super::error::ApiError;
use super::observe;
use crate::verify::Verdict;

/// What Vault wraps around every answer. Nothing here is leased.
#[derive(Serialize)]
struct Envelope<T> {
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u32,
    data: T,
    wrap_info: Option<()>,
    warnings: Option<()>,
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

#[derive(Serialize)]
struct Code {
    code: String,
}

#[derive(Serialize)]
struct Valid {
    valid: bool,
}

/// A code to check. Vault ignores other members, so they are ignored here.
#[derive(Deserialize)]
pub(super) struct CodeBody {
    code: Wiped,
}

/// `GET /v1/totp/code/{id}`: the code that is shown now.
pub(super) async fn read(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = readable(&door, &caller, &id)?;
    let token = door.tokens.lasting(&id, TimeDelta::zero()).await?;
    take_read(&door, &caller, &id)?;
    Ok(Envelope::around(Code { code: token.token }))
}

/// `POST` or `PUT /v1/totp/code/{id}`: whether a code is right. Vault refuses one that was
/// used already.
pub(super) async fn check(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<CodeBody>,
) -> Result<Response, ApiError> {
    match verdict(&door, &caller, &id, body.code.as_str()).await? {
        Verdict::Valid { .. } => Ok(Envelope::around(Valid { valid: true })),
        Verdict::Wrong => Ok(Envelope::around(Valid { valid: false })),
        Verdict::Used => Err(ApiError::CodeUsed),
    }
}
