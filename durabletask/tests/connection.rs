//! Connection strings: which are understood, which are refused, and in which words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use durabletask::client::Payloads;
use durabletask::connection::{
    AccessToken, AuthenticationKind, ConnectionError, TokenFailure, TokenProvider,
};
use durabletask::{Client, ClientError, Connection, Worker};
use tokio::io::AsyncReadExt as _;

fn refused(text: &str) -> ConnectionError {
    Connection::parse(text).unwrap_err()
}

#[test]
fn keys_are_understood_in_any_case_and_order() {
    let connection = Connection::parse(
        ";taskhub=hub ; ENDPOINT=https://x.y.durabletask.io;;authentication=workloadIDENTITY;ClientId=a=b;tenantid=t;TokenFilePath=/f;AdditionallyAllowedTenants=p, q;TaskHub=last",
    )
    .unwrap();
    assert_eq!(connection.endpoint(), "https://x.y.durabletask.io");
    assert_eq!(connection.task_hub(), "last");
    let authentication = connection.authentication();
    assert_eq!(authentication.kind, AuthenticationKind::WorkloadIdentity);
    assert_eq!(authentication.client_id.as_deref(), Some("a=b"));
    assert_eq!(authentication.additionally_allowed_tenants, ["p", "q"]);
}

#[test]
fn faults_are_named() {
    assert_eq!(
        refused("Endpoint=http://a;TaskHub"),
        ConnectionError::Segment { position: 2 }
    );
    assert_eq!(
        refused("Endpoint=http://a;Hub=b"),
        ConnectionError::UnknownKey { key: "Hub".into() }
    );
    assert_eq!(
        refused("TaskHub=a;Authentication=None"),
        ConnectionError::Missing { key: "Endpoint" }
    );
    assert_eq!(
        refused("Endpoint=http://a;Authentication=None"),
        ConnectionError::Missing { key: "TaskHub" }
    );
    assert_eq!(
        refused("Endpoint=http://a;TaskHub=b"),
        ConnectionError::Missing {
            key: "Authentication"
        }
    );
    assert!(
        refused("Endpoint=http://a;TaskHub=b;Authentication=Magic")
            .to_string()
            .contains("Magic")
    );
    for endpoint in ["ftp://a", "http://", "http://a b"] {
        let text = format!("Endpoint={endpoint};TaskHub=b;Authentication=None");
        assert_eq!(refused(&text), ConnectionError::Endpoint, "{endpoint}");
    }
    assert_eq!(
        refused("Endpoint=http://a;TaskHub=b\nc;Authentication=None"),
        ConnectionError::TaskHub
    );
}

#[tokio::test]
async fn a_token_is_neither_forgotten_nor_sent_in_clear() {
    let hub = Connection::parse("Endpoint=a.b;TaskHub=b;Authentication=DefaultAzure").unwrap();
    // Without a scheme, https is meant.
    assert_eq!(hub.endpoint(), "https://a.b");
    assert_eq!(
        Client::new(&hub).unwrap_err(),
        ConnectionError::NoCredential(AuthenticationKind::DefaultAzure)
    );
    assert!(Worker::builder(&hub).build().is_err());
    Client::new(&hub.with_credential(Nobody)).unwrap();

    let clear =
        Connection::parse("Endpoint=http://a;TaskHub=b;Authentication=DefaultAzure").unwrap();
    assert_eq!(
        Client::new(&clear.with_credential(Nobody)).unwrap_err(),
        ConnectionError::TokenInClear
    );
}

struct Nobody;

#[async_trait::async_trait]
impl TokenProvider for Nobody {
    async fn token(&self, _: &str) -> Result<AccessToken, TokenFailure> {
        Err("nobody is logged in".into())
    }
}

#[test]
fn a_client_outside_of_a_runtime_is_refused() {
    let connection = Connection::insecure("http://127.0.0.1:1", "hub").unwrap();
    assert_eq!(
        Client::new(&connection).unwrap_err(),
        ConnectionError::NoRuntime
    );
}

/// What a client writes first on a connection that the program opened for it.
async fn first_bytes(endpoint: &str, length: usize) -> Vec<u8> {
    let (sender, mut opened) = tokio::sync::mpsc::unbounded_channel();
    let connection = Connection::insecure(endpoint, "hub").unwrap();
    let connection = connection.with_dialer(move || {
        let (near, far) = tokio::io::duplex(1 << 16);
        let sent = sender.send(far);
        async move { sent.map(|()| near).map_err(std::io::Error::other) }
    });
    let client = Client::new(&connection).unwrap();
    let calling = tokio::spawn(async move { client.get("a", Payloads::Omit).await });
    let mut far = opened.recv().await.unwrap();
    let mut bytes = vec![0; length];
    far.read_exact(&mut bytes).await.unwrap();
    calling.abort();
    bytes
}

#[tokio::test]
async fn a_connection_that_the_program_opens_carries_what_the_endpoint_says() {
    assert_eq!(first_bytes("http://nowhere", 3).await, b"PRI");
    // A handshake of TLS, so that nothing goes in clear.
    assert_eq!(first_bytes("https://nowhere", 1).await, [0x16]);
}

#[tokio::test]
async fn what_opens_connections_gives_no_token_away() {
    let here = |name| {
        let connection = Connection::insecure(name, "hub").unwrap();
        connection.with_dialer(async || Ok(tokio::io::duplex(1).0))
    };
    assert!(here("http://127.0.0.1").with_token_file("token").is_ok());
    assert_eq!(
        here("http://elsewhere").with_token_file("token"),
        Err(ConnectionError::TokenInClear)
    );
}

#[tokio::test]
async fn what_fails_to_open_a_connection_is_named() {
    let connection = Connection::insecure("http://127.0.0.1", "hub").unwrap();
    let connection = connection.with_dialer(async || {
        let error = std::io::Error::other("the drawbridge is up");
        Err::<tokio::io::DuplexStream, _>(error)
    });
    let client = Client::new(&connection).unwrap();
    let error = client.get("a", Payloads::Omit).await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("drawbridge"), "{error}");
}
