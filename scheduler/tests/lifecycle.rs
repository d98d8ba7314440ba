//! Instances from their start to their end, through the gRPC surface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use prost_types::Timestamp;
use support::*;
use tonic::Code;

#[tokio::test]
async fn an_activity_and_a_timer_leave_the_documented_history() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
    assert!(turn.past_events.is_empty());
    worker
        .answer(&token, vec![(0, call("Greet"))])
        .await
        .unwrap();
    let (token, activity) = worker.activity().await;
    assert_eq!(
        (activity.task_id, activity.input.as_deref()),
        (0, Some("\"in\""))
    );
    worker.finish(&token, "\"out\"").await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.past_events),
        ["OrchestratorStarted", "ExecutionStarted", "TaskScheduled"]
    );
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "TaskCompleted"]
    );
    let fire_at = Timestamp {
        seconds: 1_700_000_060,
        nanos: 123,
    };
    let timer = Action::CreateTimer(CreateTimerAction {
        fire_at: Some(fire_at),
    });
    worker.answer(&token, vec![(1, timer)]).await.unwrap();
    hub.clock.advance(Duration::from_secs(61));
    let (token, turn) = worker.turn().await;
    let Some(history_event::EventType::TimerFired(fired)) = &turn.new_events[1].event_type else {
        panic!()
    };
    assert_eq!((fired.timer_id, fired.fire_at), (1, Some(fire_at)));
    worker.answer(&token, vec![(2, done("42"))]).await.unwrap();
    let state = hub.get("a").await.unwrap();
    assert_eq!(
        state.orchestration_status,
        OrchestrationStatus::Completed as i32
    );
    assert_eq!((state.input, state.output.as_deref()), (None, Some("42")));
    assert_eq!(
        hub.history("a").await,
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "TaskScheduled",
            "OrchestratorStarted",
            "TaskCompleted",
            "TimerCreated",
            "OrchestratorStarted",
            "TimerFired",
            "ExecutionCompleted"
        ]
    );
}

#[tokio::test]
async fn completions_are_applied_once_and_unknown_tokens_refused() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    assert_eq!(worker.answer("nonsense", vec![]).await, Err(Code::NotFound));
    worker
        .answer(&token, vec![(0, call("Greet"))])
        .await
        .unwrap();
    worker
        .answer(&token, vec![(0, call("Greet"))])
        .await
        .unwrap();
    let (token, activity) = worker.activity().await;
    worker.finish(&token, "1").await.unwrap();
    worker.finish(&token, "2").await.unwrap();
    assert_eq!(activity.task_id, 0);
    // Older workers send no token: the instance names the item.
    let (_, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "TaskCompleted"]
    );
    let response = OrchestratorResponse {
        instance_id: "a".into(),
        actions: vec![OrchestratorAction {
            id: 1,
            orchestrator_action_type: Some(done("1")),
        }],
        ..Default::default()
    };
    worker.respond(response).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn a_dropped_stream_returns_its_items() {
    let hub = Hub::memory().await;
    let mut first = hub.worker().await;
    hub.start("a").await;
    let (stale, _) = first.turn().await;
    hub.raise("a", "late").await.unwrap();
    let mut second = hub.worker().await;
    let client = first.client.clone();
    drop(first);
    let (token, turn) = second.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted", "EventRaised"]
    );
    let old = OrchestratorResponse {
        completion_token: stale,
        ..Default::default()
    };
    assert_eq!(
        client
            .clone()
            .complete_orchestrator_task(old)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    second
        .answer(&token, vec![(0, call("Greet"))])
        .await
        .unwrap();
    let (token, _) = second.activity().await;
    let abandon = AbandonActivityTaskRequest {
        completion_token: token,
    };
    client
        .clone()
        .abandon_task_activity_work_item(abandon)
        .await
        .unwrap();
    second.activity().await;
}

