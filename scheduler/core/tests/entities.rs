//! Entities: messages from turns, and what a batch does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_action::OperationActionType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::*;
use durabletask_scheduler_core::{
    Batch, BatchEffects, Caller, Effects, EntityMessage, Instance, LockRequest, Locked, Turn,
    Waiting, after_lock, apply_batch, apply_turn, event,
};
use proptest::prelude::*;
use prost_types::Timestamp;

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 0,
};

fn caller() -> Caller {
    Caller {
        instance_id: "o".into(),
        execution_id: "e1".into(),
    }
}

fn turn(message: EntityMessageType) -> Effects {
    apply_turn(Turn {
        instance: Instance {
            instance_id: "o".into(),
            execution_id: "e1".into(),
            name: "Hello".into(),
            version: None,
            status: OrchestrationStatus::Running,
            custom_status: None,
            status_carried: false,
            tags: HashMap::new(),
            parent: None,
            parent_trace: None,
            span: None,
            terminate_children: false,
            output: None,
            failure: None,
        },
        delivered: Vec::new(),
        response: OrchestratorResponse {
            actions: vec![OrchestratorAction {
                id: 4,
                orchestrator_action_type: Some(Action::SendEntityMessage(
                    SendEntityMessageAction {
                        entity_message_type: Some(message),
                    },
                )),
            }],
            ..Default::default()
        },
        now: NOW,
        waiting: Waiting::default(),
        next_execution_id: "e2".into(),
    })
}

fn called(request_id: &str) -> HistoryEvent {
    let call = EntityOperationCalledEvent {
        request_id: request_id.into(),
        parent_instance_id: Some("o".into()),
        parent_execution_id: Some("e1".into()),
        ..Default::default()
    };
    event(-1, NOW, EventType::EntityOperationCalled(call))
}

fn signaled() -> HistoryEvent {
    event(
        -1,
        NOW,
        EventType::EntityOperationSignaled(Default::default()),
    )
}

fn ok(result: &str) -> OperationResult {
    OperationResult {
        result_type: Some(ResultType::Success(OperationResultSuccess {
            result: Some(result.into()),
            ..Default::default()
        })),
    }
}

fn run(operations: Vec<HistoryEvent>, result: EntityBatchResult) -> BatchEffects {
    apply_batch(Batch {
        state: Some("old".into()),
        operations,
        result,
        now: NOW,
    })
}

#[test]
fn a_call_names_its_parent_in_the_message_and_its_target_in_the_history() {
    let effects = turn(EntityMessageType::EntityOperationCalled(
        EntityOperationCalledEvent {
            request_id: "r".into(),
            operation: "add".into(),
            parent_instance_id: Some("whatever".into()),
            target_instance_id: Some("@Counter@A".into()),
            scheduled_time: Some(NOW),
            ..Default::default()
        },
    ));
    let Some(EventType::EntityOperationCalled(recorded)) = &effects.history[0].event_type else {
        panic!()
    };
    assert_eq!(effects.history[0].event_id, 4);
    assert_eq!(recorded.target_instance_id.as_deref(), Some("@Counter@A"));
    assert_eq!(recorded.parent_instance_id, None);
    let [EntityMessage::Operation(message)] = effects.entity_messages.as_slice() else {
        panic!()
    };
    assert_eq!(message.entity_id, "@counter@A");
    assert_eq!(message.caller, Some(caller()));
    assert_eq!(message.due, Some(NOW));
    let Some(EventType::EntityOperationCalled(sent)) = &message.event.event_type else {
        panic!()
    };
    assert_eq!(sent.parent_instance_id.as_deref(), Some("o"));
    assert_eq!(sent.parent_execution_id.as_deref(), Some("e1"));
    assert_eq!(sent.target_instance_id, None);
}

#[test]
fn impossible_targets_are_answered_recorded_or_refused() {
    let effects = turn(EntityMessageType::EntityOperationCalled(
        EntityOperationCalledEvent {
            request_id: "r".into(),
            target_instance_id: Some("counter".into()),
            ..Default::default()
        },
    ));
    assert!(effects.entity_messages.is_empty());
    assert_eq!(effects.messages[0].instance_id, "o");
    assert_eq!(
        event_kind(&effects.messages[0].event),
        "EntityOperationFailed"
    );

    let effects = turn(EntityMessageType::EntityOperationSignaled(
        Default::default(),
    ));
    assert!(effects.entity_messages.is_empty() && effects.messages.is_empty());
    assert_eq!(event_kind(&effects.history[0]), "EntityOperationSignaled");

    for lock_set in [vec!["counter".to_owned()], vec!["@a@b".to_owned()]] {
        let effects = turn(EntityMessageType::EntityLockRequested(
            EntityLockRequestedEvent {
                lock_set,
                position: 1,
                ..Default::default()
            },
        ));
        assert!(effects.ended);
        assert_eq!(effects.instance.status, OrchestrationStatus::Failed);
    }
}

