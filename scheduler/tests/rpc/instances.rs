//! Restarting instances, ending them without a turn, listing them.
use std::collections::HashMap;
use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use prost_types::Timestamp;
use tonic::Code;

use super::support::*;

async fn restart(hub: &Hub, id: &str, new_id: bool) -> Result<String, Code> {
    let request = RestartInstanceRequest {
        instance_id: id.into(),
        restart_with_new_instance_id: new_id,
    };
    hub.client
        .clone()
        .restart_instance(request)
        .await
        .map(|r| r.into_inner().instance_id)
        .map_err(|s| s.code())
}

/// Starts an instance and completes it in its first turn.
async fn run(hub: &Hub, worker: &mut Worker, id: &str, status: OrchestrationStatus) {
    hub.start(id).await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, id);
    worker
        .answer(&token, vec![(0, complete(status, "1"))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restart_repeats_the_start() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let start = CreateInstanceRequest {
        instance_id: "a".into(),
        name: "Hello".into(),
        version: Some("1.2".into()),
        input: Some("\"in\"".into()),
        tags: HashMap::from([("team".to_owned(), "blue".to_owned())]),
        ..Default::default()
    };
    assert_eq!(restart(&hub, "a", false).await, Err(Code::NotFound));
    hub.try_start(start).await.unwrap();
    let (token, first) = worker.turn().await;
    assert_eq!(
        restart(&hub, "a", false).await,
        Err(Code::FailedPrecondition)
    );

    let copy = restart(&hub, "a", true).await.unwrap();
    assert_ne!(copy, "a");
    let (_, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, copy);

    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(restart(&hub, "a", false).await.as_deref(), Ok("a"));
    assert_eq!(hub.status("a").await, OrchestrationStatus::Pending);
    let (token, turn) = worker.turn().await;
    assert_ne!(turn.execution_id, first.execution_id);
    assert!(turn.past_events.is_empty());
    let Some(history_event::EventType::ExecutionStarted(started)) = &turn.new_events[1].event_type
    else {
        panic!("{turn:?}")
    };
    assert_eq!(
        (
            started.name.as_str(),
            started.version.as_deref(),
            started.input.as_deref()
        ),
        ("Hello", Some("1.2"), Some("\"in\""))
    );
    assert_eq!(started.tags["team"], "blue");
    worker.answer(&token, vec![(0, done("2"))]).await.unwrap();
    let state = hub.get("a").await.unwrap();
    assert_eq!(state.output.as_deref(), Some("2"));
    assert_eq!(state.tags["team"], "blue");
}

#[tokio::test]
async fn a_restarted_child_stands_alone() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("parent").await;
    let (token, _) = worker.turn().await;
    let child = Action::CreateSubOrchestration(CreateSubOrchestrationAction {
        instance_id: "child".into(),
        name: "Child".into(),
        ..Default::default()
    });
    worker.answer(&token, vec![(0, child)]).await.unwrap();
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    let (parent, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "parent");
    restart(&hub, "child", false).await.unwrap();
    let (token, turn) = worker.turn().await;
    let Some(history_event::EventType::ExecutionStarted(started)) = &turn.new_events[1].event_type
    else {
        panic!("{turn:?}")
    };
    assert_eq!(started.parent_instance, None);
    worker.answer(&token, vec![(0, done("2"))]).await.unwrap();
    assert_eq!(hub.get("child").await.unwrap().parent_instance_id, None);
    // The parent hears nothing of it: its history ends with its own completion.
    worker.answer(&parent, vec![(1, done("3"))]).await.unwrap();
    assert_eq!(
        hub.history("parent").await,
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "SubOrchestrationInstanceCreated",
            "OrchestratorStarted",
            "SubOrchestrationInstanceCompleted",
            "ExecutionCompleted"
        ]
    );
}

async fn list(
    hub: &Hub,
    request: ListInstanceIdsRequest,
) -> Result<(Vec<String>, Option<String>), Code> {
    hub.client
        .clone()
        .list_instance_ids(request)
        .await
        .map(|r| r.into_inner())
        .map(|r| (r.instance_ids, r.last_instance_key))
        .map_err(|s| s.code())
}

