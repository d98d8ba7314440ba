//! What surrounds every request: its id, its span and log line, and the limits on
//! time and number.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use opentelemetry::context::FutureExt as _;
use tracing::Instrument as _;

use super::cookie::ByTls;
use super::dress::dress;
use super::error::ApiError;
use super::limits;
use super::refusals::{Refusal, Wrong};
use crate::access::Identity;
use crate::audit::{Action, FieldChange, Outcome};
use crate::http::FrontDoor;
use crate::telemetry;
use crate::telemetry::spans::{self, Span, Told};

/// How long a request may take until its answer begins. Longer than the longest
/// poll, shorter than what proxies put up with.
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

/// What is learned about a request while it is answered, for the audit record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) caller: Option<Arc<Identity>>,
    pub(crate) action: Option<Action>,
    /// What it was done to, where the path does not say it.
    pub(crate) subject: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) problem: Option<&'static str>,
    /// What was presented to say who calls, if it is wrong.
    pub(crate) wrong: Option<Wrong>,
    /// The public part of a wrong key.
    pub(crate) tried: Option<String>,
    /// Until when the code is shown that was read alone and as often as the caller likes.
    pub(crate) code_until: Option<DateTime<Utc>>,
    /// Of which accounts the reading was one of those that a grant counts.
    pub(crate) counted: Vec<String>,
    /// What the browser is to do with the session's cookies.
    pub(crate) cookies: Vec<HeaderValue>,
    /// What was not done of a request for several things that was answered all the same.
    pub(crate) exceptions: Vec<Exception>,
    /// What a request for one thing has changed.
    pub(crate) changes: Vec<FieldChange>,
    /// What a request has done that may do several things to its subject: each is an entry.
    pub(crate) deeds: Vec<Deed>,
    /// What was asked for, in words, where the caller gives no reason.
    pub(crate) wish: Option<String>,
}

/// One of several things that a request has done to its subject.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) changes: Vec<FieldChange>,
}

/// One of several things that a request asked for and that was not done.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    /// To what, as the caller wrote it.
    pub(crate) subject: String,
    pub(crate) problem: &'static str,
    pub(crate) outcome: Outcome,
}

#[derive(Clone)]
struct Context {
    id: String,
    shape: Shape,
    facts: Arc<Mutex<Facts>>,
}

impl Context {
    fn known(&self) -> Facts {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.clone()
    }

    fn wrong(&self) -> Option<Wrong> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.wrong
    }

    fn take_cookies(&self) -> Vec<HeaderValue> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut facts.cookies)
    }
}

tokio::task_local! {
    static CONTEXT: Context;
}

/// The id of the request that the present task answers, and the shape of its errors.
pub(crate) fn current() -> (String, Shape) {
    CONTEXT
        .try_with(|context| (context.id.clone(), context.shape))
        .unwrap_or_else(|_| ("unknown".to_owned(), Shape::Problem))
}

/// Notes something about the request that the present task answers.
pub(crate) fn note(change: impl FnOnce(&mut Facts)) {
    // Outside of a request there is nobody to note it for.
    let _ = CONTEXT.try_with(|context| {
        let mut facts = context.facts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut facts);
    });
}

/// Notes what the request has changed, if it is one for one thing.
pub(crate) fn changed(changes: Vec<FieldChange>) {
    note(|facts| facts.changes = changes);
}

/// Notes which enrollment or import the request starts, as soon as that is known: from
/// here on every log line names it, and so does the audit record, however it is answered.
pub(crate) fn about(id: &impl Display) {
    telemetry::about(id);
    note(|facts| facts.subject = Some(id.to_string()));
}

/// What has been noted so far.
pub(crate) fn facts() -> Facts {
    CONTEXT.try_with(Context::known).unwrap_or_default()
}

/// The same work in a task of its own, which goes on when nobody waits for its end any
/// more; for the same request, in its span and its trace.
pub(crate) async fn kept_up<F>(work: F) -> Result<F::Output, tokio::task::JoinError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let work = work.in_current_span().with_current_context();
    match CONTEXT.try_with(Clone::clone) {
        Ok(context) => tokio::spawn(CONTEXT.scope(context, work)).await,
        Err(_) => tokio::spawn(work).await,
    }
}

/// Answers a request by `next`, with all that is told about it.
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
        facts: Arc::default(),
    };
    let by_tls = request.extensions().get().copied();
    let by_tls = by_tls.unwrap_or(ByTls(door.surroundings.tls));
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
    // Also where anybody is answered: how that is done may tell whether a guess was right. An
    // old cookie comes with everything that a browser asks for.
    if refused || context.wrong() == Some(Wrong::Key) {
        let known = context.known();
        let caller = known.caller.as_ref().map(|caller| caller.id.as_str());
        let refusal = Refusal {
            status: response.status(),
            from,
            route,
            who: caller.or(known.tried.as_deref()),
            wrong: known.wrong,
        };
        span.in_scope(|| {
            door.refusals
                .note(&refusal, known.problem.unwrap_or("refused"))
        });
    }
    if spans::are_made()
        && let Some(caller) = context.known().caller
    {
        trace.tell(Told::Caller(&caller.id));
    }
    let took = started.elapsed();
    door.metrics
        .answered(&method, matched.as_ref(), response.status(), took);
    let milliseconds = took.as_secs_f64() * 1000.0;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, milliseconds, "answered"));

    dress(&mut response, by_tls);
    let headers = response.headers_mut();
    for cookie in context.take_cookies() {
        headers.append(header::SET_COOKIE, cookie);
    }
    if let Ok(value) = HeaderValue::from_str(&context.id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// The caller's own id for the request if it is a harmless one, else a new one.
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
            // Not by asking the system each time: nothing depends on nobody guessing it.
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
