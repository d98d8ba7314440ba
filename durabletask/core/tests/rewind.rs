//! Rewinding a failed execution: which records go, and that the rest replays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use durabletask_core::{
    ActionKind, Activity, ActivityContext, Entity, Execution, Failure, HistoryEvent, Operation,
    Orchestration, OrchestrationContext, Registry, RetryPolicy, TaskOptions, TurnResult, is_rewind,
    rewound_history, when_all,
};
use durabletask_proto as proto;
use proto::history_event::EventType;

const A: Activity<u32, u32> = Activity::new("a");
const B: Activity<u32, u32> = Activity::new("b");
const CHILD: Orchestration<u32, u32> = Orchestration::new("child");
const COUNTER: Entity<u32> = Entity::new("counter");
const ADD: Operation<u32, u32, u32> = Operation::new("add");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");

fn story<F, Fut>(code: F) -> Arc<Registry>
where
    F: Fn(OrchestrationContext, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    Arc::new(Registry::new().orchestration(&STORY, code))
}

fn event(event_id: i32, event_type: EventType) -> proto::HistoryEvent {
    proto::HistoryEvent {
        event_id,
        timestamp: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        event_type: Some(event_type),
    }
}

fn turn() -> proto::HistoryEvent {
    event(
        -1,
        EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
    )
}

fn started() -> proto::HistoryEvent {
    event(
        -1,
        EventType::ExecutionStarted(proto::ExecutionStartedEvent {
            name: "story".into(),
            input: Some("7".into()),
            orchestration_instance: Some(proto::OrchestrationInstance {
                instance_id: "abc".into(),
                execution_id: Some("first".into()),
            }),
            parent_instance: Some(proto::ParentInstanceInfo {
                task_scheduled_id: 3,
                ..Default::default()
            }),
            ..Default::default()
        }),
    )
}

fn scheduled(id: i32, name: &str) -> proto::HistoryEvent {
    event(
        id,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: name.into(),
            ..Default::default()
        }),
    )
}

fn completed(id: i32, result: u32) -> proto::HistoryEvent {
    event(
        -1,
        EventType::TaskCompleted(proto::TaskCompletedEvent {
            task_scheduled_id: id,
            result: Some(result.to_string()),
        }),
    )
}

fn failed(id: i32) -> proto::HistoryEvent {
    event(
        -1,
        EventType::TaskFailed(proto::TaskFailedEvent {
            task_scheduled_id: id,
            failure_details: Some(proto::TaskFailureDetails {
                error_type: "Bad".into(),
                ..Default::default()
            }),
        }),
    )
}

fn timer(id: i32) -> proto::HistoryEvent {
    event(
        id,
        EventType::TimerCreated(proto::TimerCreatedEvent::default()),
    )
}

fn fired(id: i32) -> proto::HistoryEvent {
    event(
        -1,
        EventType::TimerFired(proto::TimerFiredEvent {
            timer_id: id,
            fire_at: None,
        }),
    )
}

fn ended(id: i32) -> proto::HistoryEvent {
    event(
        id,
        EventType::ExecutionCompleted(proto::ExecutionCompletedEvent {
            orchestration_status: proto::OrchestrationStatus::Failed as i32,
            ..Default::default()
        }),
    )
}

fn rewind() -> Vec<proto::HistoryEvent> {
    vec![
        turn(),
        event(
            -1,
            EventType::ExecutionRewound(proto::ExecutionRewoundEvent {
                reason: Some("fixed".into()),
                parent_execution_id: Some("parent-second".into()),
                ..Default::default()
            }),
        ),
    ]
}

/// The names of the kinds, with the ids of steps.
fn sketch(history: &[proto::HistoryEvent]) -> Vec<String> {
    history
        .iter()
        .map(|event| match event.event_id {
            -1 => proto::event_kind(event).to_owned(),
            id => format!("{id}:{}", proto::event_kind(event)),
        })
        .collect()
}

/// The turn that follows the rewind, on a worker that has only the history.
fn go_on(registry: &Arc<Registry>, history: Vec<proto::HistoryEvent>) -> TurnResult {
    next_turn(registry, history, vec![turn()])
}

fn next_turn(
    registry: &Arc<Registry>,
    history: Vec<proto::HistoryEvent>,
    new: Vec<proto::HistoryEvent>,
) -> TurnResult {
    let mut execution = Execution::new("abc", None, Arc::clone(registry));
    execution.replay(history.into_iter().map(HistoryEvent::from));
    execution.turn(new.into_iter().map(HistoryEvent::from))
}

