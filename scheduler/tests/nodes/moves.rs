//! A task hub moves to another node in the middle of calls.

use std::time::{Duration, Instant};

use durabletask_proto::*;
use durabletask_scheduler::{SchedulerConfig, Storage};
use tonic::{Code, Request};

use crate::support::nodes::{FakeTable, NodeAt, owner_and_front, peer_settings};
use crate::support::{PATIENCE, Worker, done};

fn start(id: &str) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        ..Default::default()
    }
}

fn named(id: &str) -> GetInstanceRequest {
    GetInstanceRequest {
        instance_id: id.into(),
        ..Default::default()
    }
}

/// Three nodes; the first owns every task hub, the last is called.
async fn three() -> (std::sync::Arc<FakeTable>, NodeAt, NodeAt, NodeAt) {
    let table = FakeTable::new();
    let one = NodeAt::open(&table).await;
    let two = NodeAt::open(&table).await;
    let front = NodeAt::open(&table).await;
    table.give_rest(&one.id);
    (table, one, two, front)
}

#[tokio::test]
async fn streams_end_when_their_task_hub_moves() {
    let (table, one, two, front) = three().await;
    // Through another node, and at the owner itself.
    for node in [&front, &one] {
        table.give_rest(&one.id);
        let mut client = node.client();
        let items = client.get_work_items(GetWorkItemsRequest::default()).await;
        let mut items = items.unwrap().into_inner();
        client.start_instance(start(&node.id)).await.unwrap();
        assert!(items.message().await.unwrap().is_some());
        table.give_rest(&two.id);
        let ended = async {
            loop {
                if let Err(status) = items.message().await {
                    return status;
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
        assert_eq!(ended.code(), Code::Unavailable);
        assert!(
            ended.message().contains("has moved to another node"),
            "{ended}"
        );
        // The next one is at the new owner.
        client.start_instance(start(&node.id)).await.unwrap();
        let items = client.get_work_items(GetWorkItemsRequest::default()).await;
        let mut items = items.unwrap().into_inner();
        assert!(items.message().await.unwrap().is_some());
    }
    let moved = front.metric(r#"forwarded_calls_total{outcome="moved"}"#);
    assert!(moved.await >= 1.0);
}

#[tokio::test]
async fn a_wait_goes_on_at_the_new_owner() {
    let (table, one, two, front) = three().await;
    let mut client = front.client();
    for owner in [&two, &one] {
        table.give_rest(&owner.id);
        client.start_instance(start("a")).await.unwrap();
    }
    let mut waiting = client.clone();
    let wait = tokio::spawn(async move { waiting.wait_for_instance_completion(named("a")).await });
    front.metric_becomes("forwarded_calls_open", 1.0).await;
    table.give_rest(&two.id);
    // It ends at the new owner only: the old one would let the caller wait for a long time.
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    let mut worker = Worker {
        stream: items.unwrap().into_inner(),
        client,
        hub: "default".to_owned(),
    };
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    let ended = ended.unwrap().unwrap().into_inner();
    let state = ended.orchestration_state.unwrap();
    assert_eq!(state.orchestration_status(), OrchestrationStatus::Completed);
}

#[tokio::test]
async fn a_call_waits_while_nobody_owns_its_task_hub() {
    let (table, owner, front) = owner_and_front().await;
    table.take("default");
    let mut client = front.client();
    let mut starting = client.clone();
    let started = tokio::spawn(async move { starting.start_instance(start("a")).await });
    front.metric_becomes("calls_waiting_for_owner", 1.0).await;
    // Another task hub's calls do not wait.
    let mut other = Request::new(start("a"));
    other
        .metadata_mut()
        .insert("taskhub", "other".parse().unwrap());
    client.start_instance(other).await.unwrap();
    table.give("default", &owner.id);
    started.await.unwrap().unwrap();
    assert_eq!(front.metric("calls_waiting_for_owner").await, 0.0);
    // In any case of its name.
    table.take("DEFAULT");
    let mut hasty = Request::new(start("b"));
    hasty.set_timeout(Duration::from_millis(300));
    let begun = Instant::now();
    let late = client.start_instance(hasty).await.unwrap_err();
    assert!(
        matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{late}"
    );
    assert!(begun.elapsed() < Duration::from_secs(4));
    front.metric_becomes("calls_waiting_for_owner", 0.0).await;
}

#[tokio::test]
async fn a_call_that_waited_long_enough_is_refused_with_the_reason() {
    let table = FakeTable::new();
    let mut settings = peer_settings();
    settings.patience = Duration::from_millis(200);
    let front = NodeAt::with(&table, &settings, SchedulerConfig::new(Storage::Memory)).await;
    table.take("default");
    let refused = front.client().start_instance(start("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused
            .message()
            .contains("no node owns the task hub \"default\""),
        "{refused}"
    );
    // An owner that nobody has heard of is none.
    table.give("default", "unheard of");
    let refused = front.client().start_instance(start("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_node_that_is_behind_is_corrected() {
    // Two tables: what each of the two nodes has heard.
    let (seen_by_owner, seen_by_front) = (FakeTable::new(), FakeTable::new());
    let owner = NodeAt::open(&seen_by_owner).await;
    let front = NodeAt::open(&seen_by_front).await;
    seen_by_owner.join(front.node.clone());
    seen_by_front.join(owner.node.clone());
    seen_by_front.give_rest(&owner.id);
    seen_by_owner.give_rest(&front.id);
    // Each believes that the other one is the owner: nobody is, and nothing goes in circles.
    let mut client = front.client();
    let mut starting = client.clone();
    let started = tokio::spawn(async move { starting.start_instance(start("a")).await });
    front.metric_becomes("calls_waiting_for_owner", 1.0).await;
    let received = owner.metric("peer_calls_received_total").await;
    assert!(received >= 1.0);
    assert_eq!(front.metric("peer_calls_received_total").await, 0.0);
    // The call has been refused a few times before its owner knows that it is one, and is done once.
    seen_by_owner.give_rest(&owner.id);
    started.await.unwrap().unwrap();
    let again = client.start_instance(start("a")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert!(
        front
            .metric(r#"forwarded_calls_total{outcome="refused"}"#)
            .await
            >= 1.0
    );
}
