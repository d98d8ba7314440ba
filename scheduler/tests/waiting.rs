//! What waits for a worker, most of it in the storage only: in order, over a restart, and given back
//! to the disk once it is purged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::Duration;

use durabletask_proto::*;
use support::*;

/// With nothing of what waits in memory.
async fn hub(folder: &Path) -> Hub {
    Hub::folder_with(folder, |config| config.waiting_bytes = 0).await
}

async fn start(hub: &Hub, id: &str, input: &str) {
    hub.try_start(CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        input: Some(input.into()),
        ..Default::default()
    })
    .await
    .unwrap();
}

/// A worker that takes one item of a kind at a time, and keeps its instances' states.
async fn one_at_a_time(hub: &Hub) -> Worker {
    let request = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        max_concurrent_activity_work_items: 1,
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..Default::default()
    };
    hub.worker_that(request, "default", CONTINUES).await
}

async fn terminate(hub: &Hub, id: &str) {
    let request = TerminateRequest {
        instance_id: id.into(),
        ..Default::default()
    };
    hub.client
        .clone()
        .terminate_instance(request)
        .await
        .unwrap();
}

fn input(turn: &OrchestratorRequest) -> String {
    let started = turn
        .new_events
        .iter()
        .find_map(|event| match &event.event_type {
            Some(history_event::EventType::ExecutionStarted(started)) => started.input.clone(),
            _ => None,
        });
    started.unwrap()
}

#[tokio::test]
async fn instances_come_in_their_order_with_their_inputs_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let first = hub(folder.path()).await;
    for n in 0..60 {
        start(&first, &format!("i{n:02}"), &format!("\"{n}\"")).await;
    }
    // One that waits twice, one that is kept from workers, one that never runs.
    first.raise("i07", "more").await.unwrap();
    let suspended = SuspendRequest {
        instance_id: "i10".into(),
        reason: None,
    };
    let mut client = first.client.clone();
    client.suspend_instance(suspended).await.unwrap();
    terminate(&first, "i20").await;
    let mut expected = (0..60).filter(|n| ![10, 20].contains(n));
    let mut worker = one_at_a_time(&first).await;
    for n in expected.by_ref().take(25) {
        let (token, turn) = worker.turn().await;
        assert_eq!(turn.instance_id, format!("i{n:02}"));
        assert_eq!(input(&turn), format!("\"{n}\""));
        let raised = kinds(&turn.new_events).contains(&"EventRaised");
        assert_eq!(raised, n == 7);
        worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    }
    drop(worker);
    first.crash().await;

    let second = hub(folder.path()).await;
    let resumed = ResumeRequest {
        instance_id: "i10".into(),
        reason: None,
    };
    let mut client = second.client.clone();
    client.resume_instance(resumed).await.unwrap();
    // What was resumed goes behind what has been waiting.
    let mut worker = one_at_a_time(&second).await;
    for n in expected.chain([10]) {
        let (token, turn) = worker.turn().await;
        assert_eq!(turn.instance_id, format!("i{n:02}"));
        assert_eq!(input(&turn), format!("\"{n}\""));
        worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    }
    assert_eq!(second.status("i20").await, OrchestrationStatus::Terminated);
}

#[tokio::test]
async fn activities_come_in_their_order_and_a_turn_continues_where_its_worker_is() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut worker = one_at_a_time(&hub).await;
    start(&hub, "a", "1").await;
    let (first, turn) = worker.turn().await;
    assert!(turn.past_events.is_empty());
    let calls = (0..30).map(|n| (n, call(&format!("step{n}")))).collect();
    worker.answer(&first, calls).await.unwrap();
    let (mut run, mut completed) = (0, 0);
    while completed < 30 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::ActivityRequest(request) => {
                assert_eq!((request.name, request.task_id), (format!("step{run}"), run));
                worker.finish(&item.completion_token, "1").await.unwrap();
                run += 1;
            }
            work_item::Request::OrchestratorRequest(turn) => {
                assert!(turn.requires_history_streaming, "it holds the history");
                assert!(turn.past_events.is_empty());
                let kinds = kinds(&turn.new_events);
                completed += kinds
                    .iter()
                    .filter(|kind| **kind == "TaskCompleted")
                    .count();
                worker.answer(&item.completion_token, vec![]).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((run, completed), (30, 30));
}

#[tokio::test]
async fn what_is_purged_with_a_filter_is_given_back_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let payload = format!("\"{}\"", "x".repeat(20_000));
    for n in 0..300 {
        start(&hub, &format!("i{n}"), &payload).await;
        terminate(&hub, &format!("i{n}")).await;
    }
    start(&hub, "stays", "1").await;
    let size = || {
        let file = folder.path().join("scheduler.sqlite3");
        std::fs::metadata(file).unwrap().len()
    };
    let filter = PurgeInstanceFilter {
        runtime_status: vec![OrchestrationStatus::Terminated as i32],
        ..Default::default()
    };
    let purged = hub
        .client
        .clone()
        .purge_instances(PurgeInstancesRequest {
            request: Some(purge_instances_request::Request::PurgeInstanceFilter(
                filter,
            )),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(purged.deleted_instance_count, 300);
    assert_eq!(purged.is_complete, Some(true));
    let begun = std::time::Instant::now();
    // 256 pages are kept for reuse.
    while size() > 2 * 1024 * 1024 {
        assert!(begun.elapsed() < PATIENCE, "the file has {} bytes", size());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hub.status("stays").await, OrchestrationStatus::Pending);
}