#[tokio::test]
async fn events_and_scheduled_starts_wait() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let start = |id: &str, seconds| CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        scheduled_start_timestamp: at(seconds),
        ..Default::default()
    };
    hub.try_start(start("later", 1_700_000_100)).await.unwrap();
    hub.try_start(start("never", 1_700_000_100)).await.unwrap();
    hub.raise("later", "early").await.unwrap();
    assert_eq!(hub.raise("missing", "x").await, Err(Code::NotFound));
    let terminate = TerminateRequest {
        instance_id: "never".into(),
        output: Some("\"no\"".into()),
        recursive: false,
    };
    hub.client
        .clone()
        .terminate_instance(terminate)
        .await
        .unwrap();
    assert_eq!(hub.status("never").await, OrchestrationStatus::Terminated);
    hub.try_start(start("epoch", 0)).await.unwrap();
    assert_eq!(worker.turn().await.1.instance_id, "epoch");
    assert_eq!(hub.status("later").await, OrchestrationStatus::Pending);
    hub.clock.advance(Duration::from_secs(101));
    let (_, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "later");
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted", "EventRaised"]
    );
}

#[tokio::test]
async fn a_timer_in_the_distant_past_or_future_disturbs_no_other() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let timer = |seconds| {
        Action::CreateTimer(CreateTimerAction {
            fire_at: Some(Timestamp { seconds, nanos: 0 }),
        })
    };
    worker
        .answer(
            &token,
            vec![
                (0, timer(i64::MAX)),
                (1, timer(i64::MIN)),
                (2, timer(1_700_000_010)),
            ],
        )
        .await
        .unwrap();
    for expected in [1, 2] {
        let (token, turn) = worker.turn().await;
        let Some(history_event::EventType::TimerFired(fired)) = &turn.new_events[1].event_type
        else {
            panic!()
        };
        assert_eq!(fired.timer_id, expected);
        worker.answer(&token, vec![]).await.unwrap();
        hub.clock.advance(Duration::from_secs(20));
    }
}

#[tokio::test]
async fn waits_end_with_the_instance_or_the_deadline() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let wait = |id: &str| GetInstanceRequest {
        instance_id: id.into(),
        get_inputs_and_outputs: true,
    };
    hub.start("a").await;
    let mut late = tonic::Request::new(wait("a"));
    late.set_timeout(Duration::from_secs(4));
    assert_eq!(
        hub.client
            .clone()
            .wait_for_instance_start(late)
            .await
            .unwrap_err()
            .code(),
        Code::DeadlineExceeded
    );
    let mut client = hub.client.clone();
    let waiting = tokio::spawn(async move { client.wait_for_instance_completion(wait("a")).await });
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("7"))]).await.unwrap();
    let state = waiting
        .await
        .unwrap()
        .unwrap()
        .into_inner()
        .orchestration_state
        .unwrap();
    assert_eq!(state.output.as_deref(), Some("7"));
}