#[tokio::test]
async fn ended_instances_are_listed_by_completion() {
    use OrchestrationStatus as S;
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    // Two end at each second, the later created one first by id.
    for (second, ids) in [["d", "c"], ["b", "a"]].iter().enumerate() {
        for (n, id) in ids.iter().enumerate() {
            let status = if n == 0 { S::Completed } else { S::Failed };
            run(&hub, &mut worker, id, status).await;
        }
        if second == 0 {
            hub.clock.advance(Duration::from_secs(1));
        }
    }
    hub.start("live").await;

    let mut pages = Vec::new();
    // Some clients ask for the first page with an empty cursor.
    let mut cursor = Some(String::new());
    while cursor.is_some() {
        let request = ListInstanceIdsRequest {
            page_size: 3,
            last_instance_key: cursor,
            ..Default::default()
        };
        let (ids, next) = list(&hub, request).await.unwrap();
        pages.push(ids);
        cursor = next;
    }
    // The last page that has ids has a cursor too, an empty one has none.
    assert_eq!(pages, [vec!["c", "d", "a"], vec!["b"], vec![]]);

    let failed = ListInstanceIdsRequest {
        runtime_status: vec![S::Failed as i32, S::Terminated as i32],
        ..Default::default()
    };
    assert_eq!(list(&hub, failed).await.unwrap().0, ["c", "a"]);
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let early = ListInstanceIdsRequest {
        completed_time_to: at(1_700_000_001),
        ..Default::default()
    };
    assert_eq!(list(&hub, early).await.unwrap().0, ["c", "d"]);
    let late = ListInstanceIdsRequest {
        completed_time_from: at(1_700_000_001),
        ..Default::default()
    };
    assert_eq!(list(&hub, late).await.unwrap().0, ["a", "b"]);
    // Nothing of the sort, and an instance that has not ended.
    for wrong in ["nonsense", "live"] {
        let wrong = ListInstanceIdsRequest {
            last_instance_key: Some(wrong.into()),
            ..Default::default()
        };
        assert_eq!(list(&hub, wrong).await, Err(Code::InvalidArgument));
    }
}

/// Some clients continue after the last page with the last id that it had.
#[tokio::test]
async fn a_list_continues_after_an_instance() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    // An id that could be a cursor, but for where it begins.
    for id in ["a", "1700000000000000|b", "c"] {
        run(&hub, &mut worker, id, OrchestrationStatus::Completed).await;
        hub.clock.advance(Duration::from_secs(1));
    }
    for (id, rest) in [
        ("a", &["1700000000000000|b", "c"][..]),
        ("1700000000000000|b", &["c"]),
        ("c", &[]),
    ] {
        let after = ListInstanceIdsRequest {
            last_instance_key: Some(id.into()),
            ..Default::default()
        };
        assert_eq!(list(&hub, after).await.unwrap().0, rest);
    }
}

#[tokio::test]
async fn a_query_merges_statuses_in_order_of_creation() {
    use OrchestrationStatus as S;
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    for (id, status) in [("1", S::Completed), ("2", S::Failed), ("3", S::Completed)] {
        run(&hub, &mut worker, id, status).await;
    }
    hub.start("4").await;
    let query = |statuses: &[S]| InstanceQuery {
        runtime_status: statuses.iter().map(|s| *s as i32).collect(),
        ..Default::default()
    };
    for (statuses, wanted) in [
        (vec![], vec!["1", "2", "3", "4"]),
        (vec![S::Pending, S::Completed], vec!["1", "3", "4"]),
        (
            vec![S::Completed, S::Failed, S::Completed],
            vec!["1", "2", "3"],
        ),
        (vec![S::Suspended], vec![]),
    ] {
        let request = QueryInstancesRequest {
            query: Some(query(&statuses)),
        };
        let page = hub.client.clone().query_instances(request).await.unwrap();
        let ids: Vec<_> = page
            .into_inner()
            .orchestration_state
            .into_iter()
            .map(|s| s.instance_id)
            .collect();
        assert_eq!(ids, wanted, "{statuses:?}");
    }
}

async fn end_now(hub: &Hub, ids: &[&str]) -> Vec<String> {
    let request = SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch {
            instance_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }),
        reason: Some("\"enough\"".into()),
    };
    hub.client
        .clone()
        .skip_graceful_orchestration_terminations(request)
        .await
        .unwrap()
        .into_inner()
        .unterminated_instance_ids
}

