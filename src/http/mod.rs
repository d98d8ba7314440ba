//! The HTTP front door: parses requests, asks the services, maps the answers.

mod account_changes;
mod accounts;
mod approvals;
mod arrival;
mod assets;
mod audit;
mod audited;
mod auth;
mod body;
mod codes;
mod cookie;
mod dashboard;
mod drain;
mod dress;
mod enrollments;
mod ensure;
mod error;
mod given;
mod grants;
mod health;
mod hello;
mod imports;
mod inbox;
mod keys;
mod limits;
mod mandate_problem;
mod mcp;
mod names;
mod observe;
mod openapi;
mod path;
mod proof;
mod query;
mod recovery;
mod refusals;
mod request_views;
mod requests;
mod session;
mod system;
mod tokens;
mod transfers;
mod turns;
mod vault_paths;
mod views;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use countersign_activities::vault::SecretVault;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::enrollments::Enrollments;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::tokens::Tokens;
use crate::verify::Verifier;
use arrival::Admitted;
use cookie::ByTls;
use error::ApiError;
use given::Given;
use health::LastAnswers;
use inbox::Inbox;
use refusals::Refusals;
use turns::Turns;

pub(crate) use audited::reason_header;
pub(crate) use hello::LocalEnd;
pub(crate) use limits::{Guard, network_of};
pub(crate) use names::OwnNames;
pub use openapi::{document as openapi, older_document as older_openapi};
pub(crate) use session::login_link;
pub(crate) use system::Surroundings;

/// How many requests of callers are answered at once; more are asked to come back. Polls
/// that wait and streams count too, requests without a caller and what is answered at any time do
/// not.
const REQUESTS_AT_ONCE: usize = 2_048;

/// How long a request without a caller may take, its body included.
const STRANGERS_TIME: Duration = Duration::from_secs(5);

/// What handlers work with.
pub struct FrontDoor {
    access: Access,
    enrollments: Enrollments,
    intake: Intake,
    inbox: Inbox,
    tokens: Tokens,
    verifier: Verifier,
    audit: Audit,
    vault: Arc<dyn SecretVault>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    surroundings: Surroundings,
    requests: Arc<Semaphore>,
    refusals: Refusals,
    last_answers: LastAnswers,
    turns: Turns,
    given: Given,
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
            inbox: Inbox::new(),
            tokens: Tokens::new(Arc::clone(&vault), Arc::clone(&clock)),
            verifier,
            audit,
            vault,
            clock,
            metrics,
            surroundings,
            requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            refusals: Refusals::default(),
            last_answers: LastAnswers::default(),
            turns: Turns::new(),
            given: Given::default(),
            stop,
        }
    }
}

/// Gives an answer of another listener the headers that the front door's have.
pub(crate) async fn dressed(mut response: Response) -> Response {
    dress::dress(&mut response, ByTls(false));
    response
}

impl FrontDoor {
    /// What goes on beside the requests, until the server stops.
    pub(crate) async fn watch(&self) {
        self.refusals.tell_until(&self.stop).await;
    }
}

/// Every path of the API, each with the description that its handler gives.
fn described() -> OpenApiRouter<Arc<FrontDoor>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::describe))
        .routes(routes!(openapi::describe_older))
        .routes(routes!(session::session, session::log_in, session::log_out))
        .routes(routes!(session::make_link))
        .routes(routes!(enrollments::list, enrollments::start))
        .routes(routes!(enrollments::status, enrollments::terminate))
        .routes(routes!(enrollments::terminate_by_post))
        .routes(routes!(approvals::decide))
        .routes(routes!(inbox::waiting))
        .routes(routes!(transfers::receive))
        .routes(routes!(imports::start))
        .routes(routes!(imports::status, imports::terminate))
        .routes(routes!(imports::terminate_by_post))
        .routes(routes!(accounts::list, accounts::create, ensure::ensure))
        .routes(routes!(
            accounts::get,
            account_changes::change,
            account_changes::delete
        ))
        .routes(routes!(account_changes::restore))
        .routes(routes!(proof::codes, proof::prove))
        .routes(routes!(account_changes::verify))
        .routes(routes!(tokens::token))
        .routes(routes!(tokens::token_by_query))
        .routes(routes!(recovery::count, recovery::set))
        .routes(routes!(recovery::take))
        .routes(routes!(recovery::take_granted))
        .routes(routes!(requests::start))
        .routes(routes!(requests::list))
        .routes(routes!(requests::status, requests::cancel))
        .routes(routes!(requests::decide))
        .routes(routes!(requests::code))
        .routes(routes!(requests::export))
        .routes(routes!(vault_paths::look_up_self))
        .routes(routes!(vault_paths::health))
        .routes(routes!(vault_paths::seal_status))
        .routes(routes!(vault_paths::leader))
        .routes(routes!(vault_paths::read, vault_paths::check))
        .routes(routes!(audit::list))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(
            grants::list,
            grants::add,
            grants::put,
            grants::remove
        ))
        .routes(routes!(system::system))
        .routes(routes!(dashboard::open))
}

