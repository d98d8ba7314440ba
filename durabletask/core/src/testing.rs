//! Testing orchestrations without a scheduler: histories written by hand, and
//! [`TestHub`], which drives an orchestration in memory with made-up activities
//! and a clock that jumps from timer to timer.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::action::{ActionKind, CompletionStatus, OrchestratorAction};
use crate::codec;
use crate::contract::{Event, Orchestration};
use crate::error::{Failure, FailureDetails};
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload, ParentInstance};
use crate::registry::Registry;
use crate::replay::{Execution, TurnResult};

/// Turns after which a run counts as endless.
const MAX_TURNS: usize = 100_000;
/// How deep sub-orchestrations may nest in a run.
const MAX_DEPTH: usize = 16;

/// The instant at which test clocks start: 2024-01-02T03:04:05Z.
#[must_use]
pub fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_704_164_645, 0).unwrap_or(DateTime::UNIX_EPOCH)
}

/// Writes a history by hand, with timestamps from a clock that is moved by hand.
///
/// ```
/// use durabletask_core::testing::HistoryBuilder;
///
/// let history = HistoryBuilder::new()
///     .orchestrator_started()
///     .execution_started("welcome", "\"Ada\"")
///     .task_scheduled(0, "greet")
///     .build();
/// assert_eq!(history.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct HistoryBuilder {
    clock: DateTime<Utc>,
    events: Vec<HistoryEvent>,
}

impl Default for HistoryBuilder {
    fn default() -> Self {
        Self {
            clock: epoch(),
            events: Vec::new(),
        }
    }
}

impl HistoryBuilder {
    /// An empty history at [`epoch`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    #[must_use]
    pub fn advance(mut self, by: Duration) -> Self {
        self.clock += TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        self
    }

    /// Any event; `event_id` is -1 unless it records an action.
    #[must_use]
    pub fn event(mut self, event_id: i32, payload: HistoryPayload) -> Self {
        self.events
            .push(HistoryEvent::new(event_id, self.clock, payload));
        self
    }

    /// A turn begins.
    #[must_use]
    pub fn orchestrator_started(self) -> Self {
        self.event(-1, HistoryPayload::OrchestratorStarted)
    }

    /// The execution begins with JSON text as its input.
    #[must_use]
    pub fn execution_started(self, name: &str, input: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::ExecutionStarted(Box::new(ExecutionStarted {
                name: name.to_owned(),
                input: Some(input.to_owned()),
                ..ExecutionStarted::default()
            })),
        )
    }

    /// Action `id` called an activity.
    #[must_use]
    pub fn task_scheduled(self, id: i32, name: &str) -> Self {
        let name = name.to_owned();
        self.event(id, HistoryPayload::TaskScheduled { name })
    }

    /// The activity call `id` yielded JSON text.
    #[must_use]
    pub fn task_completed(self, id: i32, result: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::TaskCompleted {
                task_id: id,
                result: Some(result.to_owned()),
            },
        )
    }

    /// The activity call `id` failed.
    #[must_use]
    pub fn task_failed(self, id: i32, failure: FailureDetails) -> Self {
        self.event(
            -1,
            HistoryPayload::TaskFailed {
                task_id: id,
                failure,
            },
        )
    }

    /// Action `id` started a sub-orchestration.
    #[must_use]
    pub fn sub_orchestration_created(self, id: i32, name: &str, instance_id: &str) -> Self {
        self.event(
            id,
            HistoryPayload::SubOrchestrationCreated {
                name: name.to_owned(),
                instance_id: instance_id.to_owned(),
            },
        )
    }

    /// The sub-orchestration `id` yielded JSON text.
    #[must_use]
    pub fn sub_orchestration_completed(self, id: i32, result: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::SubOrchestrationCompleted {
                task_id: id,
                result: Some(result.to_owned()),
            },
        )
    }

    /// Action `id` set a timer.
    #[must_use]
    pub fn timer_created(self, id: i32) -> Self {
        self.event(id, HistoryPayload::TimerCreated { fire_at: None })
    }

    /// The timer `id` is due.
    #[must_use]
    pub fn timer_fired(self, id: i32) -> Self {
        self.event(-1, HistoryPayload::TimerFired { timer_id: id })
    }

    /// An external event arrived with JSON text.
    #[must_use]
    pub fn event_raised(self, name: &str, input: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::EventRaised {
                name: name.to_owned(),
                input: Some(input.to_owned()),
            },
        )
    }

    /// The history so far.
    #[must_use]
    pub fn build(self) -> Vec<HistoryEvent> {
        self.events
    }
}

