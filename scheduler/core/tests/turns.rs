//! Turns: actions in, effects out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use durabletask_scheduler_core::{Effects, Instance, Turn, Waiting, apply_turn, event};
use history_event::EventType;
use proptest::prelude::*;
use prost_types::Timestamp;

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 7,
};

fn instance() -> Instance {
    Instance {
        instance_id: "a".into(),
        execution_id: "e1".into(),
        name: "Hello".into(),
        version: Some("1.0".into()),
        status: OrchestrationStatus::Pending,
        custom_status: None,
        status_carried: false,
        tags: HashMap::from([("k".to_owned(), "v".to_owned())]),
        parent: None,
        parent_trace: None,
        span: None,
        terminate_children: false,
        output: None,
        failure: None,
    }
}

fn run(instance: Instance, delivered: Vec<EventType>, actions: Vec<(i32, Action)>) -> Effects {
    let mut events = vec![event(
        -1,
        NOW,
        EventType::OrchestratorStarted(OrchestratorStartedEvent {}),
    )];
    events.extend(delivered.into_iter().map(|e| event(-1, NOW, e)));
    let actions = actions
        .into_iter()
        .map(|(id, action)| OrchestratorAction {
            id,
            orchestrator_action_type: Some(action),
        })
        .collect();
    let response = OrchestratorResponse {
        actions,
        ..OrchestratorResponse::default()
    };
    apply_turn(Turn {
        instance,
        delivered: events,
        response,
        now: NOW,
        waiting: Waiting::default(),
        next_execution_id: "e2".into(),
    })
}

fn kinds(effects: &Effects) -> Vec<&'static str> {
    effects.history.iter().map(event_kind).collect()
}

fn complete(status: OrchestrationStatus, result: &str) -> Action {
    Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: status as i32,
        result: Some(result.into()),
        ..Default::default()
    })
}

fn send(to: &str, name: &str) -> Action {
    Action::SendEvent(SendEventAction {
        instance: Some(OrchestrationInstance {
            instance_id: to.into(),
            execution_id: None,
        }),
        name: name.into(),
        data: None,
    })
}

#[test]
fn a_turn_records_what_was_delivered_then_what_was_decided() {
    let task = ScheduleTaskAction {
        name: "Greet".into(),
        input: Some("\"x\"".into()),
        ..Default::default()
    };
    let fire_at = Timestamp {
        seconds: 253_402_300_799,
        nanos: 999,
    };
    let effects = run(
        instance(),
        vec![EventType::ExecutionStarted(ExecutionStartedEvent::default())],
        vec![
            (4, Action::ScheduleTask(task)),
            (
                9,
                Action::CreateTimer(CreateTimerAction {
                    fire_at: Some(fire_at),
                }),
            ),
        ],
    );
    assert_eq!(
        kinds(&effects),
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "TaskScheduled",
            "TimerCreated"
        ]
    );
    assert_eq!(effects.instance.status, OrchestrationStatus::Running);
    assert_eq!(effects.activities[0].task_id, 4);
    assert_eq!(
        effects.activities[0]
            .orchestration_instance
            .as_ref()
            .unwrap()
            .execution_id
            .as_deref(),
        Some("e1")
    );
    assert_eq!(effects.timers[0].fire_at, fire_at);
    assert!(!effects.ended);
}

#[test]
fn continue_as_new_keeps_identity_and_orders_the_inbox() {
    let carried = event(
        -1,
        NOW,
        EventType::EventRaised(EventRaisedEvent {
            name: "carried".into(),
            input: None,
        }),
    );
    let again = Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
        result: Some("2".into()),
        carryover_events: vec![carried],
        ..Default::default()
    });
    let effects = run(
        instance(),
        vec![],
        vec![(0, send("a", "own")), (1, send("b", "other")), (2, again)],
    );
    let next = effects.next.unwrap();
    let EventType::ExecutionStarted(started) = next.inbox[0].event_type.clone().unwrap() else {
        panic!()
    };
    assert_eq!(started.input.as_deref(), Some("2"));
    assert_eq!(started.version.as_deref(), Some("1.0"));
    assert_eq!(started.tags["k"], "v");
    let names: Vec<_> = next.inbox[1..]
        .iter()
        .map(|e| match e.event_type.as_ref().unwrap() {
            EventType::EventRaised(raised) => raised.name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["carried", "own"]);
    assert_eq!(effects.messages.len(), 1);
    assert!(effects.history.is_empty() && !effects.ended);
    assert_eq!(effects.instance.execution_id, "e2");
}