/// Every path of the front door.
pub fn router(door: Arc<FrontDoor>) -> Router {
    let (api, _) = described().split_for_parts();
    let routes = api.merge(assets::router());
    let api = surrounded(&door, From::Inside, routes.clone());
    let outside = routes.merge(mcp::router(&door, api)).merge(hello::router());
    let outside = surrounded(&door, From::Outside, outside);
    match cors(&door.surroundings.cors_origins) {
        Some(cors) => outside.layer(cors),
        None => outside,
    }
}

/// What tells browsers that pages of these origins may call: with a token or key of their
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

/// Where requests come from.
#[derive(Clone, Copy)]
enum From {
    /// Over a socket.
    Outside,
    /// From this process, on behalf of a request that came from outside.
    Inside,
}

/// Routes with all that surrounds a request.
fn surrounded(door: &Arc<FrontDoor>, from: From, routes: Router<Arc<FrontDoor>>) -> Router {
    routes
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(
            (Arc::clone(door), from),
            surround,
        ))
        .with_state(Arc::clone(door))
}

/// The one middleware: who comes in, what is told about it, what is recorded, and what is
/// left to do when the answer is there. One layer and not one for each, since a layer of
/// axum copies all that is inside it for every request.
async fn surround(
    State((door, from)): State<(Arc<FrontDoor>, From)>,
    request: Request,
    next: Next,
) -> Response {
    let mut request = match from {
        From::Inside => request,
        From::Outside => {
            // Before the address becomes that of the client that a proxy speaks for.
            let by_tls = ByTls::of(&door, &request);
            let mut request = limits::receive(&door, request);
            request.extensions_mut().insert(by_tls);
            request
        }
    };
    // Dropped with this future, when the answer is there or nobody waits for it any more.
    let _waits = arrival::waits(&mut request);
    let kept = Arc::clone(&door);
    let answer = async move |request| admitted(&kept, from, request, next).await;
    observe::observe(&door, request, |request| {
        audited::audited(Arc::clone(&door), request, answer)
    })
    .await
}

/// The answer to a request that is let in, or why it is not.
async fn admitted(door: &Arc<FrontDoor>, from: From, mut request: Request, next: Next) -> Response {
    if limits::is_unbounded(&request) {
        return drain::drain(door, request, drain::Patience::Arrived, async |request| {
            unbroken(next.run(request)).await
        })
        .await;
    }
    let admitted = match from {
        From::Inside => Admitted::from_inside(door, &mut request).await,
        From::Outside => Admitted::from_outside(door, &mut request).await,
    };
    let admitted = match admitted {
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
        let answering = unbroken(next.run(request));
        let response = match admitted.is_known() {
            true => answering.await,
            // The only thing that takes a while is what has not arrived of its body.
            false => tokio::time::timeout(STRANGERS_TIME, answering)
                .await
                .unwrap_or_else(|_| ApiError::UnreadableBody.into_response()),
        };
        let response = admitted.still(response).await;
        admitted.answered(&response);
        response
    })
    .await;
    admitted.holding(response)
}

/// The answer, also where making it panicked.
async fn unbroken(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| ApiError::Panicked.into_response())
}