/// Replays a stored history: `Ok` if the code still does what was recorded.
///
/// # Errors
///
/// The failure with which the execution would end, for example a `NonDeterminismError`.
pub fn replay_history(
    registry: Registry,
    instance_id: &str,
    history: &[HistoryEvent],
) -> Result<(), FailureDetails> {
    let mut execution = Execution::new(instance_id, None, Arc::new(registry));
    execution.replay(history.iter().cloned());
    for action in execution.turn(Vec::new()).actions {
        if let ActionKind::Complete {
            failure: Some(failure),
            ..
        } = action.kind
        {
            return Err(failure);
        }
    }
    Ok(())
}

/// An in-memory task hub for one orchestration and its children.
///
/// Activities are answered by a closure. Timers fire by moving the clock, never
/// by waiting. After each turn the whole history is replayed from the start and
/// compared, so code that is not deterministic fails here.
///
/// ```
/// use durabletask_core::testing::{TestHub, TestStatus};
/// use durabletask_core::{Activity, Orchestration, OrchestrationContext, Failure, Registry};
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
}

/// Where a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug)]
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
    /// The history of the last execution.
    pub history: Vec<HistoryEvent>,
    /// How many executions there were; more than one after continue-as-new.
    pub executions: usize,
    /// The clock at the end.
    pub clock: DateTime<Utc>,
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

impl TestHub {
    /// A hub that runs the orchestrations of `registry`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            instance_id: "test-instance".to_owned(),
            version: None,
            tags: BTreeMap::new(),
            deliveries: Vec::new(),
        }
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
    pub fn raise_event<T: Serialize>(self, after: Duration, event: &Event<T>, payload: &T) -> Self {
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
        input: &I,
        mut activities: F,
    ) -> TestRun<O>
    where
        I: Serialize,
        F: FnMut(&str, Value) -> Result<Value, Failure>,
    {
        let mut calls = Vec::new();
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
        let end = instance.run(&mut activities, &mut calls, 0);
        TestRun {
            status: end.status,
            output_json: end.output,
            failure: end.failure,
            custom_statuses: end.custom_statuses,
            calls,
            history: end.history,
            executions: end.executions,
            clock: end.clock,
            output: PhantomData,
        }
    }
}

type Activities<'a> = &'a mut dyn FnMut(&str, Value) -> Result<Value, Failure>;

/// One instance in memory.
struct Instance {
    registry: Arc<Registry>,
    instance_id: String,
    started: ExecutionStarted,
    execution: Execution,
    executions: usize,
    history: Vec<HistoryEvent>,
    clock: DateTime<Utc>,
    /// What is delivered next, one event a turn.
    ready: Vec<HistoryPayload>,
    /// What is due later, by instant and order of creation; events come before timers.
    later: BTreeMap<(DateTime<Utc>, u8, usize), HistoryPayload>,
    created: usize,
    custom_statuses: Vec<Value>,
}

struct End {
    status: TestStatus,
    output: Option<String>,
    failure: Option<FailureDetails>,
    custom_statuses: Vec<Value>,
    history: Vec<HistoryEvent>,
    executions: usize,
    clock: DateTime<Utc>,
}

impl Instance {
    fn new(
        registry: Arc<Registry>,
        instance_id: String,
        started: ExecutionStarted,
        clock: DateTime<Utc>,
        deliveries: &[(Duration, HistoryPayload)],
    ) -> Self {
        let execution = Execution::new(instance_id.as_str(), None, Arc::clone(&registry));
        let mut instance = Self {
            registry,
            instance_id,
            started,
            execution,
            executions: 0,
            history: Vec::new(),
            clock,
            ready: Vec::new(),
            later: BTreeMap::new(),
            created: 0,
            custom_statuses: Vec::new(),
        };
        for (after, payload) in deliveries {
            let at = clock
                .checked_add_signed(TimeDelta::from_std(*after).unwrap_or(TimeDelta::MAX))
                .unwrap_or(DateTime::<Utc>::MAX_UTC);
            instance.schedule(at, 0, payload.clone());
        }
        instance.begin(Vec::new());
        instance
    }

