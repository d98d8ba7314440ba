//! `/v1/…`: reading and checking codes as in HashiCorp Vault's TOTP engine, and what
//! its clients ask first to check their token, so that they work here with another base URL. A key there is
//! an account here, named by its id; the token is one of our API keys.
//!
//! Source: the API documentation of Vault's TOTP secrets engine and token method.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::account_changes::verdict;
use super::ids::AccountPath;
use super::permit::ReadPermit;
use crate::access::Roles;
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Known, Permission as _, Read};
use crate::http::edge::body::{UntypedJsonBody, Wiped};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::observe;
use crate::http::edge::parameters::parameters;
use crate::http::edge::path::Path;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;
use crate::verify::CodeCheck;

/// The envelope of every response, as Vault's clients expect it. Nothing is leased.
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
struct VaultCode {
    code: String,
}

/// Whether a code is valid.
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

/// The caller of a token.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultToken)]
struct VaultToken<'a> {
    /// The caller's display name.
    display_name: &'a str,
    /// Its roles.
    #[schema(value_type = Vec<crate::access::Role>)]
    policies: Roles,
    /// Always false.
    renewable: bool,
    /// Always 0: it has no lease.
    ttl: u32,
}

/// Shows the caller, for clients of HashiCorp Vault
///
/// Clients call this first, to check their token.
#[utoipa::path(
    get, path = "/v1/auth/token/lookup-self", tag = "vault", operation_id = "vaultLookUpSelf",
    responses((status = OK, description = "The caller", body = Envelope<VaultToken<'static>>)),
    extensions(("x-roles" = json!(Known::ROLES))),
)]
pub(super) async fn look_up_self(caller: Caller<Known>) -> Response {
    Envelope::around(VaultToken {
        display_name: caller.display_name(),
        policies: caller.roles(),
        renewable: false,
        ttl: 0,
    })
}

/// Readiness, as Vault's clients expect it. There is one server, and nothing to unseal.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultHealth)]
struct Health {
    /// Always true.
    initialized: bool,
    /// Whether task hub or vault is unreachable.
    sealed: bool,
    /// Always false.
    standby: bool,
    /// The server's clock, as Unix time.
    server_time_utc: i64,
    version: &'static str,
}

/// What Vault's clients add to the question. There is no standby, no cluster and nothing
/// uninitialized here, so most of it changes nothing.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "accepted, and about what there is not here")]
pub(super) struct HealthParameters {
    /// The status while it is ready, instead of 200: 200, 299 or 503.
    activecode: Option<String>,
    /// The status while task hub or vault is unreachable, instead of 503: 200, 299 or 503.
    sealedcode: Option<String>,
    /// Changes nothing: there is no standby.
    standbyok: Option<String>,
    /// Changes nothing: there is no standby.
    perfstandbyok: Option<String>,
    /// Changes nothing: there is no standby.
    standbycode: Option<String>,
    /// Changes nothing: there is no standby.
    performancestandbycode: Option<String>,
    /// Changes nothing: there is no second site.
    drsecondarycode: Option<String>,
    /// Changes nothing: there is no cluster.
    removedcode: Option<String>,
    /// Changes nothing: there is no cluster.
    haunhealthycode: Option<String>,
    /// Changes nothing: it is always initialized.
    uninitcode: Option<String>,
}

/// The status that a client chose for an answer.
fn chosen(
    name: &'static str,
    text: Option<&str>,
    otherwise: StatusCode,
) -> Result<StatusCode, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(otherwise);
    };
    let code = text
        .parse()
        .ok()
        .filter(|code| [200, 299, 503].contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok());
    code.ok_or_else(|| ApiError::InvalidParameter {
        name,
        detail: "`200`, `299` or `503`".to_owned(),
    })
}