#[test]
fn a_terminated_child_is_reported_with_made_up_details() {
    let mut child = instance();
    child.parent = Some(ParentInstanceInfo {
        task_scheduled_id: 3,
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: "p".into(),
            execution_id: Some("pe".into()),
        }),
        ..Default::default()
    });
    let terminated = ExecutionTerminatedEvent {
        input: Some("1".into()),
        recurse: true,
    };
    let effects = run(
        child,
        vec![EventType::ExecutionTerminated(terminated)],
        vec![(0, complete(OrchestrationStatus::Terminated, "1"))],
    );
    assert!(effects.ended && effects.terminate_children);
    let message = &effects.messages[0];
    assert_eq!(
        (
            message.instance_id.as_str(),
            message.execution_id.as_deref()
        ),
        ("p", Some("pe"))
    );
    let Some(EventType::SubOrchestrationInstanceFailed(failed)) = &message.event.event_type else {
        panic!()
    };
    assert_eq!(failed.task_scheduled_id, 3);
    assert_eq!(
        failed.failure_details.as_ref().unwrap().error_type,
        "OrchestrationTerminated"
    );
}

#[test]
fn a_forgotten_child_notifies_no_parent() {
    let mut child = instance();
    child.parent = Some(ParentInstanceInfo {
        orchestration_instance: Some(OrchestrationInstance::default()),
        ..Default::default()
    });
    let done = || vec![(0, complete(OrchestrationStatus::Completed, "1"))];
    assert_eq!(run(child.clone(), vec![], done()).messages.len(), 1);
    child.tags.insert("FireAndForget".into(), String::new());
    assert!(run(child, vec![], done()).messages.is_empty());
}

#[test]
fn a_rewind_sets_going_what_its_history_leaves_open() {
    let mut failed = instance();
    failed.status = OrchestrationStatus::Running;
    failed.parent = Some(ParentInstanceInfo {
        task_scheduled_id: 8,
        ..Default::default()
    });
    let started = ExecutionStartedEvent {
        name: "Hello".into(),
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: "a".into(),
            execution_id: Some("by the worker".into()),
        }),
        ..Default::default()
    };
    let task = |name: &str| {
        EventType::TaskScheduled(TaskScheduledEvent {
            name: name.into(),
            ..Default::default()
        })
    };
    let child = |id: &str| {
        EventType::SubOrchestrationInstanceCreated(SubOrchestrationInstanceCreatedEvent {
            instance_id: id.into(),
            ..Default::default()
        })
    };
    let timer = || EventType::TimerCreated(TimerCreatedEvent { fire_at: Some(NOW) });
    let new_history: Vec<HistoryEvent> = [
        (-1, EventType::ExecutionStarted(started)),
        (0, task("answered")),
        (1, task("open")),
        (2, timer()),
        (3, timer()),
        (4, child("answered")),
        (5, child("open")),
        (
            -1,
            EventType::TaskCompleted(TaskCompletedEvent {
                task_scheduled_id: 0,
                ..Default::default()
            }),
        ),
        (
            -1,
            EventType::TimerFired(TimerFiredEvent {
                timer_id: 2,
                ..Default::default()
            }),
        ),
        (
            -1,
            EventType::SubOrchestrationInstanceCompleted(SubOrchestrationInstanceCompletedEvent {
                task_scheduled_id: 4,
                ..Default::default()
            }),
        ),
    ]
    .into_iter()
    .map(|(id, event_type)| event(id, NOW, event_type))
    .collect();
    let action = |new_history: Vec<HistoryEvent>| {
        vec![(
            -1,
            Action::RewindOrchestration(RewindOrchestrationAction { new_history }),
        )]
    };
    let asked = || {
        vec![EventType::ExecutionRewound(ExecutionRewoundEvent {
            reason: Some("why".into()),
            ..Default::default()
        })]
    };

    let effects = run(failed.clone(), asked(), action(new_history.clone()));
    assert_eq!(effects.instance.status, OrchestrationStatus::Running);
    assert_eq!(effects.instance.execution_id, "by the worker");
    assert!(effects.history.is_empty() && !effects.ended);
    let rewound = effects.rewound.expect("a rewind");
    assert_eq!(rewound.reason.as_deref(), Some("why"));
    assert_eq!(rewound.history.len(), new_history.len());
    let Some(EventType::ExecutionStarted(started)) = &rewound.history[0].event_type else {
        panic!()
    };
    assert_eq!(started.parent_instance, failed.parent);
    let activities: Vec<_> = effects.activities.iter().map(|a| a.task_id).collect();
    assert_eq!(activities, [1]);
    let identity = effects.activities[0].orchestration_instance.clone();
    assert_eq!(
        identity.unwrap().execution_id.as_deref(),
        Some("by the worker")
    );
    assert_eq!(effects.timers.len(), 1);
    let children: Vec<_> = rewound.children.iter().map(|c| c.task_id).collect();
    assert_eq!(children, [5]);

    // A worker that keeps the old execution id is given another.
    failed.execution_id = "by the worker".into();
    let effects = run(failed.clone(), asked(), action(new_history.clone()));
    assert_eq!(effects.instance.execution_id, "e2");

    for (delivered, history) in [(vec![], new_history), (asked(), vec![])] {
        let effects = run(failed.clone(), delivered, action(history));
        assert_eq!(effects.instance.status, OrchestrationStatus::Failed);
        assert!(effects.rewound.is_none() && effects.ended);
    }
}

