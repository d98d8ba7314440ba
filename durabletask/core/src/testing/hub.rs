//! A task hub in memory: how a test sets it up and what it learns from a run.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::codec;
use crate::contract::{Event, Feed, Orchestration};
use crate::entity::{EntityId, EntityRef, feed_entity, read_values, register_feeds};
use crate::error::{Failure, FailureDetails};
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload};
use crate::input::InputFor;
use crate::registry::Registry;
use crate::replay::UpdateAnswer;

use super::behavior::Behavior;
use super::entities::TestEntities;
use super::epoch;
use super::instance::{Instance, World};

/// An in-memory task hub for one orchestration and its children.
///
/// Activities are answered by a closure; [`activity_takes`](TestHub::activity_takes),
/// [`activity_fails`](TestHub::activity_fails) and [`worker_dies_in`](TestHub::worker_dies_in)
/// say how they behave. Entities run the code of the registry, and locks are granted at once,
/// since nobody else is there. Timers fire by moving the clock, never
/// by waiting. After each turn the whole history is replayed from the start and
/// compared, so code that is not deterministic fails here.
///
/// ```
/// use durabletask::testing::{TestHub, TestStatus};
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
/// use serde_json::json;
///
/// const GREET: Activity<String, String> = Activity::new("greet");
/// const WELCOME: Orchestration<String, String> = Orchestration::new("welcome");
///
/// async fn welcome(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
///     Ok(ctx.call_activity(&GREET, &name).await?)
/// }
///
/// let run = TestHub::new(Registry::new().orchestration(&WELCOME, welcome)).run(
///     &WELCOME,
///     &"Ada".to_owned(),
///     |activity, input| match activity {
///         "greet" => Ok(json!(format!("Hello, {}!", input.as_str().unwrap_or_default()))),
///         other => Err(Failure::new("Unexpected", other)),
///     },
/// );
/// assert_eq!(run.status, TestStatus::Completed);
/// assert_eq!(run.output().unwrap(), "Hello, Ada!");
/// ```
#[derive(Clone, Debug)]
pub struct TestHub {
    registry: Arc<Registry>,
    instance_id: String,
    version: Option<String>,
    tags: BTreeMap<String, String>,
    deliveries: Vec<(Duration, HistoryPayload)>,
    entities: BTreeMap<EntityId, String>,
    pub(super) behaviors: BTreeMap<String, Behavior>,
}

/// Where a run ended.
///
/// ```
/// use durabletask::testing::{TestHub, TestStatus};
/// use durabletask::{Event, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const GO: Event<u32> = Event::new("go");
/// const WAIT: Orchestration<(), u32> = Orchestration::new("wait");
///
/// let registry = Registry::new().orchestration(&WAIT, async |ctx: OrchestrationContext, ()| {
///     Ok(ctx.wait_for_event(&GO).await?)
/// });
/// let run = TestHub::new(registry).run(&WAIT, &(), |name, _| Err(Failure::new("Unexpected", name)));
/// assert_eq!(run.status, TestStatus::Waiting);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestStatus {
    /// It returned a value.
    Completed,
    /// It failed.
    Failed,
    /// It was terminated.
    Terminated,
    /// It waits for something that never comes in this run.
    Waiting,
}

/// What a run did.
///
/// ```
/// use durabletask::testing::TestHub;
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
/// use serde_json::json;
///
/// const PRICE: Activity<String, u32> = Activity::new("price");
/// const SHOP: Orchestration<String, u32> = Orchestration::new("shop");
///
/// async fn shop(ctx: OrchestrationContext, item: String) -> Result<u32, Failure> {
///     Ok(ctx.call_activity(&PRICE, &item).await? * 2)
/// }
///
/// let registry = Registry::new().orchestration(&SHOP, shop);
/// let run = TestHub::new(registry).run(&SHOP, &"tea".to_owned(), |_, _| Ok(json!(3)));
/// assert_eq!(run.output(), Ok(6));
/// assert_eq!(run.calls, [("price".to_owned(), json!("tea"))]);
/// assert_eq!(run.executions, 1);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestRun<O> {
    /// Where it ended.
    pub status: TestStatus,
    /// The output as JSON text.
    pub output_json: Option<String>,
    /// The failure, if it failed.
    pub failure: Option<FailureDetails>,
    /// Each custom status that a turn ended with, without repetitions.
    pub custom_statuses: Vec<Value>,
    /// All activity calls in order, with their inputs.
    pub calls: Vec<(String, Value)>,
    /// The history of the last execution: what a replay needs. Inputs are in `calls`.
    pub history: Vec<HistoryEvent>,
    /// How many executions there were; more than one after continue-as-new.
    pub executions: usize,
    /// The clock at the end.
    pub clock: DateTime<Utc>,
    /// The states that entities have at the end, JSON text.
    pub entities: BTreeMap<EntityId, String>,
    /// The orchestrations that entities started, with their inputs. They are not run.
    pub entity_starts: Vec<(String, Value)>,
    pub(super) answers: BTreeMap<String, UpdateAnswer>,
    pub(super) registry: Arc<Registry>,
    pub(super) instance_id: String,
    output: PhantomData<fn() -> O>,
}