/// Reports whether the server is ready, for clients of HashiCorp Vault
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/v1/sys/health", tag = "vault", operation_id = "vaultHealth",
    params(HealthParameters),
    responses(
        (status = OK, description = "It is ready", body = Health),
        (status = 299, description = "What `activecode` or `sealedcode` says this of", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "Task hub or vault is unreachable", body = Health),
    ),
)]
pub(super) async fn health(
    State(door): State<Arc<FrontDoor>>,
    query: Result<Query<HealthParameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let asked = parameters(query)?;
    let ready = chosen("activecode", asked.activecode.as_deref(), StatusCode::OK)?;
    let unready = StatusCode::SERVICE_UNAVAILABLE;
    let unready = chosen("sealedcode", asked.sealedcode.as_deref(), unready)?;
    let sealed = door.lacks().await.is_some();
    let status = if sealed { unready } else { ready };
    let view = Health {
        initialized: true,
        sealed,
        standby: false,
        server_time_utc: door.clock.now().timestamp(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(no_store((status, Json(view)).into_response()))
}

/// Whether the server must be unsealed, which is never the case.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultSealStatus)]
struct SealStatus {
    /// Always `shamir`.
    r#type: &'static str,
    /// Always true.
    initialized: bool,
    /// Whether task hub or vault is unreachable.
    sealed: bool,
    /// Always 1.
    t: u8,
    /// Always 1.
    n: u8,
    /// Always 0.
    progress: u8,
    /// Always empty.
    nonce: &'static str,
    version: &'static str,
    /// Always false.
    recovery_seal: bool,
    storage_type: &'static str,
}

/// Reports whether the server is sealed, for clients of HashiCorp Vault
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/v1/sys/seal-status", tag = "vault", operation_id = "vaultSealStatus",
    responses((status = OK, description = "The seal status", body = SealStatus)),
)]
pub(super) async fn seal_status(State(door): State<Arc<FrontDoor>>) -> Response {
    let view = SealStatus {
        r#type: "shamir",
        initialized: true,
        sealed: door.lacks().await.is_some(),
        t: 1,
        n: 1,
        progress: 0,
        nonce: "",
        version: env!("CARGO_PKG_VERSION"),
        recovery_seal: false,
        storage_type: "countersign",
    };
    no_store(Json(view).into_response())
}

/// Whether the server is initialized, which is always the case.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultInit)]
struct Init {
    /// Always true.
    initialized: bool,
}

/// Reports that the server is initialized, for clients of HashiCorp Vault
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/v1/sys/init", tag = "vault", operation_id = "vaultInit",
    responses((status = OK, description = "It is initialized", body = Init)),
)]
pub(super) async fn init() -> Response {
    no_store(Json(Init { initialized: true }).into_response())
}

/// The leader, where there is only one server.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultLeader)]
struct Leader {
    /// Always false.
    ha_enabled: bool,
    /// Always false, as from a Vault without high availability.
    is_self: bool,
    /// Always empty.
    leader_address: &'static str,
    /// Always empty.
    leader_cluster_address: &'static str,
}

/// Reports the leader, for clients of HashiCorp Vault
///
/// It needs no caller.
#[utoipa::path(
    get, path = "/v1/sys/leader", tag = "vault", operation_id = "vaultLeader",
    responses((status = OK, description = "There is no leader", body = Leader)),
)]
pub(super) async fn leader() -> Response {
    let view = Leader {
        ha_enabled: false,
        is_self: false,
        leader_address: "",
        leader_cluster_address: "",
    };
    no_store(Json(view).into_response())
}

/// Reads a code, for clients of HashiCorp Vault
#[utoipa::path(
    get, path = "/v1/totp/code/{id}", tag = "vault", operation_id = "vaultReadCode",
    params(AccountPath),
    responses((status = OK, description = "The current code", body = Envelope<VaultCode>)),
    extensions(
        ("x-audit" = json!(Action::ReadCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AccountPending, ProblemCode::AccountUnknown, ProblemCode::ApprovalNeeded, ProblemCode::AuditUnavailable,
            ProblemCode::GrantExpired, ProblemCode::GrantUsedUp, ProblemCode::VaultUnavailable,
        ])),
    ),
)]
pub(super) async fn read(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let permit = ReadPermit::of(&door, &caller, &id).await?;
        let code = door
            .codes
            .lasting(permit.account(), TimeDelta::zero())
            .await?;
        permit.take_code(&code, &mut facts).await?;
        Ok(Envelope::around(VaultCode { code: code.text }))
    })
    .await;
    facts.on(answer)
}

/// The problems of checking a code.
const CHECK: [ProblemCode; 7] = [
    ProblemCode::AccountPending,
    ProblemCode::AccountUnknown,
    ProblemCode::GrantExpired,
    ProblemCode::GrantUsedUp,
    ProblemCode::VaultUnavailable,
    ProblemCode::TooManyAttempts,
    ProblemCode::AlreadyUsed,
];

/// Checks a code, for clients of HashiCorp Vault
///
/// Like Vault, it refuses a code that was used already.
#[utoipa::path(
    method(post, put), path = "/v1/totp/code/{id}", tag = "vault", operation_id = "vaultCheckCode",
    params(AccountPath),
    request_body = CodeBody,
    responses((status = OK, description = "Whether it is valid", body = Envelope<Valid>)),
    extensions(
        ("x-audit" = json!(Action::VerifyCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!(CHECK)),
    ),
)]
pub(super) async fn check(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    UntypedJsonBody(body): UntypedJsonBody<CodeBody>,
) -> Result<Response, ApiError> {
    match verdict(&door, &caller, &id, body.code.as_str()).await? {
        CodeCheck::Valid { .. } => Ok(Envelope::around(Valid { valid: true })),
        CodeCheck::Wrong => Ok(Envelope::around(Valid { valid: false })),
        CodeCheck::Used => Err(ApiError::CodeUsed),
    }
}
