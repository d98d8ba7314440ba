//! Entities, through the gRPC surface, with a hand-driven worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_action::OperationActionType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::*;
use prost_types::Timestamp;
use support::*;
use tonic::{Code, Request};

const COUNTER: &str = "@counter@a";

impl Hub {
    async fn signal(&self, id: &str, name: &str, input: &str) {
        self.try_signal(SignalEntityRequest {
            instance_id: id.into(),
            name: name.into(),
            input: Some(input.into()),
            ..Default::default()
        })
        .await
        .unwrap();
    }

    async fn try_signal(&self, request: SignalEntityRequest) -> Result<(), Code> {
        let answer = self.client.clone().signal_entity(request).await;
        answer.map(|_| ()).map_err(|status| status.code())
    }

    async fn entity(&self, id: &str) -> Option<EntityMetadata> {
        let request = GetEntityRequest {
            instance_id: id.into(),
            include_state: true,
        };
        let answer = self.client.clone().get_entity(request).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.exists, answer.entity.is_some());
        answer.entity
    }

    async fn state(&self, id: &str) -> Option<String> {
        self.entity(id).await.and_then(|e| e.serialized_state)
    }
}

/// A batch that a worker holds.
struct Batch {
    token: String,
    id: String,
    state: Option<String>,
    operations: Vec<EventType>,
}