#[tokio::test]
async fn reuse_follows_the_policy() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let start = |policy: Option<&[OrchestrationStatus]>| CreateInstanceRequest {
        instance_id: "a".into(),
        name: "Hello".into(),
        orchestration_id_reuse_policy: policy.map(|statuses| OrchestrationIdReusePolicy {
            replaceable_status: statuses.iter().map(|s| *s as i32).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    use OrchestrationStatus as S;
    hub.try_start(start(None)).await.unwrap();
    assert_eq!(hub.try_start(start(None)).await, Err(Code::AlreadyExists));
    assert_eq!(
        hub.try_start(start(Some(&[S::Running]))).await,
        Err(Code::InvalidArgument)
    );
    let (token, _) = worker.turn().await;
    hub.try_start(start(Some(&[S::Pending, S::Terminated])))
        .await
        .unwrap();
    // What was handed out for the one before is dropped without an error.
    assert_eq!(worker.answer(&token, vec![(0, done("old"))]).await, Ok(()));
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("new"))]).await.unwrap();
    assert_eq!(
        hub.try_start(start(Some(&[]))).await,
        Err(Code::AlreadyExists)
    );
    hub.try_start(start(None)).await.unwrap();
    let long = CreateInstanceRequest {
        instance_id: "x".repeat(101),
        name: "Hello".into(),
        ..Default::default()
    };
    assert_eq!(hub.try_start(long).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn continue_as_new_keeps_order_and_identity() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, first) = worker.turn().await;
    hub.raise("a", "during").await.unwrap();
    let own = Action::SendEvent(SendEventAction {
        instance: Some(OrchestrationInstance {
            instance_id: "a".into(),
            execution_id: None,
        }),
        name: "own".into(),
        data: None,
    });
    let again = complete(OrchestrationStatus::ContinuedAsNew, "2");
    worker
        .answer(&token, vec![(0, call("Lost")), (1, own), (2, again)])
        .await
        .unwrap();
    let (mut token, mut turn) = (String::new(), None);
    for _ in 0..2 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::OrchestratorRequest(request) => {
                (token, turn) = (item.completion_token, Some(request))
            }
            work_item::Request::ActivityRequest(_) => {
                worker.finish(&item.completion_token, "1").await.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
    let turn = turn.unwrap();
    let names: Vec<_> = turn.new_events[2..]
        .iter()
        .map(|e| match e.event_type.as_ref().unwrap() {
            history_event::EventType::EventRaised(raised) => raised.name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["own", "during"]);
    assert!(turn.past_events.is_empty());
    assert_ne!(turn.execution_id, first.execution_id);
    worker.answer(&token, vec![(0, done("3"))]).await.unwrap();
    let state = hub.get("a").await.unwrap();
    assert_eq!(
        (state.input.as_deref(), state.output.as_deref()),
        (Some("2"), Some("3"))
    );
}

#[tokio::test]
async fn children_answer_and_are_terminated_with_their_parent() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("p").await;
    let (token, _) = worker.turn().await;
    let child = |id: &str| {
        Action::CreateSubOrchestration(CreateSubOrchestrationAction {
            instance_id: id.into(),
            name: "Child".into(),
            ..Default::default()
        })
    };
    worker
        .answer(&token, vec![(0, child("c1")), (1, child("c2"))])
        .await
        .unwrap();
    let (one, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "c1");
    let (two, _) = worker.turn().await;
    worker
        .answer(&one, vec![(0, done("\"one\""))])
        .await
        .unwrap();
    worker.answer(&two, vec![]).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "SubOrchestrationInstanceCompleted"]
    );
    worker.answer(&token, vec![]).await.unwrap();
    let terminate = TerminateRequest {
        instance_id: "p".into(),
        output: Some("\"stop\"".into()),
        recursive: true,
    };
    hub.client
        .clone()
        .terminate_instance(terminate)
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "p");
    worker
        .answer(
            &token,
            vec![(2, complete(OrchestrationStatus::Terminated, "\"stop\""))],
        )
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        (turn.instance_id.as_str(), event_kind(&turn.new_events[1])),
        ("c2", "ExecutionTerminated")
    );
    worker
        .answer(
            &token,
            vec![(0, complete(OrchestrationStatus::Terminated, "null"))],
        )
        .await
        .unwrap();
    assert_eq!(hub.status("c2").await, OrchestrationStatus::Terminated);
    let purge = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId("p".into())),
        recursive: true,
        is_orchestration: true,
    };
    let purged = hub
        .client
        .clone()
        .purge_instances(purge)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(purged.deleted_instance_count, 3);
    assert!(hub.get("p").await.is_none() && hub.get("c1").await.is_none());
}

