//! A task hub over TLS that wants to know who is calling: what comes with every call,
//! and when tokens are asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use durabletask::client::InstanceQuery;
use durabletask::connection::{AccessToken, TokenFailure, TokenProvider};
use durabletask::{Client, Connection, Orchestration, Registry, Worker};
use fake::{Fake, SOON, Tls};
use futures_util::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

const STORY: Orchestration<u32, u32> = Orchestration::new("story");

#[derive(Clone)]
struct Counting {
    asked: Arc<AtomicUsize>,
    scopes: Arc<Mutex<Vec<String>>>,
    broken: Arc<AtomicBool>,
    lifetime: Duration,
}

impl Counting {
    fn new(lifetime: Duration) -> Self {
        Self {
            asked: Arc::default(),
            scopes: Arc::default(),
            broken: Arc::default(),
            lifetime,
        }
    }
}

#[async_trait::async_trait]
impl TokenProvider for Counting {
    async fn token(&self, scope: &str) -> Result<AccessToken, TokenFailure> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        self.scopes.lock().unwrap().push(scope.to_owned());
        if self.broken.load(Ordering::SeqCst) {
            return Err("nobody is logged in".into());
        }
        Ok(AccessToken::new(
            format!("token-{number}"),
            SystemTime::now() + self.lifetime,
        ))
    }
}

/// A fake over TLS, and a connection that trusts it.
async fn secured(provider: Counting) -> (Fake, Connection) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let fake = Fake::start_with(Some(Tls {
        certificate: certificate.clone(),
        key: made.signing_key.serialize_pem(),
    }))
    .await;
    let text = format!(
        "Endpoint=https://localhost:{};TaskHub=test-hub;Authentication=ManagedIdentity",
        fake.address.port()
    );
    let connection = Connection::parse(&text)
        .unwrap()
        .with_credential(provider)
        .trusting(certificate);
    (fake, connection)
}

#[tokio::test]
async fn every_call_names_its_hub_caller_and_version() {
    let provider = Counting::new(Duration::from_secs(3600));
    let (mut fake, connection) = secured(provider.clone()).await;
    fake.want("Bearer token-0");

    let client = Client::new(&connection).unwrap();
    client
        .start(&STORY, &7)
        .instance_id("abc")
        .send()
        .await
        .unwrap();
    client
        .get("abc", durabletask::client::Payloads::Include)
        .await
        .unwrap();
    let found = client.list_instances(InstanceQuery::default());
    found.try_collect::<Vec<_>>().await.unwrap();
    let of_client = fake.seen();
    assert!(of_client.len() >= 3, "{of_client:?}");
    for headers in &of_client {
        assert_eq!(headers["taskhub"], "test-hub");
        assert_eq!(headers["authorization"], "Bearer token-0");
        let agent = &headers["x-user-agent"];
        assert!(
            agent.starts_with("durabletask-rust/") && agent.ends_with("(DurableTaskClient)"),
            "{agent}"
        );
        assert_eq!(headers.get("workerid"), None);
    }

    let stop = CancellationToken::new();
    let worker = Worker::builder(&connection)
        .registry(Registry::new())
        .build()
        .unwrap();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    while !matches!(fake.next().await, fake::Got::Stream(_)) {}
    let of_worker = &fake.seen()[of_client.len()..];
    assert!(!of_worker.is_empty());
    for headers in of_worker {
        assert_eq!(headers["taskhub"], "test-hub");
        assert_eq!(headers["authorization"], "Bearer token-0");
        assert!(headers["x-user-agent"].ends_with("(DurableTaskWorker)"));
        assert_eq!(headers["workerid"].split(',').count(), 3);
    }
    stop.cancel();
    tokio::time::timeout(SOON, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();

    // One token for all of them, for the right audience.
    assert_eq!(
        *provider.scopes.lock().unwrap(),
        ["https://durabletask.io/.default"]
    );
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed_and_used_while_that_fails() {
    let provider = Counting::new(Duration::from_secs(120));
    let (fake, connection) = secured(provider.clone()).await;
    let client = Client::new(&connection).unwrap();
    let start = || client.start(&STORY, &7).send();
    start().await.unwrap();
    start().await.unwrap();
    provider.broken.store(true, Ordering::SeqCst);
    start().await.unwrap();
    let tokens: Vec<String> = fake
        .seen()
        .iter()
        .map(|h| h["authorization"].clone())
        .collect();
    assert_eq!(
        tokens,
        ["Bearer token-0", "Bearer token-1", "Bearer token-1"]
    );
    assert_eq!(provider.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn without_a_token_the_call_fails_with_the_reason_and_nothing_is_sent() {
    let provider = Counting::new(Duration::from_secs(3600));
    provider.broken.store(true, Ordering::SeqCst);
    let (fake, connection) = secured(provider).await;
    let client = Client::new(&connection).unwrap();
    let error = client.start(&STORY, &7).send().await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("nobody is logged in"), "{text}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_hub_with_an_untrusted_certificate_gets_no_token() {
    let provider = Counting::new(Duration::from_secs(3600));
    let (fake, _) = secured(provider.clone()).await;
    let text = format!(
        "Endpoint=https://localhost:{};TaskHub=test-hub;Authentication=ManagedIdentity",
        fake.address.port()
    );
    let connection = Connection::parse(&text).unwrap().with_credential(provider);
    let client = Client::new(&connection).unwrap();
    client.start(&STORY, &7).send().await.unwrap_err();
    assert!(fake.seen().is_empty());
}

#[test]
fn a_token_is_not_shown() {
    let token = AccessToken::new("hunter2", SystemTime::now());
    assert!(!format!("{token:?}").contains("hunter2"));
}