fn decisions(result: &TurnResult) -> Vec<String> {
    result
        .actions
        .iter()
        .map(|action| match &action.kind {
            ActionKind::ScheduleTask { name, .. } => format!("{}:{name}", action.id),
            ActionKind::CreateTimer { .. } => format!("{}:timer", action.id),
            ActionKind::Complete {
                status, failure, ..
            } => format!(
                "{status:?} {}",
                failure.as_ref().map_or("", |failure| &failure.error_type)
            ),
            other => panic!("not in these stories: {other:?}"),
        })
        .collect()
}

#[test]
fn a_failed_call_is_made_again_and_results_stay() {
    let past = vec![
        turn(),
        started(),
        scheduled(0, "a"),
        turn(),
        completed(0, 8),
        scheduled(1, "b"),
        turn(),
        failed(1),
        ended(2),
    ];
    assert!(is_rewind(&past, &rewind()));
    assert!(!is_rewind(&past[..6], &rewind()));
    assert!(!is_rewind(&past, &[turn()]));

    let history = rewound_history(past, rewind(), "second");
    assert_eq!(
        sketch(&history),
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "0:TaskScheduled",
            "OrchestratorStarted",
            "TaskCompleted",
            "OrchestratorStarted",
            "OrchestratorStarted",
            "ExecutionRewound",
        ]
    );
    let Some(EventType::ExecutionStarted(start)) = &history[1].event_type else {
        panic!("not a start");
    };
    let execution_id = |instance: &Option<proto::OrchestrationInstance>| {
        instance.as_ref().unwrap().execution_id.clone().unwrap()
    };
    assert_eq!(execution_id(&start.orchestration_instance), "second");
    assert_eq!(
        execution_id(
            &start
                .parent_instance
                .as_ref()
                .unwrap()
                .orchestration_instance
        ),
        "parent-second"
    );

    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let n = ctx.call_activity(&A, &n).await?;
        Ok(ctx.call_activity(&B, &n).await?)
    });
    assert_eq!(decisions(&go_on(&registry, history.clone())), ["1:b"]);

    // The history as it stands after that turn replays without the tolerance.
    let mut later = history;
    later.extend([turn(), scheduled(1, "b")]);
    let last = next_turn(&registry, later, vec![turn(), completed(1, 9)]);
    assert_eq!(decisions(&last), ["Completed "]);
}

#[test]
fn an_exhausted_retry_gets_one_more_attempt() {
    let past = vec![
        turn(),
        started(),
        scheduled(0, "a"),
        turn(),
        failed(0),
        timer(1),
        turn(),
        fired(1),
        scheduled(2, "a"),
        turn(),
        failed(2),
        ended(3),
    ];
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let options = TaskOptions::new().retry(RetryPolicy::new(2, Duration::from_secs(1)));
        Ok(ctx.call_activity_with(&A, &n, options).await?)
    });
    let history = rewound_history(past, rewind(), "second");
    assert_eq!(decisions(&go_on(&registry, history)), ["2:a"]);
}

#[test]
fn a_failure_that_was_caught_stays() {
    let past = vec![
        turn(),
        started(),
        scheduled(0, "a"),
        turn(),
        failed(0),
        scheduled(1, "b"),
        turn(),
        failed(1),
        ended(2),
    ];
    let registry =
        story(
            async |ctx: OrchestrationContext, n: u32| match ctx.call_activity(&A, &n).await {
                Ok(n) => Ok(n),
                Err(_) => Ok(ctx.call_activity(&B, &n).await?),
            },
        );
    let history = rewound_history(past, rewind(), "second");
    assert_eq!(decisions(&go_on(&registry, history)), ["1:b"]);
}

#[test]
fn what_was_open_when_it_failed_is_started_again() {
    let past = vec![
        turn(),
        started(),
        scheduled(0, "a"),
        scheduled(1, "a"),
        timer(2),
        turn(),
        failed(1),
        ended(3),
    ];
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let calls = [ctx.call_activity(&A, &n), ctx.call_activity(&A, &n)];
        let timer = ctx.create_timer(Duration::from_secs(60));
        let sum = when_all(calls).await?.into_iter().sum();
        timer.await;
        Ok(sum)
    });
    let history = rewound_history(past, rewind(), "second");
    assert_eq!(
        decisions(&go_on(&registry, history)),
        ["0:a", "1:a", "2:timer"]
    );
}

