//! Messages that clients cannot receive: the whole message counts, not the value.
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use prost::Message as _;
use tonic::Code;

use super::support::*;

/// What clients of the official SDKs take by default.
const TAKEN: usize = 4 * 1024 * 1024;

/// A client that takes no more than most do.
fn common(hub: &Hub) -> Client {
    hub.client.clone().max_decoding_message_size(TAKEN)
}

async fn common_worker(hub: &Hub, request: GetWorkItemsRequest) -> Worker {
    let stream = common(hub).get_work_items(request).await.unwrap();
    Worker {
        client: common(hub),
        stream: stream.into_inner(),
        hub: "default".to_owned(),
    }
}

fn streaming() -> GetWorkItemsRequest {
    GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..GetWorkItemsRequest::default()
    }
}

/// How long a tag with its value may be: a database indexes them.
fn longest_tag() -> usize {
    match ON_POSTGRES {
        true => 2600,
        false => 32 * 1024,
    }
}

/// The largest payload there is.
fn large() -> String {
    "x".repeat(TAKEN - 128 * 1024)
}

#[tokio::test]
async fn the_largest_input_reaches_a_worker_and_comes_back() {
    let hub = Hub::memory().await;
    let mut worker = common_worker(&hub, streaming()).await;
    let mut start = CreateInstanceRequest {
        instance_id: "a".to_owned(),
        name: "n".repeat(1024),
        version: Some("v".repeat(256)),
        input: Some(large()),
        tags: [("k".repeat(1024), "t".repeat(longest_tag() - 1024))].into(),
        ..CreateInstanceRequest::default()
    };
    hub.try_start(start.clone()).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert!(turn.encoded_len() > large().len());
    let task = Action::ScheduleTask(ScheduleTaskAction {
        name: "step".to_owned(),
        input: Some(large()),
        ..ScheduleTaskAction::default()
    });
    worker.answer(&token, vec![(0, task)]).await.unwrap();
    let (token, activity) = worker.activity().await;
    assert_eq!(activity.input.unwrap().len(), large().len());
    worker.finish(&token, &large()).await.unwrap();
    // The history is larger than a message by now, and the worker streams it.
    let (token, turn) = worker.turn().await;
    assert!(turn.requires_history_streaming && turn.past_events.is_empty());
    let past = StreamInstanceHistoryRequest {
        instance_id: "a".to_owned(),
        for_work_item_processing: true,
        ..StreamInstanceHistoryRequest::default()
    };
    let mut chunks = common(&hub)
        .stream_instance_history(past)
        .await
        .unwrap()
        .into_inner();
    let mut events = 0;
    while let Some(chunk) = chunks.message().await.unwrap() {
        events += chunk.events.len();
    }
    assert_eq!(events, 3);
    worker.answer(&token, vec![(1, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);

    start.instance_id = "b".to_owned();
    start.input = Some(format!("{}x", large()));
    assert_eq!(hub.try_start(start).await, Err(Code::InvalidArgument));
}

/// A turn that schedules several calls whose results make the history large.
async fn large_history(hub: &Hub, worker: &mut Worker, id: &str) {
    hub.start(id).await;
    let (token, _) = worker.turn().await;
    let calls = (0..8).map(|n| (n, call("step"))).collect();
    worker.answer(&token, calls).await.unwrap();
    for _ in 0..8 {
        let (token, _) = worker.activity().await;
        worker.finish(&token, &"y".repeat(700_000)).await.unwrap();
    }
}

#[tokio::test]
async fn a_history_that_no_worker_can_receive_fails_and_delays_no_other() {
    let hub = Hub::memory().await;
    let mut worker = common_worker(&hub, GetWorkItemsRequest::default()).await;
    large_history(&hub, &mut worker, "a").await;
    hub.start("b").await;
    // Turns of `a` come as long as they fit, and `b` among them.
    loop {
        let (token, turn) = worker.turn().await;
        let last = turn.instance_id == "b";
        let actions = match last {
            true => vec![(0, done("1"))],
            false => vec![],
        };
        let _ = worker.answer(&token, actions).await;
        if last {
            break;
        }
    }
    assert_eq!(hub.status("b").await, OrchestrationStatus::Completed);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let state = loop {
        let state = hub.get("a").await.unwrap();
        if state.orchestration_status == OrchestrationStatus::Failed as i32 {
            break state;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state:?}");
        tokio::task::yield_now().await;
        if let Ok(item) =
            tokio::time::timeout(std::time::Duration::from_millis(20), worker.next()).await
        {
            let _ = worker.answer(&item.completion_token, vec![]).await;
        }
    };
    let failure = state.failure_details.unwrap();
    assert_eq!(failure.error_type, "WorkItemTooLarge");
    assert!(
        failure.error_message.contains("4194304"),
        "{}",
        failure.error_message
    );
}

#[tokio::test]
async fn a_worker_that_takes_more_gets_what_another_cannot() {
    let hub = Hub::memory().await;
    let headers = [("max-receive-bytes", "33554432")];
    let mut able = hub
        .worker_that(GetWorkItemsRequest::default(), "default", &headers)
        .await;
    large_history(&hub, &mut able, "a").await;
    loop {
        let (token, turn) = able.turn().await;
        if turn.past_events.encoded_bytes() > TAKEN {
            able.answer(&token, vec![(9, done("1"))]).await.unwrap();
            break;
        }
        able.answer(&token, vec![]).await.unwrap();
        if turn.past_events.encoded_bytes() + turn.new_events.encoded_bytes() > TAKEN {
            hub.raise("a", "more").await.unwrap();
        }
    }
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

trait Bytes {
    fn encoded_bytes(&self) -> usize;
}

impl Bytes for Vec<HistoryEvent> {
    fn encoded_bytes(&self) -> usize {
        self.iter().map(prost::Message::encoded_len).sum()
    }
}

#[tokio::test]
async fn pages_are_bounded_by_bytes_too() {
    let hub = Hub::memory().await;
    for n in 0..6 {
        let start = CreateInstanceRequest {
            instance_id: format!("i{n}"),
            name: "Hello".to_owned(),
            input: Some("x".repeat(1_000_000)),
            ..CreateInstanceRequest::default()
        };
        hub.try_start(start).await.unwrap();
    }
    let (mut seen, mut pages, mut token) = (0, 0, None);
    loop {
        let query = QueryInstancesRequest {
            query: Some(InstanceQuery {
                fetch_inputs_and_outputs: true,
                continuation_token: token,
                ..InstanceQuery::default()
            }),
        };
        let page = common(&hub).query_instances(query).await.unwrap();
        let page = page.into_inner();
        seen += page.orchestration_state.len();
        pages += 1;
        token = page.continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (6, 2));
}

#[tokio::test]
async fn an_answer_that_the_caller_cannot_receive_says_so() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let start = CreateInstanceRequest {
        instance_id: "a".to_owned(),
        name: "Hello".to_owned(),
        input: Some(large()),
        ..CreateInstanceRequest::default()
    };
    hub.try_start(start).await.unwrap();
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, done(&large()))])
        .await
        .unwrap();
    let get = |payloads| GetInstanceRequest {
        instance_id: "a".to_owned(),
        get_inputs_and_outputs: payloads,
    };
    // One that says what it takes is told what to do; any other has an error of its own.
    let mut small = tonic::Request::new(get(true));
    small
        .metadata_mut()
        .insert("max-receive-bytes", "4194304".parse().unwrap());
    let refused = common(&hub).get_instance(small).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("without inputs and outputs"),
        "{refused}"
    );
    assert!(common(&hub).get_instance(get(false)).await.is_ok());
    let mut able = tonic::Request::new(get(true));
    able.metadata_mut()
        .insert("max-receive-bytes", "16777216".parse().unwrap());
    let state = hub.client.clone().get_instance(able).await.unwrap();
    let state = state.into_inner().orchestration_state.unwrap();
    assert_eq!(state.output.unwrap().len(), large().len());
}