/// An official worker that is given a second suspension never ends the turn that resumes.
#[tokio::test]
async fn a_second_suspension_or_resumption_reaches_no_worker() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    let suspend = || SuspendRequest {
        instance_id: "a".into(),
        reason: None,
    };
    let resume = || ResumeRequest {
        instance_id: "a".into(),
        reason: None,
    };
    let mut client = hub.client.clone();
    client.resume_instance(resume()).await.unwrap();
    client.suspend_instance(suspend()).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionSuspended"]
    );
    // While the turn with the first suspension is out, and after it.
    client.suspend_instance(suspend()).await.unwrap();
    worker.answer(&token, vec![]).await.unwrap();
    client.suspend_instance(suspend()).await.unwrap();
    hub.raise("a", "go").await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "EventRaised"]
    );
    client.resume_instance(resume()).await.unwrap();
    client.resume_instance(resume()).await.unwrap();
    worker.answer(&token, vec![]).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionResumed"]
    );
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn suspension_shows_and_hubs_are_apart() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let mut other = hub
        .worker_with(GetWorkItemsRequest::default(), "other")
        .await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    let suspend = SuspendRequest {
        instance_id: "a".into(),
        reason: None,
    };
    hub.client.clone().suspend_instance(suspend).await.unwrap();
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Suspended);
    hub.client
        .clone()
        .resume_instance(ResumeRequest {
            instance_id: "a".into(),
            reason: None,
        })
        .await
        .unwrap();
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Running);
    let mut start = tonic::Request::new(CreateInstanceRequest {
        instance_id: "a".into(),
        name: "Hello".into(),
        version: Some("2".into()),
        ..Default::default()
    });
    start
        .metadata_mut()
        .insert("taskhub", "other".parse().unwrap());
    hub.client.clone().start_instance(start).await.unwrap();
    let (token, turn) = other.turn().await;
    assert_eq!(turn.instance_id, "a");
    other.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Running);
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let hub = Hub::memory().await;
    for n in 0..7 {
        hub.start(&format!("q{n}")).await;
    }
    hub.start("other").await;
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let query = InstanceQuery {
            max_instance_count: 3,
            continuation_token: token,
            instance_id_prefix: Some("q".into()),
            runtime_status: vec![OrchestrationStatus::Pending as i32],
            ..Default::default()
        };
        let request = QueryInstancesRequest { query: Some(query) };
        let page = hub
            .client
            .clone()
            .query_instances(request)
            .await
            .unwrap()
            .into_inner();
        assert!(page.orchestration_state.len() <= 3);
        seen.extend(page.orchestration_state.into_iter().map(|s| s.instance_id));
        token = page.continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("q{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_stream_continues_without_history_and_others_read_it() {
    let hub = Hub::memory().await;
    let capable = || GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..Default::default()
    };
    let mut first = hub.worker_that(capable(), "default", CONTINUES).await;
    hub.start("a").await;
    let (token, _) = first.turn().await;
    first.answer(&token, vec![]).await.unwrap();
    hub.raise("a", "one").await.unwrap();
    let (_, turn) = first.turn().await;
    assert!(turn.requires_history_streaming && turn.past_events.is_empty());
    assert_eq!(
        turn.properties["durabletask.continuesFrom"],
        prost_types::Value::from(token)
    );
    let request = StreamInstanceHistoryRequest {
        instance_id: "a".into(),
        execution_id: turn.execution_id.clone(),
        for_work_item_processing: true,
    };
    let mut past = first
        .client
        .stream_instance_history(request)
        .await
        .unwrap()
        .into_inner();
    let chunk = past.message().await.unwrap().unwrap();
    assert_eq!(
        kinds(&chunk.events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
    let mut second = hub.worker_that(capable(), "default", CONTINUES).await;
    drop(first);
    let (_, turn) = second.turn().await;
    assert!(!turn.requires_history_streaming && turn.properties.is_empty());
    assert_eq!(
        kinds(&turn.past_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
}

#[tokio::test]
async fn a_worker_that_did_not_announce_continuation_gets_the_past_each_time() {
    // As the .NET worker: it can stream, and reads the past that comes with the turn.
    let hub = Hub::memory().await;
    let request = GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..Default::default()
    };
    let mut worker = hub.worker_with(request, "default").await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    hub.raise("a", "one").await.unwrap();
    let (_, turn) = worker.turn().await;
    assert!(!turn.requires_history_streaming && turn.properties.is_empty());
    assert_eq!(
        kinds(&turn.past_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
}

#[tokio::test]
async fn unconsumed_events_come_again() {
    let hub = Hub::memory().await;
    hub.start("a").await;
    hub.raise("a", "one").await.unwrap();
    let mut worker = hub.worker().await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.new_events.len(), 3);
    let response = OrchestratorResponse {
        completion_token: token,
        num_events_processed: Some(1),
        ..Default::default()
    };
    worker.respond(response).await.unwrap();
    let (_, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.past_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "EventRaised"]
    );
}

#[tokio::test]
async fn events_are_numbered_as_by_the_hosted_service() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, turn) = worker.turn().await;
    let numbers = |events: &[HistoryEvent]| -> Vec<i32> {
        events.iter().map(|event| event.event_id).collect()
    };
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
    assert_eq!(numbers(&turn.new_events), [-1, 0]);
    let again = complete(OrchestrationStatus::ContinuedAsNew, "1");
    worker.answer(&token, vec![(1, again)]).await.unwrap();
    let (_, turn) = worker.turn().await;
    assert_eq!(numbers(&turn.new_events), [-1, 0], "a later execution, too");
}
