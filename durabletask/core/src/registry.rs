//! Which code answers to which name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::ActivityContext;
use crate::codec;
use crate::contract::{Activity, Orchestration};
use crate::error::{Failure, FailureDetails};
use crate::replay::OrchestrationContext;

/// The result of a handler as JSON text, in the future.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

type OrchestrationHandler =
    Arc<dyn Fn(OrchestrationContext, Option<String>) -> HandlerFuture + Send + Sync>;
type ActivityHandler = Arc<dyn Fn(ActivityContext, Option<String>) -> HandlerFuture + Send + Sync>;

/// Handlers by name: what a worker can run.
///
/// ```
/// use durabletask_core::{Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const GREET: Activity<String, String> = Activity::new("greet");
/// const WELCOME: Orchestration<String, String> = Orchestration::new("welcome");
///
/// async fn greet(_: ActivityContext, name: String) -> Result<String, Failure> {
///     Ok(format!("Hello, {name}!"))
/// }
///
/// async fn welcome(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
///     Ok(ctx.call_activity(&GREET, &name).await?)
/// }
///
/// let registry = Registry::new()
///     .activity(&GREET, greet)
///     .orchestration(&WELCOME, welcome);
/// assert!(registry.duplicates().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    orchestrations: BTreeMap<String, OrchestrationHandler>,
    activities: BTreeMap<String, ActivityHandler>,
    duplicates: Vec<String>,
}

/// An activity under way: yields its output as JSON text.
pub type RunningActivity = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

impl Registry {
    /// A registry without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the orchestration's code. It must be deterministic: everything it
    /// learns comes from its input and its context.
    ///
    /// A second handler for the same name is not taken; see [`Registry::duplicates`].
    #[must_use]
    pub fn orchestration<I, O, F, Fut>(
        mut self,
        orchestration: &Orchestration<I, O>,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let name = orchestration.name();
        let handler = Arc::new(handler);
        let erased: OrchestrationHandler = Arc::new(move |context, input| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let input = decode_input(name, input)?;
                let output = handler(context, input).await?;
                encode_output(name, &output)
            })
        });
        if self.orchestrations.contains_key(name) {
            self.duplicates.push(format!("orchestration '{name}'"));
        } else {
            self.orchestrations.insert(name.to_owned(), erased);
        }
        self
    }

    /// Adds the activity's code. It may run more than once for one call, so its
    /// second run should change nothing.
    ///
    /// A second handler for the same name is not taken; see [`Registry::duplicates`].
    #[must_use]
    pub fn activity<I, O, F, Fut>(mut self, activity: &Activity<I, O>, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(ActivityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let name = activity.name();
        let handler = Arc::new(handler);
        let erased: ActivityHandler = Arc::new(move |context, input| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let input = decode_input(name, input)?;
                let output = handler(context, input).await?;
                encode_output(name, &output)
            })
        });
        if self.activities.contains_key(name) {
            self.duplicates.push(format!("activity '{name}'"));
        } else {
            self.activities.insert(name.to_owned(), erased);
        }
        self
    }

    /// Adds all handlers of `other`; its duplicates of ours are not taken.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (name, handler) in other.orchestrations {
            match self.orchestrations.entry(name) {
                Entry::Occupied(taken) => {
                    let name = taken.key();
                    self.duplicates.push(format!("orchestration '{name}'"));
                }
                Entry::Vacant(free) => {
                    free.insert(handler);
                }
            }
        }
        for (name, handler) in other.activities {
            match self.activities.entry(name) {
                Entry::Occupied(taken) => {
                    let name = taken.key();
                    self.duplicates.push(format!("activity '{name}'"));
                }
                Entry::Vacant(free) => {
                    free.insert(handler);
                }
            }
        }
        self.duplicates.extend(other.duplicates);
        self
    }

    /// The names that were registered twice, with their kind. A worker refuses
    /// to start with any.
    #[must_use]
    pub fn duplicates(&self) -> &[String] {
        &self.duplicates
    }

    /// The names of the orchestrations, sorted.
    pub fn orchestration_names(&self) -> impl Iterator<Item = &str> {
        self.orchestrations.keys().map(String::as_str)
    }

    /// The names of the activities, sorted.
    pub fn activity_names(&self) -> impl Iterator<Item = &str> {
        self.activities.keys().map(String::as_str)
    }

    /// Starts the activity that `context` names, with JSON text as its input.
    /// The future yields its output as JSON text.
    ///
    /// # Errors
    ///
    /// `ActivityTaskNotFound`, not retriable, if nothing is registered under the name.
    pub fn start_activity(
        &self,
        context: ActivityContext,
        input: Option<String>,
    ) -> Result<RunningActivity, Failure> {
        match self.activities.get(context.name()) {
            Some(handler) => Ok(handler(context, input)),
            None => Err(Failure::new(
                "ActivityTaskNotFound",
                format!(
                    "no activity '{}' is registered with this worker; register it or start a worker that has it",
                    context.name()
                ),
            )
            .permanent()),
        }
    }

    pub(crate) fn start_orchestration(
        &self,
        name: &str,
        context: OrchestrationContext,
        input: Option<String>,
    ) -> Result<HandlerFuture, FailureDetails> {
        match self.orchestrations.get(name) {
            Some(handler) => Ok(handler(context, input)),
            None => Err(FailureDetails {
                non_retriable: true,
                ..FailureDetails::new(
                    "OrchestratorTaskNotFound",
                    format!(
                        "no orchestration '{name}' is registered with this worker; register it or start a worker that has it"
                    ),
                )
            }),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("orchestrations", &self.orchestrations.keys())
            .field("activities", &self.activities.keys())
            .field("duplicates", &self.duplicates)
            .finish()
    }
}

fn decode_input<I: DeserializeOwned>(name: &str, input: Option<String>) -> Result<I, Failure> {
    codec::decode(input.as_deref()).map_err(|reason| {
        Failure::new(
            "PayloadMismatch",
            format!(
                "the input of '{name}' does not have the type that its contract promises: {reason}"
            ),
        )
        .permanent()
    })
}

fn encode_output<O: Serialize>(name: &str, output: &O) -> Result<String, Failure> {
    codec::encode(output).map_err(|reason| {
        Failure::new(
            "PayloadMismatch",
            format!("the output of '{name}': {reason}"),
        )
        .permanent()
    })
}
