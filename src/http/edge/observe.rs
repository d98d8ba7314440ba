//! Around every request: its id, its span and log line, and the limits on
//! time and number.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use opentelemetry::context::FutureExt as _;
use tracing::Instrument as _;

use super::cookie::ByTls;
use super::error::ApiError;
use super::facts::Facts;
use super::limits;
use super::refusals::{Refusal, WrongCredential};
use super::security_headers::add_security_headers;
use crate::http::FrontDoor;
use crate::telemetry::spans::{self, Span, SpanValue};

/// How long a request may take until its answer begins: longer than the longest
/// poll, shorter than the usual timeouts of proxies.
const TIMEOUT: Duration = Duration::from_secs(75);

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which members an error's body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// RFC 9457 and our extensions.
    Problem,
    /// The same, and `error` and `details` for pages written against the two
    /// endpoints that this API is compatible with.
    Compatible,
    /// The same as [`Shape::Problem`], and `errors` for clients of HashiCorp Vault.
    Vault,
}

#[derive(Clone)]
struct Context {
    id: String,
    shape: Shape,
}

tokio::task_local! {
    static CONTEXT: Context;
}

/// The id of the request that the current task answers, and the shape of its errors.
pub(crate) fn current() -> (String, Shape) {
    CONTEXT
        .try_with(|context| (context.id.clone(), context.shape))
        .unwrap_or_else(|_| ("unknown".to_owned(), Shape::Problem))
}

/// Runs the work in a task of its own, which continues when nobody waits for it any
/// more; for the same request, in its span and its trace.
pub(crate) async fn spawn_detached<F>(work: F) -> Result<F::Output, tokio::task::JoinError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let work = work.in_current_span().with_current_context();
    match CONTEXT.try_with(Clone::clone) {
        Ok(context) => tokio::spawn(CONTEXT.scope(context, work)).await,
        Err(_) => tokio::spawn(work).await,
    }
}

/// Answers a request by `next`, and adds log lines, metrics and headers.
pub(crate) async fn observe<F>(
    door: &FrontDoor,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let started = Instant::now();
    let context = Context {
        id: request_id(&request),
        shape: shape(&request),
    };
    let by_tls = request.extensions().get().copied();
    let by_tls = by_tls.unwrap_or(ByTls(door.server.tls));
    let method = request.method().clone();
    let from = limits::client_of(&request);
    // The matched path, never the query: keys may be in it.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        method = spans::known(&method),
        route,
        request_id = context.id,
        caller = tracing::field::Empty,
        instance_id = tracing::field::Empty,
    );
    let trace = Span::request(&method, route, &context.id, request.headers());
    let answer = async {
        tokio::time::timeout(TIMEOUT, next(request))
            .await
            .unwrap_or_else(|_| ApiError::Timeout.into_response())
    };
    let mut response = CONTEXT
        .scope(
            context.clone(),
            trace.around(answer.instrument(span.clone())),
        )
        .await;
    trace.answered(response.status());
    let refused = matches!(response.status().as_u16(), 401 | 403 | 429);
    let facts = Facts::of(&response);
    let wrong = facts.and_then(|facts| facts.wrong);
    let caller = facts.and_then(|facts| facts.caller.as_ref());
    let caller = caller.map(|caller| caller.id.as_str());
    // Also for public operations: their answer may reveal whether a guess was right. An
    // old cookie, however, comes with every request of a browser, and counts only where the
    // answer is about it.
    let tells = facts.is_some_and(|facts| facts.tells_caller) && wrong.is_some();
    if refused || tells || wrong == Some(WrongCredential::Key) {
        let refusal = Refusal {
            status: response.status(),
            from,
            route,
            who: caller.or(facts.and_then(|facts| facts.tried.as_deref())),
            wrong,
        };
        let problem = facts.and_then(|facts| facts.problem);
        span.in_scope(|| door.refusals.note(&refusal, problem.unwrap_or("refused")));
    }
    if spans::are_made()
        && let Some(caller) = caller
    {
        trace.record(SpanValue::Caller(caller));
    }
    let took = started.elapsed();
    door.metrics
        .answered(&method, matched.as_ref(), response.status(), took);
    let milliseconds = took.as_secs_f64() * 1000.0;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, milliseconds, "answered"));

    add_security_headers(&mut response, by_tls);
    let facts = response.extensions_mut().remove::<Facts>();
    let headers = response.headers_mut();
    for cookie in facts.into_iter().flat_map(|facts| facts.cookies) {
        headers.append(header::SET_COOKIE, cookie);
    }
    if let Ok(value) = HeaderValue::from_str(&context.id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// The caller's own id for the request if it is well-formed, otherwise a new one.
fn request_id(request: &Request) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| {
            (8..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        .map_or_else(
            // Without asking the system each time: it need not be unpredictable.
            || {
                uuid::Builder::from_random_bytes(rand::random())
                    .into_uuid()
                    .to_string()
            },
            str::to_owned,
        )
}

fn shape(request: &Request) -> Shape {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/api/accounts") | (_, "/api/tokens") => Shape::Compatible,
        (_, path) if path.starts_with("/v1/") => Shape::Vault,
        _ => Shape::Problem,
    }
}