#[test]
fn a_failed_child_stays_created_for_the_scheduler_to_rewind() {
    let past = vec![
        turn(),
        started(),
        event(
            0,
            EventType::SubOrchestrationInstanceCreated(
                proto::SubOrchestrationInstanceCreatedEvent {
                    instance_id: "abc:0".into(),
                    name: "child".into(),
                    ..Default::default()
                },
            ),
        ),
        turn(),
        event(
            -1,
            EventType::SubOrchestrationInstanceFailed(proto::SubOrchestrationInstanceFailedEvent {
                task_scheduled_id: 0,
                failure_details: None,
            }),
        ),
        ended(1),
    ];
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        Ok(ctx.call_sub_orchestration(&CHILD, &n).await?)
    });
    let history = rewound_history(past, rewind(), "second");
    assert_eq!(
        sketch(&history)[2..],
        [
            "0:SubOrchestrationInstanceCreated",
            "OrchestratorStarted",
            "OrchestratorStarted",
            "ExecutionRewound"
        ]
    );
    let result = go_on(&registry, history);
    assert!(result.actions.is_empty() && !result.completed);
}

#[test]
fn a_failed_entity_call_is_made_again_and_an_open_one_stays_with_its_entity() {
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let open = ctx.call_entity(&COUNTER.id("open"), &ADD, &n);
        let sum = ctx.call_entity(&COUNTER.id("broken"), &ADD, &n).await?;
        Ok(sum + open.await?)
    });
    let calls = |result: &TurnResult| -> Vec<(i32, String, String)> {
        let call = |action: &durabletask_core::OrchestratorAction| match &action.kind {
            ActionKind::CallEntity {
                request_id,
                entity_id,
                ..
            } => (action.id, entity_id.to_string(), request_id.clone()),
            other => panic!("not in this story: {other:?}"),
        };
        result.actions.iter().map(call).collect()
    };
    let first = calls(&next_turn(&registry, vec![], vec![turn(), started()]));
    let called = |(id, entity, request_id): &(i32, String, String)| {
        event(
            *id,
            EventType::EntityOperationCalled(proto::EntityOperationCalledEvent {
                request_id: request_id.clone(),
                operation: "add".into(),
                target_instance_id: Some(entity.clone()),
                ..Default::default()
            }),
        )
    };
    let answered = |request_id: &str| {
        event(
            -1,
            EventType::EntityOperationCompleted(proto::EntityOperationCompletedEvent {
                request_id: request_id.into(),
                output: Some("8".into()),
            }),
        )
    };
    let past = vec![
        turn(),
        started(),
        called(&first[0]),
        called(&first[1]),
        turn(),
        event(
            -1,
            EventType::EntityOperationFailed(proto::EntityOperationFailedEvent {
                request_id: first[1].2.clone(),
                failure_details: Some(proto::TaskFailureDetails::default()),
            }),
        ),
        ended(2),
    ];
    let history = rewound_history(past, rewind(), "second");
    assert_eq!(
        sketch(&history)[2..],
        [
            "0:EntityOperationCalled",
            "OrchestratorStarted",
            "OrchestratorStarted",
            "ExecutionRewound"
        ]
    );
    let again = calls(&go_on(&registry, history.clone()));
    assert_eq!(again, [first[1].clone()]);

    let mut later = history;
    later.extend([turn(), called(&again[0])]);
    let new = vec![turn(), answered(&again[0].2), answered(&first[0].2)];
    assert_eq!(decisions(&next_turn(&registry, later, new)), ["Completed "]);
}

#[test]
fn code_that_failed_on_its_own_runs_again() {
    let past = vec![turn(), started(), ended(0)];
    let history = rewound_history(past, rewind(), "second");
    let still_wrong = story(async |_: OrchestrationContext, _: u32| Err(Failure::new("Bad", "")));
    assert_eq!(
        decisions(&go_on(&still_wrong, history.clone())),
        ["Failed Bad"]
    );
    let mended =
        story(async |ctx: OrchestrationContext, n: u32| Ok(ctx.call_activity(&A, &n).await?));
    assert_eq!(decisions(&go_on(&mended, history)), ["0:a"]);
}

#[test]
fn a_repeated_call_keeps_its_key() {
    let past = vec![
        turn(),
        started(),
        scheduled(0, "a"),
        turn(),
        failed(0),
        ended(1),
    ];
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        assert!(
            ctx.tags().is_empty(),
            "what remembers the first id is no tag of the user's"
        );
        Ok(ctx.call_activity(&A, &n).await?)
    });
    let once = rewound_history(past, rewind(), "second");
    let mut failed_again = once.clone();
    failed_again.extend([scheduled(0, "a"), turn(), failed(0), ended(1)]);
    let twice = rewound_history(failed_again, rewind(), "third");
    for (history, execution_id) in [(once, "second"), (twice, "third")] {
        let again = go_on(&registry, history);
        let ActionKind::ScheduleTask { tags, .. } = &again.actions[0].kind else {
            panic!("not a call");
        };
        let context = ActivityContext::new("a", "abc", 0)
            .with_execution_id(Some(execution_id.to_owned()))
            .with_tags(tags.clone());
        assert_eq!(context.idempotency_key(), "abc/first/0");
    }
}