#[test]
fn suspension_follows_the_delivered_events() {
    let suspend = || EventType::ExecutionSuspended(ExecutionSuspendedEvent::default());
    let resume = || EventType::ExecutionResumed(ExecutionResumedEvent::default());
    assert_eq!(
        run(instance(), vec![suspend()], vec![]).instance.status,
        OrchestrationStatus::Suspended
    );
    assert_eq!(
        run(instance(), vec![suspend(), resume()], vec![])
            .instance
            .status,
        OrchestrationStatus::Running
    );
}

#[test]
fn what_cannot_be_done_fails_the_orchestration_and_says_so() {
    let effects = run(
        instance(),
        vec![],
        vec![(
            0,
            Action::SendEntityMessage(SendEntityMessageAction::default()),
        )],
    );
    assert_eq!(effects.instance.status, OrchestrationStatus::Failed);
    assert!(
        effects
            .instance
            .failure
            .unwrap()
            .error_message
            .contains("entity")
    );
    let effects = run(
        instance(),
        vec![],
        vec![(0, complete(OrchestrationStatus::Suspended, ""))],
    );
    assert_eq!(effects.instance.status, OrchestrationStatus::Failed);
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        "[a-c]{1,3}".prop_map(|name| Action::ScheduleTask(ScheduleTaskAction {
            name,
            ..Default::default()
        })),
        any::<i64>().prop_map(|seconds| Action::CreateTimer(CreateTimerAction {
            fire_at: Some(Timestamp { seconds, nanos: 0 })
        })),
        "[a-c]{1,2}".prop_map(|to| send(&to, "e")),
        "[a-c]{0,2}".prop_map(|instance_id| Action::CreateSubOrchestration(
            CreateSubOrchestrationAction {
                instance_id,
                ..Default::default()
            }
        )),
        (0..9i32).prop_map(
            |status| Action::CompleteOrchestration(CompleteOrchestrationAction {
                orchestration_status: status,
                ..Default::default()
            })
        ),
    ]
}

proptest! {
    #[test]
    fn every_answer_has_consistent_effects(actions in prop::collection::vec((0..50i32, any_action()), 0..12)) {
        let completes = actions.iter().any(|(_, a)| matches!(a, Action::CompleteOrchestration(_)));
        let effects = run(instance(), vec![], actions.clone());
        let again = run(instance(), vec![], actions);
        prop_assert_eq!(&effects, &again);
        prop_assert_eq!(effects.ended || effects.next.is_some(), completes);
        prop_assert_eq!(effects.ended, kinds(&effects).last() == Some(&"ExecutionCompleted"));
        if effects.next.is_none() {
            let count = |kind| kinds(&effects).iter().filter(|k| **k == kind).count();
            prop_assert_eq!(count("TaskScheduled"), effects.activities.len());
            prop_assert_eq!(count("TimerCreated"), effects.timers.len());
            prop_assert_eq!(count("SubOrchestrationInstanceCreated"), effects.children.len());
        } else {
            prop_assert!(effects.history.is_empty());
        }
    }
}
