//! The dashboard: static pages, the JSON that they read, and the operations they offer.
//!
//! The pages hold no data. What they show comes from `/api` as JSON and is put into the
//! document as text, under a policy that allows no scripts but our files. Operations go
//! through the gRPC service's own methods, so they are checked like any client's call.

mod assets;
mod entities;
mod hubs;
mod json;
mod links;
mod live;
mod members;
mod nodes;
mod operate;
mod path;
mod problem;
mod read;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::{Asking, ask, login_routes, not_stored};
use crate::guard;
use crate::nodes::Nodes;
use crate::service::Service;
use nodes::{Side, at_owner};

/// How many pages are kept up to date at once; further ones poll.
const LIVE_PAGES: usize = 64;
/// How many answers are prepared at once, however many pages ask.
const READS: usize = 2;
/// The largest body of an operation beside its payload, in bytes.
const BODY_EXTRA: usize = 64 * 1024;
/// Only our own files; nothing inline, nothing from elsewhere, no frame around us, and no
/// text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

#[derive(Clone)]
struct Dashboard {
    service: Service,
    live: Arc<Semaphore>,
    side: Side,
}

/// Pages and API as one router, for browsers. What is asked about another node's task hub, that
/// node answers.
pub(crate) fn router(service: Service, nodes: Option<Nodes>) -> Router {
    let asking = Asking {
        access: service.config.access.clone(),
        tls: service.config.tls.is_some(),
    };
    let hosts: Arc<[String]> = service.config.dashboard_hosts.clone().into();
    let side = match nodes {
        None => Side::Alone,
        Some(nodes) => Side::Browsers {
            nodes,
            stop: service.dispatch.ended.clone(),
        },
    };
    assets::router()
        .nest("/api", api(service, side))
        .layer(middleware::from_fn_with_state(asking.clone(), ask))
        .merge(login_routes(&asking))
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
        // Outermost, so that refusals have them too.
        .layer(middleware::map_response(headers))
}

/// The API for other nodes, which have authenticated their callers: what is asked about another node's task hub
/// is refused.
pub(crate) fn for_peers(service: Service, nodes: Nodes, stop: CancellationToken) -> Router {
    Router::new().nest("/api", api(service, Side::Peers { nodes, stop }))
}

fn api(service: Service, side: Side) -> Router {
    // A JSON string may spell each byte of a payload in six characters.
    let body = service
        .config
        .max_payload_bytes
        .saturating_mul(6)
        .saturating_add(BODY_EXTRA);
    let reads = Router::new()
        .route("/hubs/{hub}/names", get(read::names_of))
        .route("/hubs/{hub}/instances", get(read::instances))
        .route("/hubs/{hub}/instances/{id}", get(read::instance))
        .route("/hubs/{hub}/instances/{id}/history", get(read::history))
        .route("/hubs/{hub}/workers", get(read::workers))
        .route("/hubs/{hub}/entities", get(entities::list))
        .route("/hubs/{hub}/entities/{id}", get(entities::one))
        .route_layer(middleware::from_fn_with_state(
            Arc::new(Semaphore::new(READS)),
            in_turn,
        ));
    let of_hub = Router::new()
        .merge(reads)
        .route(
            "/hubs/{hub}/instances/{id}/{operation}",
            post(operate::operate),
        )
        .route("/hubs/{hub}/entities/{id}/signal", post(entities::signal))
        .route("/v1/taskhubs/ping", get(links::ping))
        .route_layer(middleware::from_fn_with_state(
            (side.clone(), Arc::clone(&service.config)),
            at_owner,
        ));
    Router::new()
        .merge(of_hub)
        .route("/hubs", get(hubs::list))
        .route("/nodes", get(members::list))
        .route("/changes", get(live::changes))
        .fallback(problem::no_such_page)
        .layer(axum::extract::DefaultBodyLimit::max(body))
        // Answers are out of date at once, and may be confidential.
        .layer(middleware::map_response(|response: Response| async {
            not_stored(response)
        }))
        .with_state(Dashboard {
            service,
            live: Arc::new(Semaphore::new(LIVE_PAGES)),
            side,
        })
}

/// Lets a page's requests wait for their turn, first come, first served.
async fn in_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // Nobody closes it.
    let _turn = turns.acquire().await;
    next.run(request).await
}

async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
