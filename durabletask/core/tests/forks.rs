//! The history of a fork: turns of another instance, and then its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use durabletask_core::testing::HistoryBuilder;
use durabletask_core::{
    ActionKind, Activity, Event, Execution, ExecutionStarted, Failure, Feed, HEARTBEAT_EVENT,
    HeartbeatMessage, HistoryPayload, Orchestration, OrchestrationContext, OrchestratorAction,
    Registry, TaskOptions,
};

const SAME: Activity<String, String> = Activity::new("same");
const STEPS: Feed<u32> = Feed::new("steps");
const PING: Event<u32> = Event::new("ping");
const TWICE: Orchestration<(), Vec<String>> = Orchestration::new("twice");
const COPY: Activity<(), u32> = Activity::new("copy");
const BACK_UP: Orchestration<(), u32> = Orchestration::new("back-up");

const LIMIT: Duration = Duration::from_secs(30);

async fn twice(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for number in 0..2 {
        let id = ctx.new_uuid().to_string();
        ctx.publish(&STEPS, &number)?;
        ctx.send_event(ctx.instance_id(), &PING, &number)?;
        ids.push(ctx.call_activity(&SAME, &id).await?);
    }
    Ok(ids)
}

async fn back_up(ctx: OrchestrationContext, (): ()) -> Result<u32, Failure> {
    let options = TaskOptions::new().heartbeat_timeout(LIMIT);
    Ok(ctx.call_activity_with(&COPY, &(), options).await?)
}

fn execution(instance_id: &str, execution_id: &str) -> Execution {
    let registry = Registry::new()
        .orchestration(&TWICE, twice)
        .orchestration(&BACK_UP, back_up);
    Execution::new(
        instance_id,
        Some(execution_id.to_owned()),
        Arc::new(registry),
    )
}

/// How an execution begins whose first turns belong to the instance `a`.
fn started(name: &str, execution_id: &str, turns: usize) -> HistoryPayload {
    let mut started = ExecutionStarted {
        name: name.to_owned(),
        input: Some("null".to_owned()),
        execution_id: Some(execution_id.to_owned()),
        ..ExecutionStarted::default()
    };
    if turns > 0 {
        let lineage = format!(
            r#"{{"execution":"{execution_id}","origins":[{{"instance":"a","turns":{turns}}}]}}"#
        );
        started.tags.insert("durabletask.fork".to_owned(), lineage);
    }
    HistoryPayload::ExecutionStarted(Box::new(started))
}

fn recorded(mut history: HistoryBuilder, actions: &[OrchestratorAction]) -> HistoryBuilder {
    for action in actions {
        let payload = match action.kind.clone() {
            ActionKind::ScheduleTask { name, .. } => HistoryPayload::TaskScheduled {
                name,
                version: None,
                input: None,
            },
            ActionKind::CreateTimer { fire_at } => HistoryPayload::TimerCreated {
                fire_at: Some(fire_at),
            },
            ActionKind::SendEvent {
                instance_id,
                name,
                data,
            } => HistoryPayload::EventSent {
                instance_id,
                name,
                input: data,
            },
            ActionKind::SignalEntity {
                entity_id,
                operation,
                ..
            } => HistoryPayload::EntityOperationSignaled {
                operation,
                entity_id: entity_id.to_string(),
            },
            other => panic!("it decided {other:?}"),
        };
        history = history.event(action.id, payload);
    }
    history
}

/// To whom the turn sends something, and the input of the activity that it calls.
fn sent(actions: &[OrchestratorAction]) -> (Vec<String>, String) {
    let (mut targets, mut input) = (Vec::new(), String::new());
    for action in actions {
        match &action.kind {
            ActionKind::SendEvent { instance_id, .. } => targets.push(instance_id.clone()),
            ActionKind::SignalEntity { entity_id, .. } => targets.push(entity_id.to_string()),
            ActionKind::ScheduleTask { input: given, .. } => input = given.clone().unwrap(),
            other => panic!("it decided {other:?}"),
        }
    }
    (targets, input)
}

#[test]
fn what_is_derived_from_the_instance_is_the_others_in_its_turns_and_then_the_forks() {
    let begin = |execution_id: &str, turns: usize| {
        HistoryBuilder::new()
            .orchestrator_started()
            .event(0, started("twice", execution_id, turns))
    };
    let first = execution("a", "e1").turn(begin("e1", 0).build());
    let (targets, _) = sent(&first.actions);
    assert!(targets[0].ends_with("/a/steps"), "{targets:?}");
    assert_eq!(targets[1], "a");

    let answer = |past: HistoryBuilder| {
        let before = past.clone().build().len();
        let whole = past
            .advance(Duration::from_secs(5))
            .orchestrator_started()
            .task_completed(first.actions.last().unwrap().id, "\"x\"");
        whole.build().split_off(before)
    };
    let shared = recorded(begin("e2", 1), &first.actions);
    let news = answer(shared.clone());
    let mut fork = execution("b", "e2");
    fork.replay(shared.clone().build());
    let second = fork.turn(news.clone());
    assert_eq!(fork.divergence(), None);
    let (targets, input) = sent(&second.actions);
    assert_eq!(targets[1], "b");
    assert!(targets[0].ends_with("/b/steps"), "{targets:?}");

    // At the same instant the other instance gets another uuid.
    let own = recorded(begin("e1", 0), &first.actions);
    let mut other = execution("a", "e1");
    other.replay(own.build());
    let (_, others) = sent(&other.turn(news.clone()).actions);
    assert_ne!(input, others);

    // Without the tag, or with that of another execution, these turns are not the fork's.
    for start in [begin("e2", 0), begin("e3", 1)] {
        let mut lost = execution("b", "e2");
        lost.replay(recorded(start, &first.actions).build());
        lost.turn(news.clone());
        assert!(lost.divergence().is_some());
    }
}

#[test]
fn an_activity_that_runs_again_in_a_fork_is_not_taken_for_silent() {
    let beat = |execution_id: &str| {
        let message = HeartbeatMessage {
            task_id: 0,
            execution_id: Some(execution_id.to_owned()),
            key: "key".to_owned(),
            mark: None,
            details: None,
        };
        HistoryPayload::EventRaised {
            name: HEARTBEAT_EVENT.to_owned(),
            input: Some(serde_json::to_string(&message).unwrap()),
        }
    };
    // Two turns of `a`: the call, and a heartbeat that sets the timer #1.
    let past = HistoryBuilder::new()
        .orchestrator_started()
        .event(0, started("back-up", "e2", 2))
        .task_scheduled(0, "copy")
        .orchestrator_started()
        .event(-1, beat("e1"))
        .timer_created(1);
    let before = past.clone().build().len();
    let late = past
        .clone()
        .advance(Duration::from_secs(3600))
        .orchestrator_started()
        .timer_fired(1)
        .build()
        .split_off(before);
    let mut fork = execution("b", "e2");
    fork.replay(past.clone().build());
    let turn = fork.turn(late);
    assert_eq!((turn.actions, turn.completed), (Vec::new(), false));
    // Once it is heard of, it is watched again.
    let heard = HistoryBuilder::new()
        .advance(Duration::from_secs(3700))
        .orchestrator_started()
        .event(-1, beat("e2"))
        .build();
    let turn = fork.turn(heard);
    let watches =
        |action: &OrchestratorAction| matches!(action.kind, ActionKind::CreateTimer { .. });
    assert!(
        turn.actions.iter().all(watches) && turn.actions.len() == 1,
        "{turn:?}"
    );
}
