//! Which code answers to which name.

mod by_version;

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
use crate::entity::{Entity, EntityHandler, EntityHandlers};
use crate::error::{Failure, FailureDetails};
use crate::outcome::{Ended, Outcome};
use crate::replay::OrchestrationContext;

use by_version::ByVersion;

/// The result of a handler, in the future: an output is JSON text.
pub(crate) type HandlerFuture<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

type OrchestrationHandler = Handler<OrchestrationContext, Ended>;
type ActivityHandler = Handler<ActivityContext, String>;
type OrchestrationLayer = Layer<OrchestrationContext, Ended>;
type ActivityLayer = Layer<ActivityContext, String>;

/// Handlers by name: what a worker can run.
///
/// ```
/// use durabletask::{Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry};
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
    orchestrations: ByVersion<OrchestrationHandler>,
    activities: ByVersion<ActivityHandler>,
    orchestration_layers: Vec<OrchestrationLayer>,
    activity_layers: Vec<ActivityLayer>,
    /// By name in lower case.
    entities: BTreeMap<String, Arc<dyn EntityHandler>>,
    duplicates: Vec<String>,
}

/// What a middleware wraps: the handler with the middleware inside of it.
///
/// Dropping it without [`run`](Self::run) keeps the handler from running.
///
/// ```
/// use durabletask::middleware::Next;
/// use durabletask::{ActivityContext, Registry};
///
/// let registry = Registry::new().activity_middleware(
///     async |ctx: ActivityContext, next: Next| {
///         let bytes = next.input_json().map_or(0, str::len);
///         let result = next.run().await;
///         println!("{} took {bytes} bytes and ended: {}", ctx.name(), result.is_ok());
///         result
///     },
/// );
/// # let _ = registry;
/// ```
#[must_use = "the handler does not run unless `run` is awaited"]
pub struct Next<T = String> {
    input: Option<String>,
    run: Box<dyn FnOnce(Option<String>) -> HandlerFuture<T> + Send>,
}

impl<T> Next<T> {
    /// The input, JSON text.
    #[must_use]
    pub fn input_json(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// Runs the handler; yields its output: of an activity the JSON text, of an
    /// orchestration how it [`Ended`].
    ///
    /// # Errors
    ///
    /// The handler's failure.
    pub async fn run(self) -> Result<T, Failure> {
        (self.run)(self.input).await
    }
}

impl<T> fmt::Debug for Next<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Inputs may be confidential, so only their sizes are shown.
        f.debug_struct("Next")
            .field("input_bytes", &self.input.as_ref().map(String::len))
            .finish_non_exhaustive()
    }
}

