//! Who may call a peer port, and whom a node calls.

use std::path::Path;
use std::time::Duration;

use durabletask_proto::*;
use durabletask_scheduler::{
    Access, PeerCertificates, PeerError, PeerPort, SchedulerConfig, Storage,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status};

use crate::peer::{Certified, FakeNode, connect, lets_in};
use crate::support::nodes::{FakeTable, NodeAt, owner_and_front, peer_settings};
use crate::support::{Client, PATIENCE};

fn peer_address(node: &NodeAt) -> std::net::SocketAddr {
    node.node.address.parse().unwrap()
}

async fn get(
    client: &Client,
    taskhub: &str,
    headers: &[(&'static str, &str)],
) -> Result<(), Status> {
    let mut request = Request::new(GetInstanceRequest {
        instance_id: "a".into(),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("taskhub", taskhub.parse().unwrap());
    for (name, value) in headers {
        metadata.insert(*name, value.parse().unwrap());
    }
    client.clone().get_instance(request).await.map(|_| ())
}

#[tokio::test]
async fn only_the_certificates_of_live_nodes_get_in() {
    let table = FakeTable::new();
    let node = NodeAt::open(&table).await;
    let port = peer_address(&node);
    assert!(!lets_in(port, None).await, "none");
    let published = Certified::new();
    assert!(!lets_in(port, Some(&published)).await, "not published yet");
    let other = "127.0.0.1:1".parse().unwrap();
    table.join(published.node("other", other));
    assert!(lets_in(port, Some(&published)).await, "published");
    let expired = Certified::expired();
    table.join(expired.node("expired", other));
    assert!(!lets_in(port, Some(&expired)).await, "expired");
    let server_only = Certified::with(|params| {
        params.extended_key_usages.truncate(1);
    });
    table.join(server_only.node("server", other));
    assert!(!lets_in(port, Some(&server_only)).await, "not for callers");
    // The certificate is public. Its key is not.
    let stolen = Certified {
        certificate: published.certificate.clone(),
        key: Certified::new().key,
    };
    assert!(!lets_in(port, Some(&stolen)).await, "without its key");
    table.evict("other");
    assert!(
        !lets_in(port, Some(&published)).await,
        "not a node any more"
    );
}

#[tokio::test]
async fn a_node_that_is_evicted_is_not_listened_to_any_more() {
    let (table, owner, front) = owner_and_front().await;
    let client = front.client();
    get(&client, "default", &[]).await.unwrap();
    let mut stream = front
        .client()
        .get_work_items(GetWorkItemsRequest::default())
        .await
        .unwrap()
        .into_inner();
    table.evict(&front.id);
    // Streams that came over its connections end, and the connections are worth nothing.
    let ended = tokio::time::timeout(PATIENCE, stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unavailable);
    let refused = get(&client, "default", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains("not among the live nodes"),
        "{refused}"
    );
    table.join(front.node.clone());
    get(&client, "default", &[]).await.unwrap();
    assert!(owner.metric("peer_calls_received_total").await >= 3.0);
}

#[tokio::test]
async fn a_peer_port_speaks_nothing_but_tls() {
    let table = FakeTable::new();
    let node = NodeAt::open(&table).await;
    let port = peer_address(&node);
    for said in [
        &b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        &[0x16; 4096],
    ] {
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.unwrap();
        assert!(answer.len() < 16, "an alert at most: {answer:?}");
    }
    // A client that speaks plain gRPC gets no further.
    let client = crate::support::nodes::client_of(port);
    assert!(get(&client, "default", &[]).await.is_err());
}

#[tokio::test]
async fn the_marks_of_nodes_count_on_the_peer_port_only() {
    let folder = tempfile::tempdir().unwrap();
    let token = "t".repeat(40);
    let file = folder.path().join("tokens");
    std::fs::write(&file, &token).unwrap();
    let config = || {
        let mut config = SchedulerConfig::new(Storage::Memory);
        config.access = Access::default().with_token_file(&file).unwrap();
        config
    };
    let table = FakeTable::new();
    let owner = NodeAt::with(&table, &peer_settings(), config()).await;
    let front = NodeAt::with(&table, &peer_settings(), config()).await;
    table.give_rest(&owner.id);
    let bearer = format!("Bearer {token}");
    let marks = [
        ("durabletask-peer", "1"),
        ("durabletask-peer-node", &*front.id),
        ("durabletask-peer-refused", "not-owner"),
    ];
    let with_token = [marks[0], marks[1], marks[2], ("authorization", &bearer)];
    for node in [&owner, &front] {
        let refused = get(&node.client(), "default", &marks).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // They change nothing for callers who may call: a node that owns nothing sends the call on all the same.
        get(&node.client(), "default", &with_token).await.unwrap();
    }
    assert_eq!(
        front
            .metric_as("forwarded_calls_total{outcome=\"answered\"}", &bearer)
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_certificate_alone_is_no_call_and_a_call_for_another_owner_goes_no_further() {
    let table = FakeTable::new();
    let owner = NodeAt::open(&table).await;
    let other = NodeAt::open(&table).await;
    let caller = Certified::new();
    table.join(caller.node("caller", "127.0.0.1:1".parse().unwrap()));
    table.give_rest(&other.id);
    let mut sender = http2(peer_address(&owner), &caller).await;
    let unmarked = ask(&mut sender, "default", &[]).await;
    assert_eq!(unmarked.code(), Code::Unauthenticated);
    assert!(
        unmarked.message().contains("for the other nodes"),
        "{unmarked}"
    );
    let newer = ask(&mut sender, "default", &[("durabletask-peer", "2")]).await;
    assert_eq!(newer.code(), Code::Unavailable);
    assert!(newer.message().contains("speaks version 1"), "{newer}");
    // The other node would answer it, and is not asked.
    let lost = ask(&mut sender, "default", &[("durabletask-peer", "1")]).await;
    assert_eq!(lost.code(), Code::Unavailable);
    assert!(lost.message().contains("does not own"), "{lost}");
    assert_eq!(other.metric("peer_calls_received_total").await, 0.0);
    table.give_rest(&owner.id);
    let served = ask(&mut sender, "default", &[("durabletask-peer", "1")]).await;
    assert_eq!(served.code(), Code::Ok);
}

type Sender = hyper::client::conn::http2::SendRequest<tonic::body::Body>;

async fn http2(to: std::net::SocketAddr, who: &Certified) -> Sender {
    let stream = hyper_util::rt::TokioIo::new(connect(to, Some(who)).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// The status of an empty call of `GetInstance`.
async fn ask(sender: &mut Sender, hub: &str, headers: &[(&str, &str)]) -> Status {
    let mut request = hyper::Request::post("https://node/TaskHubSidecarService/GetInstance")
        .header("content-type", "application/grpc")
        .header("taskhub", hub);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let message = http_body_util::Full::from(&b"\0\0\0\0\0"[..]);
    let request = request.body(tonic::body::Body::new(message)).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let collected = http_body_util::BodyExt::collect(body).await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers))
        .unwrap()
}

#[tokio::test]
async fn a_node_sends_nothing_to_one_with_another_certificate() {
    let table = FakeTable::new();
    let mut settings = peer_settings();
    settings.patience = Duration::from_millis(300);
    let front = NodeAt::with(&table, &settings, SchedulerConfig::new(Storage::Memory)).await;
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    for (what, certified) in [
        ("wrong", Certified::new()),
        ("expired", Certified::expired()),
    ] {
        let said = said.clone();
        let fake = FakeNode::new(&certified, move |mut stream| {
            let said = said.clone();
            async move {
                let mut byte = [0];
                if stream.read_exact(&mut byte).await.is_ok() {
                    let _ = said.send(());
                }
            }
        })
        .await;
        let mut node = fake.node.clone();
        if what == "wrong" {
            node.certificate = durabletask_scheduler::Fingerprint::of(b"another");
        }
        table.join(node);
        table.give_rest("fake");
        let refused = get(&front.client(), "default", &[]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("node fake"), "{what}: {refused}");
        assert!(
            refused.message().contains("TLS failed"),
            "{what}: {refused}"
        );
    }
    drop(said);
    assert!(heard.try_recv().is_err(), "nothing was sent");
}

/// Certificates of an authority, as files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Files of a node with this name and another's authority, if one is given.
    fn files(&self, node: &str, host: &str, authority: Option<&Path>) -> PeerCertificates {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = PeerCertificates::Files {
            certificate: self.path(&format!("{node}.pem")),
            key: self.path(&format!("{node}.key")),
            authority: authority.map_or_else(|| self.path("ca.pem"), Path::to_owned),
        };
        if let PeerCertificates::Files {
            certificate: c,
            key: k,
            ..
        } = &files
        {
            std::fs::write(c, certificate.pem()).unwrap();
            std::fs::write(k, key.serialize_pem()).unwrap();
        }
        files
    }
}

#[tokio::test]
async fn the_operators_certificates_can_be_used_instead() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let open = async |table, certificates| {
        let mut settings = peer_settings();
        settings.certificates = certificates;
        settings.patience = Duration::from_millis(300);
        NodeAt::with(table, &settings, SchedulerConfig::new(Storage::Memory)).await
    };
    let table = FakeTable::new();
    let owner = open(&table, ours.files("owner", "127.0.0.1", None)).await;
    table.give_rest(&owner.id);
    let front = open(&table, ours.files("front", "127.0.0.1", None)).await;
    get(&front.client(), "default", &[]).await.unwrap();
    // Of another authority, though it trusts ours.
    let ca = ours.path("ca.pem");
    let stranger = open(&table, theirs.files("stranger", "127.0.0.1", Some(&ca))).await;
    let refused = get(&stranger.client(), "default", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!lets_in(peer_address(&owner), Some(&Certified::new())).await);
    // For another host.
    let elsewhere = open(&table, ours.files("elsewhere", "10.9.9.9", None)).await;
    table.give_rest(&elsewhere.id);
    let refused = get(&front.client(), "default", &[]).await.unwrap_err();
    assert!(refused.message().contains("not valid for"), "{refused}");
}

#[tokio::test]
async fn files_that_do_not_match_are_refused_by_name() {
    let ours = Authority::new();
    let _ = ours.files("one", "127.0.0.1", None);
    let _ = ours.files("two", "127.0.0.1", None);
    let bind = async |key: &str, authority: &str| {
        let mut settings = peer_settings();
        settings.certificates = PeerCertificates::Files {
            certificate: ours.path("one.pem"),
            key: ours.path(key),
            authority: ours.path(authority),
        };
        PeerPort::bind(&settings).await.unwrap_err()
    };
    for (key, authority, named) in [
        ("two.key", "ca.pem", "certificate and the key"),
        ("none.key", "ca.pem", "a private key"),
        ("one.key", "none.pem", "certificate of an authority"),
        ("one.key", "one.key", "certificate of an authority"),
    ] {
        let refused = bind(key, authority).await;
        assert!(matches!(refused, PeerError::Files(_)));
        assert!(refused.to_string().contains(named), "{refused}");
    }
}
