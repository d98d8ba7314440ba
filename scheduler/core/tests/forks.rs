//! Forks: a history and an event in, a new instance out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use durabletask_proto::*;
use durabletask_scheduler_core::{Fork, ForkRefusal, Forked, Instance, event, fork};
use history_event::EventType as E;
use prost_types::Timestamp;

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 0,
};

fn source() -> Instance {
    Instance {
        instance_id: "a".into(),
        execution_id: "e1".into(),
        name: "Hello".into(),
        version: Some("2".into()),
        status: OrchestrationStatus::Completed,
        custom_status: Some("\"done\"".into()),
        status_carried: false,
        tags: HashMap::from([("k".to_owned(), "v".to_owned())]),
        parent: Some(ParentInstanceInfo::default()),
        parent_trace: None,
        span: None,
        terminate_children: true,
        output: Some("1".into()),
        failure: None,
    }
}

fn started(tags: &[(&str, &str)]) -> (i32, E) {
    let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let started = ExecutionStartedEvent {
        name: "Hello".into(),
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: "a".into(),
            execution_id: Some("e1".into()),
        }),
        tags: tags.collect(),
        ..Default::default()
    };
    (0, E::ExecutionStarted(started))
}

fn turn() -> (i32, E) {
    (-1, E::OrchestratorStarted(OrchestratorStartedEvent {}))
}

fn scheduled(id: i32) -> (i32, E) {
    let task = TaskScheduledEvent {
        name: "Greet".into(),
        ..Default::default()
    };
    (id, E::TaskScheduled(task))
}

fn completed(id: i32) -> (i32, E) {
    let done = TaskCompletedEvent {
        task_scheduled_id: id,
        result: Some("1".into()),
    };
    (-1, E::TaskCompleted(done))
}

fn ended() -> (i32, E) {
    (9, E::ExecutionCompleted(ExecutionCompletedEvent::default()))
}

fn at(events: &[(i32, E)], at: usize) -> Result<Forked, ForkRefusal> {
    let history = events.iter().cloned();
    let made = fork(Fork {
        source: source(),
        history: history.map(|(id, what)| event(id, NOW, what)).collect(),
        event: at,
        instance_id: "b".into(),
        execution_id: "e2".into(),
        now: NOW,
    });
    made.map_err(|refusal| *refusal)
}

fn kinds(events: &[HistoryEvent]) -> Vec<&'static str> {
    events.iter().map(event_kind).collect()
}

