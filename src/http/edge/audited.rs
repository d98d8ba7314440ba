//! Every request that reads a code or changes something leaves an entry in the audit
//! log before it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures_util::future;
use percent_encoding::percent_decode_str;

use countersign_database::{Database, DatabaseError, Failure as _, Trouble};
use countersign_enrollment::ids::{EnrollmentId, ImportId, RequestId};

use super::auth;
use super::error::ApiError;
use super::facts::{Exception, Facts};
use super::observe;
use super::operations::Operation;
use super::parameters;
use crate::audit::{Action, AuditError, Event, Outcome, SessionMark, Together};
use crate::http::FrontDoor;

/// How long a change waits for its entry: a database that fails over is back by then.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// The header with a caller's reason, in UTF-8.
const REASON: HeaderName = HeaderName::from_static("countersign-reason");

/// The reason as a header, if the text can be one: its control characters, line breaks
/// too, become spaces.
pub(crate) fn reason_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let value = HeaderValue::from_bytes(line.trim().as_bytes()).ok()?;
    (!value.is_empty()).then_some((REASON, value))
}

/// Answers a request by `next`, and records it if it must be recorded.
pub(crate) async fn audited<F>(
    door: Arc<FrontDoor>,
    request: Request,
    next: impl FnOnce(Request) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Response> + Send + 'static,
{
    let Some(about) = About::of(&door, &request) else {
        return next(request).await;
    };
    if request.method().is_safe() {
        return recorded(door, about, request, next).await;
    }
    // Nothing is done that could not be recorded, except ending a session.
    if about.action != Action::LogOut && door.audit.is_incomplete().await {
        let database = last_trouble(&door);
        return ApiError::AuditUnavailable { database }.into_response();
    }
    // A caller who hangs up during a change must not keep it out of the log.
    observe::spawn_detached(recorded(door, about, request, next))
        .await
        .unwrap_or_else(|_| ApiError::Panicked.into_response())
}

/// What the shared database has met lately, if there is one.
fn last_trouble(door: &FrontDoor) -> Option<Trouble> {
    door.database.as_ref().and_then(Database::trouble)
}

/// Answers a request and records it before the answer goes out.
async fn recorded<F>(
    door: Arc<FrontDoor>,
    about: About,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let changes = !request.method().is_safe();
    let mut response = next(request).await;
    let facts = Facts::of(&response).cloned().unwrap_or_default();
    // A caller that was not recognized has a line in the log; an audit log that strangers
    // could fill would be less useful.
    let Some(caller) = facts.caller else {
        return response;
    };
    let action = facts.action.unwrap_or(about.action);
    let mut event = Event::new(action, &caller.id, door.clock.now());
    event.from = about.from;
    event.problem = facts.problem.map(str::to_owned);
    event.outcome = match response.status().as_u16() {
        ..400 => Outcome::Done,
        400..500 => Outcome::Refused,
        _ => Outcome::Failed,
    };
    door.metrics.acted(action, event.outcome);
    event.request_id = Some(observe::current().0);
    let reason = match (facts.reason, about.reason) {
        (Some(known), Some(given)) => Some(format!("{known}; {given}")),
        (known, given) => known.or(given).or(facts.in_words),
    };
    if let Some(reason) = reason {
        event = event.because(&reason);
    }
    let actions = facts.actions.into_iter().map(|one| {
        let mut done = event.clone().changing(one.changes);
        done.action = one.action;
        done.outcome = Outcome::Done;
        done.problem = None;
        done
    });
    let mut done: Vec<Event> = actions.collect();
    // Failed parts are recorded too.
    if done.is_empty() || event.outcome != Outcome::Done {
        let changes = match event.outcome {
            Outcome::Done => facts.changes,
            _ => Vec::new(),
        };
        done.push(event.changing(changes));
    }
    let mut subjects = about.subjects;
    if let Some(subject) = facts.subject {
        subjects = vec![subject];
    }
    let mut exceptions = facts.exceptions;
    let events = match subjects.len() {
        0 => done,
        _ => subjects
            .into_iter()
            .flat_map(|subject| {
                done.iter()
                    .cloned()
                    .map(move |event| event.to(subject.clone()))
            })
            .map(|event| except(event, &mut exceptions))
            .collect(),
    };
    let action = match events.as_slice() {
        [only] => only.action,
        _ => action,
    };
    let together = match (about.session, facts.code_until) {
        (Some(session), _) => Some(Together::Session(session)),
        (None, Some(until)) if events.len() == 1 => Some(Together::Code(until)),
        (None, _) => None,
    };
    let write = async |event: Event| match together {
        Some(together) if is_repeatable(&event, &facts.counted) => {
            door.audit.record_reading(event, together).await
        }
        _ if changes && event.outcome == Outcome::Done && !gives_out(event.action) => {
            let recorded = door.audit.record_done(event);
            let in_time = tokio::time::timeout(RECORDED_WITHIN, recorded).await;
            // It is still kept, and written later.
            in_time.unwrap_or_else(|_| Err(Arc::new(AuditError::Late)))
        }
        _ => door.audit.record(event).await,
    };
    let written = match <[Event; 1]>::try_from(events) {
        Ok([event]) => write(event).await,
        // All at once, so that they go into one transaction.
        Err(events) => {
            let written = events.into_iter().map(&write);
            future::join_all(written).await.into_iter().collect()
        }
    };
    // The writer has logged why.
    let database = written.as_ref().err().and_then(|error| {
        let own = error.of_database().map(DatabaseError::trouble);
        own.or_else(|| last_trouble(&door))
    });
    let hands_out = gives_out(action);
    let unrecorded = match response.status().as_u16() {
        _ if hands_out => ApiError::AuditUnavailable { database },
        // Who ends a session has ended it, recorded or not.
        _ if !changes || action == Action::LogOut => return response,
        ..400 => ApiError::DoneUnrecorded { database },
        // A caller who tries what is refused leaves a trace.
        400..500 => ApiError::AuditUnavailable { database },
        _ => return response,
    };
    if written.is_ok() {
        return response;
    }
    let facts = response.extensions_mut().remove::<Facts>();
    facts.unwrap_or_default().on(unrecorded)
}

/// Whether an action gives something out, which is withheld if it cannot be recorded.
const fn gives_out(action: Action) -> bool {
    matches!(
        action,
        Action::ReadCode | Action::Export | Action::TakeRecoveryCode
    )
}

/// Whether repetitions need no entry each: readings that no grant
/// counts.
fn is_repeatable(event: &Event, counted: &[String]) -> bool {
    let subject = event.subject.as_ref();
    event.action == Action::ReadCode
        && event.outcome == Outcome::Done
        && subject.is_some_and(|subject| !counted.contains(&subject.0))
}

/// The event for its own subject, if that one failed. Each
/// exception is for one event: if a subject is named twice, one of them may have succeeded.
fn except(mut event: Event, exceptions: &mut Vec<Exception>) -> Event {
    let own = |exception: &Exception| {
        let subject = event.subject.as_ref();
        subject.is_some_and(|subject| subject.0 == short(&exception.subject))
    };
    if let Some(at) = exceptions.iter().position(own) {
        let exception = exceptions.swap_remove(at);
        event.outcome = exception.outcome;
        event.problem = Some(exception.problem.to_owned());
    }
    event
}

/// What a request is about, by its path and query.
struct About {
    action: Action,
    subjects: Vec<String>,
    from: Option<std::net::IpAddr>,
    reason: Option<String>,
    /// The browser session of a reading, if there is one.
    session: Option<SessionMark>,
}

impl About {
    /// None for requests that are not recorded.
    fn of(door: &FrontDoor, request: &Request) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let operation = door.operations.get(request.method(), route)?;
        let action = operation.action()?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let reason = request.headers().get(REASON);
        Some(Self {
            action,
            subjects: subjects(operation, route, request),
            session: auth::session_mark(door, request).filter(|_| request.method().is_safe()),
            from: peer.map(|ConnectInfo(address)| address.ip()),
            reason: reason
                .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
                .map(str::to_owned),
        })
    }
}

/// The ids in the path, or, where it has none, those in the query.
fn subjects(operation: &Operation, route: &str, request: &Request) -> Vec<String> {
    let uri = request.uri();
    let mut parts = route.split('/').zip(uri.path().split('/'));
    if let Some((_, id)) = parts.find(|(name, _)| *name == "{id}") {
        return vec![short(&percent_decode_str(id).decode_utf8_lossy())];
    }
    if !operation.has("id") {
        return Vec::new();
    }
    parameters::ids(uri.query().unwrap_or_default())
        .map(|id| short(&id))
        .collect()
}

/// A caller can send anything in place of an id; what is not an id is not repeated, since it
/// could be a secret in the wrong place.
fn short(id: &str) -> String {
    let known = id.parse::<EnrollmentId>().is_ok()
        || id.parse::<ImportId>().is_ok()
        || id.parse::<RequestId>().is_ok();
    if known { id } else { "unknown" }.to_owned()
}
