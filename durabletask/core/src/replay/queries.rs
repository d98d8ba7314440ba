//! Queries: what an orchestration answers without a trace in its history.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::{Failure, FailureDetails};

/// A handler, from JSON text to JSON text.
pub(super) type Answering =
    Arc<dyn Fn(Option<&str>) -> Result<String, FailureDetails> + Send + Sync>;

/// Why a query has no answer.
///
/// ```
/// use durabletask_core::QueryError;
///
/// let error = QueryError::Unknown { known: vec!["progress".to_owned()] };
/// assert!(error.to_string().contains("progress"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The code has not said, so far, that it answers this query.
    #[error("the orchestration does not answer this query; it answers: {}", .known.join(", "))]
    Unknown {
        /// What it answers.
        known: Vec<String>,
    },
    /// The handler failed, or the code diverges from its history.
    #[error(transparent)]
    Failed(FailureDetails),
}

/// The queries that the code answers.
#[derive(Default)]
pub(crate) struct Queries {
    handlers: BTreeMap<Cow<'static, str>, Answering>,
}

impl Queries {
    /// Adds a handler; yields the one that it replaces.
    pub(super) fn insert(
        &mut self,
        name: Cow<'static, str>,
        handler: Answering,
    ) -> Option<Answering> {
        self.handlers.insert(name, handler)
    }

    pub(super) fn find(&self, name: &str) -> Result<Answering, QueryError> {
        let handler = self.handlers.get(name).cloned();
        handler.ok_or_else(|| QueryError::Unknown {
            known: self.handlers.keys().map(ToString::to_string).collect(),
        })
    }
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

/// The handler that `answer` is, between JSON texts.
pub(super) fn handler<I, O, F>(answer: F) -> Answering
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(I) -> Result<O, Failure> + Send + Sync + 'static,
{
    Arc::new(move |input| {
        let input = codec::decode(input).map_err(mismatch)?;
        let output = answer(input).map_err(Failure::into_details)?;
        codec::encode(&output).map_err(mismatch)
    })
}

fn mismatch(reason: String) -> FailureDetails {
    FailureDetails::new("PayloadMismatch", reason).permanent()
}
