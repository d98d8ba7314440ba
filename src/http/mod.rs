//! The HTTP front door: parses requests, calls the services, maps the results.

mod api;
mod assets;
mod edge;
mod icons;
mod mcp;
mod openapi;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use countersign_activities::vault::SecretVault;
use countersign_database::Database;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::codes::Codes;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::verify::Verifier;
use api::{AccountLocks, CountedCodes, Inbox, LastAnswers};
use edge::arrival::{self, Admitted};
use edge::cookie::ByTls;
use edge::error::ApiError;
use edge::facts::Facts;
use edge::operations::Operations;
use edge::refusals::Refusals;
use edge::{audited, drain, limits, observe, security_headers, unread};

pub(crate) use api::{LocalEnd, ServerInfo, login_link};
pub(crate) use edge::audited::reason_header;
pub(crate) use edge::limits::{Guard, network_of};
pub(crate) use edge::names::OwnNames;
pub use openapi::{Undescribed, document as openapi, older_document as older_openapi};

/// The most concurrent requests of callers; more are asked to retry. Long polls
/// and streams count too, requests without a caller and health checks do
/// not.
const REQUESTS_AT_ONCE: usize = 2_048;

/// How long a request without a caller may take, its body included.
const STRANGERS_TIME: Duration = Duration::from_secs(5);

/// What handlers share.
pub struct FrontDoor {
    access: Arc<Access>,
    hub: Hub,
    intake: Intake,
    inbox: Inbox,
    codes: Codes,
    verifier: Verifier,
    audit: Audit,
    vault: Arc<dyn SecretVault>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    server: ServerInfo,
    /// What front doors share; without, all is in the data folder.
    database: Option<Database>,
    requests: Arc<Semaphore>,
    refusals: Refusals,
    last_answers: LastAnswers,
    account_locks: AccountLocks,
    counted_codes: CountedCodes,
    operations: &'static Operations,
    stop: CancellationToken,
}

/// The services that a front door calls, and its own settings.
pub(crate) struct Services {
    pub(crate) access: Arc<Access>,
    pub(crate) hub: Hub,
    pub(crate) vault: Arc<dyn SecretVault>,
    pub(crate) verifier: Verifier,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) server: ServerInfo,
    pub(crate) database: Option<Database>,
    pub(crate) stop: CancellationToken,
}

impl FrontDoor {
    /// A front door to these services.
    ///
    /// # Errors
    ///
    /// [`Undescribed`]: without the description it is unknown which operation is recorded as what.
    pub(crate) fn new(services: Services) -> Result<Self, Undescribed> {
        let Services {
            access,
            hub,
            vault,
            verifier,
            audit,
            clock,
            metrics,
            server,
            database,
            stop,
        } = services;
        Ok(Self {
            access,
            hub,
            intake: Intake::new(),
            inbox: Inbox::new(),
            codes: Codes::new(Arc::clone(&vault), Arc::clone(&clock)),
            verifier,
            audit,
            vault,
            clock,
            metrics,
            server,
            account_locks: AccountLocks::new(database.clone()),
            database,
            requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            refusals: Refusals::default(),
            last_answers: LastAnswers::default(),
            counted_codes: CountedCodes::default(),
            operations: openapi::operations()?,
            stop,
        })
    }
}

/// Gives another listener's answer the front door's headers.
pub(crate) async fn dressed(mut response: Response) -> Response {
    security_headers::add_security_headers(&mut response, ByTls(false));
    response
}

impl FrontDoor {
    /// Background tasks, until the server stops.
    pub(crate) async fn watch(&self) {
        self.refusals.tell_until(&self.stop).await;
    }
}

/// Every path of the API, each with its handler's description.
fn described() -> OpenApiRouter<Arc<FrontDoor>> {
    let described = OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(openapi::describe))
        .routes(routes!(openapi::describe_older));
    api::add_to(described)
}

/// Every path of the front door.
pub fn router(door: Arc<FrontDoor>) -> Router {
    let (api, _) = described().split_for_parts();
    let routes = api.merge(assets::router());
    let api = with_middleware(&door, Origin::InProcess, routes.clone());
    let outside = routes.merge(mcp::router(&door, api)).merge(api::local());
    let outside = with_middleware(&door, Origin::Network, outside);
    match cors(&door.server.cors_origins) {
        Some(cors) => outside.layer(cors),
        None => outside,
    }
}

