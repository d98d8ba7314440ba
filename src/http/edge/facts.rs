//! Facts about a request that are learned while it is answered: who it is from, what it did and to
//! what. Handlers attach them to the answer, and the middleware reads them there.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;

use super::error::ApiError;
use super::refusals::WrongCredential;
use crate::access::Identity;
use crate::audit::{Action, FieldChange, Outcome};
use crate::telemetry;

/// Facts about a request, for the audit log and for the edge.
/// It travels with the answer, as an extension of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) caller: Option<Arc<Identity>>,
    pub(crate) action: Option<Action>,
    /// The subject, if the path does not name it.
    pub(crate) subject: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) problem: Option<&'static str>,
    /// The kind of credential that was presented, if it is wrong.
    pub(crate) wrong: Option<WrongCredential>,
    /// Whether the answer tells if there is a caller although it is no refusal.
    pub(crate) tells_caller: bool,
    /// The public part of a wrong key.
    pub(crate) tried: Option<String>,
    /// Until when the code is valid that was read alone and without a limit on reads.
    pub(crate) code_until: Option<DateTime<Utc>>,
    /// The accounts whose reading was counted by a grant.
    pub(crate) counted: Vec<String>,
    /// Changes of the session's cookies.
    pub(crate) cookies: Vec<HeaderValue>,
    /// The failed parts of a request for several things that succeeded as a whole.
    pub(crate) exceptions: Vec<Exception>,
    /// The changes that a request made.
    pub(crate) changes: Vec<FieldChange>,
    /// The actions of a request that may do several things to its subject: each is an entry.
    pub(crate) actions: Vec<SubjectAction>,
    /// The request in words, if the caller gives no reason.
    pub(crate) in_words: Option<String>,
}

/// One of several actions on a request's subject.
#[derive(Clone, Debug)]
pub(crate) struct SubjectAction {
    pub(crate) action: Action,
    pub(crate) changes: Vec<FieldChange>,
}

/// One of several requested things that failed.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    /// The subject, as the caller wrote it.
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

    /// The answer with these facts.
    pub(crate) fn on(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        self.add_to(&mut response);
        response
    }

    /// Adds these facts to an answer; its own take precedence.
    pub(crate) fn add_to(self, response: &mut Response) {
        let said = response.extensions_mut().remove::<Self>();
        let facts = match said {
            Some(said) => said.or(self),
            None => self,
        };
        response.extensions_mut().insert(facts);
    }

    /// An answer's facts.
    pub(crate) fn of(response: &Response) -> Option<&Self> {
        response.extensions().get()
    }

    /// Adds the facts of one of several things.
    pub(crate) fn also(&mut self, one: Self) {
        self.code_until = one.code_until.or(self.code_until);
        self.counted.extend(one.counted);
        self.exceptions.extend(one.exceptions);
    }

    /// These facts, completed by the other ones.
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
            tells_caller: self.tells_caller || other.tells_caller,
            tried: self.tried.or(other.tried),
            code_until: self.code_until.or(other.code_until),
            counted: first(self.counted, other.counted),
            cookies: first(self.cookies, other.cookies),
            exceptions: first(self.exceptions, other.exceptions),
            changes: first(self.changes, other.changes),
            actions: first(self.actions, other.actions),
            in_words: self.in_words.or(other.in_words),
        }
    }
}

/// A handler's answer, even if it panics: what it noted until then is attached to
/// the answer in any case.
pub(crate) async fn caught(
    work: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or(Err(ApiError::Panicked))
}
