//! What was acknowledged has its effect, whatever the instance goes through in the meantime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use prost_types::Timestamp;
use support::*;
use tonic::Code;

async fn suspend(hub: &Hub, id: &str) {
    let message = SuspendRequest {
        instance_id: id.into(),
        reason: None,
    };
    hub.client.clone().suspend_instance(message).await.unwrap();
}

async fn resume(hub: &Hub, id: &str) {
    let message = ResumeRequest {
        instance_id: id.into(),
        reason: None,
    };
    hub.client.clone().resume_instance(message).await.unwrap();
}

async fn terminate(hub: &Hub, id: &str, recursive: bool) {
    let message = TerminateRequest {
        instance_id: id.into(),
        output: Some("\"enough\"".into()),
        recursive,
    };
    hub.client
        .clone()
        .terminate_instance(message)
        .await
        .unwrap();
}

async fn purge(hub: &Hub, id: &str) -> i32 {
    let message = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId(id.into())),
        ..Default::default()
    };
    let answer = hub.client.clone().purge_instances(message).await.unwrap();
    answer.into_inner().deleted_instance_count
}

fn again() -> Action {
    complete(OrchestrationStatus::ContinuedAsNew, "\"next\"")
}

async fn is_terminated(hub: &Hub, id: &str) {
    let state = hub.get(id).await.unwrap();
    assert_eq!(
        (state.orchestration_status, state.output.as_deref()),
        (OrchestrationStatus::Terminated as i32, Some("\"enough\"")),
        "{id}"
    );
}

#[tokio::test]
async fn a_termination_in_the_batch_wins_over_continuing_as_new() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (first, _) = worker.turn().await;
    worker.answer(&first, vec![]).await.unwrap();
    hub.raise("a", "go").await.unwrap();
    let (token, _) = worker.turn().await;
    hub.raise("a", "go").await.unwrap();
    terminate(&hub, "a", false).await;
    worker.answer(&token, vec![]).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "EventRaised", "ExecutionTerminated"]
    );
    // As a worker does that looks at the event first; its activity is not run either.
    worker
        .answer(&token, vec![(0, call("step")), (1, again())])
        .await
        .unwrap();
    is_terminated(&hub, "a").await;
    let history = hub.history("a").await;
    assert_eq!(
        history[history.len() - 2..],
        ["ExecutionTerminated", "ExecutionCompleted"]
    );
    hub.start("b").await;
    assert_eq!(worker.turn().await.1.instance_id, "b");
}

#[tokio::test]
async fn a_termination_that_comes_while_a_turn_is_out_wins_over_continuing_as_new() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (first, _) = worker.turn().await;
    worker.answer(&first, vec![]).await.unwrap();
    hub.raise("a", "go").await.unwrap();
    let (token, _) = worker.turn().await;
    terminate(&hub, "a", false).await;
    worker.answer(&token, vec![(0, again())]).await.unwrap();
    is_terminated(&hub, "a").await;
    assert_eq!(purge(&hub, "a").await, 1);
}

#[tokio::test]
async fn a_termination_that_no_worker_heeds_ends_the_instance() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (first, _) = worker.turn().await;
    worker.answer(&first, vec![]).await.unwrap();
    terminate(&hub, "a", false).await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    is_terminated(&hub, "a").await;
}

#[tokio::test]
async fn an_instance_that_no_worker_has_taken_ends_and_goes_at_once() {
    let hub = Hub::memory().await;
    hub.start("waits").await;
    let later = CreateInstanceRequest {
        instance_id: "later".into(),
        name: "Hello".into(),
        scheduled_start_timestamp: Some(Timestamp {
            seconds: 1_700_000_100,
            nanos: 0,
        }),
        ..Default::default()
    };
    hub.try_start(later).await.unwrap();
    for id in ["waits", "later"] {
        suspend(&hub, id).await;
        assert_eq!(hub.status(id).await, OrchestrationStatus::Suspended);
        resume(&hub, id).await;
        assert_eq!(hub.status(id).await, OrchestrationStatus::Pending);
        suspend(&hub, id).await;
        terminate(&hub, id, false).await;
        is_terminated(&hub, id).await;
    }
    let mut worker = hub.worker().await;
    hub.clock.advance(Duration::from_secs(200));
    hub.start("other").await;
    assert_eq!(worker.turn().await.1.instance_id, "other");
    assert_eq!(purge(&hub, "waits").await, 1);
    assert_eq!(purge(&hub, "later").await, 1);
}

#[tokio::test]
async fn a_suspended_instance_that_no_worker_has_taken_runs_nothing_before_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let later = CreateInstanceRequest {
        instance_id: "later".into(),
        name: "Hello".into(),
        scheduled_start_timestamp: Some(Timestamp {
            seconds: 1_700_000_100,
            nanos: 0,
        }),
        ..Default::default()
    };
    hub.try_start(later).await.unwrap();
    hub.start("waits").await;
    for id in ["waits", "later"] {
        suspend(&hub, id).await;
        hub.raise(id, "go").await.unwrap();
    }
    hub.crash().await;
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.clock.advance(Duration::from_secs(200));
    hub.start("other").await;
    assert_eq!(worker.turn().await.1.instance_id, "other");
    for id in ["waits", "later"] {
        assert_eq!(hub.status(id).await, OrchestrationStatus::Suspended);
        resume(&hub, id).await;
        let (token, turn) = worker.turn().await;
        assert_eq!(
            (
                turn.instance_id.as_str(),
                kinds(&turn.new_events).as_slice()
            ),
            (
                id,
                [
                    "OrchestratorStarted",
                    "ExecutionStarted",
                    "ExecutionSuspended"
                ]
                .as_slice()
            )
        );
        worker.answer(&token, vec![]).await.unwrap();
        let (_, turn) = worker.turn().await;
        assert_eq!(
            kinds(&turn.new_events),
            ["OrchestratorStarted", "EventRaised", "ExecutionResumed"]
        );
    }
}

