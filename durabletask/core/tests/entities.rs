//! Entities: batches of operations, and orchestrations that call and lock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use durabletask_core::testing::{HistoryBuilder, TestHub, TestStatus, epoch, replay_json};
use durabletask_core::{
    ActionKind, Activity, CompletionStatus, Either, Entity, EntityAction, EntityBatch,
    EntityBatchResult, EntityContext, EntityHandlers, EntityId, EntityOperation, EntityRef,
    EntityStartOptions, Execution, Failure, HistoryPayload, Operation, Orchestration,
    OrchestrationContext, OrchestratorAction, Outcome, Registry, TaskError, TurnResult, run_batch,
    select, when_all,
};
use durabletask_proto as proto;
use futures_util::FutureExt;
use proptest::prelude::*;
use proto::history_event::EventType;
use proto::operation_result::ResultType;
use proto::orchestrator_action::OrchestratorActionType;
use proto::send_entity_message_action::EntityMessageType;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

const COUNTER: Entity<Counter> = Entity::new("Counter");
const ADD: Operation<Counter, i64, i64> = Operation::new("Add");
const ADD_LATER: Operation<Counter, i64, i64> = Operation::new("addLater");
const BREAK: Operation<Counter, (), ()> = Operation::new("break");
const PANIC: Operation<Counter, (), ()> = Operation::new("panic");
const FORGET: Operation<Counter, (), i64> = Operation::new("forget");
const SPREAD: Operation<Counter, String, String> = Operation::new("spread");
const NOTHING: Operation<Counter, (), ()> = Operation::new("nothing");
const STORY: Orchestration<u32, i64> = Orchestration::new("story");
const CHILD: Orchestration<u32, i64> = Orchestration::new("child");
const WORK: Activity<u32, u32> = Activity::new("work");

fn registry() -> Registry {
    let handlers = EntityHandlers::new()
        .operation(&ADD, |counter: &mut Counter, _, n| {
            counter.value += n;
            Ok(counter.value)
        })
        .async_operation(&ADD_LATER, async |mut counter: Counter, _, n: i64| {
            counter.value += n;
            let value = counter.value;
            Ok((counter, value))
        })
        .operation(&BREAK, |counter, context, ()| {
            counter.value = -1;
            context.signal_entity(&COUNTER.id("other"), &ADD, &1)?;
            Err(Failure::new("Broken", "on purpose"))
        })
        .operation(&PANIC, |counter, _, ()| {
            counter.value = -1;
            panic!("out of luck")
        })
        .operation(&FORGET, |counter, context, ()| {
            context.delete_state();
            Ok(counter.value)
        })
        .operation(&SPREAD, |_, context, key: String| {
            context.signal_entity(&COUNTER.id(&key), &ADD, &5)?;
            let later = epoch() + TimeDelta::hours(1);
            context.signal_entity_at(&COUNTER.id(&key), &ADD, &7, later)?;
            context.start_orchestration(&CHILD, &3)
        });
    Registry::new().entity(&COUNTER, handlers)
}

fn operation(name: &str, input: &str) -> EntityOperation {
    EntityOperation {
        name: name.to_owned(),
        request_id: format!("request-{name}"),
        input: Some(input.to_owned()),
        caller: None,
        trace_context: None,
    }
}

fn run(state: Option<&str>, operations: Vec<EntityOperation>) -> EntityBatchResult {
    run_as("counter", state, operations)
}

fn run_as(name: &str, state: Option<&str>, operations: Vec<EntityOperation>) -> EntityBatchResult {
    let batch = EntityBatch {
        id: EntityId::new(name, "a").unwrap(),
        state: state.map(str::to_owned),
        operations,
    };
    run_batch(&registry(), batch, epoch).now_or_never().unwrap()
}

fn outcomes(result: &EntityBatchResult) -> Vec<Result<&str, &str>> {
    result
        .outcomes
        .iter()
        .map(|outcome| match &outcome.result {
            Ok(output) => Ok(output.as_str()),
            Err(details) => Err(details.error_type.as_str()),
        })
        .collect()
}

