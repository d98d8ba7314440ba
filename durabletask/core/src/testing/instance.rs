//! One orchestration instance in memory, with its clock and its children.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::action::{ActionKind, CompletionStatus, OrchestratorAction};
use crate::activity::ActivityContext;
use crate::codec;
use crate::error::{Failure, FailureDetails};
use crate::heartbeat::{HEARTBEAT_EVENT, HeartbeatMessage};
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload, ParentInstance};
use crate::registry::Registry;
use crate::replay::{Execution, TurnResult, UPDATE_ANSWER, UpdateAnswer, mismatch};

use super::behavior::Behavior;
use super::entities::{Sent, TestEntities};
use super::hub::TestStatus;

/// Turns after which a run counts as endless.
const MAX_TURNS: usize = 100_000;
/// How deep sub-orchestrations may nest in a run.
const MAX_DEPTH: usize = 16;

/// What an instance and its children share.
pub(super) struct World<'a> {
    pub(super) activities: &'a mut dyn FnMut(&str, Value) -> Result<Value, Failure>,
    pub(super) behaviors: BTreeMap<String, Behavior>,
    pub(super) calls: Vec<(String, Value)>,
    pub(super) entities: TestEntities,
}

impl World<'_> {
    /// Calls an activity; yields its result and how long it took, or nothing if it falls
    /// silent.
    fn call(
        &mut self,
        name: &str,
        input: Value,
        limit: Option<Duration>,
    ) -> Option<(Result<Value, Failure>, Duration)> {
        let behavior = self.behaviors.entry(name.to_owned()).or_default();
        behavior.calls += 1;
        let number = behavior.calls;
        let takes = behavior.takes;
        let failure = behavior.failures.get(&number).cloned();
        let lost = behavior.lost.contains(&number);
        let silent = behavior.silent.contains(&number);
        if lost {
            // Its worker dies before it has answered, so another runs it again.
            self.calls.push((name.to_owned(), input.clone()));
            let _ = (self.activities)(name, input.clone());
        }
        self.calls.push((name.to_owned(), input.clone()));
        if silent {
            return None;
        }
        if let Some(failure) = failure {
            return Some((Err(failure), takes));
        }
        let result = (self.activities)(name, input);
        Some(match limit {
            Some(limit) if takes > limit => {
                let text = format!("the activity did not end within {limit:?} of its start");
                (Err(Failure::new("ActivityTimeout", text)), limit)
            }
            _ => (result, takes),
        })
    }
}

/// One instance in memory.
pub(super) struct Instance {
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
    /// The answers to updates, by their ids.
    answers: BTreeMap<String, UpdateAnswer>,
}

/// How a run of an instance ended.
pub(super) struct End {
    pub(super) status: TestStatus,
    pub(super) output: Option<String>,
    pub(super) failure: Option<FailureDetails>,
    pub(super) custom_statuses: Vec<Value>,
    pub(super) answers: BTreeMap<String, UpdateAnswer>,
    pub(super) history: Vec<HistoryEvent>,
    pub(super) executions: usize,
    pub(super) clock: DateTime<Utc>,
}

