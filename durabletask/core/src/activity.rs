//! What an activity may know about its call.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cancellation::{Cancellation, Cancelled};
use crate::history::TraceContext;

/// The tag with the call's time limit for the activity's worker, in milliseconds.
pub const START_TO_CLOSE_TAG: &str = "durabletask.startToCloseMs";
/// The tag with the number of a later attempt.
pub(crate) const ATTEMPT_TAG: &str = "durabletask.attempt";
/// The tag with a call's key, if that does not follow from its ids.
pub(crate) const IDEMPOTENCY_TAG: &str = "durabletask.idempotencyKey";
/// The tag with which a rewound history remembers under which id its execution began.
pub(crate) const ORIGIN_TAG: &str = "durabletask.originExecutionId";

/// The text with which a history that is rewound as `execution_id` remembers its first id.
pub(crate) fn remember_origin(origin: &str, execution_id: &str) -> String {
    format!("{origin}={execution_id}")
}

/// The first id that such a text remembers, if it is one of this execution: tags go along
/// when an instance continues as new, and the caller that starts one can write any.
pub(crate) fn origin_of<'a>(remembered: &'a str, execution_id: &str) -> Option<&'a str> {
    remembered.strip_suffix(execution_id)?.strip_suffix('=')
}

/// The key of the call `task_id` (of its first attempt) in an execution.
pub(crate) fn idempotency_key(
    instance_id: &str,
    execution_id: Option<&str>,
    task_id: i32,
) -> String {
    format!(
        "{instance_id}/{}/{task_id}",
        execution_id.unwrap_or_default()
    )
}

/// The call that an activity answers: whose it is, and which attempt.
///
/// ```
/// use durabletask::{ActivityContext, Failure};
///
/// async fn pay(ctx: ActivityContext, cents: u64) -> Result<String, Failure> {
///     // The bank takes a second payment with this key for a repetition of the first.
///     let key = ctx.idempotency_key();
///     Ok(format!("{key}: {cents}, attempt {}", ctx.attempt()))
/// }
///
/// let context = ActivityContext::new("pay", "order-1", 3).with_execution_id(Some("e1".to_owned()));
/// assert_eq!((context.name(), context.task_id()), ("pay", 3));
/// assert_eq!(context.idempotency_key(), "order-1/e1/3");
/// # let _ = pay(context, 5);
/// ```
#[derive(Clone, Debug)]
pub struct ActivityContext {
    name: String,
    instance_id: String,
    execution_id: Option<String>,
    task_id: i32,
    version: Option<String>,
    tags: BTreeMap<String, String>,
    trace_context: Option<TraceContext>,
    cancellation: Cancellation,
}

impl ActivityContext {
    /// A call of the activity `name` by the instance `instance_id`, which scheduled it as `task_id`.
    #[must_use]
    pub fn new(name: impl Into<String>, instance_id: impl Into<String>, task_id: i32) -> Self {
        Self {
            name: name.into(),
            instance_id: instance_id.into(),
            execution_id: None,
            task_id,
            version: None,
            tags: BTreeMap::new(),
            trace_context: None,
            cancellation: Cancellation::default(),
        }
    }

    /// The same call, of the given execution of the instance.
    #[must_use]
    pub fn with_execution_id(mut self, execution_id: Option<String>) -> Self {
        self.execution_id = execution_id;
        self
    }

    /// The same call with the version that the orchestration asked for.
    #[must_use]
    pub fn with_version(mut self, version: Option<String>) -> Self {
        self.version = version;
        self
    }

    /// The same call with the tags that the orchestration put on it.
    #[must_use]
    pub fn with_tags(mut self, tags: BTreeMap<String, String>) -> Self {
        self.tags = tags;
        self
    }

    /// The same call under a W3C trace context.
    #[must_use]
    pub fn with_trace_context(mut self, trace_context: Option<TraceContext>) -> Self {
        self.trace_context = trace_context;
        self
    }

    /// The same call, which `cancellation` can stop.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The activity's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the orchestration instance that called.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The id of that instance's execution, if the scheduler sends it.
    #[must_use]
    pub fn execution_id(&self) -> Option<&str> {
        self.execution_id.as_deref()
    }

    /// The id of this call in its execution. A redelivered call keeps its id; a
    /// retry by policy has a new one.
    #[must_use]
    pub fn task_id(&self) -> i32 {
        self.task_id
    }

    /// A key for systems that know repetitions by it. It is the same whenever this call is
    /// repeated: redelivered, retried by policy, or made again after a rewind. It is
    /// another for every other call, for other executions of the same instance too.
    ///
    /// If the scheduler sends no execution id, executions that continue as new cannot be
    /// distinguished, and neither can their keys.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.tags.get(IDEMPOTENCY_TAG).cloned().unwrap_or_else(|| {
            idempotency_key(&self.instance_id, self.execution_id(), self.task_id)
        })
    }

    /// Which attempt of its retry policy this call is, counted from 1. A call that is
    /// redelivered, because a worker was lost, is the same attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let told = self.tags.get(ATTEMPT_TAG);
        told.and_then(|attempt| attempt.parse().ok()).unwrap_or(1)
    }

    /// How long this attempt may run, if the orchestration limited it.
    #[must_use]
    pub fn start_to_close(&self) -> Option<Duration> {
        let limit = self.tags.get(START_TO_CLOSE_TAG)?.parse().ok()?;
        Some(Duration::from_millis(limit))
    }

    /// Waits until nobody needs the result any more; when that is, the worker's
    /// `cancel_activities` explains.
    ///
    /// An activity that has asked for this is given a while to clean up and to end by
    /// itself; the future of any other is dropped at its next await.
    pub fn cancelled(&self) -> Cancelled {
        self.cancellation.cancelled()
    }

    /// Whether nobody needs the result any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// The version that the orchestration asked for.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The tags that the orchestration put on the call.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// The W3C trace context of the call, to be parent of the activity's spans.
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.trace_context.as_ref()
    }
}