impl<O: DeserializeOwned> TestRun<O> {
    /// The output.
    ///
    /// # Errors
    ///
    /// The failure, or an explanation if there is no output of that type.
    pub fn output(&self) -> Result<O, FailureDetails> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.status != TestStatus::Completed {
            return Err(FailureDetails::new(
                "NoOutput",
                format!("the orchestration is {:?}", self.status),
            ));
        }
        codec::decode(self.output_json.as_deref())
            .map_err(|reason| FailureDetails::new("PayloadMismatch", reason))
    }
}

impl<O> TestRun<O> {
    /// The state of an entity at the end; `None` if it has none of that type.
    #[must_use]
    pub fn entity_state<S: DeserializeOwned>(&self, entity: &EntityRef<S>) -> Option<S> {
        codec::decode(self.entities.get(entity.id()).map(String::as_str)).ok()
    }

    /// What the orchestration has published in its feed: the values that are kept, oldest
    /// first.
    ///
    /// # Errors
    ///
    /// If a value is no `T`.
    pub fn published<T: DeserializeOwned>(&self, feed: &Feed<T>) -> Result<Vec<T>, Failure> {
        let log = self.entity_state(&feed_entity(&self.instance_id, feed.name()));
        read_values(log.unwrap_or_default().page(0).values)
    }
}

impl TestHub {
    /// A hub that runs the orchestrations of `registry`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(register_feeds(registry)),
            instance_id: "test-instance".to_owned(),
            version: None,
            tags: BTreeMap::new(),
            deliveries: Vec::new(),
            entities: BTreeMap::new(),
            behaviors: BTreeMap::new(),
        }
    }

    /// Gives an entity a state to start from.
    #[must_use]
    pub fn entity_state<S: Serialize>(mut self, entity: &EntityRef<S>, state: &S) -> Self {
        if let Ok(state) = codec::encode(state) {
            self.entities.insert(entity.id().clone(), state);
        }
        self
    }

    /// Sets the instance id (`test-instance` otherwise).
    #[must_use]
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = instance_id.into();
        self
    }

    /// Sets the instance's version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds a tag to the instance.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Raises an external event `after` the start, on the test clock.
    #[must_use]
    pub fn raise_event<T>(
        self,
        after: Duration,
        event: &Event<T>,
        payload: &(impl InputFor<T> + ?Sized),
    ) -> Self {
        let input = codec::encode(payload).ok();
        self.raise_event_json(after, event.name(), input)
    }

    /// Raises an external event with any JSON text, well-formed or not.
    #[must_use]
    pub fn raise_event_json(self, after: Duration, name: &str, input: Option<String>) -> Self {
        let name = name.to_owned();
        self.deliver(after, HistoryPayload::EventRaised { name, input })
    }

    /// Delivers anything `after` the start: a suspension, a termination.
    #[must_use]
    pub fn deliver(mut self, after: Duration, payload: HistoryPayload) -> Self {
        self.deliveries.push((after, payload));
        self
    }

    /// Runs the orchestration until it ends or waits for what never comes.
    /// `activities` gets the activity's name and input and yields its result.
    pub fn run<I, O, F>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        mut activities: F,
    ) -> TestRun<O>
    where
        F: FnMut(&str, Value) -> Result<Value, Failure>,
    {
        let mut world = World {
            activities: &mut activities,
            behaviors: self.behaviors.clone(),
            calls: Vec::new(),
            entities: TestEntities::new(Arc::clone(&self.registry), self.entities.clone()),
        };
        let instance = Instance::new(
            Arc::clone(&self.registry),
            self.instance_id.clone(),
            ExecutionStarted {
                name: orchestration.name().to_owned(),
                version: self.version.clone(),
                input: codec::encode(input).ok(),
                tags: self.tags.clone(),
                ..ExecutionStarted::default()
            },
            epoch(),
            &self.deliveries,
        );
        let end = instance.run(&mut world, 0);
        world.entities.run_due(end.clock);
        TestRun {
            status: end.status,
            output_json: end.output,
            failure: end.failure,
            custom_statuses: end.custom_statuses,
            calls: world.calls,
            history: end.history,
            executions: end.executions,
            clock: end.clock,
            entities: world.entities.states,
            entity_starts: world.entities.started,
            answers: end.answers,
            registry: Arc::clone(&self.registry),
            instance_id: self.instance_id.clone(),
            output: PhantomData,
        }
    }
}