    /// Starts an execution: the first one or one that continues as new.
    fn begin(&mut self, carryover: Vec<HistoryPayload>) {
        self.executions += 1;
        let execution_id = format!("{}-execution-{}", self.instance_id, self.executions);
        self.started.execution_id = Some(execution_id.clone());
        self.execution = Execution::new(
            self.instance_id.as_str(),
            Some(execution_id),
            Arc::clone(&self.registry),
        );
        self.history.clear();
        // Timers and results of the execution before are of no interest to this one.
        self.later.retain(|(_, kind, _), _| *kind == 0);
        self.ready
            .retain(|payload| matches!(payload, HistoryPayload::EventRaised { .. }));
        let mut ready = vec![HistoryPayload::ExecutionStarted(Box::new(
            self.started.clone(),
        ))];
        ready.extend(carryover);
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    fn schedule(&mut self, at: DateTime<Utc>, kind: u8, payload: HistoryPayload) {
        self.created += 1;
        self.later.insert((at, kind, self.created), payload);
    }

    fn run(
        mut self,
        activities: Activities<'_>,
        calls: &mut Vec<(String, Value)>,
        depth: usize,
    ) -> End {
        for _ in 0..MAX_TURNS {
            let payload = if self.ready.is_empty() {
                let Some(((at, _, _), payload)) = self.later.pop_first() else {
                    return self.end(TestStatus::Waiting, None, None);
                };
                self.clock = self.clock.max(at);
                payload
            } else {
                self.ready.remove(0)
            };
            let new = vec![
                HistoryEvent::new(-1, self.clock, HistoryPayload::OrchestratorStarted),
                HistoryEvent::new(-1, self.clock, payload),
            ];
            let result = match self.turn(&new) {
                Ok(result) => result,
                Err(failure) => return self.end(TestStatus::Failed, None, Some(failure)),
            };
            if let Some(status) = &result.custom_status {
                let status = serde_json::from_str(status).unwrap_or(Value::Null);
                if self.custom_statuses.last() != Some(&status) {
                    self.custom_statuses.push(status);
                }
            }
            self.history.extend(new);
            for action in result.actions {
                if let Some(end) = self.act(action, activities, calls, depth) {
                    let (status, output, failure) = end;
                    return self.end(status, output, failure);
                }
            }
        }
        self.end(
            TestStatus::Failed,
            None,
            Some(FailureDetails::new(
                "EndlessRun",
                format!("the orchestration did not end within {MAX_TURNS} turns"),
            )),
        )
    }

    /// Runs the turn on the live execution and on a fresh one, which must agree.
    fn turn(&mut self, new: &[HistoryEvent]) -> Result<TurnResult, FailureDetails> {
        let live = self.execution.turn(new.iter().cloned());
        let mut fresh = Execution::new(
            self.instance_id.as_str(),
            self.started.execution_id.clone(),
            Arc::clone(&self.registry),
        );
        fresh.replay(self.history.iter().cloned());
        let replayed = fresh.turn(new.iter().cloned());
        if live == replayed {
            return Ok(live);
        }
        let recorded = replayed
            .actions
            .iter()
            .find_map(|action| match &action.kind {
                ActionKind::Complete {
                    failure: Some(failure),
                    ..
                } => Some(failure.clone()),
                _ => None,
            });
        Err(recorded.unwrap_or_else(|| {
            FailureDetails::new(
                "NonDeterminismError",
                "replaying the history leads to other decisions than living through it did",
            )
        }))
    }

    fn act(
        &mut self,
        action: OrchestratorAction,
        activities: Activities<'_>,
        calls: &mut Vec<(String, Value)>,
        depth: usize,
    ) -> Option<(TestStatus, Option<String>, Option<FailureDetails>)> {
        let id = action.id;
        match action.kind {
            ActionKind::ScheduleTask { name, input, .. } => {
                let input: Value = input
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or(Value::Null);
                calls.push((name.clone(), input.clone()));
                self.ready.push(match activities(&name, input) {
                    Ok(result) => HistoryPayload::TaskCompleted {
                        task_id: id,
                        result: Some(result.to_string()),
                    },
                    Err(failure) => HistoryPayload::TaskFailed {
                        task_id: id,
                        failure: failure.into_details(),
                    },
                });
                self.record(id, HistoryPayload::TaskScheduled { name });
            }
            ActionKind::CreateSubOrchestration {
                instance_id,
                name,
                version,
                input,
                tags,
                ..
            } => {
                self.record(
                    id,
                    HistoryPayload::SubOrchestrationCreated {
                        name: name.clone(),
                        instance_id: instance_id.clone(),
                    },
                );
                let started = ExecutionStarted {
                    name,
                    version,
                    input,
                    tags,
                    parent: Some(ParentInstance {
                        name: Some(self.started.name.clone()),
                        instance_id: self.instance_id.clone(),
                        task_id: id,
                    }),
                    ..ExecutionStarted::default()
                };
                self.run_child(instance_id, started, id, activities, calls, depth);
            }
            ActionKind::CreateTimer { fire_at } => {
                self.schedule(fire_at, 1, HistoryPayload::TimerFired { timer_id: id });
                let fire_at = Some(fire_at);
                self.record(id, HistoryPayload::TimerCreated { fire_at });
            }
            ActionKind::SendEvent {
                instance_id,
                name,
                data,
            } => {
                if instance_id == self.instance_id {
                    self.ready.push(HistoryPayload::EventRaised {
                        name: name.clone(),
                        input: data,
                    });
                }
                self.record(id, HistoryPayload::EventSent { name, instance_id });
            }
            ActionKind::Complete {
                status,
                result,
                failure,
                new_version,
                carryover,
            } => {
                let status = match status {
                    CompletionStatus::ContinuedAsNew => {
                        self.started.input = result;
                        self.started.version = new_version.or(self.started.version.take());
                        let carryover = carryover
                            .into_iter()
                            .map(|(name, input, _)| HistoryPayload::EventRaised { name, input })
                            .collect();
                        self.begin(carryover);
                        return None;
                    }
                    CompletionStatus::Completed => TestStatus::Completed,
                    CompletionStatus::Failed => TestStatus::Failed,
                    CompletionStatus::Terminated => TestStatus::Terminated,
                };
                let wire = match status {
                    TestStatus::Completed => durabletask_proto::OrchestrationStatus::Completed,
                    TestStatus::Failed => durabletask_proto::OrchestrationStatus::Failed,
                    _ => durabletask_proto::OrchestrationStatus::Terminated,
                };
                let recorded = HistoryPayload::ExecutionCompleted {
                    status: wire as i32,
                };
                self.record(id, recorded);
                return Some((status, result, failure));
            }
        }
        None
    }

    fn run_child(
        &mut self,
        instance_id: String,
        started: ExecutionStarted,
        task_id: i32,
        activities: Activities<'_>,
        calls: &mut Vec<(String, Value)>,
        depth: usize,
    ) {
        if depth >= MAX_DEPTH {
            self.ready.push(HistoryPayload::SubOrchestrationFailed {
                task_id,
                failure: FailureDetails::new(
                    "TooDeep",
                    format!("sub-orchestrations nest deeper than {MAX_DEPTH} in this test"),
                ),
            });
            return;
        }
        let registry = Arc::clone(&self.registry);
        let child = Self::new(registry, instance_id, started, self.clock, &[]);
        let end = child.run(activities, calls, depth + 1);
        let payload = match end.status {
            TestStatus::Completed => HistoryPayload::SubOrchestrationCompleted {
                task_id,
                result: end.output,
            },
            TestStatus::Failed | TestStatus::Terminated => HistoryPayload::SubOrchestrationFailed {
                task_id,
                failure: end
                    .failure
                    .unwrap_or_else(|| FailureDetails::new("Terminated", "it was terminated")),
            },
            TestStatus::Waiting => return,
        };
        // The child's timers took time on its own clock.
        self.schedule(end.clock, 1, payload);
    }

    fn record(&mut self, id: i32, payload: HistoryPayload) {
        self.history
            .push(HistoryEvent::new(id, self.clock, payload));
    }

    fn end(
        self,
        status: TestStatus,
        output: Option<String>,
        failure: Option<FailureDetails>,
    ) -> End {
        End {
            status,
            output,
            failure,
            custom_statuses: self.custom_statuses,
            history: self.history,
            executions: self.executions,
            clock: self.clock,
        }
    }
}