#[test]
fn operations_run_in_order_on_one_state() {
    let result = run(
        None,
        vec![operation("ADD", "2"), operation("addLater", "3")],
    );
    assert_eq!(outcomes(&result), [Ok("2"), Ok("5")]);
    assert_eq!(result.state.as_deref(), Some("{\"value\":5}"));
    assert_eq!(result.outcomes[0].time, (epoch(), epoch()));
}

#[test]
fn a_failed_operation_leaves_only_its_failure() {
    let result = run(
        Some("{\"value\":1}"),
        vec![
            operation("break", "null"),
            operation("add", "\"text\""),
            operation("panic", "null"),
            operation("unknown", "null"),
            operation("add", "1"),
        ],
    );
    assert_eq!(
        outcomes(&result),
        [
            Err("Broken"),
            Err("PayloadMismatch"),
            Err("Panic"),
            Err("EntityOperationNotFound"),
            Ok("2")
        ]
    );
    assert_eq!(result.actions, []);
    assert_eq!(result.state.as_deref(), Some("{\"value\":2}"));
}

#[test]
fn a_state_is_deleted_on_request() {
    for name in ["delete", "forget"] {
        let result = run(Some("{\"value\":1}"), vec![operation(name, "null")]);
        assert!(result.outcomes[0].result.is_ok(), "{name}");
        assert_eq!(result.state, None, "{name}");
    }
    // What follows in the batch starts anew.
    let result = run(
        Some("{\"value\":1}"),
        vec![operation("delete", "null"), operation("add", "1")],
    );
    assert_eq!(result.state.as_deref(), Some("{\"value\":1}"));
}

#[test]
fn a_state_of_another_shape_and_an_unknown_entity_fail_and_stay() {
    let result = run(Some("\"secret text\""), vec![operation("add", "1")]);
    let details = result.outcomes[0].result.clone().unwrap_err();
    assert_eq!(details.error_type, "PayloadMismatch");
    assert!(!details.message.contains("secret"), "{}", details.message);
    assert_eq!(result.state.as_deref(), Some("\"secret text\""));

    let result = run_as("nobody", Some("1"), vec![operation("add", "1")]);
    let details = result.outcomes[0].result.clone().unwrap_err();
    assert_eq!(details.error_type, "EntityTaskNotFound");
    assert!(details.non_retriable);
    assert_eq!(result.state.as_deref(), Some("1"));
}

#[test]
fn what_an_operation_sends_out_is_the_same_when_it_runs_again() {
    let first = run(None, vec![operation("spread", "\"b\"")]);
    let again = run(None, vec![operation("spread", "\"b\"")]);
    assert_eq!(first, again);
    let [
        EntityAction::Signal { at: None, .. },
        EntityAction::Signal { at: Some(at), .. },
        EntityAction::Start {
            instance_id, name, ..
        },
    ] = first.actions.as_slice()
    else {
        panic!("{:?}", first.actions)
    };
    assert_eq!(*at, epoch() + TimeDelta::hours(1));
    assert_eq!((instance_id.len(), name.as_str()), (32, "child"));
}

