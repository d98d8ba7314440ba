//! What goes wrong between a program and its scheduler, and what becomes of it.
//! The table of all faults is in `docs/FAULTS.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use durabletask::client::{InstanceHandle, Payloads};
use durabletask::worker::WorkerError;
use durabletask::worker::{ConnectionStatus, StatusWatch, WorkerBuilder, WorkerStatus};
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Connection, Event, Failure, Orchestration,
    Registry, Worker,
};
use durabletask_proto as proto;
use fake::items::activity;
use fake::{Fake, SOON};
use proto::work_item::Request as Item;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const STORY: Orchestration<String, String> = Orchestration::new("story");
const GO: Event<u32> = Event::new("go");
const ECHO: Activity<u32, u32> = Activity::new("echo");
const BIG: Activity<u32, String> = Activity::new("big");
const BIG_FAILURE: Activity<u32, ()> = Activity::new("big-failure");
const GATED: Activity<u32, u32> = Activity::new("gated");

/// More than one message may have.
const TOO_MUCH: usize = 5_000_000;

struct Running {
    status: StatusWatch,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    /// Activities named `gated` go on when the test adds a permit.
    gate: Arc<Semaphore>,
}

impl Running {
    fn start(fake: &Fake, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let registry = Registry::new()
            .activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n))
            .activity(&BIG, async |_: ActivityContext, _: u32| {
                Ok("x".repeat(TOO_MUCH))
            })
            .activity(&BIG_FAILURE, async |_: ActivityContext, _: u32| {
                Err(Failure::new("Big", "x".repeat(TOO_MUCH)))
            })
            .activity(&GATED, move |_, n| {
                let waits = Arc::clone(&waits);
                async move {
                    waits.acquire().await?.forget();
                    Ok(n)
                }
            });
        let builder = Worker::builder(&fake.connection())
            .registry(registry)
            .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20));
        let worker = configure(builder).build().unwrap();
        let status = worker.status();
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
        Self {
            status,
            stop,
            task,
            gate,
        }
    }

    async fn until(&self, what: impl FnMut(&WorkerStatus) -> bool) -> WorkerStatus {
        let mut status = self.status.clone();
        tokio::time::timeout(SOON, status.wait_for(what))
            .await
            .unwrap_or_else(|_| panic!("it never came to that: {:?}", self.status.current()))
            .unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("the worker hangs")
            .unwrap()
            .unwrap();
    }
}

/// A worker that is refused says why, and comes when it is welcome.
async fn refused_for_now(refusal: Status) {
    let reason = format!("{:?}: {}", refusal.code(), refusal.message());
    let mut fake = Fake::start().await;
    fake.refuse(refusal);
    let running = Running::start(&fake, |builder| builder);
    let lost = running
        .until(|status| status.consecutive_failures >= 2)
        .await;
    assert_eq!(lost.connection, ConnectionStatus::Disconnected { reason });
    fake.refuse(None);
    fake.stream().await;
    running.until(WorkerStatus::is_connected).await;
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_reported_and_does_not_stop_a_worker() {
    let refusal = Status::unauthenticated("the token is not for this scheduler");
    let fake = Fake::start().await;
    fake.refuse(refusal.clone());
    let client = Client::new(&fake.connection()).unwrap();
    assert_eq!(
        client
            .start(&STORY, &String::new())
            .send()
            .await
            .map(InstanceHandle::into_id),
        Err(ClientError::Denied(refusal.message().to_owned()))
    );
    refused_for_now(refusal).await;
}

#[tokio::test]
async fn an_unknown_task_hub_is_reported_and_does_not_stop_a_worker() {
    let refusal = Status::not_found("there is no task hub 'test-hub'");
    let fake = Fake::start().await;
    fake.refuse(refusal.clone());
    let client = Client::new(&fake.connection()).unwrap();
    let error = client
        .start(&STORY, &String::new())
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ClientError::NotFound {
            instance_id: None,
            reason: refusal.message().to_owned(),
        }
    );
    assert!(error.to_string().contains("task hub 'test-hub'"), "{error}");
    assert_eq!(
        client.raise_event("abc", &GO, &1).await,
        Err(ClientError::NotFound {
            instance_id: Some("abc".to_owned()),
            reason: refusal.message().to_owned(),
        })
    );
    refused_for_now(refusal).await;
}

