//! What an activity may know about its call.

use std::collections::BTreeMap;

use crate::history::TraceContext;

/// The call that an activity answers: whose it is and which attempt of the story.
///
/// ```
/// use durabletask_core::{ActivityContext, Failure};
///
/// /// A payment whose key is the same if the call is repeated.
/// async fn pay(ctx: ActivityContext, cents: u64) -> Result<String, Failure> {
///     Ok(format!("{}/{}: {cents}", ctx.instance_id(), ctx.task_id()))
/// }
///
/// let context = ActivityContext::new("pay", "order-1", 3);
/// assert_eq!((context.name(), context.task_id()), ("pay", 3));
/// # let _ = pay(context, 5);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityContext {
    name: String,
    instance_id: String,
    execution_id: Option<String>,
    task_id: i32,
    version: Option<String>,
    tags: BTreeMap<String, String>,
    trace_context: Option<TraceContext>,
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

    /// The id of that instance's execution, if the scheduler tells it.
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