impl Batch {
    fn names(&self) -> Vec<&str> {
        self.operations
            .iter()
            .map(|operation| match operation {
                EventType::EntityOperationCalled(call) => call.operation.as_str(),
                EventType::EntityOperationSignaled(signal) => signal.operation.as_str(),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

impl Worker {
    async fn batch(&mut self) -> Batch {
        let item = self.next().await;
        let Some(work_item::Request::EntityRequestV2(request)) = item.request else {
            panic!("{item:?}")
        };
        Batch {
            token: item.completion_token,
            id: request.instance_id,
            state: request.entity_state,
            operations: request
                .operation_requests
                .into_iter()
                .map(|event| event.event_type.unwrap())
                .collect(),
        }
    }

    async fn batch_done(
        &self,
        token: &str,
        results: Vec<OperationResult>,
        state: Option<&str>,
    ) -> Result<(), Code> {
        self.complete_batch(EntityBatchResult {
            results,
            entity_state: state.map(str::to_owned),
            completion_token: token.into(),
            ..Default::default()
        })
        .await
    }

    async fn complete_batch(&self, result: EntityBatchResult) -> Result<(), Code> {
        let answer = self.client.clone().complete_entity_task(result).await;
        answer.map(|_| ()).map_err(|status| status.code())
    }
}

fn ok(result: &str) -> OperationResult {
    OperationResult {
        result_type: Some(ResultType::Success(OperationResultSuccess {
            result: Some(result.into()),
            ..Default::default()
        })),
    }
}

fn failed(error_type: &str) -> OperationResult {
    OperationResult {
        result_type: Some(ResultType::Failure(OperationResultFailure {
            failure_details: Some(TaskFailureDetails {
                error_type: error_type.into(),
                ..Default::default()
            }),
            ..Default::default()
        })),
    }
}

fn send(message: EntityMessageType) -> Action {
    Action::SendEntityMessage(SendEntityMessageAction {
        entity_message_type: Some(message),
    })
}

fn entity_call(id: &str, operation: &str, request_id: &str) -> Action {
    send(EntityMessageType::EntityOperationCalled(
        EntityOperationCalledEvent {
            request_id: request_id.into(),
            operation: operation.into(),
            target_instance_id: Some(id.into()),
            ..Default::default()
        },
    ))
}

fn lock(section: &str, ids: &[&str]) -> Action {
    send(EntityMessageType::EntityLockRequested(
        EntityLockRequestedEvent {
            critical_section_id: section.into(),
            lock_set: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Default::default()
        },
    ))
}

fn unlock(section: &str, id: &str) -> Action {
    send(EntityMessageType::EntityUnlockSent(EntityUnlockSentEvent {
        critical_section_id: section.into(),
        target_instance_id: Some(id.into()),
        ..Default::default()
    }))
}

/// Starts an instance and takes its first turn.
async fn begin(hub: &Hub, worker: &mut Worker, id: &str) -> String {
    hub.start(id).await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, id);
    assert!(turn.entity_parameters.is_some());
    token
}

#[tokio::test]
async fn signals_run_in_order_and_leave_a_state() {
    let hub = Hub::memory().await;
    hub.signal("@Counter@a", "add", "1").await;
    hub.signal(COUNTER, "add", "2").await;
    let mut worker = hub.worker().await;
    let batch = worker.batch().await;
    assert_eq!((batch.id.as_str(), &batch.state), (COUNTER, &None));
    assert_eq!(batch.names(), ["add", "add"]);
    // What comes while a batch is out waits for it.
    hub.signal(COUNTER, "get", "3").await;
    assert_eq!(hub.entity(COUNTER).await, None);
    worker
        .batch_done(&batch.token, vec![ok("1"), ok("3")], Some("3"))
        .await
        .unwrap();
    assert_eq!(hub.state(COUNTER).await.as_deref(), Some("3"));
    // A repeat of an applied token is no error; an unknown one is.
    worker
        .batch_done(&batch.token, vec![ok("1"), ok("3")], Some("9"))
        .await
        .unwrap();
    assert_eq!(
        worker.batch_done("0-1", vec![ok("1")], None).await,
        Err(Code::NotFound)
    );
    assert_eq!(
        worker.batch_done("", vec![ok("1")], None).await,
        Err(Code::InvalidArgument)
    );
    let batch = worker.batch().await;
    assert_eq!(batch.state.as_deref(), Some("3"));
    assert_eq!(batch.names(), ["get"]);
    // An empty text is no state, and without one the entity is gone.
    worker
        .batch_done(&batch.token, vec![ok("null")], Some(""))
        .await
        .unwrap();
    assert_eq!(hub.entity(COUNTER).await, None);
}

#[tokio::test]
async fn a_call_is_answered_and_a_failed_one_too() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let token = begin(&hub, &mut worker, "o").await;
    let too_long = format!("@counter@{}", "x".repeat(100));
    worker
        .answer(
            &token,
            vec![
                (0, entity_call(COUNTER, "add", "r0")),
                (1, entity_call(COUNTER, "break", "r1")),
                (2, entity_call(&too_long, "add", "r2")),
            ],
        )
        .await
        .unwrap();
    let mut batch = None;
    let mut turns = Vec::new();
    for _ in 0..2 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::EntityRequestV2(request) => {
                batch = Some((item.completion_token, request));
            }
            work_item::Request::OrchestratorRequest(turn) => {
                turns.push((item.completion_token, turn));
            }
            other => panic!("{other:?}"),
        }
    }
    let (batch_token, request) = batch.unwrap();
    let Some(EventType::EntityOperationCalled(call)) = &request.operation_requests[0].event_type
    else {
        panic!()
    };
    assert_eq!(call.parent_instance_id.as_deref(), Some("o"));
    assert!(call.parent_execution_id.is_some());
    // The impossible id is answered without a worker.
    let (token, turn) = turns.remove(0);
    let Some(EventType::EntityOperationFailed(failure)) = &turn.new_events[1].event_type else {
        panic!("{turn:?}")
    };
    assert_eq!(failure.request_id, "r2");
    worker.answer(&token, vec![]).await.unwrap();
    worker
        .batch_done(&batch_token, vec![ok("7"), failed("Broken")], Some("7"))
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        [
            "OrchestratorStarted",
            "EntityOperationCompleted",
            "EntityOperationFailed"
        ]
    );
    let Some(EventType::EntityOperationCompleted(completed)) = &turn.new_events[1].event_type
    else {
        panic!()
    };
    assert_eq!(
        (completed.request_id.as_str(), completed.output.as_deref()),
        ("r0", Some("7"))
    );
    worker.answer(&token, vec![(3, done("1"))]).await.unwrap();
    assert_eq!(
        hub.history("o").await[..5],
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "EntityOperationCalled",
            "EntityOperationCalled",
            "EntityOperationCalled"
        ]
    );
}

