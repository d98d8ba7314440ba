//! The HTTP front door: parses requests, asks the services, maps the answers.

mod account_changes;
mod accounts;
mod approvals;
mod assets;
mod audit;
mod audited;
mod auth;
mod body;
mod drain;
mod enrollments;
mod error;
mod grants;
mod health;
mod imports;
mod keys;
mod observe;
mod request_views;
mod requests;
mod system;
mod vault_paths;
mod views;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use countersign_activities::vault::SecretVault;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::access::Access;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::enrollments::Enrollments;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::tokens::Tokens;
use crate::verify::Verifier;
use error::ApiError;

pub(crate) use system::Surroundings;

/// How many requests are answered at once; more are asked to come back. Polls that
/// wait count too.
const REQUESTS_AT_ONCE: usize = 2_048;

/// What handlers work with.
pub struct FrontDoor {
    access: Access,
    enrollments: Enrollments,
    intake: Intake,
    tokens: Tokens,
    verifier: Verifier,
    audit: Audit,
    vault: Arc<dyn SecretVault>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    surroundings: Surroundings,
    requests: Semaphore,
    stop: CancellationToken,
}

impl FrontDoor {
    pub(crate) fn new(
        access: Access,
        enrollments: Enrollments,
        vault: Arc<dyn SecretVault>,
        (verifier, audit): (Verifier, Audit),
        (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
        surroundings: Surroundings,
        stop: CancellationToken,
    ) -> Self {
        Self {
            access,
            enrollments,
            intake: Intake::new(),
            tokens: Tokens::new(Arc::clone(&vault), Arc::clone(&clock)),
            verifier,
            audit,
            vault,
            clock,
            metrics,
            surroundings,
            requests: Semaphore::new(REQUESTS_AT_ONCE),
            stop,
        }
    }
}

/// Every path of the front door.
pub fn router(door: Arc<FrontDoor>) -> Router {
    Router::new()
        .merge(assets::router())
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route(
            "/api/session",
            get(auth::session).post(auth::log_in).delete(auth::log_out),
        )
        .route(
            "/api/enrollments",
            get(enrollments::list).post(enrollments::start),
        )
        .route(
            "/api/enrollments/{id}",
            get(enrollments::status).merge(delete(enrollments::terminate)),
        )
        .route(
            "/api/enrollments/{id}/terminate",
            post(enrollments::terminate),
        )
        .route("/api/enrollments/{id}/approval", post(approvals::decide))
        .route("/api/imports", post(imports::start))
        .route(
            "/api/imports/{id}",
            get(imports::status).merge(delete(imports::terminate)),
        )
        .route("/api/imports/{id}/terminate", post(imports::terminate))
        .route("/api/accounts", get(accounts::list).post(accounts::create))
        .route(
            "/api/accounts/{id}",
            get(accounts::get)
                .patch(account_changes::rename)
                .delete(account_changes::delete),
        )
        .route("/api/accounts/{id}/restore", post(account_changes::restore))
        .route("/api/accounts/{id}/verify", post(account_changes::verify))
        .route("/api/accounts/{id}/token", get(accounts::token))
        .route("/api/accounts/{id}/requests", post(requests::start))
        .route("/api/requests", get(requests::list))
        .route(
            "/api/requests/{id}",
            get(requests::status).merge(delete(requests::cancel)),
        )
        .route("/api/requests/{id}/approval", post(requests::decide))
        .route("/api/requests/{id}/code", post(requests::code))
        .route("/api/requests/{id}/export", post(requests::export))
        .route("/api/tokens", get(accounts::token_by_query))
        .route(
            "/v1/totp/code/{id}",
            get(vault_paths::read)
                .post(vault_paths::check)
                .put(vault_paths::check),
        )
        .route("/api/audit", get(audit::list))
        .route("/api/keys", get(keys::list).post(keys::create))
        .route("/api/keys/{name}", delete(keys::revoke))
        .route(
            "/api/grants",
            get(grants::list).post(grants::add).delete(grants::remove),
        )
        .route("/api/system", get(system::system))
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(drain::drain))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&door),
            audited::audited,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&door),
            observe::observe,
        ))
        .with_state(door)
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Panicked.into_response()
}
