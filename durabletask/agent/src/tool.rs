//! Tools: what a model may have done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use durabletask::{ActivityContext, Event, Failure};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::ToolSpec;

/// How long a decision is waited for, if the tool does not say.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

type Handler =
    Arc<dyn Fn(ActivityContext, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// A tool that a model may call. It runs as an activity of the worker, after what its policy
/// asks for.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{ActivityContext, Event, Failure};
/// use durabletask_agent::Tool;
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Refund {
///     /// The order's number.
///     order: u32,
///     /// The amount in cents.
///     cents: u64,
/// }
///
/// async fn refund(_: ActivityContext, refund: Refund) -> Result<String, Failure> {
///     Ok(format!("{} cents of order {} are paid back", refund.cents, refund.order))
/// }
///
/// let tool = Tool::new("refund", "Pays back part of an order", refund)
///     .ask_within(Duration::from_secs(24 * 3600))
///     .once_only();
/// assert_eq!(tool.name(), "refund");
/// ```
#[derive(Clone)]
pub struct Tool {
    pub(crate) rules: ToolRules,
    pub(crate) handler: Handler,
}

/// A tool as it is recorded at the beginning of a run: a run keeps the rules that it began
/// with, whatever is deployed in the meantime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolRules {
    #[serde(flatten)]
    pub(crate) spec: ToolSpec,
    pub(crate) policy: Policy,
    pub(crate) retry: Retry,
    pub(crate) once_only: bool,
}

/// What must happen before a tool runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Policy {
    Run,
    Ask {
        #[serde(rename = "patienceSeconds")]
        patience_seconds: u64,
    },
    Refuse {
        reason: String,
    },
}

/// How a failed call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first_milliseconds: u64,
    pub(crate) backoff: f64,
    pub(crate) most_milliseconds: u64,
}

impl Retry {
    pub(crate) const TOOL: Self = Self {
        attempts: 3,
        first_milliseconds: 1_000,
        backoff: 2.0,
        most_milliseconds: 30_000,
    };
    pub(crate) const MODEL: Self = Self {
        attempts: 8,
        first_milliseconds: 1_000,
        backoff: 2.0,
        most_milliseconds: 60_000,
    };
    const NEVER: Self = Self {
        attempts: 1,
        ..Self::TOOL
    };

    pub(crate) fn of(attempts: u32, first: Duration) -> Self {
        let first_milliseconds = u64::try_from(first.as_millis()).unwrap_or(u64::MAX);
        Self {
            attempts,
            first_milliseconds,
            backoff: 2.0,
            most_milliseconds: first_milliseconds.saturating_mul(64),
        }
    }

    pub(crate) fn policy(self) -> durabletask::RetryPolicy {
        durabletask::RetryPolicy::new(
            self.attempts,
            Duration::from_millis(self.first_milliseconds),
        )
        .backoff(self.backoff)
        .max_interval(Duration::from_millis(self.most_milliseconds))
    }
}

impl Tool {
    /// A tool that runs when the model calls it, with arguments of the type `I`, whose JSON
    /// schema the model gets. It is tried three times; a failure after that is reported to the
    /// model, which can try something else.
    pub fn new<I, O, F, Fut>(
        name: impl Into<String>,
        description: impl Into<String>,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(ActivityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let parameters = schemars::schema_for!(I).to_value();
        let handler = Arc::new(handler);
        Self::with_schema(name, description, parameters, move |context, arguments| {
            let handler = Arc::clone(&handler);
            async move {
                let arguments = serde_json::from_value(arguments).map_err(|error| {
                    Failure::new("InvalidArguments", error.to_string()).permanent()
                })?;
                let result = handler(context, arguments).await?;
                Ok(serde_json::to_value(result)?)
            }
        })
    }

    /// A tool whose arguments are described by the JSON schema `parameters`, which the model
    /// may not keep to: the handler checks what it gets.
    pub fn with_schema<F, Fut>(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Value,
        handler: F,
    ) -> Self
    where
        F: Fn(ActivityContext, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        Self {
            rules: ToolRules {
                spec: ToolSpec {
                    name: name.into(),
                    description: description.into(),
                    parameters,
                },
                policy: Policy::Run,
                retry: Retry::TOOL,
                once_only: false,
            },
            handler: Arc::new(move |context, arguments| Box::pin(handler(context, arguments))),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.rules.spec.name
    }

    /// Each call waits for the [`Decision`] of a person, for seven days; then it is refused.
    #[must_use]
    pub fn ask(self) -> Self {
        self.ask_within(PATIENCE)
    }

    /// Each call waits for the [`Decision`] of a person, for `patience`; then it is refused.
    #[must_use]
    pub fn ask_within(mut self, patience: Duration) -> Self {
        self.rules.policy = Policy::Ask {
            patience_seconds: patience.as_secs().max(1),
        };
        self
    }

    /// Calls are answered with `reason` and never run: a tool that is switched off for now, so
    /// that the model says so instead of inventing a result.
    #[must_use]
    pub fn refuse(mut self, reason: impl Into<String>) -> Self {
        self.rules.policy = Policy::Refuse {
            reason: reason.into(),
        };
        self
    }

    /// How often a call is tried, and how long after the first failure; the delay doubles from
    /// then on.
    #[must_use]
    pub fn retry(mut self, attempts: u32, first: Duration) -> Self {
        self.rules.retry = Retry::of(attempts, first);
        self
    }

    /// A call runs at most once: an activity may run twice if its worker dies, and this one
    /// does not. If it is interrupted, the model learns that nobody knows whether it was done.
    /// Needs [`AgentBuilder::client`](crate::AgentBuilder::client).
    #[must_use]
    pub fn once_only(mut self) -> Self {
        self.rules.once_only = true;
        self.rules.retry = Retry::NEVER;
        self
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// What a person decided on a call that waits.
///
/// ```
/// use durabletask_agent::Decision;
///
/// let decision = Decision::refused("the order was never paid").by("ada");
/// assert!(!decision.approved);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the tool may run.
    pub approved: bool,
    /// Why; the model gets it with a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who decided, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Decision {
    /// The event that decides on the call `id` of a run.
    pub(crate) fn event(id: &str) -> Event<Self> {
        Event::named(format!("decision-{id}"))
    }

    /// Lets the tool run.
    #[must_use]
    pub const fn approved() -> Self {
        Self {
            approved: true,
            reason: None,
            by: None,
        }
    }

    /// Refuses the call.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self {
            approved: false,
            reason: Some(reason.into()),
            by: None,
        }
    }

    /// Names who decided.
    #[must_use]
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.by = Some(who.into());
        self
    }
}