#[test]
fn a_lock_goes_through_its_set_and_is_then_granted() {
    let effects = turn(EntityMessageType::EntityLockRequested(
        EntityLockRequestedEvent {
            critical_section_id: "s".into(),
            lock_set: vec!["@A@2".into(), "@a@1".into(), "@a@2".into()],
            ..Default::default()
        },
    ));
    let Some(EventType::EntityLockRequested(recorded)) = &effects.history[0].event_type else {
        panic!()
    };
    assert_eq!(recorded.lock_set, ["@A@2", "@a@1", "@a@2"]);
    let [EntityMessage::Lock(request)] = effects.entity_messages.as_slice() else {
        panic!()
    };
    // One order for all callers, whatever theirs.
    assert_eq!(request.lock_set, ["@a@1", "@a@2"]);
    assert_eq!((request.position, &request.caller), (0, &caller()));
    // It survives its wait in a queue.
    let queued = LockRequest::from_event(request.to_event(NOW), "e1".into()).unwrap();
    assert_eq!(&queued, request);
    let Locked::Next(second) = after_lock(queued, NOW) else {
        panic!()
    };
    assert_eq!(second.position, 1);
    let Locked::Granted(grant) = after_lock(second, NOW) else {
        panic!()
    };
    assert_eq!(grant.execution_id.as_deref(), Some("e1"));
    assert_eq!(event_kind(&grant.event), "EntityLockGranted");

    let nothing = turn(EntityMessageType::EntityLockRequested(Default::default()));
    assert_eq!(event_kind(&nothing.messages[0].event), "EntityLockGranted");
}

#[test]
fn a_batch_that_failed_as_a_whole_keeps_the_state() {
    let effects = run(
        vec![called("r1"), signaled()],
        EntityBatchResult {
            failure_details: Some(TaskFailureDetails {
                error_type: "Broken".into(),
                ..Default::default()
            }),
            ..Default::default()
        },
    );
    assert_eq!((effects.done, effects.state.as_deref()), (2, Some("old")));
    let Some(EventType::EntityOperationFailed(failed)) = &effects.replies[0].event.event_type
    else {
        panic!()
    };
    assert_eq!(
        failed.failure_details.as_ref().unwrap().error_type,
        "Broken"
    );
}

#[test]
fn actions_of_a_batch_leave_in_order() {
    let signal = |id: &str| OperationAction {
        id: 0,
        operation_action_type: Some(OperationActionType::SendSignal(SendSignalAction {
            instance_id: id.into(),
            ..Default::default()
        })),
    };
    let start = OperationAction {
        id: 1,
        operation_action_type: Some(OperationActionType::StartNewOrchestration(
            Default::default(),
        )),
    };
    let effects = run(
        vec![signaled()],
        EntityBatchResult {
            results: vec![ok("1")],
            actions: vec![signal("@A@1"), start, signal("nowhere"), signal("@b@1")],
            ..Default::default()
        },
    );
    let targets: Vec<&str> = effects
        .signals
        .iter()
        .map(|signal| signal.entity_id.as_str())
        .collect();
    assert_eq!(targets, ["@a@1", "@b@1"]);
    assert_eq!(effects.starts.len(), 1);
    assert_eq!(effects.state, None);
}

proptest! {
    /// Every call among the operations that are done is answered once, in order, and
    /// nothing else is.
    #[test]
    fn each_done_call_is_answered_once(
        calls in proptest::collection::vec(any::<bool>(), 0..20),
        reported in 0..25_usize,
        whole in any::<bool>(),
    ) {
        let operations: Vec<HistoryEvent> = calls
            .iter()
            .enumerate()
            .map(|(at, call)| if *call { called(&at.to_string()) } else { signaled() })
            .collect();
        let effects = run(operations, EntityBatchResult {
            results: vec![ok("1"); reported],
            entity_state: Some("new".into()),
            failure_details: whole.then(TaskFailureDetails::default),
            ..Default::default()
        });
        let done = if whole { calls.len() } else { reported.min(calls.len()) };
        prop_assert_eq!(effects.done, done);
        let expected: Vec<String> = (0..done).filter(|at| calls[*at]).map(|at| at.to_string()).collect();
        let answered: Vec<String> = effects.replies.iter().map(|reply| match &reply.event.event_type {
            Some(EventType::EntityOperationCompleted(c)) => c.request_id.clone(),
            Some(EventType::EntityOperationFailed(f)) => f.request_id.clone(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(answered, expected);
        let state = if reported == 0 { "old" } else { "new" };
        prop_assert_eq!(effects.state.as_deref(), Some(state));
    }
}