/// The CORS layer that lets pages of these origins call: with a token or key of their
/// own, never with this server's cookie. None where there are no such origins.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let asked = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("countersign-reason"),
        HeaderName::from_static("x-functions-key"),
        HeaderName::from_static("mcp-protocol-version"),
    ];
    let told = [
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        HeaderName::from_static("x-request-id"),
    ];
    let cors = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<HeaderValue>>())
        .allow_methods(methods)
        .allow_headers(asked)
        .expose_headers(told)
        .max_age(Duration::from_secs(600));
    Some(cors)
}

/// Where a request comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// Over a socket.
    Network,
    /// From this process, on behalf of a request that came over the network.
    InProcess,
}

/// Routes within the middleware.
fn with_middleware(
    door: &Arc<FrontDoor>,
    origin: Origin,
    routes: Router<Arc<FrontDoor>>,
) -> Router {
    routes
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state((Arc::clone(door), origin), middleware))
        .with_state(Arc::clone(door))
}

/// The only middleware: admission, logging, auditing, and what is
/// left to do once there is an answer. One layer rather than one for each, since a layer of
/// axum copies all that is inside it for every request.
async fn middleware(
    State((door, origin)): State<(Arc<FrontDoor>, Origin)>,
    request: Request,
    next: Next,
) -> Response {
    let mut request = match origin {
        Origin::InProcess => request,
        Origin::Network => {
            // Before the address becomes that of the client that a proxy speaks for.
            let by_tls = ByTls::of(&door, &request);
            let mut request = limits::receive(&door, request);
            request.extensions_mut().insert(by_tls);
            request
        }
    };
    // Dropped with this future, once there is an answer or nobody waits for it any more.
    let _waits = arrival::waits(&mut request);
    let kept = Arc::clone(&door);
    let answer = async move |request| admitted(&kept, origin, request, next).await;
    observe::observe(&door, request, |request| {
        audited::audited(Arc::clone(&door), request, answer)
    })
    .await
}

/// The answer to a request, or its refusal, and what is known of the caller.
async fn admitted(door: &Arc<FrontDoor>, origin: Origin, request: Request, next: Next) -> Response {
    let mut facts = Facts::default();
    let mut response = let_in(door, origin, request, next, &mut facts).await;
    facts.add_to(&mut response);
    response
}

/// Admits a request and answers it.
async fn let_in(
    door: &Arc<FrontDoor>,
    origin: Origin,
    mut request: Request,
    next: Next,
    facts: &mut Facts,
) -> Response {
    let checked = door.operations.check_open(&request);
    if limits::is_unbounded(&request) {
        return drain::drain(
            door,
            request,
            drain::Patience::Arrived,
            async |request| match checked {
                Ok(()) => catch_panic(next.run(request)).await,
                Err(refused) => refused.into_response(),
            },
        )
        .await;
    }
    let admitted = match origin {
        Origin::InProcess => Admitted::from_inside(door, &mut request, facts).await,
        Origin::Network => Admitted::from_outside(door, &mut request, facts).await,
    };
    let admitted = match admitted.and_then(|admitted| checked.map(|()| admitted)) {
        Ok(admitted) => admitted,
        Err(refused) => {
            return drain::drain(door, request, drain::Patience::Arrived, async |_| {
                refused.into_response()
            })
            .await;
        }
    };
    let patience = match admitted.is_known() {
        true => drain::Patience::Long,
        false => drain::Patience::Moment,
    };
    let response = drain::drain(door, request, patience, async |request| {
        let answering = catch_panic(async {
            match unread::look(door, request, admitted.is_known()).await {
                Ok(request) => next.run(request).await,
                Err(refused) => refused.into_response(),
            }
        });
        let response = match admitted.is_known() {
            true => answering.await,
            // The only thing that may take a while is the rest of its body.
            false => tokio::time::timeout(STRANGERS_TIME, answering)
                .await
                .unwrap_or_else(|_| ApiError::UnreadableBody.into_response()),
        };
        let response = admitted.if_still_permitted(response).await;
        admitted.answered(&response);
        response
    })
    .await;
    admitted.holding(response)
}

/// The answer, even if the handler panicked.
async fn catch_panic(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| ApiError::Panicked.into_response())
}