#[tokio::test]
async fn a_lock_keeps_others_out_until_it_is_released() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let token = begin(&hub, &mut worker, "first").await;
    let both = ["@counter@a", "@counter@b"];
    worker
        .answer(&token, vec![(0, lock("s1", &both))])
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(kinds(&turn.new_events)[1], "EntityLockGranted");

    let second = begin(&hub, &mut worker, "second").await;
    worker
        .answer(&second, vec![(0, lock("s2", &["@counter@b"]))])
        .await
        .unwrap();
    hub.signal(COUNTER, "outside", "1").await;
    worker
        .answer(&token, vec![(1, entity_call(COUNTER, "inside", "r"))])
        .await
        .unwrap();
    let batch = worker.batch().await;
    assert_eq!(batch.names(), ["inside"]);
    worker
        .batch_done(&batch.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    let entity = hub.entity(COUNTER).await.unwrap();
    assert_eq!(entity.locked_by.as_deref(), Some("first"));
    assert_eq!(entity.backlog_queue_size, 1);

    let (token, turn) = worker.turn().await;
    assert_eq!(kinds(&turn.new_events)[1], "EntityOperationCompleted");
    worker
        .answer(
            &token,
            vec![
                (2, unlock("s1", both[0])),
                (3, unlock("s1", both[1])),
                (4, done("1")),
            ],
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        match worker.next().await.request.unwrap() {
            work_item::Request::EntityRequestV2(batch) => seen.push(batch.instance_id),
            work_item::Request::OrchestratorRequest(turn) => {
                assert_eq!(kinds(&turn.new_events)[1], "EntityLockGranted");
                seen.push(turn.instance_id);
            }
            other => panic!("{other:?}"),
        }
    }
    seen.sort();
    assert_eq!(seen, ["@counter@a", "second"]);
}

