//! Work items and what is expected of their answers.

use durabletask_proto as proto;
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Action;
use proto::work_item::Request as Item;

pub(crate) fn event(event_id: i32, event_type: EventType) -> proto::HistoryEvent {
    proto::HistoryEvent {
        event_id,
        timestamp: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        event_type: Some(event_type),
    }
}

pub(crate) fn started(name: &str) -> Vec<proto::HistoryEvent> {
    vec![
        event(
            -1,
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
        ),
        event(
            -1,
            EventType::ExecutionStarted(proto::ExecutionStartedEvent {
                name: name.to_owned(),
                input: Some("7".to_owned()),
                ..Default::default()
            }),
        ),
    ]
}

pub(crate) fn scheduled(id: i32) -> proto::HistoryEvent {
    event(
        id,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "echo".to_owned(),
            ..Default::default()
        }),
    )
}

pub(crate) fn completed(id: i32, result: &str) -> Vec<proto::HistoryEvent> {
    vec![
        event(
            -1,
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
        ),
        event(
            -1,
            EventType::TaskCompleted(proto::TaskCompletedEvent {
                task_scheduled_id: id,
                result: Some(result.to_owned()),
            }),
        ),
    ]
}

pub(crate) fn turn(new_events: Vec<proto::HistoryEvent>) -> proto::OrchestratorRequest {
    proto::OrchestratorRequest {
        instance_id: "abc".to_owned(),
        execution_id: Some("exec".to_owned()),
        new_events,
        ..Default::default()
    }
}

/// A turn without history, for a worker that holds the state after `token`.
pub(crate) fn continuing(
    token: &str,
    new_events: Vec<proto::HistoryEvent>,
) -> proto::OrchestratorRequest {
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(token.to_owned())),
    };
    proto::OrchestratorRequest {
        requires_history_streaming: true,
        properties: [("durabletask.continuesFrom".to_owned(), value)].into(),
        ..turn(new_events)
    }
}

pub(crate) fn activity(name: &str, task_id: i32) -> Item {
    Item::ActivityRequest(proto::ActivityRequest {
        name: name.to_owned(),
        input: Some("7".to_owned()),
        task_id,
        orchestration_instance: Some(proto::OrchestrationInstance {
            instance_id: "abc".to_owned(),
            execution_id: None,
        }),
        ..Default::default()
    })
}

pub(crate) fn only_action(response: &proto::OrchestratorResponse) -> &Action {
    assert_eq!(response.actions.len(), 1, "{response:?}");
    response.actions[0]
        .orchestrator_action_type
        .as_ref()
        .unwrap()
}

pub(crate) fn input_of(response: &proto::OrchestratorResponse) -> String {
    match only_action(response) {
        Action::ScheduleTask(action) => action.input.clone().unwrap(),
        other => panic!("not a call: {other:?}"),
    }
}

pub(crate) fn failure_of(response: &proto::OrchestratorResponse) -> proto::TaskFailureDetails {
    match only_action(response) {
        Action::CompleteOrchestration(action) => action.failure_details.clone().unwrap(),
        other => panic!("not a completion: {other:?}"),
    }
}
