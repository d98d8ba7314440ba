//! Large payloads travel as tokens, against a scheduler made of channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use durabletask::client::Payloads;
use durabletask::payloads::{InMemoryPayloadStore, LargePayloads, PayloadStore, PayloadStoreError};
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Event, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use durabletask_proto as proto;
use fake::items::{event, failure_of, input_of, started, turn};
use fake::{Fake, Got};
use futures_util::TryStreamExt;
use proto::history_event::EventType;
use proto::work_item::Request as Item;
use tokio_util::sync::CancellationToken;

const DOUBLE: Activity<String, String> = Activity::new("double");
const STORY: Orchestration<String, String> = Orchestration::new("story");
const GO: Event<String> = Event::new("go");

const THRESHOLD: usize = 100;

/// JSON text of more than the threshold.
fn large(letter: &str) -> String {
    format!("\"{}\"", letter.repeat(THRESHOLD))
}

fn registry() -> Registry {
    Registry::new()
        .activity(&DOUBLE, async |_: ActivityContext, text: String| {
            Ok(text.repeat(2))
        })
        .orchestration(&STORY, async |ctx: OrchestrationContext, text: String| {
            let text = ctx.call_activity(&DOUBLE, &text).await?;
            ctx.set_custom_status(&text)?;
            Ok(ctx.call_activity(&DOUBLE, &text).await?)
        })
}

/// A store whose errors the test chooses.
#[derive(Clone, Default)]
struct Moody {
    inner: InMemoryPayloadStore,
    away: Arc<AtomicBool>,
    owners: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl PayloadStore for Moody {
    async fn put(&self, instance_id: &str, payload: &str) -> Result<String, PayloadStoreError> {
        self.owners.lock().unwrap().push(instance_id.to_owned());
        self.inner.put(instance_id, payload).await
    }

    async fn get(&self, token: &str) -> Result<String, PayloadStoreError> {
        if self.away.swap(false, Ordering::SeqCst) {
            return Err(PayloadStoreError::Transient("away".to_owned()));
        }
        self.inner.get(token).await
    }

    fn owns(&self, text: &str) -> bool {
        self.inner.owns(text)
    }
}

struct Setup {
    fake: Fake,
    store: Moody,
    client: Client,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<Result<(), durabletask::worker::WorkerError>>,
}

async fn setup() -> Setup {
    let fake = Fake::start().await;
    let store = Moody::default();
    let payloads = LargePayloads::new(store.clone())
        .threshold_bytes(THRESHOLD)
        .max_bytes(1_000);
    let client = Client::new(&fake.connection())
        .unwrap()
        .with_large_payloads(payloads.clone());
    let worker = Worker::builder(&fake.connection())
        .registry(registry())
        .large_payloads(payloads)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let worker = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    Setup {
        fake,
        store,
        client,
        stop,
        worker,
    }
}

impl Setup {
    async fn token(&self, payload: &str) -> String {
        self.store.inner.put("", payload).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

fn call(input: String) -> Item {
    Item::ActivityRequest(proto::ActivityRequest {
        name: "double".to_owned(),
        input: Some(input),
        orchestration_instance: Some(proto::OrchestrationInstance {
            instance_id: "abc".to_owned(),
            execution_id: None,
        }),
        ..Default::default()
    })
}

#[tokio::test]
async fn a_client_stores_what_is_large_and_reads_it_back() {
    let mut setup = setup().await;
    setup.fake.stream().await;
    let (small, big) = ("a".to_owned(), "b".repeat(THRESHOLD));
    let start = |input: &String| setup.client.start(&STORY, input).instance_id("abc").send();
    start(&small).await.unwrap();
    start(&big).await.unwrap();
    setup.client.raise_event("abc", &GO, &big).await.unwrap();
    let Got::Started(request) = setup.fake.next().await else {
        panic!("not a start");
    };
    assert_eq!(request.input.as_deref(), Some("\"a\""));
    let Got::Started(request) = setup.fake.next().await else {
        panic!("not a start");
    };
    let token = request.input.unwrap();
    assert!(token.starts_with("blob:v1:"), "{token}");
    assert_eq!(setup.store.inner.get(&token).await.unwrap(), large("b"));
    let Got::Raised(raised) = setup.fake.next().await else {
        panic!("not an event");
    };
    assert!(raised.input.unwrap().starts_with("blob:v1:"));
    assert_eq!(*setup.store.owners.lock().unwrap(), ["abc", "abc"]);

    setup
        .fake
        .answer_instances(vec![Ok(proto::GetInstanceResponse {
            exists: true,
            orchestration_state: Some(proto::OrchestrationState {
                orchestration_status: proto::OrchestrationStatus::Completed as i32,
                input: Some(token.clone()),
                output: Some("\"c\"".to_owned()),
                ..Default::default()
            }),
        })]);
    let state = setup
        .client
        .get("abc", Payloads::Include)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(state.input::<String>().unwrap(), big);
    assert_eq!(state.output::<String>().unwrap(), "c");

    setup.fake.set_history(vec![event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            input: Some(token),
            ..Default::default()
        }),
    )]);
    let history: Vec<_> = setup.client.history("abc").try_collect().await.unwrap();
    assert!(format!("{history:?}").contains(&big));