/// Up to which event, what is past then, what is new, and which activities run again.
type Expected<'a> = (usize, &'a [&'a str], &'a [&'a str], &'a [i32]);

#[test]
fn whole_turns_are_shared_and_a_half_is_decided_again() {
    let events = [
        turn(),
        started(&[]),
        scheduled(0),
        scheduled(1),
        turn(),
        completed(0),
        completed(1),
        scheduled(2),
        turn(),
        completed(2),
        ended(),
    ];
    let begin: &[&str] = &[];
    let one = [
        "OrchestratorStarted",
        "ExecutionStarted",
        "TaskScheduled",
        "TaskScheduled",
    ];
    let two = [
        one.as_slice(),
        &[
            "OrchestratorStarted",
            "TaskCompleted",
            "TaskCompleted",
            "TaskScheduled",
        ],
    ]
    .concat();
    let wake: &[&str] = &["OrchestratorStarted"];
    let expected: [Expected<'_>; 11] = [
        (0, begin, begin, &[]),
        (1, begin, begin, &[]),
        (2, begin, begin, &[]),
        (3, &one, wake, &[0, 1]),
        (4, &one, wake, &[0, 1]),
        (5, &one, &["TaskCompleted"], &[1]),
        (6, &one, &["TaskCompleted", "TaskCompleted"], &[]),
        (7, &two, wake, &[2]),
        (8, &two, wake, &[2]),
        (9, &two, &["TaskCompleted"], &[]),
        (10, &two, &["TaskCompleted"], &[]),
    ];
    for (n, past, news, activities) in expected {
        let forked = at(&events, n).unwrap();
        assert_eq!(kinds(&forked.past), past, "{n}");
        assert_eq!(kinds(&forked.news), news, "{n}");
        let again: Vec<i32> = forked.activities.iter().map(|it| it.task_id).collect();
        assert_eq!(again, activities, "{n}");
        for activity in forked.activities {
            let of = activity.orchestration_instance.unwrap();
            assert_eq!(
                (of.instance_id.as_str(), of.execution_id.as_deref()),
                ("b", Some("e2"))
            );
        }
        let status = match past.is_empty() {
            true => OrchestrationStatus::Pending,
            false => OrchestrationStatus::Running,
        };
        let instance = forked.instance;
        assert_eq!(instance.status, status);
        assert_eq!(
            (instance.parent, instance.output, instance.custom_status),
            (None, None, None)
        );
        assert_eq!(instance.tags["durabletask.forkedFrom"], "a");
        assert_eq!(instance.tags["k"], "v");
        assert_eq!(
            instance.tags.contains_key("durabletask.fork"),
            !past.is_empty()
        );
    }
    let beyond = ForkRefusal::NoEvent {
        instance: "a".into(),
        event: 11,
        events: 11,
    };
    assert_eq!(at(&events, 11), Err(beyond));
    assert_eq!(at(&[], 0), Err(ForkRefusal::NoHistory("a".into())));
}

#[test]
fn what_is_under_way_begins_again_under_the_new_instance() {
    let child = |id: i32, tags: &[(&str, &str)]| {
        let created = SubOrchestrationInstanceCreatedEvent {
            instance_id: format!("child-{id}"),
            name: "Child".into(),
            tags: tags
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            ..Default::default()
        };
        (id, E::SubOrchestrationInstanceCreated(created))
    };
    let timer = TimerCreatedEvent { fire_at: Some(NOW) };
    let to_itself = EventSentEvent {
        instance_id: "a".into(),
        name: "ping".into(),
        input: Some("1".into()),
    };
    let events = [
        turn(),
        started(&[]),
        child(0, &[]),
        child(1, &[("FireAndForget", "true")]),
        (2, E::TimerCreated(timer)),
        (3, E::EventSent(to_itself)),
        (
            -1,
            E::ExecutionSuspended(ExecutionSuspendedEvent::default()),
        ),
        turn(),
    ];
    let forked = at(&events, 7).unwrap();
    let ids: Vec<&str> = forked
        .children
        .iter()
        .map(|it| it.instance_id.as_str())
        .collect();
    assert_eq!(ids, ["e2:0000"]);
    let recorded = |n: usize| match &forked.past[n].event_type {
        Some(E::SubOrchestrationInstanceCreated(child)) => child.instance_id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (recorded(2).as_str(), recorded(3).as_str()),
        ("e2:0000", "child-1")
    );
    assert_eq!(forked.timers.len(), 1);
    assert_eq!(kinds(&forked.news), ["EventRaised"]);
    assert_eq!(forked.instance.status, OrchestrationStatus::Suspended);
}

#[test]
fn entities_are_asked_again_unless_it_holds_their_locks() {
    let lock_set = vec!["@e@x".to_owned(), "@e@y".to_owned()];
    let requested = EntityLockRequestedEvent {
        critical_section_id: "s".into(),
        lock_set,
        ..Default::default()
    };
    let granted = EntityLockGrantedEvent {
        critical_section_id: "s".into(),
    };
    let unlocked = |id: i32, entity: &str| {
        let unlock = EntityUnlockSentEvent {
            critical_section_id: "s".into(),
            target_instance_id: Some(entity.into()),
            ..Default::default()
        };
        (id, E::EntityUnlockSent(unlock))
    };
    let called = EntityOperationCalledEvent {
        request_id: "r".into(),
        operation: "get".into(),
        target_instance_id: Some("@e@x".into()),
        ..Default::default()
    };
    let events = [
        turn(),
        started(&[]),
        (0, E::EntityLockRequested(requested)),
        turn(),
        (-1, E::EntityLockGranted(granted)),
        (1, E::EntityOperationCalled(called)),
        turn(),
        unlocked(2, "@E@x"),
        unlocked(3, "@e@y"),
        turn(),
    ];
    assert_eq!(at(&events, 2).map(|it| it.past.len()), Ok(3));
    assert_eq!(at(&events, 3).unwrap().entity_messages.len(), 1);
    for inside in 4..8 {
        let refused = ForkRefusal::InSection { event: inside };
        assert_eq!(at(&events, inside), Err(refused));
    }
    // The call is still without an answer.
    assert_eq!(at(&events, 8).unwrap().entity_messages.len(), 1);
}

#[test]
fn some_histories_cannot_be_shared() {
    let rewound = (-1, E::ExecutionRewound(ExecutionRewoundEvent::default()));
    let events = [turn(), started(&[]), turn(), rewound, turn(), scheduled(0)];
    for before in 0..3 {
        assert_eq!(
            at(&events, before),
            Err(ForkRefusal::Rewound { rewound: 3 })
        );
    }
    assert_eq!(
        kinds(&at(&events, 3).unwrap().news),
        ["OrchestratorStarted"]
    );
    assert_eq!(at(&events, 5).unwrap().activities.len(), 1);

    let op = |signal: bool| {
        let body = format!(r#"{{"id":"r","op":"get","signal":{signal}}}"#);
        let sent = EventSentEvent {
            instance_id: "@e@x".into(),
            name: "op".into(),
            input: Some(body),
        };
        (0, E::EventSent(sent))
    };
    let by_event = |signal| [turn(), started(&[]), op(signal), turn()];
    assert!(at(&by_event(true), 3).is_ok());
    let refused = ForkRefusal::EntityByEvent { call: 2 };
    assert_eq!(at(&by_event(false), 3), Err(refused));
}

/// What the tag of a fork says, of a fork of `a` whose own tag is this.
fn lineage(tag: &str, turns: usize) -> Result<serde_json::Value, ForkRefusal> {
    let mut events = vec![turn(), started(&[("durabletask.fork", tag)])];
    events.extend((1..turns).map(|_| turn()));
    let forked = at(&events, events.len() - 1)?;
    let text = &forked.instance.tags["durabletask.fork"];
    assert_eq!(forked.started.tags, forked.instance.tags);
    Ok(serde_json::from_str(text).unwrap())
}

#[test]
fn a_fork_of_a_fork_knows_whose_each_turn_is() {
    let of = |execution: &str| {
        format!(
            r#"{{"execution":"{execution}","origins":[{{"instance":"o","turns":2}},{{"instance":"p","turns":4}}]}}"#
        )
    };
    let expect =
        |origins: serde_json::Value| serde_json::json!({"execution": "e2", "origins": origins});
    let origin =
        |instance: &str, turns: u32| serde_json::json!({"instance": instance, "turns": turns});
    let cases = [
        (1, vec![origin("o", 1)]),
        (2, vec![origin("o", 2)]),
        (3, vec![origin("o", 2), origin("p", 3)]),
        (5, vec![origin("o", 2), origin("p", 4), origin("a", 5)]),
    ];
    for (turns, origins) in cases {
        assert_eq!(
            lineage(&of("e1"), turns),
            Ok(expect(origins.into())),
            "{turns}"
        );
    }
    // What is said of another execution, or is no such tag, counts for nothing.
    for tag in [of("e0"), "{}".to_owned(), "no JSON".to_owned()] {
        assert_eq!(lineage(&tag, 3), Ok(expect(vec![origin("a", 3)].into())));
    }
    let deep: Vec<_> = (1..=16).map(|n| origin("o", n)).collect();
    let deep = serde_json::json!({"execution": "e1", "origins": deep}).to_string();
    assert_eq!(lineage(&deep, 20), Err(ForkRefusal::TooDeep));
}