#[tokio::test]
async fn instances_are_ended_without_a_turn() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    run(&hub, &mut worker, "ended", OrchestrationStatus::Completed).await;
    hub.start("parent").await;
    let (token, _) = worker.turn().await;
    let child = Action::CreateSubOrchestration(CreateSubOrchestrationAction {
        instance_id: "child".into(),
        name: "Child".into(),
        ..Default::default()
    });
    worker.answer(&token, vec![(0, child)]).await.unwrap();
    let (late, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "child");

    let left = end_now(&hub, &["missing", "child", "ended"]).await;
    assert_eq!(left, ["missing", "ended"]);
    let state = hub.get("child").await.unwrap();
    assert_eq!(
        (state.orchestration_status, state.output.as_deref()),
        (OrchestrationStatus::Terminated as i32, Some("\"enough\""))
    );
    assert!(state.completed_timestamp.is_some());
    assert_eq!(
        worker.answer(&late, vec![(0, done("late"))]).await,
        Ok(()),
        "dropped without an error"
    );
    assert_eq!(
        hub.history("child").await,
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "ExecutionTerminated",
            "ExecutionCompleted"
        ]
    );
    let (token, turn) = worker.turn().await;
    assert_eq!(
        (turn.instance_id.as_str(), event_kind(&turn.new_events[1])),
        ("parent", "SubOrchestrationInstanceFailed")
    );
    worker.answer(&token, vec![(1, done("1"))]).await.unwrap();

    // A holder of a lock is left to its worker, and entities are no orchestrations.
    hub.start("holder").await;
    let (token, _) = worker.turn().await;
    let lock = EntityLockRequestedEvent {
        critical_section_id: "8f0c1c1c-6a5e-4f6e-9d5e-3d8f6a4f1b11".into(),
        lock_set: vec!["@e@k".into()],
        position: 0,
        parent_instance_id: Some("holder".into()),
    };
    let lock = Action::SendEntityMessage(SendEntityMessageAction {
        entity_message_type: Some(
            send_entity_message_action::EntityMessageType::EntityLockRequested(lock),
        ),
    });
    worker.answer(&token, vec![(0, lock)]).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(event_kind(&turn.new_events[1]), "EntityLockGranted");
    let left = end_now(&hub, &["holder", "@e@k"]).await;
    assert_eq!(left, ["holder", "@e@k"]);
    worker.answer(&token, vec![(1, done("1"))]).await.unwrap();

    // One that no worker has seen never reaches one.
    drop(worker);
    hub.start("queued").await;
    assert!(end_now(&hub, &["queued"]).await.is_empty());
    hub.start("next").await;
    assert_eq!(hub.worker().await.turn().await.1.instance_id, "next");
    let many: Vec<String> = (0..501).map(|n| n.to_string()).collect();
    let request = SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch { instance_ids: many }),
        reason: None,
    };
    let refused = hub
        .client
        .clone()
        .skip_graceful_orchestration_terminations(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn errors_carry_their_reason() {
    use tonic_types::StatusExt;
    let hub = Hub::memory().await;
    let reason = |status: tonic::Status| {
        let info = status.get_details_error_info().expect("error details");
        (status.code(), info.reason)
    };
    let raise = RaiseEventRequest {
        instance_id: "missing".into(),
        name: "x".into(),
        input: None,
    };
    let error = hub.client.clone().raise_event(raise).await.unwrap_err();
    assert_eq!(
        reason(error),
        (Code::NotFound, "INSTANCE_NOT_FOUND".to_owned())
    );
    hub.start("a").await;
    let start = CreateInstanceRequest {
        instance_id: "a".into(),
        name: "Hello".into(),
        ..Default::default()
    };
    let error = hub.client.clone().start_instance(start).await.unwrap_err();
    // Words that the Go SDK's own tests look for.
    assert!(
        error
            .message()
            .contains("orchestration instance already exists")
    );
    assert_eq!(
        reason(error),
        (Code::AlreadyExists, "DUPLICATE_INSTANCE".to_owned())
    );
    let rewind = RewindInstanceRequest {
        instance_id: "a".into(),
        reason: None,
    };
    let error = hub
        .client
        .clone()
        .rewind_instance(rewind)
        .await
        .unwrap_err();
    assert_eq!(
        reason(error),
        (Code::FailedPrecondition, "INVALID_STATE".to_owned())
    );
    let error = hub
        .client
        .clone()
        .start_instance(CreateInstanceRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        reason(error),
        (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned())
    );
}
