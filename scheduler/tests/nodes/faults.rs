//! Nodes that do not answer, answer nonsense or end in the middle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use durabletask_proto::*;
use durabletask_scheduler::{SchedulerConfig, Storage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::{Code, Status};

use crate::peer::{Certified, FakeNode, Way};
use crate::support::PATIENCE;
use crate::support::nodes::{FakeTable, NodeAt, peer_settings};

fn start(id: &str) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        ..Default::default()
    }
}

/// A node with little patience, so that a test need not have more.
async fn hasty(table: &std::sync::Arc<FakeTable>, keepalive: Duration) -> NodeAt {
    let mut settings = peer_settings();
    settings.patience = Duration::from_millis(300);
    let mut config = SchedulerConfig::new(Storage::Memory);
    config.keepalive = keepalive;
    NodeAt::with(table, &settings, config).await
}

const LONG: Duration = Duration::from_secs(60);

async fn refused(front: &NodeAt) -> (Status, Duration) {
    let begun = Instant::now();
    let refused = front.client().start_instance(start("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    (refused, begun.elapsed())
}

#[tokio::test]
async fn a_host_that_is_gone_is_given_up_after_a_second() {
    let table = FakeTable::new();
    let front = hasty(&table, LONG).await;
    // Once the queue of a listener that accepts nothing is full, further connections get no answer at all.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue has no end");
    }
    table.join(Certified::new().node("gone", address));
    table.give_rest("gone");
    // Many calls wait for one attempt, not for one each.
    let calls = (0..20).map(|_| refused(&front));
    for (refused, took) in futures_util::future::join_all(calls).await {
        assert!(refused.message().contains("node gone"), "{refused}");
        assert!(
            refused
                .message()
                .contains("did not accept a connection within 1 s"),
            "{refused}"
        );
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    assert!(front.metric("peer_connections_failed_total").await <= 3.0);
    drop((queued, listener));
}

#[tokio::test]
async fn a_node_that_refuses_connections_is_named() {
    let table = FakeTable::new();
    let front = hasty(&table, LONG).await;
    let (listener, address) = crate::support::nodes::bind().await;
    drop(listener);
    table.join(Certified::new().node("down", address));
    table.give_rest("down");
    let (refused, _) = refused(&front).await;
    assert!(refused.message().contains("node down"), "{refused}");
    assert!(refused.message().contains("connection failed"), "{refused}");
    assert_eq!(front.metric("forwarded_calls_open").await, 0.0);
}

#[tokio::test]
async fn a_node_that_says_nothing_or_nonsense_is_given_up() {
    let table = FakeTable::new();
    let front = hasty(&table, LONG).await;
    for (what, says) in [
        ("nothing", &b""[..]),
        ("text", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("garbage", &[0xa5; 9000]),
    ] {
        let fake = FakeNode::new(&Certified::new(), move |mut stream| async move {
            let _ = stream.write_all(says).await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
        })
        .await;
        table.join(fake.node.clone());
        table.give_rest("fake");
        let (refused, took) = refused(&front).await;
        assert!(refused.message().contains("node fake"), "{what}: {refused}");
        assert!(took < Duration::from_secs(15), "{what}: {took:?}");
    }
}

/// HTTP/2 frames: length, kind, flags, stream.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
/// `:status: 200` of HPACK's table.
const OK: u8 = 0x88;

/// A header that is not in HPACK's table.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).unwrap();
    let mut header = vec![0, short(name)];
    header.extend(name.as_bytes());
    header.push(short(value));
    header.extend(value.as_bytes());
    header
}

/// A fake node that greets, and then answers its first call like this and closes the connection.
async fn answers_then_closes(says: Vec<u8>) -> FakeNode {
    FakeNode::new(&Certified::new(), move |mut stream| {
        let says = says.clone();
        async move {
            let mut greeting = vec![OK];
            greeting.extend(literal("durabletask-peer", "1"));
            greeting.extend(literal("durabletask-peer-node", "fake"));
            let mut first = frame(SETTINGS, 0, 0, &[]);
            first.extend(frame(SETTINGS, 1, 0, &[]));
            first.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &greeting));
            // What the node sends is of no interest, but must have arrived: the preface with settings and
            // the greeting's request, and then the call's.
            let mut heard = vec![0; 64 * 1024];
            let _ = stream.read(&mut heard).await;
            let _ = stream.write_all(&first).await;
            let called = async {
                let mut heard_in_all: Vec<u8> = Vec::new();
                while !heard_in_all.windows(8).any(|part| part == b"my-input") {
                    match stream.read(&mut heard).await {
                        Ok(read @ 1..) => heard_in_all.extend(&heard[..read]),
                        _ => return false,
                    }
                }
                true
            };
            if called.await {
                let _ = stream.write_all(&says).await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_call_whose_node_ends_in_the_middle_is_unavailable() {
    let table = FakeTable::new();
    let front = hasty(&table, LONG).await;
    let mut head = vec![OK];
    head.extend(literal("content-type", "application/grpc"));
    let head = frame(HEADERS, END_HEADERS, 3, &head);
    let answering = |rest: &[u8]| [head.as_slice(), rest].concat();
    for (what, says) in [
        ("nothing", Vec::new()),
        ("a head", answering(&[])),
        (
            "half a message",
            answering(&frame(DATA, 0, 3, b"\0\0\0\0\x09abc")),
        ),
        (
            "a message without a status",
            answering(&frame(DATA, END_STREAM, 3, b"\0\0\0\0\0")),
        ),
        ("a reset", answering(&frame(3, 0, 3, &[0, 0, 0, 2]))),
        ("nonsense", vec![0xff; 500]),
    ] {
        let fake = answers_then_closes(says).await;
        table.join(fake.node.clone());
        table.give_rest("fake");
        let mut request = start("a");
        request.input = Some("my-input".into());
        let mut client = front.client();
        let call = client.start_instance(request);
        let refused = tokio::time::timeout(PATIENCE, call).await.unwrap();
        let refused = refused.map(|_| what).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{what}: {refused}");
        assert!(refused.message().contains("node fake"), "{what}: {refused}");
    }
    // A call that may have been done is not repeated behind its caller's back.
    assert_eq!(
        front
            .metric(r#"forwarded_calls_total{outcome="broken"}"#)
            .await,
        6.0
    );
}

#[tokio::test]
async fn a_node_that_freezes_is_noticed() {
    let table = FakeTable::new();
    let owner = NodeAt::open(&table).await;
    let other = NodeAt::open(&table).await;
    let front = hasty(&table, Duration::from_millis(300)).await;
    let way = Way::to(owner.node.address.to_string()).await;
    let mut node = owner.node.clone();
    node.address = way.address.to_string().into();
    table.join(node);
    table.give_rest(&owner.id);
    let mut client = front.client();
    client.start_instance(start("a")).await.unwrap();
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    let mut items = items.unwrap().into_inner();
    assert!(items.message().await.unwrap().is_some());

    way.freeze();
    let mut other_client = front.client();
    let (stream, call) = tokio::join!(
        tokio::time::timeout(PATIENCE, items.message()),
        tokio::time::timeout(PATIENCE, other_client.start_instance(start("b"))),
    );
    assert_eq!(stream.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(call.unwrap().unwrap_err().code(), Code::Unavailable);
    // Another node takes over.
    table.give_rest(&other.id);
    client.start_instance(start("b")).await.unwrap();
    assert_eq!(front.metric("forwarded_calls_open").await, 0.0);
}

#[tokio::test]
async fn a_frozen_owner_does_not_keep_what_another_has_taken_over() {
    let table = FakeTable::new();
    let owner = NodeAt::open(&table).await;
    let other = NodeAt::open(&table).await;
    // Keepalive would take a minute.
    let front = hasty(&table, LONG).await;
    let way = Way::to(owner.node.address.to_string()).await;
    let mut node = owner.node.clone();
    node.address = way.address.to_string().into();
    table.join(node);
    table.give_rest(&owner.id);
    let mut client = front.client();
    client.start_instance(start("a")).await.unwrap();
    way.freeze();
    let mut starting = client.clone();
    let frozen = tokio::spawn(async move { starting.start_instance(start("b")).await });
    front.metric_becomes("forwarded_calls_open", 1.0).await;
    table.give_rest(&other.id);
    let unknown = tokio::time::timeout(PATIENCE, frozen)
        .await
        .unwrap()
        .unwrap();
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable);
    assert!(
        unknown.message().contains("may have been done"),
        "{unknown}"
    );
    client.start_instance(start("b")).await.unwrap();
}
