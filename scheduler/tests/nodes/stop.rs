//! A node that stops, and when a node is ready.

use std::time::Duration;

use durabletask_proto::*;
use tonic::Code;

use crate::support::PATIENCE;
use crate::support::nodes::{NodeAt, owner_and_front};

fn start(id: &str) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_node_that_stops_ends_what_it_passes_on() {
    let (_table, owner, mut front) = owner_and_front().await;
    let mut client = front.client();
    client.start_instance(start("a")).await.unwrap();
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    let mut items = items.unwrap().into_inner();
    assert!(items.message().await.unwrap().is_some());
    let mut waiting = client.clone();
    let wait = tokio::spawn(async move {
        let request = GetInstanceRequest {
            instance_id: "a".into(),
            ..Default::default()
        };
        waiting.wait_for_instance_completion(request).await
    });
    front.metric_becomes("forwarded_calls_open", 2.0).await;
    front.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, items.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unavailable);
    let ended = tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(PATIENCE, &mut front.served)
        .await
        .unwrap()
        .unwrap();
    // The owner has it all back.
    owner
        .metric_becomes(r#"connected_workers{task_hub="default"}"#, 0.0)
        .await;
    owner
        .metric_becomes(
            r#"queue_depth{task_hub="default",kind="orchestration"}"#,
            1.0,
        )
        .await;
}

#[tokio::test]
async fn an_owner_that_stops_ends_what_others_send_it() {
    let (table, mut owner, front) = owner_and_front().await;
    let next = NodeAt::open(&table).await;
    let mut client = front.client();
    client.start_instance(start("a")).await.unwrap();
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    let mut items = items.unwrap().into_inner();
    assert!(items.message().await.unwrap().is_some());
    owner.stop.cancel();
    // As at the owner itself: the stream ends, and that is all.
    let ended = tokio::time::timeout(PATIENCE, items.message())
        .await
        .unwrap();
    assert!(matches!(ended, Ok(None)) || ended.unwrap_err().code() == Code::Unavailable);
    tokio::time::timeout(PATIENCE, &mut owner.served)
        .await
        .unwrap()
        .unwrap();
    let mut starting = client.clone();
    let started = tokio::spawn(async move { starting.start_instance(start("b")).await });
    front.metric_becomes("calls_waiting_for_owner", 1.0).await;
    table.evict(&owner.id);
    table.give_rest(&next.id);
    started.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_is_ready_while_it_knows_who_owns_what() {
    let (table, owner, front) = owner_and_front().await;
    for node in [&owner, &front] {
        assert_eq!(node.text("/readyz").await, (200, "ok\n".to_owned()));
    }
    table.set_unready(Some("the database has not answered for 3 s"));
    let (status, text) = front.text("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(text, "the database has not answered for 3 s\n");
    assert_eq!(front.text("/healthz").await.0, 200);
    table.set_unready(None);
    front.stop.cancel();
    let stopping = async {
        while front.text("/readyz").await.0 != 503 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stopping).await.unwrap();
}

#[tokio::test]
async fn a_port_without_owners_is_a_wrong_setting() {
    use durabletask_scheduler::{OpenError, PeerPort, Scheduler, SchedulerConfig, Storage};
    let mut config = SchedulerConfig::new(Storage::Memory);
    let settings = crate::support::nodes::peer_settings();
    config.peers = Some(PeerPort::bind(&settings).await.unwrap());
    let refused = Scheduler::open(config).err().unwrap();
    assert!(matches!(refused, OpenError::Config(_)), "{refused}");
}
