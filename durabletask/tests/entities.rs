//! Entities against a scheduler made of channels: what worker and client put on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use durabletask::client::{EntityCleaning, EntityQuery};
use durabletask::worker::WorkerError;
use durabletask::worker::{WorkItemFilters, WorkerBuilder};
use durabletask::{Client, ClientError, Entity, EntityHandlers, Operation, Registry, Worker};
use durabletask_proto as proto;
use fake::{Fake, Got, SOON};
use futures_util::TryStreamExt;
use proto::history_event::EventType;
use proto::operation_result::ResultType;
use proto::work_item::Request as Item;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

const COUNTER: Entity<Counter> = Entity::new("counter");
const OTHER: Entity<u32> = Entity::new("other");
const LOOK: Operation<u32, (), u32> = Operation::new("look");
const ADD: Operation<Counter, i64, i64> = Operation::new("add");
const GATED: Operation<Counter, (), ()> = Operation::new("gated");
const GROW: Operation<Counter, (), String> = Operation::new("grow");

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    /// Operations named `gated` go on when the test adds a permit.
    gate: Arc<Semaphore>,
}

impl Running {
    fn start(fake: &Fake, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let handlers = EntityHandlers::new()
            .operation(&ADD, |counter: &mut Counter, _, n| {
                counter.value += n;
                Ok(counter.value)
            })
            .operation(&GROW, |_, _, ()| Ok("x".repeat(5_000_000)))
            .async_operation(&GATED, move |counter, _, ()| {
                let waits = Arc::clone(&waits);
                async move {
                    waits.acquire().await?.forget();
                    Ok((counter, ()))
                }
            });
        let builder = Worker::builder(&fake.connection())
            .registry(Registry::new().entity(&COUNTER, handlers))
            .max_concurrent_entities(7)
            .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20));
        let stop = CancellationToken::new();
        let task = tokio::spawn(
            configure(builder)
                .build()
                .unwrap()
                .run_until(stop.clone().cancelled_owned()),
        );
        Self { stop, task, gate }
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

/// A work item of the newer form, with signals.
fn batch(id: &str, state: Option<&str>, operations: &[(&str, &str)]) -> Item {
    Item::EntityRequestV2(proto::EntityRequest {
        instance_id: id.to_owned(),
        entity_state: state.map(str::to_owned),
        operation_requests: operations
            .iter()
            .map(|(operation, input)| proto::HistoryEvent {
                event_id: -1,
                timestamp: None,
                event_type: Some(EventType::EntityOperationSignaled(
                    proto::EntityOperationSignaledEvent {
                        request_id: "r".into(),
                        operation: (*operation).to_owned(),
                        input: Some((*input).to_owned()),
                        ..Default::default()
                    },
                )),
            })
            .collect(),
        ..Default::default()
    })
}

async fn answer(fake: &mut Fake) -> proto::EntityBatchResult {
    match fake.next().await {
        Got::Batch(result) => result,
        other => panic!("not a batch: {other:?}"),
    }
}

fn outputs(result: &proto::EntityBatchResult) -> Vec<String> {
    result
        .results
        .iter()
        .map(|result| match result.result_type.clone().unwrap() {
            ResultType::Success(success) => success.result.unwrap(),
            ResultType::Failure(failure) => failure.failure_details.unwrap().error_type,
        })
        .collect()
}

#[tokio::test]
async fn the_worker_answers_both_forms_of_the_work_item() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder);
    let stream = fake.stream().await;
    assert_eq!(stream.request.max_concurrent_entity_work_items, 7);
    stream
        .send(
            "t1",
            batch("@counter@a", None, &[("add", "1"), ("ADD", "2")]),
        )
        .await;
    let result = answer(&mut fake).await;
    assert_eq!(result.completion_token, "t1");
    assert_eq!(outputs(&result), ["1", "3"]);
    assert_eq!(result.entity_state.as_deref(), Some("{\"value\":3}"));
    assert_eq!(result.operation_infos.len(), 2);

    let older = proto::EntityBatchRequest {
        instance_id: "@counter@a".into(),
        entity_state: Some("{\"value\":3}".into()),
        operations: vec![proto::OperationRequest {
            operation: "add".into(),
            request_id: "r".into(),
            input: Some("4".into()),
            trace_context: None,
        }],
        ..Default::default()
    };
    stream.send("t2", Item::EntityRequest(older)).await;
    let result = answer(&mut fake).await;
    assert_eq!(
        (result.completion_token.as_str(), outputs(&result)),
        ("t2", vec!["7".to_owned()])
    );
    assert_eq!(result.operation_infos, []);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_answered_with_its_reason() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder);
    let stream = fake.stream().await;
    stream
        .send("t1", batch("@nobody@a", Some("1"), &[("add", "1")]))
        .await;
    let result = answer(&mut fake).await;
    assert_eq!(outputs(&result), ["EntityTaskNotFound"]);
    assert_eq!(result.entity_state.as_deref(), Some("1"));

    for (item, reason) in [
        (
            batch("counter", None, &[("add", "1")]),
            "InvalidEntityRequest",
        ),
        (
            batch("@counter@a", None, &[("grow", "null")]),
            "EntityResponseTooLarge",
        ),
    ] {
        stream.send("t2", item).await;
        let result = answer(&mut fake).await;
        assert_eq!(result.failure_details.unwrap().error_type, reason);
        assert_eq!((result.results, result.entity_state), (vec![], None));
    }
    // A result that does not get through is sent again.
    fake.answer_completions(vec![Err(Status::unavailable("busy"))]);
    stream
        .send("t3", batch("@counter@a", None, &[("add", "1")]))
        .await;
    assert_eq!(answer(&mut fake).await, answer(&mut fake).await);
    running.stop().await;
}