#[tokio::test]
async fn a_client_reports_an_unreachable_scheduler_and_works_once_it_is_up() {
    let mut fake = Fake::start().await;
    fake.kill();
    fake.gone().await;
    let client = Client::new(&fake.connection()).unwrap();
    let start = || client.start(&STORY, &String::new()).send();
    let error = start().await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable(_)), "{error:?}");
    fake.restart().await;
    start().await.unwrap();
}

/// A scheduler that greets, takes a call in and is gone; answers how many calls it took.
async fn gone_with_every_call(listener: TcpListener, taken: watch::Sender<u32>) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        stream.read_exact(&mut [0; PREFACE]).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut frame).await.unwrap();
            if head[3] == HEADERS {
                break;
            }
        }
        taken.send_modify(|calls| *calls += 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_is_an_unavailable_scheduler() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (taken, calls) = watch::channel(0);
    tokio::spawn(gone_with_every_call(listener, taken));
    let client = Client::new(&Connection::insecure(&address, "hub").unwrap()).unwrap();
    let start = client.start(&STORY, &String::new()).send().await;
    assert!(
        matches!(start, Err(ClientError::Unavailable(_))),
        "{start:?}"
    );
    // It may have been done, so it is the caller's to repeat it.
    assert_eq!(*calls.borrow(), 1);
    let read = client.get("abc", Payloads::Omit).await;
    assert!(matches!(read, Err(ClientError::Unavailable(_))), "{read:?}");
    assert!(*calls.borrow() > 2, "a read is repeated");
}

#[tokio::test]
async fn an_input_over_the_limit_is_refused_and_the_client_continues() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let start = async |input: String| client.start(&STORY, &input).send().await;
    let error = start("x".repeat(TOO_MUCH)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::InvalidArgument(_) | ClientError::LimitExceeded(_)
        ),
        "{error:?}"
    );
    start("small".to_owned()).await.unwrap();
}

#[tokio::test]
async fn an_activity_whose_result_is_always_refused_fails_permanently() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder);
    let items = fake.stream().await;
    for name in ["big", "big-failure"] {
        items.send("t1", activity(name, 3)).await;
        let response = fake.activity().await;
        let details = response.failure_details.unwrap();
        assert_eq!(details.error_type, "ActivityResponseTooLarge");
        assert!(details.is_non_retriable);
        assert_eq!((response.task_id, response.result), (3, None));
    }
    running.stop().await;
}

#[tokio::test]
async fn an_input_of_the_wrong_type_fails_the_activity_permanently() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder);
    let items = fake.stream().await;
    for input in [None, Some("\"planted-value\""), Some("{"), Some("-1")] {
        let Item::ActivityRequest(mut request) = activity("echo", 0) else {
            unreachable!("a call");
        };
        request.input = input.map(str::to_owned);
        items.send("t1", Item::ActivityRequest(request)).await;
        let details = fake.activity().await.failure_details.unwrap();
        assert_eq!(details.error_type, "PayloadMismatch", "{input:?}");
        assert!(details.is_non_retriable);
        assert!(!details.error_message.contains("planted"), "{details:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn ten_thousand_activities_run_at_once() {
    const MANY: usize = 10_000;
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder.max_concurrent_activities(MANY));
    let items = fake.stream().await;
    for id in 0..MANY {
        let task_id = i32::try_from(id).unwrap();
        items
            .send(&format!("t{id}"), activity("gated", task_id))
            .await;
    }
    running
        .until(|status| status.activities_in_flight == MANY)
        .await;
    running.gate.add_permits(MANY);
    let mut tokens = BTreeSet::new();
    for _ in 0..MANY {
        let response = fake.activity().await;
        assert_eq!(response.result.as_deref(), Some("7"));
        tokens.insert(response.completion_token);
    }
    assert_eq!(tokens.len(), MANY);
    running
        .until(|status| status.activities_in_flight == 0)
        .await;
    running.stop().await;
}