#[test]
fn the_wire_forms_differ_in_where_answers_go() {
    let call = proto::EntityOperationCalledEvent {
        request_id: "r1".into(),
        operation: "add".into(),
        input: Some("1".into()),
        parent_instance_id: Some("o".into()),
        parent_execution_id: Some("e".into()),
        ..Default::default()
    };
    let signal = proto::EntityOperationSignaledEvent {
        request_id: "r2".into(),
        operation: "add".into(),
        input: Some("2".into()),
        ..Default::default()
    };
    let event = |event_type| proto::HistoryEvent {
        event_id: -1,
        timestamp: None,
        event_type: Some(event_type),
    };
    let batch = EntityBatch::from_request(proto::EntityRequest {
        instance_id: "@counter@a".into(),
        entity_state: Some(String::new()),
        operation_requests: vec![
            event(EventType::EntityOperationCalled(call)),
            event(EventType::EntityOperationSignaled(signal)),
        ],
        ..Default::default()
    })
    .unwrap();
    assert_eq!(batch.state, None);
    let result = run_batch(&registry(), batch, epoch).now_or_never().unwrap();
    let wire = result.into_wire("token".into(), true);
    assert_eq!(wire.completion_token, "token");
    assert_eq!(wire.entity_state.as_deref(), Some("{\"value\":3}"));
    let Some(ResultType::Success(success)) = &wire.results[1].result_type else {
        panic!()
    };
    assert_eq!(success.result.as_deref(), Some("3"));
    assert!(success.start_time_utc.is_some() && success.end_time_utc.is_some());
    assert_eq!(wire.operation_infos.len(), 2);
    let destination = wire.operation_infos[0]
        .response_destination
        .clone()
        .unwrap();
    assert_eq!(destination.instance_id, "o");
    assert_eq!(destination.execution_id.as_deref(), Some("e"));
    assert_eq!(wire.operation_infos[1].response_destination, None);

    let batch = EntityBatch::from_batch_request(proto::EntityBatchRequest {
        instance_id: "@counter@a".into(),
        entity_state: Some("{\"value\":1}".into()),
        operations: vec![proto::OperationRequest {
            operation: "break".into(),
            request_id: "r1".into(),
            ..Default::default()
        }],
        ..Default::default()
    })
    .unwrap();
    let result = run_batch(&registry(), batch, epoch).now_or_never().unwrap();
    let wire = result.into_wire(String::new(), false);
    assert_eq!(wire.operation_infos, []);
    let Some(ResultType::Failure(failure)) = &wire.results[0].result_type else {
        panic!()
    };
    assert_eq!(
        failure.failure_details.as_ref().unwrap().error_type,
        "Broken"
    );

    for id in ["counter", "@counter", "@@a"] {
        let request = proto::EntityRequest {
            instance_id: id.into(),
            ..Default::default()
        };
        assert!(EntityBatch::from_request(request).is_err(), "{id}");
    }
}

#[test]
fn duplicates_are_named() {
    let twice = EntityHandlers::new()
        .operation(&ADD, |counter: &mut Counter, _, n| Ok(counter.value + n))
        .operation(&ADD, |counter: &mut Counter, _, n| Ok(counter.value - n));
    let registry = registry().entity(&COUNTER, twice).merge(registry());
    assert_eq!(
        registry.duplicates(),
        [
            "operation 'Add' of the entity 'Counter'",
            "entity 'Counter'",
            "entity 'counter'"
        ]
    );
}

// Orchestrations.