/// An activity under way: yields its output as JSON text.
///
/// ```
/// use durabletask_core::RunningActivity;
/// use durabletask::{Activity, ActivityContext, Failure, Registry};
///
/// const ECHO: Activity<u32, u32> = Activity::new("echo");
///
/// let registry = Registry::new().activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n));
/// let context = ActivityContext::new("echo", "order-1", 0);
/// let running: RunningActivity = registry.start_activity(context, Some("7".to_owned()))?;
/// # let _ = running;
/// # Ok::<(), Failure>(())
/// ```
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
    /// It runs instances of all versions, unless code for one of them is added with
    /// [`orchestration_version`](Self::orchestration_version). A second handler for
    /// the same name is not taken; see [`Registry::duplicates`].
    #[must_use]
    pub fn orchestration<I, O, F, Fut>(
        self,
        orchestration: &Orchestration<I, O>,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.orchestration_version(orchestration, "", handler)
    }

    /// Adds the code for one version of the orchestration, beside that for others.
    /// Instances that were started with `version` run it, to their end; an empty
    /// version is that of instances without one. Once a name has a version, an
    /// instance of a version that is not there fails with `OrchestratorTaskNotFound`
    /// rather than run other code.
    ///
    /// ```
    /// use durabletask::{Failure, Orchestration, OrchestrationContext, Registry};
    ///
    /// const PRICE: Orchestration<u32, u32> = Orchestration::new("price");
    ///
    /// async fn price(_: OrchestrationContext, net: u32) -> Result<u32, Failure> {
    ///     Ok(net)
    /// }
    ///
    /// /// From version 2 on with tax.
    /// async fn price_with_tax(_: OrchestrationContext, net: u32) -> Result<u32, Failure> {
    ///     Ok(net + net / 5)
    /// }
    ///
    /// let registry = Registry::new()
    ///     .orchestration(&PRICE, price)
    ///     .orchestration_version(&PRICE, "2", price_with_tax);
    /// assert!(registry.duplicates().is_empty());
    /// assert_eq!(registry.orchestration_versions("price").collect::<Vec<_>>(), ["", "2"]);
    /// ```
    #[must_use]
    pub fn orchestration_version<I, O, F, Fut>(
        self,
        orchestration: &Orchestration<I, O>,
        version: &str,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add_orchestration(orchestration, version, move |context, input| {
            let handler = Arc::clone(&handler);
            async move { handler(context, input).await.map(Outcome::<(), O>::Done) }
        })
    }

    /// Adds the code of an orchestration that can continue as new: it yields an
    /// [`Outcome`]. Otherwise like [`orchestration`](Self::orchestration).
    ///
    /// ```
    /// use durabletask::{Failure, Orchestration, OrchestrationContext, Outcome, Registry};
    ///
    /// const COUNT: Orchestration<u32, u32> = Orchestration::new("count");
    ///
    /// async fn count(_: OrchestrationContext, n: u32) -> Result<Outcome<u32, u32>, Failure> {
    ///     Ok(match n {
    ///         0..10 => Outcome::continue_as_new(n + 1),
    ///         _ => Outcome::Done(n),
    ///     })
    /// }
    ///
    /// let registry = Registry::new().continuing(&COUNT, count);
    /// assert!(registry.duplicates().is_empty());
    /// ```
    #[must_use]
    pub fn continuing<I, O, F, Fut>(self, orchestration: &Orchestration<I, O>, handler: F) -> Self
    where
        I: Serialize + DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<I, O>, Failure>> + Send + 'static,
    {
        self.add_orchestration(orchestration, "", handler)
    }

    /// Like [`continuing`](Self::continuing), for one version of the orchestration; see
    /// [`orchestration_version`](Self::orchestration_version).
    #[must_use]
    pub fn continuing_version<I, O, F, Fut>(
        self,
        orchestration: &Orchestration<I, O>,
        version: &str,
        handler: F,
    ) -> Self
    where
        I: Serialize + DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<I, O>, Failure>> + Send + 'static,
    {
        self.add_orchestration(orchestration, version, handler)
    }

    fn add_orchestration<I, N, O, F, Fut>(
        mut self,
        orchestration: &Orchestration<I, O>,
        version: &str,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        N: Serialize + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome<N, O>, Failure>> + Send + 'static,
    {
        let name: Arc<str> = orchestration.name().into();
        let handler = Arc::new(handler);
        let erased: OrchestrationHandler = Arc::new(move |context, input| {
            let (name, handler) = (Arc::clone(&name), Arc::clone(&handler));
            Box::pin(async move {
                let input = decode_input(&name, input)?;
                let outcome = handler(context, input).await?;
                Ended::of(&name, &outcome)
            })
        });
        let name = orchestration.name();
        let taken = self.orchestrations.add(name, version, erased).err();
        self.duplicates.extend(taken.map(as_orchestration));
        self
    }

    /// Adds the activity's code. It may run more than once for one call, so its
    /// second run should change nothing.
    ///
    /// It serves calls of all versions, unless code for one of them is added with
    /// [`activity_version`](Self::activity_version). A second handler for the same
    /// name is not taken; see [`Registry::duplicates`].
    #[must_use]
    pub fn activity<I, O, F, Fut>(self, activity: &Activity<I, O>, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(ActivityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.activity_version(activity, "", handler)
    }

    /// Adds the code for one version of the activity, beside that for others. A call
    /// has the version of its orchestration, unless its options name another. Once a
    /// name has a version, a call of a version that is not there fails with
    /// `ActivityTaskNotFound` rather than run other code.
    ///
    /// ```
    /// use durabletask::{Activity, ActivityContext, Registry};
    ///
    /// const TAX: Activity<u32, u32> = Activity::new("tax");
    ///
    /// let registry = Registry::new()
    ///     .activity_version(&TAX, "1", async |_: ActivityContext, net: u32| Ok(net / 6))
    ///     .activity_version(&TAX, "2", async |_: ActivityContext, net: u32| Ok(net / 5));
    /// let call = ActivityContext::new("tax", "order-1", 0);
    /// assert!(registry.start_activity(call.clone().with_version(Some("2".into())), None).is_ok());
    /// assert!(registry.start_activity(call.with_version(Some("3".into())), None).is_err());
    /// ```
    #[must_use]
    pub fn activity_version<I, O, F, Fut>(
        mut self,
        activity: &Activity<I, O>,
        version: &str,
        handler: F,
    ) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(ActivityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let name: Arc<str> = activity.name().into();
        let handler = Arc::new(handler);
        let erased: ActivityHandler = Arc::new(move |context, input| {
            let (name, handler) = (Arc::clone(&name), Arc::clone(&handler));
            Box::pin(async move {
                let input = decode_input(&name, input)?;
                let output = handler(context, input).await?;
                encode_output(&name, &output)
            })
        });
        let name = activity.name();
        let taken = self.activities.add(name, version, erased).err();
        self.duplicates.extend(taken.map(as_activity));
        self
    }

    /// Adds the activity's code, which gets a clone of `state` with each call: a pool of
    /// connections, a client, a configuration.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use durabletask::{Activity, ActivityContext, Failure, Registry};
    ///
    /// const PRICE: Activity<String, u32> = Activity::new("price");
    ///
    /// struct Prices(Vec<(String, u32)>);
    ///
    /// async fn price(prices: Arc<Prices>, _: ActivityContext, item: String) -> Result<u32, Failure> {
    ///     let found = prices.0.iter().find(|(name, _)| *name == item);
    ///     found.map(|(_, cents)| *cents).ok_or_else(|| "there is no such item".into())
    /// }
    ///
    /// let prices = Arc::new(Prices(vec![("tea".to_owned(), 250)]));
    /// let registry = Registry::new().activity_with_state(&PRICE, prices, price);
    /// assert!(registry.has_activity("price", ""));
    /// ```
    #[must_use]
    pub fn activity_with_state<S, I, O, F, Fut>(
        self,
        activity: &Activity<I, O>,
        state: S,
        handler: F,
    ) -> Self
    where
        S: Clone + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(S, ActivityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.activity(activity, move |context, input| {
            handler(state.clone(), context, input)
        })
    }

    /// Adds the entity's operations.
    ///
    /// A second set for the same name is not taken; see [`Registry::duplicates`].
    #[must_use]
    pub fn entity<S>(mut self, entity: &Entity<S>, handlers: EntityHandlers<S>) -> Self
    where
        S: Serialize + DeserializeOwned + Send + 'static,
    {
        let name = entity.name();
        for operation in handlers.duplicates() {
            self.duplicates
                .push(format!("operation '{operation}' of the entity '{name}'"));
        }
        match self.entities.entry(name.to_lowercase()) {
            Entry::Occupied(_) => self.duplicates.push(format!("entity '{name}'")),
            Entry::Vacant(free) => {
                free.insert(Arc::new(handlers));
            }
        }
        self
    }

    /// Wraps every orchestration: `layer` gets its context and what it wraps,
    /// and yields how it [`Ended`]. The first layer is the outermost.
    ///
    /// It is part of the orchestration and as deterministic as that must be: it
    /// is replayed, it may call activities through the context, and it must not
    /// await anything else.
    ///
    /// ```
    /// use durabletask::middleware::{Ended, Next};
    /// use durabletask::{OrchestrationContext, Registry};
    ///
    /// let registry = Registry::new().orchestration_middleware(
    ///     async |ctx: OrchestrationContext, next: Next<Ended>| {
    ///         let result = next.run().await;
    ///         if let Err(failure) = &result {
    ///             tracing::warn!(instance_id = ctx.instance_id(), %failure, "it failed");
    ///         }
    ///         result
    ///     },
    /// );
    /// # let _ = registry;
    /// ```
    #[must_use]
    pub fn orchestration_middleware<F, Fut>(mut self, layer: F) -> Self
    where
        F: Fn(OrchestrationContext, Next<Ended>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ended, Failure>> + Send + 'static,
    {
        self.orchestration_layers
            .push(Arc::new(move |context, next| {
                Box::pin(layer(context, next))
            }));
        self
    }

    /// Wraps every activity: `layer` gets the call and what it wraps, and yields
    /// the output as JSON text. The first layer is the outermost.
    ///
    /// ```
    /// use durabletask::middleware::Next;
    /// use durabletask::{ActivityContext, Registry};
    ///
    /// let registry = Registry::new().activity_middleware(
    ///     async |ctx: ActivityContext, next: Next| {
    ///         let result = next.run().await;
    ///         tracing::info!(activity = ctx.name(), succeeded = result.is_ok());
    ///         result
    ///     },
    /// );
    /// # let _ = registry;
    /// ```
    #[must_use]
    pub fn activity_middleware<F, Fut>(mut self, layer: F) -> Self
    where
        F: Fn(ActivityContext, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Failure>> + Send + 'static,
    {
        self.activity_layers.push(Arc::new(move |context, next| {
            Box::pin(layer(context, next))
        }));
        self
    }

    /// Adds all handlers of `other`; its duplicates of ours are not taken. Its
    /// middleware comes inside of ours, and wraps all handlers.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let taken = self.orchestrations.merge(other.orchestrations);
        self.duplicates
            .extend(taken.into_iter().map(as_orchestration));
        let taken = self.activities.merge(other.activities);
        self.duplicates.extend(taken.into_iter().map(as_activity));
        for (name, handlers) in other.entities {
            match self.entities.entry(name) {
                Entry::Occupied(taken) => {
                    let name = taken.key();
                    self.duplicates.push(format!("entity '{name}'"));
                }
                Entry::Vacant(free) => {
                    free.insert(handlers);
                }
            }
        }
        self.orchestration_layers.extend(other.orchestration_layers);
        self.activity_layers.extend(other.activity_layers);
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
        self.orchestrations.names()
    }

    /// The versions for which the orchestration has code of its own, in lower case,
    /// sorted; an empty one is that of instances without a version. None if its code
    /// serves all versions, or if there is none.
    pub fn orchestration_versions(&self, name: &str) -> impl Iterator<Item = &str> {
        self.orchestrations.versions(name)
    }

    /// The names of the activities, sorted.
    pub fn activity_names(&self) -> impl Iterator<Item = &str> {
        self.activities.names()
    }

    /// The versions for which the activity has code of its own, in lower case, sorted;
    /// an empty one is that of calls without a version. None if its code serves all
    /// versions, or if there is none.
    pub fn activity_versions(&self, name: &str) -> impl Iterator<Item = &str> {
        self.activities.versions(name)
    }

    /// Whether there is code for this orchestration and version.
    #[must_use]
    pub fn has_orchestration(&self, name: &str, version: &str) -> bool {
        self.orchestrations.find(name, version).is_some()
    }

    /// Whether there is code for this activity and version.
    #[must_use]
    pub fn has_activity(&self, name: &str, version: &str) -> bool {
        self.activities.find(name, version).is_some()
    }

    /// The names of the entities, in lower case, sorted.
    pub fn entity_names(&self) -> impl Iterator<Item = &str> {
        self.entities.keys().map(String::as_str)
    }

    pub(crate) fn entity_handler(&self, name: &str) -> Option<Arc<dyn EntityHandler>> {
        self.entities.get(name).cloned()
    }

    /// Starts the activity that `context` names, with JSON text as its input.
    /// The future yields its output as JSON text.
    ///
    /// # Errors
    ///
    /// `ActivityTaskNotFound`, not retriable, if nothing is registered under the name
    /// and version.
    pub fn start_activity(
        &self,
        context: ActivityContext,
        input: Option<String>,
    ) -> Result<RunningActivity, Failure> {
        let version = context.version().unwrap_or_default();
        match self.activities.find(context.name(), version) {
            Some(handler) => Ok(layered(handler, &self.activity_layers, context, input)),
            None => Err(Failure::new(
                "ActivityTaskNotFound",
                format!(
                    "no activity {} is registered with this worker{}; register it or start a worker that has it",
                    named(context.name(), version),
                    self.activities.told(context.name())
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
    ) -> Result<HandlerFuture<Ended>, FailureDetails> {
        let version = context.version().unwrap_or_default().to_owned();
        match self.orchestrations.find(name, &version) {
            Some(handler) => Ok(layered(handler, &self.orchestration_layers, context, input)),
            None => Err(FailureDetails {
                non_retriable: true,
                ..FailureDetails::new(
                    "OrchestratorTaskNotFound",
                    format!(
                        "no orchestration {} is registered with this worker{}; register it or start a worker that has it",
                        named(name, &version),
                        self.orchestrations.told(name)
                    ),
                )
            }),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field(
                "orchestrations",
                &self.orchestrations.names().collect::<Vec<_>>(),
            )
            .field("activities", &self.activities.names().collect::<Vec<_>>())
            .field("entities", &self.entities.keys())
            .field("duplicates", &self.duplicates)
            .finish()
    }
}

fn as_orchestration(name: String) -> String {
    format!("orchestration {name}")
}

fn as_activity(name: String) -> String {
    format!("activity {name}")
}

/// For a message: the name, and the version if there is one.
fn named(name: &str, version: &str) -> String {
    if version.is_empty() {
        format!("'{name}'")
    } else {
        format!("'{name}' of version '{version}'")
    }
}

type Handler<C, T> = Arc<dyn Fn(C, Option<String>) -> HandlerFuture<T> + Send + Sync>;
type Layer<C, T> = Arc<dyn Fn(C, Next<T>) -> HandlerFuture<T> + Send + Sync>;

/// The handler's future inside those of the layers.
fn layered<C: Clone + Send + 'static, T: 'static>(
    handler: &Handler<C, T>,
    layers: &[Layer<C, T>],
    context: C,
    input: Option<String>,
) -> HandlerFuture<T> {
    if layers.is_empty() {
        return handler(context, input);
    }
    let innermost = Arc::clone(handler);
    let inner_context = context.clone();
    let mut run: Box<dyn FnOnce(Option<String>) -> HandlerFuture<T> + Send> =
        Box::new(move |input| innermost(inner_context, input));
    for layer in layers.iter().rev() {
        let layer = Arc::clone(layer);
        let context = context.clone();
        let inner = run;
        run = Box::new(move |input| layer(context, Next { input, run: inner }));
    }
    run(input)
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