#[tokio::test]
async fn an_operation_that_does_not_fit_beside_the_state_fails() {
    let hub = Hub::memory().await;
    let mut worker = common_worker(&hub, GetWorkItemsRequest::default()).await;
    let signal = |input: String| SignalEntityRequest {
        instance_id: "@counter@a".to_owned(),
        name: "add".to_owned(),
        input: Some(input),
        ..SignalEntityRequest::default()
    };
    hub.client
        .clone()
        .signal_entity(signal("1".to_owned()))
        .await
        .unwrap();
    let item = worker.next().await;
    let kept = EntityBatchResult {
        completion_token: item.completion_token,
        results: vec![OperationResult {
            result_type: Some(operation_result::ResultType::Success(
                OperationResultSuccess::default(),
            )),
        }],
        entity_state: Some(large()),
        ..EntityBatchResult::default()
    };
    hub.client.clone().complete_entity_task(kept).await.unwrap();
    // This one does not fit, the next one does.
    for input in ["x".repeat(1_000_000), "2".to_owned()] {
        hub.client
            .clone()
            .signal_entity(signal(input))
            .await
            .unwrap();
    }
    let item = worker.next().await;
    let Some(work_item::Request::EntityRequestV2(request)) = item.request else {
        panic!("{item:?}")
    };
    assert_eq!(request.entity_state.unwrap().len(), large().len());
    let Some(history_event::EventType::EntityOperationSignaled(signaled)) =
        &request.operation_requests[0].event_type
    else {
        panic!("{:?}", request.operation_requests)
    };
    assert_eq!(signaled.input.as_deref(), Some("2"));
}