fn story<F, Fut>(code: F) -> Registry
where
    F: Fn(OrchestrationContext, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<i64, Failure>> + Send + 'static,
{
    registry().orchestration(&STORY, code)
}

fn begin() -> HistoryBuilder {
    HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", "7")
}

/// An instance that lives and is replayed after each turn.
struct Live {
    registry: Arc<Registry>,
    execution: Execution,
    history: Vec<durabletask_core::HistoryEvent>,
}

impl Live {
    fn new(registry: Registry) -> Self {
        let registry = Arc::new(registry);
        Self {
            execution: Self::fresh(&registry),
            registry,
            history: Vec::new(),
        }
    }

    fn fresh(registry: &Arc<Registry>) -> Execution {
        Execution::new("abc", Some("exec".to_owned()), Arc::clone(registry))
    }

    /// Runs a turn, checks that a replay decides the same, and records it.
    fn turn(&mut self, new: HistoryBuilder) -> TurnResult {
        let new = new.build();
        let result = self.execution.turn(new.iter().cloned());
        let mut replayed = Self::fresh(&self.registry);
        replayed.replay(self.history.iter().cloned());
        assert_eq!(replayed.turn(new.iter().cloned()), result);
        self.history.extend(new);
        for action in &result.actions {
            let payload = match &action.kind {
                ActionKind::CallEntity {
                    operation,
                    entity_id,
                    ..
                } => HistoryPayload::EntityOperationCalled {
                    operation: operation.clone(),
                    entity_id: entity_id.to_string(),
                },
                ActionKind::SignalEntity {
                    operation,
                    entity_id,
                    ..
                } => HistoryPayload::EntityOperationSignaled {
                    operation: operation.clone(),
                    entity_id: entity_id.to_string(),
                },
                ActionKind::LockEntities {
                    critical_section_id,
                    ..
                } => HistoryPayload::EntityLockRequested {
                    critical_section_id: critical_section_id.clone(),
                },
                ActionKind::UnlockEntity { entity_id, .. } => HistoryPayload::EntityUnlockSent {
                    entity_id: entity_id.to_string(),
                },
                ActionKind::CreateTimer { fire_at } => HistoryPayload::TimerCreated {
                    fire_at: Some(*fire_at),
                },
                _ => continue,
            };
            self.history.push(durabletask_core::HistoryEvent::new(
                action.id,
                epoch(),
                payload,
            ));
        }
        result
    }
}

fn answer(payload: HistoryPayload) -> HistoryBuilder {
    HistoryBuilder::new()
        .orchestrator_started()
        .event(-1, payload)
}

fn completed(request_id: &str, output: &str) -> HistoryPayload {
    HistoryPayload::EntityOperationCompleted {
        request_id: request_id.to_owned(),
        output: Some(output.to_owned()),
    }
}

fn granted(result: &TurnResult) -> HistoryPayload {
    let section = result.actions.iter().find_map(|action| match &action.kind {
        ActionKind::LockEntities {
            critical_section_id,
            ..
        } => Some(critical_section_id.clone()),
        _ => None,
    });
    HistoryPayload::EntityLockGranted {
        critical_section_id: section.expect("a lock request"),
    }
}

fn request_ids(result: &TurnResult) -> Vec<String> {
    result
        .actions
        .iter()
        .filter_map(|action| match &action.kind {
            ActionKind::CallEntity { request_id, .. } => Some(request_id.clone()),
            _ => None,
        })
        .collect()
}

fn sketch(result: &TurnResult) -> Vec<String> {
    result
        .actions
        .iter()
        .map(|OrchestratorAction { id, kind }| match kind {
            ActionKind::CallEntity { entity_id, .. } => format!("{id}:call {entity_id}"),
            ActionKind::SignalEntity { entity_id, .. } => format!("{id}:signal {entity_id}"),
            ActionKind::LockEntities { lock_set, .. } => {
                let ids: Vec<String> = lock_set.iter().map(ToString::to_string).collect();
                format!("{id}:lock {}", ids.join(" "))
            }
            ActionKind::UnlockEntity { entity_id, .. } => format!("{id}:unlock {entity_id}"),
            ActionKind::Complete { status, .. } => format!("{id}:{status:?}"),
            other => format!("{id}:{other:?}"),
        })
        .collect()
}

#[test]
fn a_call_goes_out_with_its_parent_and_its_answer_comes_back() {
    let mut live = Live::new(story(async |ctx: OrchestrationContext, _| {
        ctx.signal_entity(&COUNTER.id("s"), &ADD, &1)?;
        let at = ctx.current_utc() + TimeDelta::hours(1);
        ctx.signal_entity_at(&COUNTER.id("s"), &ADD, &1, at)?;
        Ok(ctx.call_entity(&COUNTER.id("A"), &ADD, &5).await?)
    }));
    let result = live.turn(begin());
    assert_eq!(
        sketch(&result),
        [
            "0:signal @counter@s",
            "1:signal @counter@s",
            "2:call @counter@A"
        ]
    );
    let wire = proto::OrchestratorAction::from(result.actions[2].clone());
    let Some(OrchestratorActionType::SendEntityMessage(message)) = wire.orchestrator_action_type
    else {
        panic!()
    };
    let Some(EntityMessageType::EntityOperationCalled(call)) = message.entity_message_type else {
        panic!()
    };
    assert_eq!(
        (call.operation.as_str(), call.input.as_deref()),
        ("Add", Some("5"))
    );
    assert_eq!(call.target_instance_id.as_deref(), Some("@counter@A"));
    assert_eq!(call.parent_instance_id.as_deref(), Some("abc"));
    assert_eq!(call.parent_execution_id.as_deref(), Some("exec"));
    assert!(call.request_id.parse::<uuid::Uuid>().is_ok());

    // An answer to a question nobody asked is ignored.
    let result = live.turn(answer(completed("unknown", "1")));
    assert_eq!(result.actions, []);
    let result = live.turn(answer(completed(&call.request_id, "12")));
    assert_eq!(sketch(&result), ["3:Completed"]);
    let ActionKind::Complete { result, .. } = &result.actions[0].kind else {
        panic!()
    };
    assert_eq!(result.as_deref(), Some("12"));
}

#[test]
fn a_failed_call_names_the_operation() {
    let mut live = Live::new(story(async |ctx: OrchestrationContext, _| {
        match ctx.call_entity(&COUNTER.id("a"), &BREAK, &()).await {
            Err(TaskError::Failed { name, details, .. }) => {
                assert_eq!(
                    (name.as_str(), details.error_type.as_str()),
                    ("break", "Broken")
                );
                Ok(1)
            }
            other => panic!("{other:?}"),
        }
    }));
    let result = live.turn(begin());
    let failed = HistoryPayload::EntityOperationFailed {
        request_id: request_ids(&result).remove(0),
        failure: durabletask_core::FailureDetails::new("Broken", "on purpose"),
    };
    let result = live.turn(answer(failed));
    assert_eq!(sketch(&result), ["1:Completed"]);
}

async fn transfer(ctx: OrchestrationContext, _: u32) -> Result<i64, Failure> {
    let (from, to) = (COUNTER.id("b"), COUNTER.id("a"));
    let section = ctx.lock_entities([&from, &to, &from]).await?;
    assert!(ctx.is_in_critical_section());
    ctx.call_entity(&from, &ADD, &-1).await?;
    section.release();
    assert!(!ctx.is_in_critical_section());
    Ok(ctx.call_entity(&to, &ADD, &1).await?)
}

#[test]
fn a_critical_section_locks_in_order_and_unlocks_when_it_is_released() {
    let mut live = Live::new(story(transfer));
    let result = live.turn(begin());
    assert_eq!(sketch(&result), ["0:lock @counter@a @counter@b"]);
    let result = live.turn(answer(granted(&result)));
    assert_eq!(sketch(&result), ["1:call @counter@b"]);
    let result = live.turn(answer(completed(&request_ids(&result)[0], "1")));
    assert_eq!(
        sketch(&result),
        [
            "2:unlock @counter@a",
            "3:unlock @counter@b",
            "4:call @counter@a"
        ]
    );
    let result = live.turn(answer(completed(&request_ids(&result)[0], "1")));
    assert_eq!(sketch(&result), ["5:Completed"]);
}

#[test]
fn however_the_orchestration_ends_nothing_stays_locked() {
    type Code = fn(
        OrchestrationContext,
        u32,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<Outcome<u32, i64>, Failure>> + Send>,
    >;
    let fails: Code = |ctx, _| {
        Box::pin(async move {
            let _section = ctx.lock_entities([&COUNTER.id("a")]).await?;
            Err(Failure::new("Broken", "on purpose"))
        })
    };
    let panics: Code = |ctx, _| {
        Box::pin(async move {
            let _section = ctx.lock_entities([&COUNTER.id("a")]).await?;
            panic!("out of luck")
        })
    };
    let continues: Code = |ctx, n| {
        Box::pin(async move {
            let _section = ctx.lock_entities([&COUNTER.id("a")]).await?;
            Ok(Outcome::continue_as_new(n))
        })
    };
    let forgets: Code = |ctx, _| {
        Box::pin(async move {
            std::mem::forget(ctx.lock_entities([&COUNTER.id("a")]).await?);
            Ok(Outcome::Done(1))
        })
    };
    for (code, end) in [
        (fails, "2:Failed"),
        (panics, "2:Failed"),
        (continues, "2:ContinuedAsNew"),
        (forgets, "2:Completed"),
    ] {
        let mut live = Live::new(Registry::new().continuing(&STORY, code));
        let result = live.turn(begin());
        let result = live.turn(answer(granted(&result)));
        assert_eq!(sketch(&result), ["1:unlock @counter@a", end]);
    }

    // A termination, in the section and before it.
    let waits = async |ctx: OrchestrationContext, _| {
        let _section = ctx.lock_entities([&COUNTER.id("a")]).await?;
        Ok(ctx.call_entity(&COUNTER.id("a"), &ADD, &1).await?)
    };
    let terminated = || HistoryPayload::ExecutionTerminated { output: None };
    let mut live = Live::new(story(waits));
    let result = live.turn(begin());
    live.turn(answer(granted(&result)));
    let result = live.turn(answer(terminated()));
    assert_eq!(sketch(&result), ["2:unlock @counter@a", "3:Terminated"]);
    let mut live = Live::new(story(waits));
    live.turn(begin());
    let result = live.turn(answer(terminated()));
    assert_eq!(sketch(&result), ["1:unlock @counter@a", "2:Terminated"]);
}

#[test]
fn an_abandoned_lock_is_released_when_it_is_granted() {
    let mut live = Live::new(story(async |ctx: OrchestrationContext, _| {
        let lock = ctx.lock_entities([&COUNTER.id("a")]);
        let timer = ctx.create_timer(Duration::from_secs(60));
        match select(lock, timer).await {
            Either::Left(_) => panic!("the timer is first"),
            Either::Right(()) => {}
        }
        // Another section may be asked for at once.
        let section = ctx.lock_entities([&COUNTER.id("b")]).await?;
        section.release();
        Ok(1)
    }));
    let first = live.turn(begin());
    let second = live.turn(answer(HistoryPayload::TimerFired { timer_id: 1 }));
    assert_eq!(sketch(&second), ["2:lock @counter@b"]);
    let result = live.turn(answer(granted(&first)));
    assert_eq!(sketch(&result), ["3:unlock @counter@a"]);
    let result = live.turn(answer(granted(&second)));
    assert_eq!(sketch(&result), ["4:unlock @counter@b", "5:Completed"]);

    // Given up before anyone heard of it, it was never asked for.
    let mut live = Live::new(story(async |ctx: OrchestrationContext, _| {
        drop(ctx.lock_entities([&COUNTER.id("a")]));
        Ok(1)
    }));
    assert_eq!(sketch(&live.turn(begin())), ["1:Completed"]);
}

#[test]
fn what_a_critical_section_forbids_is_refused() {
    let run = TestHub::new(
        registry()
            .orchestration(&CHILD, async |_: OrchestrationContext, _| Ok(1_i64))
            .orchestration(&STORY, async |ctx: OrchestrationContext, _| {
                let (a, b) = (COUNTER.id("a"), COUNTER.id("b"));
                let nobody: [EntityRef<Counter>; 0] = [];
                let refused = |result: Result<(), TaskError>| {
                    assert!(
                        matches!(result, Err(TaskError::NotAllowed { .. })),
                        "{result:?}"
                    );
                };
                refused(ctx.lock_entities(nobody).await.map(drop));
                let section = ctx.lock_entities([&a]).await?;
                refused(ctx.lock_entities([&b]).await.map(drop));
                refused(ctx.call_entity(&b, &ADD, &1).await.map(drop));
                refused(ctx.call_sub_orchestration(&CHILD, &1).await.map(drop));
                let first = ctx.call_entity(&a, &ADD, &1);
                refused(ctx.call_entity(&a, &ADD, &1).await.map(drop));
                first.await?;
                let signalled = ctx.signal_entity(&a, &ADD, &1);
                assert!(matches!(signalled, Err(TaskError::NotAllowed { .. })));
                ctx.signal_entity(&b, &ADD, &1)?;
                // One after the other is fine, and so is an activity.
                ctx.call_entity(&a, &ADD, &1).await?;
                ctx.call_activity(&WORK, &1).await?;
                section.release();
                ctx.call_sub_orchestration(&CHILD, &1).await?;
                Ok(ctx.call_entity(&b, &ADD, &1).await?)
            }),
    )
    .run(&STORY, &1, |_, input| Ok(input));
    assert_eq!(run.output().unwrap(), 2);
    assert_eq!(
        run.entity_state(&COUNTER.id("a")),
        Some(Counter { value: 2 })
    );
}

#[test]
fn an_id_over_the_limit_is_refused_before_it_is_sent() {
    let run = TestHub::new(story(async |ctx: OrchestrationContext, _| {
        let long = COUNTER.id(&"x".repeat(100));
        assert!(ctx.signal_entity(&long, &ADD, &1).is_err());
        assert!(matches!(
            ctx.lock_entities([&long]).await,
            Err(TaskError::NotAllowed { .. })
        ));
        Ok(ctx.call_entity(&long, &ADD, &1).await?)
    }))
    .run(&STORY, &1, |_, input| Ok(input));
    assert_eq!(run.status, TestStatus::Failed);
    assert_eq!(run.failure.unwrap().error_type, "CallNotAllowed");
}

#[test]
fn a_changed_call_is_explained() {
    let mut execution = Execution::new(
        "abc",
        None,
        Arc::new(story(async |ctx: OrchestrationContext, _| {
            Ok(ctx.call_entity(&COUNTER.id("a"), &ADD, &1).await?)
        })),
    );
    execution.replay(
        begin()
            .event(
                0,
                HistoryPayload::EntityOperationCalled {
                    operation: "add".into(),
                    entity_id: "@counter@b".into(),
                },
            )
            .build(),
    );
    let result = execution.turn(Vec::new());
    let ActionKind::Complete {
        status: CompletionStatus::Failed,
        failure: Some(failure),
        ..
    } = &result.actions[0].kind
    else {
        panic!("{result:?}")
    };
    assert_eq!(failure.error_type, "NonDeterminismError");
    for part in ["'@counter@b'", "'@counter@a'", "#0"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[test]
fn a_stored_history_with_entities_replays() {
    let code = || {
        story(async |ctx: OrchestrationContext, _| {
            let section = ctx.lock_entities([&COUNTER.id("a")]).await?;
            section.release();
            ctx.signal_entity(&COUNTER.id("b"), &ADD, &1)?;
            Ok(1)
        })
    };
    // The ids follow from the clock and the instance.
    let lock = |execution: &mut Execution| {
        let result = execution.turn(begin().build());
        let HistoryPayload::EntityLockGranted {
            critical_section_id,
        } = granted(&result)
        else {
            panic!()
        };
        critical_section_id
    };
    let section = lock(&mut Execution::new("abc", None, Arc::new(code())));
    let at = "2024-01-02T03:04:05Z";
    let stored = |target: &str| {
        json!([
            {"eventId": -1, "timestamp": at, "orchestratorStarted": {}},
            {"eventId": -1, "timestamp": at, "executionStarted": {"name": "story", "input": "7"}},
            {"eventId": 0, "timestamp": at, "entityLockRequested": {"criticalSectionId": section}},
            {"eventId": -1, "timestamp": at, "orchestratorStarted": {}},
            {"eventId": -1, "timestamp": at, "entityLockGranted": {"criticalSectionId": section}},
            {"eventId": 1, "timestamp": at, "entityUnlockSent": {"targetInstanceId": "@counter@a"}},
            {"eventId": 2, "timestamp": at, "entityOperationSignaled": {"operation": "ADD", "targetInstanceId": target}},
            {"eventId": 3, "timestamp": at, "executionCompleted": {"orchestrationStatus": 1}},
        ])
        .to_string()
    };
    replay_json(code(), "abc", &stored("@counter@b")).unwrap();
    let error = replay_json(code(), "abc", &stored("@counter@c")).unwrap_err();
    assert!(error.to_string().contains("at event 6"), "{error}");
}

// The test hub.

#[test]
fn a_test_hub_runs_entities_signals_and_clocks() {
    let run = TestHub::new(story(async |ctx: OrchestrationContext, _| {
        let a = COUNTER.id("a");
        let child: String = ctx.call_entity(&a, &SPREAD, &"b".to_owned()).await?;
        assert_eq!(child.len(), 32);
        let now = ctx.call_entity(&COUNTER.id("b"), &ADD, &0).await?;
        assert_eq!(now, 105);
        ctx.create_timer(Duration::from_secs(2 * 3600)).await;
        let later = ctx.call_entity(&COUNTER.id("b"), &ADD, &0).await?;
        assert_eq!(later, 112);
        ctx.signal_entity(&a, &ADD_LATER, &9)?;
        ctx.signal_entity(&COUNTER.id("c"), &NOTHING, &())?;
        Ok(1)
    }))
    .entity_state(&COUNTER.id("b"), &Counter { value: 100 })
    .run(&STORY, &1, |_, input| Ok(input));
    assert_eq!(run.output().unwrap(), 1);
    assert_eq!(
        run.entity_state(&COUNTER.id("a")),
        Some(Counter { value: 9 })
    );
    assert_eq!(run.entity_state(&COUNTER.id("c")), None::<Counter>);
    assert_eq!(run.entity_starts, [("child".to_owned(), json!(3))]);
}

#[test]
fn an_entity_can_name_the_instance_it_starts() {
    const START: Operation<Counter, (), String> = Operation::new("start");
    let handlers =
        EntityHandlers::new().operation(&START, |_: &mut Counter, context: &EntityContext, ()| {
            assert_eq!(context.operation(), "start");
            assert_eq!(context.id().key(), "a");
            let options = EntityStartOptions::new()
                .instance_id(format!("for-{}", context.id().key()))
                .version("2")
                .start_at(epoch());
            context.start_orchestration_with(&CHILD, &1, options)
        });
    let registry = Registry::new().entity(&COUNTER, handlers);
    let batch = EntityBatch {
        id: COUNTER.id("a").into(),
        state: None,
        operations: vec![operation("start", "null")],
    };
    let result = run_batch(&registry, batch, epoch).now_or_never().unwrap();
    assert_eq!(outcomes(&result), [Ok("\"for-a\"")]);
    let at: Option<DateTime<Utc>> = Some(epoch());
    assert_eq!(
        result.actions,
        [EntityAction::Start {
            instance_id: "for-a".into(),
            name: "child".into(),
            version: Some("2".into()),
            input: Some("1".into()),
            at,
            trace_context: None,
        }]
    );
}

proptest! {
    /// In whatever order the answers come, the orchestration decides the same.
    #[test]
    fn the_order_of_answers_does_not_matter(order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut live = Live::new(story(async |ctx: OrchestrationContext, _| {
            let calls = (0..6_i64).map(|n| ctx.call_entity(&COUNTER.id(&n.to_string()), &ADD, &n));
            let values: Vec<i64> = when_all(calls).await?;
            let mut digits = BTreeMap::new();
            for (place, value) in values.into_iter().enumerate() {
                digits.insert(place, value);
            }
            Ok(digits.values().fold(0, |number, digit| number * 10 + digit))
        }));
        let ids = request_ids(&live.turn(begin()));
        prop_assert_eq!(ids.len(), 6);
        let mut last = None;
        for at in order {
            last = Some(live.turn(answer(completed(&ids[at], &at.to_string()))));
        }
        let last = last.unwrap();
        let ActionKind::Complete { result, .. } = &last.actions[0].kind else { panic!() };
        prop_assert_eq!(result.as_deref(), Some("12345"));
    }
}