impl Instance {
    pub(super) fn new(
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
            answers: BTreeMap::new(),
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

    pub(super) fn run(mut self, world: &mut World<'_>, depth: usize) -> End {
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
                if let Some(end) = self.act(action, world, depth) {
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
        // What the code logs was logged by the live execution.
        let replayed = tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
            fresh.turn(new.iter().cloned())
        });
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
            let (mut first, mut second) = (live.actions.iter(), replayed.actions.iter());
            loop {
                let pair = (first.next(), second.next());
                if pair.0 != pair.1 || pair.0.is_none() {
                    return mismatch::between_runs(pair.0, pair.1);
                }
            }
        }))
    }

    /// Does what an action asks for. Returns how the orchestration ended, if it did.
    fn act(
        &mut self,
        action: OrchestratorAction,
        world: &mut World<'_>,
        depth: usize,
    ) -> Option<(TestStatus, Option<String>, Option<FailureDetails>)> {
        let id = action.id;
        match action.kind {
            ActionKind::ScheduleTask {
                name, input, tags, ..
            } => self.call_activity(id, name, input, tags, world),
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
                        version: None,
                        input: None,
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
                self.run_child(instance_id, started, id, world, depth);
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
            } => self.send_event(id, instance_id, name, data),
            ActionKind::CallEntity {
                entity_id,
                request_id,
                operation,
                input,
                ..
            } => {
                let call = Sent {
                    entity_id,
                    operation,
                    request_id,
                    input,
                };
                self.call_entity(id, call, world);
            }
            ActionKind::SignalEntity {
                entity_id,
                request_id,
                operation,
                input,
                at,
            } => {
                let recorded = HistoryPayload::EntityOperationSignaled {
                    operation: operation.clone(),
                    entity_id: entity_id.to_string(),
                };
                let signal = Sent {
                    entity_id,
                    operation,
                    request_id,
                    input,
                };
                world.entities.signal(signal, at, self.clock);
                self.record(id, recorded);
            }
            ActionKind::LockEntities {
                critical_section_id,
                ..
            } => {
                self.ready.push(HistoryPayload::EntityLockGranted {
                    critical_section_id: critical_section_id.clone(),
                });
                self.record(
                    id,
                    HistoryPayload::EntityLockRequested {
                        critical_section_id,
                    },
                );
            }
            ActionKind::UnlockEntity { entity_id, .. } => {
                let entity_id = entity_id.to_string();
                self.record(id, HistoryPayload::EntityUnlockSent { entity_id });
            }
            ActionKind::Complete {
                status,
                result,
                failure,
                new_version,
                carryover,
            } => {
                let Some((status, wire)) = final_status(status) else {
                    self.started.input = result;
                    self.started.version = new_version.or(self.started.version.take());
                    let carryover = carryover
                        .into_iter()
                        .map(|(name, input, _)| HistoryPayload::EventRaised { name, input })
                        .collect();
                    self.begin(carryover);
                    return None;
                };
                let recorded = HistoryPayload::ExecutionCompleted {
                    status: wire as i32,
                    result: None,
                    failure: None,
                };
                self.record(id, recorded);
                return Some((status, result, failure));
            }
        }
        None
    }

    fn call_activity(
        &mut self,
        id: i32,
        name: String,
        input: Option<String>,
        tags: BTreeMap<String, String>,
        world: &mut World<'_>,
    ) {
        let input: Value = input
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null);
        let limit = ActivityContext::new(name.as_str(), self.instance_id.as_str(), id)
            .with_tags(tags)
            .start_to_close();
        match world.call(&name, input, limit) {
            Some((result, took)) => self.answer(id, result, took),
            None => self.ready.push(self.first_heartbeat(id)),
        }
        self.record(
            id,
            HistoryPayload::TaskScheduled {
                name,
                version: None,
                input: None,
            },
        );
    }

    fn send_event(&mut self, id: i32, instance_id: String, name: String, data: Option<String>) {
        if name == UPDATE_ANSWER
            && let Ok(answer) = codec::decode(data.as_deref())
        {
            self.answers.insert(instance_id.clone(), answer);
        }
        if instance_id == self.instance_id {
            self.ready.push(HistoryPayload::EventRaised {
                name: name.clone(),
                input: data,
            });
        }
        self.record(
            id,
            HistoryPayload::EventSent {
                name,
                instance_id,
                input: None,
            },
        );
    }

    fn call_entity(&mut self, id: i32, call: Sent, world: &mut World<'_>) {
        let recorded = HistoryPayload::EntityOperationCalled {
            operation: call.operation.clone(),
            entity_id: call.entity_id.to_string(),
        };
        let request_id = call.request_id.clone();
        self.ready
            .push(match world.entities.call(call, self.clock) {
                Ok(output) => HistoryPayload::EntityOperationCompleted {
                    request_id,
                    output: Some(output),
                },
                Err(failure) => HistoryPayload::EntityOperationFailed {
                    request_id,
                    failure,
                },
            });
        self.record(id, recorded);
    }

    /// The activity call `id` ends after it `took` so long.
    fn answer(&mut self, id: i32, result: Result<Value, Failure>, took: Duration) {
        let payload = match result {
            Ok(result) => HistoryPayload::TaskCompleted {
                task_id: id,
                result: Some(result.to_string()),
            },
            Err(failure) => HistoryPayload::TaskFailed {
                task_id: id,
                failure: failure.into_details(),
            },
        };
        if took.is_zero() {
            self.ready.push(payload);
        } else {
            let took = TimeDelta::from_std(took).unwrap_or(TimeDelta::MAX);
            let ended = self.clock.checked_add_signed(took);
            self.schedule(ended.unwrap_or(DateTime::<Utc>::MAX_UTC), 1, payload);
        }
    }

    /// What a worker sends when it begins the activity call `id`.
    fn first_heartbeat(&self, id: i32) -> HistoryPayload {
        let message = HeartbeatMessage {
            task_id: id,
            execution_id: self.started.execution_id.clone(),
            key: String::new(),
            mark: None,
            details: None,
        };
        HistoryPayload::EventRaised {
            name: HEARTBEAT_EVENT.to_owned(),
            // Numbers and texts, so writing them does not fail.
            input: codec::encode(&message).ok(),
        }
    }

    fn run_child(
        &mut self,
        instance_id: String,
        started: ExecutionStarted,
        task_id: i32,
        world: &mut World<'_>,
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
        let end = child.run(world, depth + 1);
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
            answers: self.answers,
            history: self.history,
            executions: self.executions,
            clock: self.clock,
        }
    }
}

/// The status that an orchestration ends with; none if it continues as new.
const fn final_status(
    status: CompletionStatus,
) -> Option<(TestStatus, durabletask_proto::OrchestrationStatus)> {
    use durabletask_proto::OrchestrationStatus as Wire;
    match status {
        CompletionStatus::ContinuedAsNew => None,
        CompletionStatus::Completed => Some((TestStatus::Completed, Wire::Completed)),
        CompletionStatus::Failed => Some((TestStatus::Failed, Wire::Failed)),
        CompletionStatus::Terminated => Some((TestStatus::Terminated, Wire::Terminated)),
    }
}
