//! What an activity may know about its call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cancellation::{Cancellation, Cancelled};
use crate::codec;
use crate::contract::Feed;
use crate::heartbeat::{HEARTBEAT_TIMEOUT_TAG, HeartbeatError};
use crate::history::TraceContext;
use crate::host::{ActivityHost, NoHost, PublishError, value_text};
use crate::input::InputFor;

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

/// Whether a key is of a call by this instance.
fn is_of(key: &str, instance_id: &str) -> bool {
    key.strip_prefix(instance_id)
        .is_some_and(|rest| rest.starts_with('/'))
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
    host: Arc<dyn ActivityHost>,
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
            host: Arc::new(NoHost::default()),
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

    /// The same call, whose heartbeats and published values go to `host`.
    #[must_use]
    pub fn with_host(mut self, host: Arc<dyn ActivityHost>) -> Self {
        self.host = host;
        self
    }

    /// The same call, an earlier attempt of which has reported `details`: for tests of an
    /// activity without a worker.
    ///
    /// # Errors
    ///
    /// [`HeartbeatError::Payload`] if `details` cannot be written as JSON.
    pub fn with_last_heartbeat<T: Serialize + ?Sized>(
        self,
        details: &T,
    ) -> Result<Self, HeartbeatError> {
        let details = codec::encode(details).map_err(HeartbeatError::Payload)?;
        Ok(self.with_host(Arc::new(NoHost::with_heartbeat(details))))
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
    /// another for every other call, for other executions of the same instance and for its forks too.
    ///
    /// If the scheduler sends no execution id, executions that continue as new cannot be
    /// distinguished, and neither can their keys.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let told = self.tags.get(IDEMPOTENCY_TAG);
        let own = |task_id| idempotency_key(&self.instance_id, self.execution_id(), task_id);
        match told {
            // A fork makes the calls again that another instance had under way. They are others.
            Some(key) if !is_of(key, &self.instance_id) => {
                let first = key.rsplit('/').next().and_then(|id| id.parse().ok());
                own(first.unwrap_or(self.task_id))
            }
            Some(key) => key.clone(),
            None => own(self.task_id),
        }
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

    /// How long this attempt may be silent, if the orchestration limited it.
    #[must_use]
    pub fn heartbeat_timeout(&self) -> Option<Duration> {
        let limit = self.tags.get(HEARTBEAT_TIMEOUT_TAG)?.parse().ok()?;
        Some(Duration::from_millis(limit))
    }

    /// Says that the activity is alive, and how far it is. Once this returns, `details` are
    /// durable: the next attempt of this call, or this one on another worker after a crash,
    /// reads them with [`last_heartbeat`](Self::last_heartbeat).
    ///
    /// ```
    /// use durabletask::{ActivityContext, Failure};
    ///
    /// async fn copy(ctx: ActivityContext, chunks: u32) -> Result<u32, Failure> {
    ///     let done: u32 = ctx.last_heartbeat().await?.unwrap_or(0);
    ///     for chunk in done..chunks {
    ///         // ... copy this chunk
    ///         ctx.heartbeat(&(chunk + 1)).await?;
    ///     }
    ///     Ok(chunks - done)
    /// }
    /// # let _ = copy;
    /// ```
    ///
    /// Each heartbeat is an event in the history of the orchestration, so send a few within
    /// [`TaskOptions::heartbeat_timeout`](crate::TaskOptions::heartbeat_timeout), not
    /// thousands. Without such a timeout, nobody watches over the silence, and the details are
    /// kept all the same. `details` have at most 16 KiB as JSON text.
    ///
    /// # Errors
    ///
    /// [`HeartbeatError`]: [`Ended`](HeartbeatError::Ended) if the activity has returned or
    /// its orchestration has ended, [`TooLate`](HeartbeatError::TooLate) if the attempt was
    /// silent for too long, and others. A heartbeat that was not recorded breaks no activity
    /// by itself: it may go on and report again.
    pub async fn heartbeat<T: Serialize + ?Sized>(
        &self,
        details: &T,
    ) -> Result<(), HeartbeatError> {
        let details = codec::encode(details).map_err(HeartbeatError::Payload)?;
        self.host.beat(details).await
    }

    /// The details of the last heartbeat of this call, from any of its attempts; `None` if
    /// there was none. It waits until the heartbeats before it are in the history, so none
    /// that was recorded is missed.
    ///
    /// # Errors
    ///
    /// [`HeartbeatError::Payload`] if the details are no `T`, [`HeartbeatError::Unsupported`]
    /// if the backend gives out no histories, and others.
    pub async fn last_heartbeat<T: DeserializeOwned>(&self) -> Result<Option<T>, HeartbeatError> {
        let last = self.host.last().await?;
        last.map(|details| codec::decode(Some(&details)).map_err(HeartbeatError::Payload))
            .transpose()
    }

    /// Adds a value to the instance's feed, for clients that follow it with `Client::follow`.
    /// Once this returns, the value is durable.
    ///
    /// `number` says which of this call's values it is, counted up from any number. Attempts of
    /// a call share their numbers, and a value whose number is not above those before is left
    /// out: so a call that is repeated, or goes on from its last heartbeat, publishes nothing
    /// twice. What an attempt would now say otherwise under an old number is left out too; let
    /// such a value say which attempt it is of, or publish under other numbers.
    ///
    /// ```
    /// use durabletask::{ActivityContext, Failure, Feed};
    ///
    /// const WORDS: Feed<String> = Feed::new("words");
    ///
    /// async fn tell(ctx: ActivityContext, story: String) -> Result<(), Failure> {
    ///     for (number, word) in (0..).zip(story.split_whitespace()) {
    ///         ctx.publish(&WORDS, number, word).await?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = tell;
    /// ```
    ///
    /// # Errors
    ///
    /// [`PublishError`]: a value has at most 64 KiB as JSON text.
    pub async fn publish<T>(
        &self,
        feed: &Feed<T>,
        number: u64,
        value: &(impl InputFor<T> + ?Sized),
    ) -> Result<(), PublishError> {
        let value = value_text(value).map_err(PublishError::Payload)?;
        self.host
            .publish(feed.name().to_owned(), number, value)
            .await
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
