//! What a rewind makes of calls and lock requests that entities have not answered.

use std::collections::BTreeMap;
use std::time::Duration;

use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType as Kind;
use durabletask_proto::*;

use super::rewind::{answer_rewind, failing, rewind};
use super::support::*;

fn send(kind: Kind) -> Action {
    Action::SendEntityMessage(SendEntityMessageAction {
        entity_message_type: Some(kind),
    })
}

/// A call of the entity `@c@NAME` with the request id `NAME`.
fn ask(name: &str, at_seconds: Option<i64>) -> Action {
    send(Kind::EntityOperationCalled(EntityOperationCalledEvent {
        request_id: name.to_owned(),
        operation: "op".to_owned(),
        target_instance_id: Some(format!("@c@{name}")),
        scheduled_time: at_seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        ..EntityOperationCalledEvent::default()
    }))
}

fn lock(section: &str) -> Action {
    send(Kind::EntityLockRequested(EntityLockRequestedEvent {
        critical_section_id: section.to_owned(),
        lock_set: vec!["@c@locked".to_owned()],
        ..EntityLockRequestedEvent::default()
    }))
}

/// A batch that is out: who runs it, and the execution that each call is answered to.
struct Batch {
    token: String,
    id: String,
    callers: Vec<Option<String>>,
}

fn batch(token: String, request: EntityRequest) -> Batch {
    let caller = |event: HistoryEvent| match event.event_type {
        Some(EventType::EntityOperationCalled(call)) => call.parent_execution_id,
        _ => None,
    };
    Batch {
        token,
        id: request.instance_id,
        callers: request.operation_requests.into_iter().map(caller).collect(),
    }
}

/// The next batches, by the keys of their entities.
async fn batches(worker: &mut Worker, count: usize) -> BTreeMap<String, Batch> {
    let mut seen = BTreeMap::new();
    while seen.len() < count {
        let item = worker.next().await;
        let Some(work_item::Request::EntityRequestV2(request)) = item.request else {
            panic!("{item:?}")
        };
        let batch = batch(item.completion_token, request);
        seen.insert(batch.id.trim_start_matches("@c@").to_owned(), batch);
    }
    seen
}

async fn finish(worker: &Worker, batch: &Batch) {
    let result = OperationResult {
        result_type: Some(ResultType::Success(OperationResultSuccess {
            result: Some("1".to_owned()),
            ..OperationResultSuccess::default()
        })),
    };
    let request = EntityBatchResult {
        results: vec![result; batch.callers.len()],
        entity_state: Some("1".to_owned()),
        completion_token: batch.token.clone(),
        ..EntityBatchResult::default()
    };
    let mut client = worker.client.clone();
    client.complete_entity_task(request).await.unwrap();
}

/// The question that an event answers.
fn answered(event: HistoryEvent) -> Option<String> {
    match event.event_type? {
        EventType::EntityOperationCompleted(done) => Some(done.request_id),
        EventType::EntityLockGranted(granted) => Some(granted.critical_section_id),
        _ => None,
    }
}

/// Takes a turn of `id`, answers it, and says what was new in it.
async fn take(worker: &mut Worker, id: &str, actions: Vec<(i32, Action)>) -> Vec<HistoryEvent> {
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, id);
    worker.answer(&token, actions).await.unwrap();
    turn.new_events
}

#[tokio::test]
async fn what_entities_have_not_answered_is_answered_to_the_new_execution() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    // Someone else holds a lock, and one entity is busy.
    hub.start("holder").await;
    take(&mut worker, "holder", vec![(0, lock("h"))]).await;
    take(&mut worker, "holder", vec![]).await;
    let signal = SignalEntityRequest {
        instance_id: "@c@waiting".to_owned(),
        name: "op".to_owned(),
        ..SignalEntityRequest::default()
    };
    hub.client.clone().signal_entity(signal).await.unwrap();
    let busy = batches(&mut worker, 1).await;

    hub.start("a").await;
    let later = 1_700_000_060;
    let questions = vec![
        (0, ask("answered", None)),
        (1, ask("lost", None)),
        (2, ask("running", None)),
        (3, ask("waiting", None)),
        (4, ask("later", Some(later))),
        (5, lock("s")),
    ];
    take(&mut worker, "a", questions).await;
    let before = batches(&mut worker, 3).await;
    finish(&worker, &before["answered"]).await;
    take(&mut worker, "a", vec![(6, failing())]).await;
    // Nobody is there to hear this.
    finish(&worker, &before["lost"]).await;

    rewind(&hub, "a").await.unwrap();
    answer_rewind(&mut worker, "a", "second").await;
    let mut again = BTreeMap::new();
    let mut answers = Vec::new();
    finish(&worker, &before["running"]).await;
    finish(&worker, &busy["waiting"]).await;
    hub.clock.advance(Duration::from_secs(61));
    hub.raise("holder", "go").await.unwrap();
    while again.len() < 3 || answers.len() < 5 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::EntityRequestV2(request) => {
                let batch = batch(item.completion_token, request);
                assert_eq!(batch.callers, [Some("second".to_owned())], "{}", batch.id);
                finish(&worker, &batch).await;
                assert!(again.insert(batch.id.clone(), ()).is_none(), "{}", batch.id);
            }
            work_item::Request::OrchestratorRequest(turn) => {
                let end = turn.instance_id == "holder";
                let actions = if end { vec![(1, done("1"))] } else { vec![] };
                worker
                    .answer(&item.completion_token, actions)
                    .await
                    .unwrap();
                answers.extend(turn.new_events.into_iter().filter_map(answered));
            }
            other => panic!("{other:?}"),
        }
    }
    answers.sort();
    assert_eq!(answers, ["later", "lost", "running", "s", "waiting"]);
    // What ran or had been answered was not sent a second time.
    let again: Vec<String> = again.into_keys().collect();
    assert_eq!(again, ["@c@later", "@c@lost", "@c@waiting"]);
}

#[tokio::test]
async fn a_call_that_waits_is_answered_to_the_new_execution_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let no_entities = GetWorkItemsRequest {
        work_item_filters: Some(WorkItemFilters {
            orchestrations: vec![OrchestrationFilter {
                name: "Hello".to_owned(),
                versions: vec![],
            }],
            ..WorkItemFilters::default()
        }),
        ..GetWorkItemsRequest::default()
    };
    let mut worker = hub.worker_with(no_entities, "default").await;
    hub.start("a").await;
    take(
        &mut worker,
        "a",
        vec![(0, ask("waiting", None)), (1, failing())],
    )
    .await;
    rewind(&hub, "a").await.unwrap();
    answer_rewind(&mut worker, "a", "second").await;
    drop(worker);
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    let (mut asked, mut told) = (0, false);
    while !told {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::EntityRequestV2(request) => {
                let batch = batch(item.completion_token, request);
                assert_eq!(batch.callers, [Some("second".to_owned())]);
                finish(&worker, &batch).await;
                asked += 1;
            }
            work_item::Request::OrchestratorRequest(turn) => {
                told = kinds(&turn.new_events).contains(&"EntityOperationCompleted");
                let actions = if told { vec![(1, done("1"))] } else { vec![] };
                worker
                    .answer(&item.completion_token, actions)
                    .await
                    .unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, 1);
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}
