//! How calls are made.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::retry::RetryPolicy;

/// How an activity is called.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{RetryPolicy, TaskOptions};
///
/// let options = TaskOptions::new()
///     .retry(RetryPolicy::new(5, Duration::from_secs(10)))
///     .start_to_close(Duration::from_secs(60))
///     .tag("team", "blue");
/// assert_eq!(options.version, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TaskOptions {
    /// How failures are tried again; `None` for a single attempt.
    pub retry: Option<RetryPolicy>,
    /// The activity's version; `None` for that of the orchestration.
    pub version: Option<String>,
    /// Tags for operators, shown with the call. Keys that begin with `durabletask.` are
    /// the SDK's own.
    pub tags: BTreeMap<String, String>,
    /// How long one attempt may run, counted from its start on a worker. After
    /// that its future is dropped and the attempt fails with `ActivityTimeout`,
    /// which a retry policy may mend. Workers of other languages ignore it; it
    /// travels as the tag `durabletask.startToCloseMs`, in whole milliseconds.
    pub start_to_close: Option<Duration>,
    /// For how long one attempt may be silent. After that it fails with `HeartbeatTimeout`,
    /// which a retry policy may mend: the orchestration does not wait for a worker that is
    /// frozen or an activity that is stuck. Silence counts from the start of the attempt on a
    /// worker, and from each
    /// [`ActivityContext::heartbeat`](crate::ActivityContext::heartbeat). To workers of this
    /// crate it travels as the tag `durabletask.heartbeatTimeoutMs`.
    pub heartbeat_timeout: Option<Duration>,
}

impl TaskOptions {
    /// One attempt, for as long as it takes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how failures are tried again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sets the activity's version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Limits how long one attempt may run.
    #[must_use]
    pub fn start_to_close(mut self, limit: Duration) -> Self {
        self.start_to_close = Some(limit);
        self
    }

    /// Limits for how long one attempt may be silent.
    #[must_use]
    pub fn heartbeat_timeout(mut self, limit: Duration) -> Self {
        self.heartbeat_timeout = Some(limit);
        self
    }
}

impl From<RetryPolicy> for TaskOptions {
    fn from(policy: RetryPolicy) -> Self {
        Self::new().retry(policy)
    }
}

/// How a sub-orchestration is started.
///
/// ```
/// use durabletask::orchestration::SubOrchestrationOptions;
///
/// let options = SubOrchestrationOptions::new().instance_id("invoice-7");
/// assert_eq!(options.retry, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SubOrchestrationOptions {
    /// Its instance id; `None` for `{execution id}:{task id in hex}`, which
    /// differs between attempts.
    pub instance_id: Option<String>,
    /// Its version; `None` for that of its parent.
    pub version: Option<String>,
    /// How failures are tried again; `None` for a single attempt.
    pub retry: Option<RetryPolicy>,
    /// The new instance's tags.
    pub tags: BTreeMap<String, String>,
}

impl SubOrchestrationOptions {
    /// One attempt under an id that follows from the call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the new instance's id.
    #[must_use]
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// Sets the new instance's version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Says how failures are tried again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }
}

impl From<RetryPolicy> for SubOrchestrationOptions {
    fn from(policy: RetryPolicy) -> Self {
        Self::new().retry(policy)
    }
}
