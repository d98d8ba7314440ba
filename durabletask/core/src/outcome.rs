//! How an orchestration's code ends: with an output, or by starting over.

use serde::Serialize;

use crate::codec;
use crate::error::Failure;

/// How an orchestration that can continue as new ends: with its output, or with the input
/// of its next execution.
///
/// Starting over is a value, so no `?`, no compensation and no middleware can mistake it
/// for a failure. Register such code with
/// [`Registry::continuing`](crate::Registry::continuing).
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Outcome, Registry};
///
/// const POLL: Activity<u32, bool> = Activity::new("poll");
/// const WATCH: Orchestration<u32, u32> = Orchestration::new("watch");
///
/// async fn watch(ctx: OrchestrationContext, round: u32) -> Result<Outcome<u32, u32>, Failure> {
///     if ctx.call_activity(&POLL, &round).await? {
///         return Ok(Outcome::Done(round));
///     }
///     ctx.create_timer(Duration::from_secs(60)).await;
///     Ok(Outcome::continue_as_new(round + 1))
/// }
///
/// let registry = Registry::new().continuing(&WATCH, watch);
/// assert!(registry.duplicates().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an orchestration ends by returning it"]
pub enum Outcome<I, O> {
    /// The orchestration is done, with this output.
    Done(O),
    /// The next execution begins, with an empty history.
    ContinueAsNew(ContinueAsNew<I>),
}

impl<I, O> Outcome<I, O> {
    /// The next execution begins with `input`. Unconsumed external events carry over.
    pub fn continue_as_new(input: I) -> Self {
        Self::ContinueAsNew(ContinueAsNew::new(input))
    }
}

impl<I, O> From<ContinueAsNew<I>> for Outcome<I, O> {
    fn from(next: ContinueAsNew<I>) -> Self {
        Self::ContinueAsNew(next)
    }
}

/// What happens to unconsumed external events when the orchestration continues as new.
///
/// ```
/// use durabletask::orchestration::{ContinueAsNew, UnprocessedEvents};
///
/// let next = ContinueAsNew::new(5).unprocessed_events(UnprocessedEvents::Drop);
/// assert_ne!(next, ContinueAsNew::new(5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnprocessedEvents {
    /// The next execution gets them, in the order of arrival.
    #[default]
    Keep,
    /// They are lost.
    Drop,
}

/// The next execution of an orchestration that continues as new.
///
/// ```
/// use durabletask::orchestration::ContinueAsNew;
/// use durabletask::{Failure, OrchestrationContext, Outcome};
///
/// /// From the next round on, the code of version 2 continues.
/// async fn upgrade(_: OrchestrationContext, round: u32) -> Result<Outcome<u32, ()>, Failure> {
///     Ok(ContinueAsNew::new(round + 1).version("2").into())
/// }
/// # let _ = upgrade;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an orchestration continues as new by returning it"]
pub struct ContinueAsNew<I> {
    input: I,
    unprocessed_events: UnprocessedEvents,
    version: Option<String>,
}

impl<I> ContinueAsNew<I> {
    /// The next execution begins with `input`, with the present version, and with the
    /// unconsumed external events.
    pub const fn new(input: I) -> Self {
        Self {
            input,
            unprocessed_events: UnprocessedEvents::Keep,
            version: None,
        }
    }

    /// Sets what happens to unconsumed external events.
    pub fn unprocessed_events(mut self, events: UnprocessedEvents) -> Self {
        self.unprocessed_events = events;
        self
    }

    /// Sets the next execution's version.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }
}

/// How an orchestration ended, as middleware sees it: its output as JSON text, or that it
/// continues as new.
///
/// ```
/// use durabletask::middleware::{Ended, Next};
/// use durabletask::{OrchestrationContext, Registry};
///
/// let registry = Registry::new().orchestration_middleware(
///     async |ctx: OrchestrationContext, next: Next<Ended>| {
///         let ended = next.run().await?;
///         let again = ended.continues_as_new();
///         tracing::info!(instance_id = ctx.instance_id(), again, "an execution has ended");
///         Ok(ended)
///     },
/// );
/// # let _ = registry;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended(pub(crate) End);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Output(String),
    Continue(Continuation),
}

/// The next execution, with its input as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) input: String,
    pub(crate) new_version: Option<String>,
    pub(crate) keep_events: bool,
}

impl Ended {
    /// An end with an output, JSON text: for middleware that answers by itself.
    #[must_use]
    pub fn with_output_json(output: impl Into<String>) -> Self {
        Self(End::Output(output.into()))
    }

    /// The output, JSON text; `None` if the orchestration continues as new.
    #[must_use]
    pub fn output_json(&self) -> Option<&str> {
        match &self.0 {
            End::Output(output) => Some(output),
            End::Continue(_) => None,
        }
    }

    /// Whether the orchestration continues as new.
    #[must_use]
    pub fn continues_as_new(&self) -> bool {
        matches!(self.0, End::Continue(_))
    }

    pub(crate) fn of<I: Serialize, O: Serialize>(
        name: &str,
        outcome: &Outcome<I, O>,
    ) -> Result<Self, Failure> {
        let unwritable = |what: &str, reason: String| {
            Failure::new(
                "PayloadMismatch",
                format!("the {what} of '{name}': {reason}"),
            )
            .permanent()
        };
        match outcome {
            Outcome::Done(output) => codec::encode(output)
                .map(Self::with_output_json)
                .map_err(|reason| unwritable("output", reason)),
            Outcome::ContinueAsNew(next) => Ok(Self(End::Continue(Continuation {
                input: codec::encode(&next.input)
                    .map_err(|reason| unwritable("next input", reason))?,
                new_version: next.version.clone(),
                keep_events: next.unprocessed_events == UnprocessedEvents::Keep,
            }))),
        }
    }
}
