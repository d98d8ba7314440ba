//! A static token from a file: where it goes, and what becomes of a file that changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(unix)]

mod fake;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use durabletask::connection::{AuthenticationKind, ConnectionError, TokenFileFault};
use durabletask::{Client, Connection, Worker};
use fake::Fake;

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn string(endpoint: &str, file: &Path) -> String {
    let file = file.display();
    format!("Endpoint={endpoint};TaskHub=hub;Authentication=Token;TokenFile={file}")
}

#[test]
fn a_static_token_goes_to_this_machine_or_by_tls_only() {
    let file = Path::new("/secrets/hub-token");
    for endpoint in [
        "http://127.0.0.1:8080",
        "http://127.1.2.3:8080",
        "http://[::1]:8080",
        "http://localhost:8080",
        "HTTP://LOCALHOST:8080",
        "https://hub.example",
        "hub.example",
    ] {
        let connection = Connection::parse(&string(endpoint, file)).unwrap();
        let said = connection.authentication();
        assert_eq!(said.kind, AuthenticationKind::Token);
        assert_eq!(said.token_file.as_deref(), Some(file));
    }
    for endpoint in [
        "http://hub.example",
        "http://10.0.0.1:8080",
        "http://0.0.0.0:8080",
        "http://[::]:8080",
        "http://[::ffff:10.0.0.1]:8080",
        "http://127.0.0.1.hub.example",
        "http://127.0.0.1@hub.example",
        "http://localhost.hub.example",
        "http://localhost.:8080",
        "http://127.1:8080",
        "http://2130706433:8080",
    ] {
        let refused = Connection::parse(&string(endpoint, file));
        assert_eq!(refused, Err(ConnectionError::TokenInClear), "{endpoint}");
        let insecure = Connection::insecure(endpoint, "hub").unwrap();
        let refused = insecure.with_token_file(file);
        assert_eq!(refused, Err(ConnectionError::TokenInClear), "{endpoint}");
    }
}

#[test]
fn a_token_file_belongs_to_a_static_token() {
    assert_eq!(
        Connection::parse("Endpoint=https://a;TaskHub=h;Authentication=Token;TokenFile="),
        Err(ConnectionError::Missing { key: "TokenFile" })
    );
    assert_eq!(
        Connection::parse("Endpoint=https://a;TaskHub=h;Authentication=None;TokenFile=/f"),
        Err(ConnectionError::NeedlessTokenFile(AuthenticationKind::None))
    );
}

#[tokio::test]
async fn a_file_without_a_token_is_refused_when_a_client_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let connection = Connection::parse(&string("http://127.0.0.1:1", &file)).unwrap();
    let fault = || match Client::new(&connection).unwrap_err() {
        ConnectionError::TokenFile { path, fault } => {
            assert_eq!(path, file);
            fault
        }
        other => panic!("{other}"),
    };
    assert!(matches!(fault(), TokenFileFault::Unreadable(_)));
    assert!(Worker::builder(&connection).build().is_err());
    write(&file, "# none\n\n");
    assert_eq!(fault(), TokenFileFault::Empty);
    write(&file, "two words\n");
    assert_eq!(fault(), TokenFileFault::NotAToken);
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert_eq!(fault(), TokenFileFault::NotAToken);
    write(&file, "secret-of-one-line\n");
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fault(), TokenFileFault::Exposed);
    let said = Client::new(&connection).unwrap_err().to_string();
    assert!(said.contains("chmod 600"), "{said}");
    assert!(!said.contains("secret-of-one-line"), "{said}");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(fault(), TokenFileFault::Unreadable(_)));
}

#[tokio::test]
async fn the_current_token_is_sent_and_an_unusable_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("token");
    write(&file, "# the first one counts\nfirst\nsecond\n");
    let hub = Fake::start().await;
    // `localhost` is 127.0.0.1, whoever is asked for that name.
    let endpoint = format!("http://localhost:{}", hub.address.port());
    let client = Client::new(&Connection::parse(&string(&endpoint, &file)).unwrap()).unwrap();
    let presented = async || {
        client.hello().await.unwrap();
        hub.seen().pop().unwrap()["authorization"].clone()
    };
    // The file is looked at again within a millisecond.
    let soon = async |token: &str| {
        let presents = async { while presented().await != token {} };
        tokio::time::timeout(Duration::from_secs(10), presents)
            .await
            .expect(token);
    };
    let stays = async |token: &str| {
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            assert_eq!(presented().await, token);
        }
    };
    soon("Bearer first").await;
    // In place, with the same length and within the same moment.
    write(&file, "# the first one counts\nthird\nsecond\n");
    soon("Bearer third").await;
    // By another file in its place.
    let next = folder.path().join("next");
    write(&next, "fourth\n");
    std::fs::rename(&next, &file).unwrap();
    soon("Bearer fourth").await;
    write(&file, "");
    stays("Bearer fourth").await;
    std::fs::remove_file(&file).unwrap();
    stays("Bearer fourth").await;
    write(&file, "fifth\n");
    soon("Bearer fifth").await;
}
