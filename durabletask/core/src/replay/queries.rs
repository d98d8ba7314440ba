//! Queries: what an orchestration answers without a trace in its history.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::contract::Query;
use crate::error::{Failure, FailureDetails};

use super::context::OrchestrationContext;

/// A handler, from JSON text to JSON text.
type Answering = Arc<dyn Fn(Option<&str>) -> Result<String, FailureDetails> + Send + Sync>;

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
    /// The handler failed, or the code does otherwise than its history records.
    #[error(transparent)]
    Failed(FailureDetails),
}

/// The queries that the code answers.
#[derive(Default)]
pub(crate) struct Queries {
    handlers: BTreeMap<Cow<'static, str>, Answering>,
}

impl Queries {
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

impl OrchestrationContext {
    /// From now on, answers this query with `answer`, also once the execution has ended.
    /// A second handler replaces the first.
    ///
    /// Clients ask with `Client::query`. A worker answers by replaying what the history
    /// records, so `answer` sees the state as of the latest turn, and nothing that it does
    /// lasts. Say what you answer before the first `await`. It is no step of the
    /// orchestration: queries can be added to code that runs.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// use durabletask::{Activity, Failure, OrchestrationContext, Query};
    ///
    /// const COPY: Activity<u32, ()> = Activity::new("copy");
    /// const COPIED: Query<(), u32> = Query::new("copied");
    ///
    /// async fn copy_all(ctx: OrchestrationContext, files: u32) -> Result<(), Failure> {
    ///     let copied = Arc::new(AtomicU32::new(0));
    ///     let so_far = Arc::clone(&copied);
    ///     ctx.answer_query(&COPIED, move |()| Ok(so_far.load(Ordering::Relaxed)));
    ///     for file in 0..files {
    ///         ctx.call_activity(&COPY, &file).await?;
    ///         copied.fetch_add(1, Ordering::Relaxed);
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = copy_all;
    /// ```
    pub fn answer_query<I, O, F>(&self, query: &Query<I, O>, answer: F)
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Fn(I) -> Result<O, Failure> + Send + Sync + 'static,
    {
        let name = query.shared_name();
        let handler: Answering = Arc::new(move |input| {
            let input = codec::decode(input).map_err(mismatch)?;
            let output = answer(input).map_err(Failure::into_details)?;
            codec::encode(&output).map_err(mismatch)
        });
        let replaced = self.shared().call().queries.handlers.insert(name, handler);
        // Outside of the lock: what it holds may ask the context on its way out.
        drop(replaced);
    }
}

fn mismatch(reason: String) -> FailureDetails {
    FailureDetails::new("PayloadMismatch", reason).permanent()
}
