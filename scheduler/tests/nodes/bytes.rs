//! What is passed on arrives as it was sent, however large, in whatever pieces, and of many callers at once.

use std::sync::Arc;
use std::time::Duration;

use durabletask_proto::*;
use durabletask_scheduler::{SchedulerConfig, Storage};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use prost::Message as _;
use tokio::net::TcpStream;

use crate::support::nodes::{FakeTable, NodeAt, owner_and_front, peer_settings};
use crate::support::{PATIENCE, Worker, done};

fn start(id: &str, input: String) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        input: Some(input),
        ..Default::default()
    }
}

async fn input_of(node: &NodeAt, id: &str) -> String {
    let request = GetInstanceRequest {
        instance_id: id.into(),
        get_inputs_and_outputs: true,
    };
    let state = node.client().get_instance(request).await.unwrap();
    state
        .into_inner()
        .orchestration_state
        .unwrap()
        .input
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_go_both_ways() {
    let large = || {
        let mut config = SchedulerConfig::new(Storage::Memory);
        config.max_payload_bytes = 12 << 20;
        config.max_message_bytes = 32 << 20;
        config
    };
    let table = FakeTable::new();
    let owner = NodeAt::with(&table, &peer_settings(), large()).await;
    let front = NodeAt::with(&table, &peer_settings(), large()).await;
    table.give_rest(&owner.id);
    let input: String = (0..10 << 20)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let mut client = front.client();
    client
        .start_instance(start("large", input.clone()))
        .await
        .unwrap();
    assert!(input_of(&owner, "large").await == input, "up");
    assert!(input_of(&front, "large").await == input, "down");
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    let mut worker = Worker {
        stream: items.unwrap().into_inner(),
        client: client.clone(),
        hub: "default".to_owned(),
    };
    let (token, turn) = worker.turn().await;
    assert!(turn.encoded_len() > input.len());
    worker
        .answer(&token, vec![(0, done(&input))])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_share_few_connections_and_none_stops_another() {
    let (_table, _owner, front) = owner_and_front().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut client = front.client();
        let items = client.get_work_items(GetWorkItemsRequest::default()).await;
        streams.push(items.unwrap().into_inner());
    }
    assert_eq!(front.metric("forwarded_calls_open").await, 200.0);
    assert!(front.metric("peer_connections").await <= 4.0);
    // Nobody reads the first hundred, whose work items fill what one stream may hold.
    let mut client = front.client();
    let input = "x".repeat(1 << 20);
    for number in 0..40 {
        client
            .start_instance(start(&format!("large-{number}"), input.clone()))
            .await
            .unwrap();
    }
    for number in 0..100 {
        client
            .start_instance(start(&number.to_string(), "1".to_owned()))
            .await
            .unwrap();
        assert_eq!(input_of(&front, &number.to_string()).await, "1");
    }
    drop(streams);
    front.metric_becomes("forwarded_calls_open", 0.0).await;
    assert!(
        front
            .metric(r#"forwarded_calls_total{outcome="canceled"}"#)
            .await
            >= 200.0
    );
}

#[tokio::test]
async fn a_caller_that_leaves_is_gone_at_the_owner_too() {
    let (_table, owner, front) = owner_and_front().await;
    let workers = async |count: f64| {
        let name = r#"connected_workers{task_hub="default"}"#;
        owner.metric_becomes(name, count).await;
    };
    let mut client = front.client();
    client
        .start_instance(start("a", "1".to_owned()))
        .await
        .unwrap();
    let mut items = client
        .get_work_items(GetWorkItemsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(items.message().await.unwrap().is_some());
    workers(1.0).await;
    drop(items);
    // What it held goes to another one.
    workers(0.0).await;
    let mut items = client
        .get_work_items(GetWorkItemsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let item = tokio::time::timeout(PATIENCE, items.message()).await;
    assert!(item.unwrap().unwrap().unwrap().request.is_some());
    // And a wait that its caller cancels does not go on.
    let request = GetInstanceRequest {
        instance_id: "a".into(),
        ..Default::default()
    };
    let mut waiter = front.client();
    let waiting = tokio::time::timeout(
        Duration::from_millis(100),
        waiter.wait_for_instance_completion(request),
    );
    assert!(waiting.await.is_err());
    drop(items);
    front.metric_becomes("forwarded_calls_open", 0.0).await;
}

/// Sends a call's body in these pieces, with empty ones among them, and returns the instance's input.
async fn in_pieces(front: &NodeAt, id: &str, input: String, cuts: &[usize]) -> String {
    let message = start(id, input).encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let pieces: Vec<_> = cuts
        .windows(2)
        .map(|cut| {
            Ok::<_, std::io::Error>(Frame::data(bytes::Bytes::copy_from_slice(
                &body[cut[0]..cut[1]],
            )))
        })
        .collect();
    let stream = TokioIo::new(TcpStream::connect(front.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let driving = tokio::spawn(connection);
    let request = hyper::Request::post(format!(
        "http://{}/TaskHubSidecarService/StartInstance",
        front.address
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(StreamBody::new(futures_util::stream::iter(pieces)))
    .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let collected = answer.into_body().collect().await.unwrap();
    let status = collected.trailers().unwrap().get("grpc-status").cloned();
    assert_eq!(status.unwrap(), "0");
    driving.abort();
    input_of(front, id).await
}

#[test]
fn a_body_arrives_byte_for_byte_in_any_pieces() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (_table, owner, front) = runtime.block_on(owner_and_front());
    let (_owner, front) = (owner, Arc::new(front));
    let number = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(
        input in "[ -~äß€𝄞]{0,2000}",
        repeated in 1usize..200,
        cuts in proptest::collection::vec(any::<usize>(), 0..60),
    )| {
        number.set(number.get() + 1);
        let id = format!("i{}", number.get());
        let input = input.repeat(repeated);
        let arrived = runtime.block_on(in_pieces(&front, &id, input.clone(), &cuts));
        prop_assert!(arrived == input);
    });
    // Without a runtime around them, the nodes' tasks cannot be ended.
    runtime.block_on(async move { drop((front, _owner)) });
}
