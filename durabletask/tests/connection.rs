//! Connection strings: which are understood, which are refused, and in which words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use durabletask::{AuthenticationKind, Client, Connection, ConnectionError, Worker};

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
async fn what_this_build_cannot_do_is_refused_in_words() {
    let entra =
        Connection::parse("Endpoint=http://a;TaskHub=b;Authentication=DefaultAzure").unwrap();
    let error = Client::new(&entra).unwrap_err();
    assert!(error.to_string().contains("Entra"), "{error}");
    // Without a scheme, https is meant.
    let tls = Connection::parse("Endpoint=a.b:443;TaskHub=b;Authentication=None").unwrap();
    assert_eq!(tls.endpoint(), "https://a.b:443");
    assert_eq!(
        Client::new(&tls).unwrap_err(),
        ConnectionError::TlsUnsupported
    );
    assert!(Worker::builder(&tls).build().is_err());
}

#[test]
fn a_client_outside_of_a_runtime_is_refused() {
    let connection = Connection::insecure("http://127.0.0.1:1", "hub").unwrap();
    assert_eq!(
        Client::new(&connection).unwrap_err(),
        ConnectionError::NoRuntime
    );
}