#[tokio::test]
async fn batches_of_one_name_are_limited() {
    const NAMED: Entity<Counter> = Entity::new("Counter");
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| {
        builder
            .registry(Registry::new().entity(
                &OTHER,
                EntityHandlers::new().operation(&LOOK, |n, _, ()| Ok(*n)),
            ))
            .max_concurrent_entity(&NAMED, 1)
    });
    let stream = fake.stream().await;
    // The first waits for the gate; the second would not, if it might begin.
    stream
        .send("t1", batch("@counter@a", None, &[("gated", "null")]))
        .await;
    stream
        .send("t2", batch("@counter@b", None, &[("add", "1")]))
        .await;
    stream
        .send("t3", batch("@other@a", Some("3"), &[("look", "null")]))
        .await;
    assert_eq!(answer(&mut fake).await.completion_token, "t3");
    running.gate.add_permits(1);
    let mut answered =
        [answer(&mut fake).await, answer(&mut fake).await].map(|result| result.completion_token);
    answered.sort();
    assert_eq!(answered, ["t1", "t2"]);
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_worker_finishes_its_batch_and_hands_others_back() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| builder);
    let stream = fake.stream().await;
    stream
        .send("t1", batch("@counter@a", None, &[("gated", "null")]))
        .await;
    stream
        .send("t2", batch("@counter@b", None, &[("add", "1")]))
        .await;
    // The second is answered, so the first is in hand.
    assert_eq!(answer(&mut fake).await.completion_token, "t2");
    running.stop.cancel();
    stream
        .send("t3", batch("@counter@c", None, &[("add", "1")]))
        .await;
    let Got::AbandonedEntity(token) = fake.next().await else {
        panic!("not handed back")
    };
    assert_eq!(token, "t3");
    running.gate.add_permits(1);
    assert_eq!(answer(&mut fake).await.completion_token, "t1");
    running.stop().await;
}

#[tokio::test]
async fn filters_name_the_entities() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |builder| {
        builder.work_item_filters(WorkItemFilters::Registered)
    });
    let stream = fake.stream().await;
    let filters = stream.request.work_item_filters.clone().unwrap();
    assert_eq!(
        filters.entities,
        [proto::EntityFilter {
            name: "counter".into()
        }]
    );
    // A scheduler that ignores them gets the item back.
    stream
        .send("t1", batch("@other@a", None, &[("add", "1")]))
        .await;
    stream
        .send("t2", batch("@counter@a", None, &[("add", "1")]))
        .await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(match fake.next().await {
            Got::Batch(result) => format!("done {}", result.completion_token),
            Got::AbandonedEntity(token) => format!("back {token}"),
            other => panic!("{other:?}"),
        });
    }
    tokens.sort();
    assert_eq!(tokens, ["back t1", "done t2"]);
    running.stop().await;
}

#[tokio::test]
async fn a_signal_carries_what_was_asked_for() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let at = DateTime::from_timestamp(1_700_000_000, 5).unwrap();
    client
        .signal_entity(&COUNTER.id("A"), &ADD, &1)
        .await
        .unwrap();
    client
        .signal_entity_at(&COUNTER.id("A"), &ADD, &2, at)
        .await
        .unwrap();
    for (input, time) in [("1", None), ("2", Some((1_700_000_000, 5)))] {
        let Got::Signalled(signal) = fake.next().await else {
            panic!("not a signal")
        };
        assert_eq!(
            (signal.instance_id.as_str(), signal.name.as_str()),
            ("@counter@A", "add")
        );
        assert_eq!(signal.input.as_deref(), Some(input));
        assert_eq!(signal.scheduled_time.map(|at| (at.seconds, at.nanos)), time);
        assert!(signal.request_id.parse::<uuid::Uuid>().is_ok());
    }
    // A lost answer may hide a success, so a signal is not sent again.
    fake.answer_commands(vec![Err(Status::unavailable("busy")), Ok(())]);
    let lost = client.signal_entity(&COUNTER.id("A"), &ADD, &1).await;
    assert!(matches!(lost, Err(ClientError::Unavailable(_))), "{lost:?}");
}

