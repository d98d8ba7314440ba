//! What is learned about a request while it is answered: who it is from, what it did and to
//! what. The handler that makes the answer puts it there, and the middleware reads it there.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;

use super::error::ApiError;
use super::refusals::Wrong;
use crate::access::Identity;
use crate::audit::{Action, FieldChange, Outcome};
use crate::telemetry;

/// What is learned about a request while it is answered, for the audit log and for the edge.
/// It travels with the answer, as an extension of it.
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
    /// What was requested, in words, where the caller gives no reason.
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

impl Facts {
    /// Notes which enrollment or import the request starts, as soon as that is known: from
    /// here on every log line names it, and so does the audit log, however it is answered.
    pub(crate) fn about(&mut self, id: &impl Display) {
        telemetry::about(id);
        self.subject = Some(id.to_string());
    }

    /// The answer, which says this.
    pub(crate) fn on(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        self.add_to(&mut response);
        response
    }

    /// Says this with an answer, as far as it says nothing else itself.
    pub(crate) fn add_to(self, response: &mut Response) {
        let said = response.extensions_mut().remove::<Self>();
        let facts = match said {
            Some(said) => said.or(self),
            None => self,
        };
        response.extensions_mut().insert(facts);
    }

    /// What is said with an answer.
    pub(crate) fn of(response: &Response) -> Option<&Self> {
        response.extensions().get()
    }

    /// Adds what was learned of one of several things.
    pub(crate) fn also(&mut self, one: Self) {
        self.code_until = one.code_until.or(self.code_until);
        self.counted.extend(one.counted);
        self.exceptions.extend(one.exceptions);
    }

    /// This, and the other of what this does not know.
    fn or(self, other: Self) -> Self {
        fn first<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
            if one.is_empty() { other } else { one }
        }
        Self {
            caller: self.caller.or(other.caller),
            action: self.action.or(other.action),
            subject: self.subject.or(other.subject),
            reason: self.reason.or(other.reason),
            problem: self.problem.or(other.problem),
            wrong: self.wrong.or(other.wrong),
            tried: self.tried.or(other.tried),
            code_until: self.code_until.or(other.code_until),
            counted: first(self.counted, other.counted),
            cookies: first(self.cookies, other.cookies),
            exceptions: first(self.exceptions, other.exceptions),
            changes: first(self.changes, other.changes),
            deeds: first(self.deeds, other.deeds),
            wish: self.wish.or(other.wish),
        }
    }
}

/// What comes of a handler's work, also where it panics: what it has noted until then is said
/// with the answer all the same.
pub(crate) async fn caught(
    work: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or(Err(ApiError::Panicked))
}