#[tokio::test]
async fn an_orchestration_that_ends_leaves_nothing_locked() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let holder = begin(&hub, &mut worker, "holder").await;
    worker
        .answer(&holder, vec![(0, lock("s1", &["@counter@a"]))])
        .await
        .unwrap();
    let (holder, _) = worker.turn().await;
    // This one gets b and waits for a, and ends while it waits.
    let waiting = begin(&hub, &mut worker, "waiting").await;
    worker
        .answer(
            &waiting,
            vec![(0, lock("s2", &["@counter@b", "@counter@a"]))],
        )
        .await
        .unwrap();
    let terminate = TerminateRequest {
        instance_id: "waiting".into(),
        ..Default::default()
    };
    hub.client
        .clone()
        .terminate_instance(terminate)
        .await
        .unwrap();
    let (waiting, _) = worker.turn().await;
    let ended = complete(OrchestrationStatus::Terminated, "1");
    worker.answer(&waiting, vec![(1, ended)]).await.unwrap();
    // b is free at once, a once its holder fails without unlocking it.
    hub.signal("@counter@b", "add", "1").await;
    let batch = worker.batch().await;
    assert_eq!(batch.id, "@counter@b");
    worker
        .batch_done(&batch.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    hub.signal("@counter@a", "add", "1").await;
    let broken = complete(OrchestrationStatus::Failed, "1");
    worker.answer(&holder, vec![(1, broken)]).await.unwrap();
    let batch = worker.batch().await;
    assert_eq!(batch.id, "@counter@a");
    worker
        .batch_done(&batch.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    assert_eq!(hub.entity("@counter@a").await.unwrap().locked_by, None);
    let cleaned = hub
        .client
        .clone()
        .clean_entity_storage(CleanEntityStorageRequest {
            remove_empty_entities: true,
            release_orphaned_locks: true,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(cleaned, CleanEntityStorageResponse::default());
}

#[tokio::test]
async fn what_an_operation_sends_out_is_delivered() {
    let hub = Hub::memory().await;
    hub.signal(COUNTER, "go", "1").await;
    let mut worker = hub.worker().await;
    let batch = worker.batch().await;
    let signal = OperationAction {
        id: 0,
        operation_action_type: Some(OperationActionType::SendSignal(SendSignalAction {
            instance_id: "@Other@x".into(),
            name: "ping".into(),
            ..Default::default()
        })),
    };
    let start = |id: &str, name: &str| OperationAction {
        id: 1,
        operation_action_type: Some(OperationActionType::StartNewOrchestration(
            StartNewOrchestrationAction {
                instance_id: id.into(),
                name: name.into(),
                input: Some("5".into()),
                ..Default::default()
            },
        )),
    };
    worker
        .complete_batch(EntityBatchResult {
            results: vec![ok("1")],
            entity_state: Some("1".into()),
            // The last one is refused: the id is an entity's.
            actions: vec![signal, start("child", "Hello"), start("@no@no", "Hello")],
            completion_token: batch.token,
            ..Default::default()
        })
        .await
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        match worker.next().await.request.unwrap() {
            work_item::Request::EntityRequestV2(batch) => {
                let Some(EventType::EntityOperationSignaled(signal)) =
                    &batch.operation_requests[0].event_type
                else {
                    panic!()
                };
                assert!(signal.request_id.parse::<uuid::Uuid>().is_ok());
                seen.push(batch.instance_id);
            }
            work_item::Request::OrchestratorRequest(turn) => seen.push(turn.instance_id),
            other => panic!("{other:?}"),
        }
    }
    seen.sort();
    assert_eq!(seen, ["@other@x", "child"]);
}

#[tokio::test]
async fn a_scheduled_signal_waits_for_its_time() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.try_signal(SignalEntityRequest {
        instance_id: COUNTER.into(),
        name: "later".into(),
        scheduled_time: Some(Timestamp {
            seconds: 1_700_000_060,
            nanos: 0,
        }),
        ..Default::default()
    })
    .await
    .unwrap();
    hub.signal("@counter@b", "now", "1").await;
    let batch = worker.batch().await;
    assert_eq!(batch.id, "@counter@b");
    hub.clock.advance(Duration::from_secs(61));
    let batch = worker.batch().await;
    assert_eq!((batch.id.as_str(), batch.names()), (COUNTER, vec!["later"]));
}

#[tokio::test]
async fn a_lost_or_unfinished_batch_comes_again() {
    let hub = Hub::memory().await;
    for input in ["1", "2", "3"] {
        hub.signal(COUNTER, "add", input).await;
    }
    let mut lost = hub.worker().await;
    assert_eq!(lost.batch().await.names().len(), 3);
    drop(lost);
    let mut worker = hub.worker().await;
    let batch = worker.batch().await;
    assert_eq!(batch.names().len(), 3);
    let abandon = AbandonEntityTaskRequest {
        completion_token: batch.token,
    };
    worker
        .client
        .clone()
        .abandon_task_entity_work_item(abandon)
        .await
        .unwrap();
    let batch = worker.batch().await;
    assert_eq!(batch.names().len(), 3);
    // One result: the other two operations run again, on the new state.
    worker
        .batch_done(&batch.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    let batch = worker.batch().await;
    assert_eq!(
        (batch.names().len(), batch.state.as_deref()),
        (2, Some("1"))
    );
    // A batch that failed as a whole leaves the state as it was.
    worker
        .complete_batch(EntityBatchResult {
            failure_details: Some(TaskFailureDetails::default()),
            completion_token: batch.token,
            ..Default::default()
        })
        .await
        .unwrap();
    let entity = hub.entity(COUNTER).await.unwrap();
    assert_eq!(entity.serialized_state.as_deref(), Some("1"));
    assert_eq!(entity.backlog_queue_size, 0);
}

#[tokio::test]
async fn a_worker_can_ask_for_the_older_form() {
    let hub = Hub::memory().await;
    hub.signal(COUNTER, "add", "1").await;
    let mut request = Request::new(GetWorkItemsRequest::default());
    request
        .metadata_mut()
        .insert("entity-requests", "v1".parse().unwrap());
    let mut stream = hub
        .client
        .clone()
        .get_work_items(request)
        .await
        .unwrap()
        .into_inner();
    let item = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let Some(work_item::Request::EntityRequest(batch)) = item.request else {
        panic!("{item:?}")
    };
    assert_eq!(batch.operations[0].operation, "add");
    assert_eq!(batch.operations[0].input.as_deref(), Some("1"));
    // Workers of that form may put the token into a header.
    let mut request = Request::new(EntityBatchResult {
        results: vec![ok("1")],
        entity_state: Some("1".into()),
        ..Default::default()
    });
    request.metadata_mut().insert(
        "entity-completion-token",
        item.completion_token.parse().unwrap(),
    );
    hub.client
        .clone()
        .complete_entity_task(request)
        .await
        .unwrap();
    assert_eq!(hub.state(COUNTER).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn filters_and_windows_hold_for_entities() {
    let hub = Hub::memory().await;
    let filters = |names: &[&str]| GetWorkItemsRequest {
        max_concurrent_entity_work_items: 1,
        work_item_filters: Some(WorkItemFilters {
            entities: names
                .iter()
                .map(|name| EntityFilter {
                    name: (*name).to_owned(),
                })
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut counters = hub.worker_with(filters(&["Counter"]), "default").await;
    let mut others = hub.worker_with(filters(&["other"]), "default").await;
    hub.signal("@counter@a", "add", "1").await;
    hub.signal("@counter@b", "add", "1").await;
    hub.signal("@other@a", "add", "1").await;
    assert_eq!(others.batch().await.id, "@other@a");
    let first = counters.batch().await;
    assert_eq!(first.id, "@counter@a");
    // The window is full until the batch is answered.
    counters
        .batch_done(&first.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    assert_eq!(counters.batch().await.id, "@counter@b");
}

#[tokio::test]
async fn entities_are_queried_by_pages_and_purged() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    for id in ["@counter@a", "@counter@b", "@other@a"] {
        hub.signal(id, "add", "1").await;
        let batch = worker.batch().await;
        worker
            .batch_done(&batch.token, vec![ok("1")], Some("1"))
            .await
            .unwrap();
    }
    hub.signal("@counter@unborn", "add", "1").await;
    worker.batch().await;
    let query = |query: EntityQuery| {
        let mut client = hub.client.clone();
        async move {
            let request = QueryEntitiesRequest { query: Some(query) };
            let page = client.query_entities(request).await.unwrap().into_inner();
            let ids: Vec<String> = page
                .entities
                .iter()
                .map(|e| e.instance_id.clone())
                .collect();
            (ids, page.continuation_token, page.entities)
        }
    };
    let (ids, token, entities) = query(EntityQuery {
        instance_id_starts_with: Some("@Counter@".into()),
        page_size: Some(1),
        ..Default::default()
    })
    .await;
    assert_eq!(ids, ["@counter@a"]);
    assert_eq!(entities[0].serialized_state, None);
    let (ids, token, entities) = query(EntityQuery {
        instance_id_starts_with: Some("@counter@".into()),
        page_size: Some(1),
        continuation_token: token,
        include_state: true,
        ..Default::default()
    })
    .await;
    assert_eq!(
        (ids.as_slice(), token),
        (&["@counter@b".to_owned()][..], None)
    );
    assert_eq!(entities[0].serialized_state.as_deref(), Some("1"));
    let (ids, ..) = query(EntityQuery {
        include_transient: true,
        ..Default::default()
    })
    .await;
    assert_eq!(ids.len(), 4);

    let purge = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId(
            "@counter@a".into(),
        )),
        ..Default::default()
    };
    let purged = hub.client.clone().purge_instances(purge).await.unwrap();
    assert_eq!(purged.into_inner().deleted_instance_count, 1);
    assert_eq!(hub.entity("@counter@a").await, None);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let hub = Hub::memory().await;
    let signal = |id: &str, name: &str, request_id: &str| {
        hub.try_signal(SignalEntityRequest {
            instance_id: id.into(),
            name: name.into(),
            request_id: request_id.into(),
            ..Default::default()
        })
    };
    let long = format!("@counter@{}", "x".repeat(100));
    for (id, name, request_id) in [
        ("counter", "add", ""),
        ("@counter", "add", ""),
        (long.as_str(), "add", ""),
        (COUNTER, "", ""),
        (COUNTER, "add", "not-a-uuid"),
    ] {
        assert_eq!(
            signal(id, name, request_id).await,
            Err(Code::InvalidArgument),
            "{id} {name} {request_id}"
        );
    }
    let huge = SignalEntityRequest {
        instance_id: COUNTER.into(),
        name: "add".into(),
        input: Some("x".repeat(5 << 20)),
        ..Default::default()
    };
    assert_eq!(hub.try_signal(huge).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn a_result_over_the_limit_fails_the_operations_and_keeps_the_state() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let token = begin(&hub, &mut worker, "o").await;
    worker
        .answer(&token, vec![(0, entity_call(COUNTER, "grow", "r"))])
        .await
        .unwrap();
    let batch = worker.batch().await;
    let huge = "x".repeat(5 << 20);
    worker
        .batch_done(&batch.token, vec![ok("1")], Some(&huge))
        .await
        .unwrap();
    let (_, turn) = worker.turn().await;
    let Some(EventType::EntityOperationFailed(failed)) = &turn.new_events[1].event_type else {
        panic!("{turn:?}")
    };
    let details = failed.failure_details.as_ref().unwrap();
    assert_eq!(details.error_type, "PayloadTooLarge");
    assert_eq!(hub.entity(COUNTER).await, None);
}

#[tokio::test]
async fn states_queues_locks_and_scheduled_signals_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.signal(COUNTER, "add", "1").await;
    let batch = worker.batch().await;
    worker
        .batch_done(&batch.token, vec![ok("1")], Some("1"))
        .await
        .unwrap();
    let token = begin(&hub, &mut worker, "holder").await;
    worker
        .answer(&token, vec![(0, lock("s", &["@counter@locked"]))])
        .await
        .unwrap();
    worker.turn().await;
    hub.signal("@counter@locked", "waits", "1").await;
    hub.try_signal(SignalEntityRequest {
        instance_id: "@counter@timed".into(),
        name: "later".into(),
        scheduled_time: Some(Timestamp {
            seconds: 1_700_000_060,
            nanos: 0,
        }),
        ..Default::default()
    })
    .await
    .unwrap();
    hub.signal(COUNTER, "add", "2").await;
    let out = worker.batch().await;
    drop(worker);
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    assert_eq!(hub.state(COUNTER).await.as_deref(), Some("1"));
    let mut worker = hub.worker().await;
    let (mut turn, mut batch) = (None, None);
    for _ in 0..2 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::OrchestratorRequest(_) => turn = Some(item.completion_token),
            work_item::Request::EntityRequestV2(request) => {
                batch = Some((item.completion_token, request));
            }
            other => panic!("{other:?}"),
        }
    }
    // A token of the process before is worth nothing.
    assert_eq!(
        worker.batch_done(&out.token, vec![ok("3")], None).await,
        Err(Code::NotFound)
    );
    let (token, request) = batch.unwrap();
    assert_eq!(request.instance_id, COUNTER);
    worker
        .batch_done(&token, vec![ok("3")], Some("3"))
        .await
        .unwrap();
    hub.clock.advance(Duration::from_secs(61));
    assert_eq!(worker.batch().await.id, "@counter@timed");
    worker
        .answer(
            &turn.unwrap(),
            vec![(1, unlock("s", "@counter@locked")), (2, done("1"))],
        )
        .await
        .unwrap();
    assert_eq!(worker.batch().await.id, "@counter@locked");
}