#[tokio::test]
async fn the_first_turn_that_is_out_is_void_after_a_termination() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    terminate(&hub, "a", false).await;
    is_terminated(&hub, "a").await;
    worker
        .answer(&token, vec![(0, call("step"))])
        .await
        .unwrap();
    hub.start("b").await;
    assert_eq!(worker.turn().await.1.instance_id, "b");
    is_terminated(&hub, "a").await;
    assert_eq!(worker.answer("nobody's", vec![]).await, Err(Code::NotFound));
}

#[tokio::test]
async fn a_suspension_goes_with_an_instance_that_continues_as_new() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (first, _) = worker.turn().await;
    for event in ["e1"] {
        hub.raise("a", event).await.unwrap();
    }
    suspend(&hub, "a").await;
    for event in ["e2", "e3"] {
        hub.raise("a", event).await.unwrap();
    }
    worker.answer(&first, vec![]).await.unwrap();
    // The batch ends where the suspension stands.
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "EventRaised", "ExecutionSuspended"]
    );
    worker.answer(&token, vec![(0, again())]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Suspended);
    hub.raise("a", "e4").await.unwrap();
    hub.start("b").await;
    assert_eq!(worker.turn().await.1.instance_id, "b");
    resume(&hub, "a").await;
    assert_eq!(hub.status("a").await, OrchestrationStatus::Running);
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "ExecutionSuspended"
        ]
    );
    worker.answer(&token, vec![]).await.unwrap();
    let (_, turn) = worker.turn().await;
    let names: Vec<_> = turn
        .new_events
        .iter()
        .filter_map(|event| match &event.event_type {
            Some(history_event::EventType::EventRaised(raised)) => Some(raised.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["e2", "e3", "e4"]);
}

#[tokio::test]
async fn a_rewound_instance_is_not_suspended_by_what_was_before() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (first, _) = worker.turn().await;
    worker.answer(&first, vec![]).await.unwrap();
    suspend(&hub, "a").await;
    let (token, _) = worker.turn().await;
    let failed = complete(OrchestrationStatus::Failed, "");
    worker.answer(&token, vec![(0, failed)]).await.unwrap();
    let rewind = RewindInstanceRequest {
        instance_id: "a".into(),
        reason: None,
    };
    hub.client.clone().rewind_instance(rewind).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Running);
    let (_, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.past_events).last(),
        Some(&"ExecutionResumed"),
        "{turn:?}"
    );
}

#[tokio::test]
async fn children_are_terminated_for_the_reason_of_their_parent() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("p").await;
    let (token, _) = worker.turn().await;
    let child = |id: &str| {
        Action::CreateSubOrchestration(CreateSubOrchestrationAction {
            instance_id: id.into(),
            name: "Child".into(),
            ..Default::default()
        })
    };
    worker
        .answer(&token, vec![(0, child("begun")), (1, child("new"))])
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "begun");
    worker.answer(&token, vec![]).await.unwrap();
    // One that asks for the children counts, also behind another one.
    terminate(&hub, "p", false).await;
    let (other, _) = worker.turn().await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "p");
    terminate(&hub, "p", true).await;
    let end = complete(OrchestrationStatus::Terminated, "\"enough\"");
    worker.answer(&token, vec![(2, end)]).await.unwrap();
    is_terminated(&hub, "p").await;
    is_terminated(&hub, "new").await;
    worker
        .answer(&other, vec![(0, call("step"))])
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "begun");
    worker.answer(&token, vec![(0, again())]).await.unwrap();
    is_terminated(&hub, "begun").await;
}

#[tokio::test]
async fn what_ends_at_once_keeps_its_custom_status() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (completion_token, _) = worker.turn().await;
    let response = OrchestratorResponse {
        completion_token,
        custom_status: Some("\"halfway\"".into()),
        ..Default::default()
    };
    worker.respond(response).await.unwrap();
    let end = SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch {
            instance_ids: vec!["a".into()],
        }),
        reason: Some("\"enough\"".into()),
    };
    let mut client = hub.client.clone();
    client
        .skip_graceful_orchestration_terminations(end)
        .await
        .unwrap();
    is_terminated(&hub, "a").await;
    let state = hub.get("a").await.unwrap();
    assert_eq!(state.custom_status.as_deref(), Some("\"halfway\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_handed_in_while_its_instance_ends_is_no_error() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    // Official workers take an error for the end of their stream.
    for n in 0..100 {
        let id = format!("i{n}");
        hub.start(&id).await;
        let (token, _) = worker.turn().await;
        let end = TerminateRequest {
            instance_id: id.clone(),
            output: Some("\"enough\"".into()),
            recursive: false,
        };
        let mut client = hub.client.clone();
        let (ended, answered) = tokio::join!(
            client.terminate_instance(end),
            worker.answer(&token, vec![(0, done("1"))])
        );
        ended.unwrap();
        assert_eq!(answered, Ok(()), "{id}");
        let status = hub.status(&id).await;
        assert!(
            matches!(
                status,
                OrchestrationStatus::Terminated | OrchestrationStatus::Completed
            ),
            "{id}: {status:?}"
        );
    }
}