fn metadata(id: &str, state: Option<&str>) -> proto::EntityMetadata {
    proto::EntityMetadata {
        instance_id: id.to_owned(),
        last_modified_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        backlog_queue_size: 2,
        locked_by: Some(String::new()),
        serialized_state: state.map(str::to_owned),
    }
}

#[tokio::test]
async fn an_entity_is_read_with_its_type() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let found = |state: Option<&str>| {
        Ok(proto::GetEntityResponse {
            exists: true,
            entity: Some(metadata("@counter@a", state)),
        })
    };
    fake.answer_entities(vec![
        Ok(proto::GetEntityResponse::default()),
        Err(Status::unavailable("busy")),
        found(Some("{\"value\":3}")),
        found(Some("{\"value\":3}")),
        found(Some("\"planted-value\"")),
        found(None),
    ]);
    let counter = COUNTER.id("a");
    assert_eq!(client.get_entity(&counter).await.unwrap(), None);
    let entity = client.get_entity(&counter).await.unwrap().unwrap();
    assert_eq!(entity.id, *counter.id());
    assert_eq!(
        entity.last_modified,
        DateTime::from_timestamp(1_700_000_000, 0)
    );
    assert_eq!((entity.backlog, entity.locked_by), (2, None));
    assert_eq!(entity.state_json.as_deref(), Some("{\"value\":3}"));
    let state = client.get_entity_state(&counter).await.unwrap();
    assert_eq!(state, Some(Counter { value: 3 }));
    let wrong = client.get_entity_state(&counter).await.unwrap_err();
    assert!(matches!(wrong, ClientError::Payload(_)), "{wrong}");
    assert!(!wrong.to_string().contains("planted"), "{wrong}");
    assert_eq!(client.get_entity_state(&counter).await.unwrap(), None);
}

#[tokio::test]
async fn a_query_walks_all_pages() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let page = |ids: &[&str], token: &str| {
        Ok(proto::QueryEntitiesResponse {
            entities: ids.iter().map(|id| metadata(id, None)).collect(),
            continuation_token: Some(token.to_owned()),
        })
    };
    fake.answer_entity_pages(vec![
        page(&["@counter@a", "@counter@b"], "2"),
        page(&[], "3"),
        page(&["@counter@c"], "0"),
    ]);
    let query = EntityQuery::new()
        .id_prefix("@counter@")
        .page_size(2)
        .include_transient();
    let found: Vec<String> = client
        .list_entities(query)
        .map_ok(|entity| entity.id.to_string())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(found, ["@counter@a", "@counter@b", "@counter@c"]);
    for token in [None, Some("2"), Some("3")] {
        let Got::QueriedEntities(request) = fake.next().await else {
            panic!("not a query")
        };
        let query = request.query.unwrap();
        assert_eq!(query.continuation_token.as_deref(), token);
        assert_eq!((query.page_size, query.include_transient), (Some(2), true));
    }
    // The first error ends it.
    fake.answer_entity_pages(vec![Err(Status::invalid_argument("no"))]);
    let failed: Result<Vec<_>, _> = client
        .list_entities(EntityQuery::default())
        .try_collect()
        .await;
    assert!(matches!(failed, Err(ClientError::InvalidArgument(_))));
}

#[tokio::test]
async fn clean_entity_storage_reads_all_pages() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let page = |removed, released, token: &str| {
        Ok(proto::CleanEntityStorageResponse {
            continuation_token: Some(token.to_owned()),
            empty_entities_removed: removed,
            orphaned_locks_released: released,
        })
    };
    fake.answer_cleanings(vec![page(2, 1, "a"), page(3, 0, "")]);
    let cleaned = client
        .clean_entity_storage(
            EntityCleaning::new()
                .remove_empty(true)
                .release_orphaned_locks(false),
        )
        .await
        .unwrap();
    assert_eq!((cleaned.removed, cleaned.released), (5, 1));
    for token in [None, Some("a")] {
        let Got::Cleaned(request) = fake.next().await else {
            panic!("not a cleaning")
        };
        assert_eq!(request.continuation_token.as_deref(), token);
        assert!(request.remove_empty_entities && !request.release_orphaned_locks);
    }
}
