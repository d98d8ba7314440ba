//! Restarting instances and listing ended ones, through the gRPC surface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use prost_types::Timestamp;
use support::*;
use tonic::Code;

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
    assert_eq!(pages, [vec!["c", "d", "a"], vec!["b"]]);

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
    assert_eq!(
        list(&hub, early).await.unwrap(),
        (vec!["c".into(), "d".into()], None)
    );
    let late = ListInstanceIdsRequest {
        completed_time_from: at(1_700_000_001),
        ..Default::default()
    };
    assert_eq!(list(&hub, late).await.unwrap().0, ["a", "b"]);
    let wrong = ListInstanceIdsRequest {
        last_instance_key: Some("nonsense".into()),
        ..Default::default()
    };
    assert_eq!(list(&hub, wrong).await, Err(Code::InvalidArgument));
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