    let too_large = "x".repeat(2_000);
    assert!(matches!(
        start(&too_large).await,
        Err(ClientError::PayloadStore(PayloadStoreError::Permanent(_)))
    ));
    setup.stop().await;
}

#[tokio::test]
async fn an_activity_gets_and_yields_tokens() {
    let mut setup = setup().await;
    let items = setup.fake.stream().await;
    assert_eq!(items.request.capabilities, [1, 3]);
    let token = setup.token(&large("a")).await;
    items.send("t1", call(token)).await;
    let token = setup.fake.activity().await.result.unwrap();
    assert_eq!(
        setup.store.inner.get(&token).await.unwrap(),
        format!("\"{}\"", "a".repeat(2 * THRESHOLD))
    );

    // Missing for good, missing for now, and too large to be stored.
    items
        .send("t2", call("blob:v1:memory:lost".to_owned()))
        .await;
    let details = setup.fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "PayloadStoreError");
    assert!(details.is_non_retriable);
    setup.store.away.store(true, Ordering::SeqCst);
    let token = setup.token(&large("a")).await;
    items.send("t3", call(token)).await;
    assert!(matches!(setup.fake.next().await, Got::AbandonedActivity(token) if token == "t3"));
    items
        .send("t4", call(format!("\"{}\"", "x".repeat(900))))
        .await;
    let response = setup.fake.activity().await;
    assert_eq!(response.result, None);
    assert_eq!(
        response.failure_details.unwrap().error_type,
        "PayloadStoreError"
    );
    setup.stop().await;
}

#[tokio::test]
async fn a_turn_gets_and_yields_tokens() {
    let mut setup = setup().await;
    let items = setup.fake.stream().await;
    let mut first = started("story");
    let input = setup.token(&large("a")).await;
    if let Some(EventType::ExecutionStarted(started)) = &mut first[1].event_type {
        started.input = Some(input);
    }
    let result = setup.token(&large("b")).await;
    let completed = |result: String| {
        let mut events = fake::items::completed(0, "");
        if let Some(EventType::TaskCompleted(completed)) = &mut events[1].event_type {
            completed.result = Some(result);
        }
        events
    };
    let mut past = first.clone();
    past.push(event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "double".to_owned(),
            // Never read: a replay does not need it.
            input: Some("blob:v1:memory:lost".to_owned()),
            ..Default::default()
        }),
    ));

    items
        .send("t1", Item::OrchestratorRequest(turn(first.clone())))
        .await;
    let token = input_of(&setup.fake.orchestration().await);
    assert_eq!(setup.store.inner.get(&token).await.unwrap(), large("a"));

    let request = proto::OrchestratorRequest {
        past_events: past.clone(),
        ..turn(completed(result))
    };
    items
        .send("t2", Item::OrchestratorRequest(request.clone()))
        .await;
    let response = setup.fake.orchestration().await;
    for token in [input_of(&response), response.custom_status.clone().unwrap()] {
        assert_eq!(setup.store.inner.get(&token).await.unwrap(), large("b"));
    }

    setup.store.away.store(true, Ordering::SeqCst);
    items.send("t3", Item::OrchestratorRequest(request)).await;
    assert!(matches!(setup.fake.next().await, Got::AbandonedOrchestration(token) if token == "t3"));

    let lost = proto::OrchestratorRequest {
        past_events: past,
        ..turn(completed("blob:v1:memory:lost".to_owned()))
    };
    items.send("t4", Item::OrchestratorRequest(lost)).await;
    let details = failure_of(&setup.fake.orchestration().await);
    assert_eq!(details.error_type, "PayloadStoreError");
    setup.stop().await;
}
