//! Results as messages on one stream: what is acknowledged, and what a cut does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/cut.rs"]
mod cut;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use cut::{Cut, Way};
use durabletask_proto::completion::Result as Handed;
use durabletask_proto::completion_stream_service_client::CompletionStreamServiceClient;
use durabletask_proto::history_event::EventType;
use durabletask_proto::*;
use proptest::prelude::*;
use support::{ELSEWHERE, Hub, PATIENCE, call, done};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// A stream that a test writes and reads.
struct Results {
    frames: mpsc::Sender<CompletionFrame>,
    answers: Streaming<AcknowledgementFrame>,
}

impl Results {
    async fn open(address: std::net::SocketAddr, hub: &str) -> Result<Self, Status> {
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let (frames, queue) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(queue));
        request
            .metadata_mut()
            .insert("taskhub", hub.parse().unwrap());
        let answers = CompletionStreamServiceClient::new(channel)
            .complete(request)
            .await?
            .into_inner();
        Ok(Self { frames, answers })
    }

    /// Whether it still takes frames.
    async fn send(&self, results: Vec<(u64, Option<Handed>)>) -> bool {
        let completions = results
            .into_iter()
            .map(|(number, result)| Completion { number, result })
            .collect();
        let frame = CompletionFrame { completions };
        self.frames.send(frame).await.is_ok()
    }

    /// The codes of as many acknowledgements, by number.
    async fn codes(&mut self, count: usize) -> BTreeMap<u64, Code> {
        let mut codes = BTreeMap::new();
        while codes.len() < count {
            let frame = tokio::time::timeout(PATIENCE, self.answers.message()).await;
            for each in frame.unwrap().unwrap().unwrap().acknowledgements {
                let twice = codes.insert(each.number, Code::from_i32(each.code));
                assert_eq!(twice, None, "{each:?}");
            }
        }
        codes
    }
}

fn activity(token: &str, result: &str) -> Handed {
    Handed::Activity(ActivityResponse {
        completion_token: token.to_owned(),
        result: Some(result.to_owned()),
        ..Default::default()
    })
}

fn turn(token: &str, actions: Vec<(i32, orchestrator_action::OrchestratorActionType)>) -> Handed {
    Handed::Orchestrator(OrchestratorResponse {
        completion_token: token.to_owned(),
        actions: actions
            .into_iter()
            .map(|(id, action)| OrchestratorAction {
                id,
                orchestrator_action_type: Some(action),
            })
            .collect(),
        ..Default::default()
    })
}

#[tokio::test]
async fn each_result_is_answered_as_its_call_would_be() {
    let hub = Hub::memory().await;
    let hello = hub.client.clone().hello(()).await.unwrap();
    assert_eq!(hello.metadata().get("completion-stream").unwrap(), "v1");
    hub.start("one").await;
    let mut worker = hub.worker().await;
    let mut results = Results::open(hub.address, "default").await.unwrap();

    let (first, _) = worker.turn().await;
    results
        .send(vec![(1, Some(turn(&first, vec![(0, call("step"))])))])
        .await;
    assert_eq!(results.codes(1).await, [(1, Code::Ok)].into());

    let (token, task) = worker.activity().await;
    assert_eq!(task.name, "step");
    let other = "00000000000000000000000000000000-1";
    let batch = Handed::Entity(EntityBatchResult::default());
    // In one frame, with what is wrong between what is right.
    results
        .send(vec![
            (10, Some(activity(other, "\"no\""))),
            (11, Some(activity(&token, "\"yes\""))),
            (12, None),
            (13, Some(batch)),
            (14, Some(turn(&first, vec![]))),
        ])
        .await;
    let codes = [
        (10, Code::NotFound),
        (11, Code::Ok),
        (12, Code::Unimplemented),
        (13, Code::InvalidArgument),
        (14, Code::Ok),
    ];
    assert_eq!(results.codes(5).await, codes.into());

    let (token, second) = worker.turn().await;
    let kinds = support::kinds(&second.new_events);
    assert_eq!(kinds, ["OrchestratorStarted", "TaskCompleted"]);
    let last = turn(&token, vec![(1, done("\"end\""))]);
    results.send(vec![(15, Some(last))]).await;
    assert_eq!(results.codes(1).await, [(15, Code::Ok)].into());
    assert_eq!(hub.status("one").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn the_stream_is_for_the_task_hub_that_has_its_name() {
    let hub = Hub::memory().await;
    let mut results = Results::open(hub.address, "default").await.unwrap();
    let mut again = Request::new(CreateTaskHubRequest {
        recreate_if_exists: true,
    });
    again
        .metadata_mut()
        .insert("taskhub", "default".parse().unwrap());
    hub.client.clone().create_task_hub(again).await.unwrap();
    hub.start("one").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let end = turn(&token, vec![(0, done("\"end\""))]);
    results.send(vec![(1, Some(end))]).await;
    assert_eq!(results.codes(1).await, [(1, Code::Ok)].into());
    assert_eq!(hub.status("one").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn a_stop_ends_the_stream_after_its_acknowledgements() {
    let hub = Hub::with(|config| config.drain_timeout = PATIENCE).await;
    hub.start("one").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let mut results = Results::open(hub.address, "default").await.unwrap();
    hub.stop.cancel();
    if ELSEWHERE {
        // A node that forwards does not know what workers hold, and does not wait for it.
        let end = tokio::time::timeout(PATIENCE, results.answers.message()).await;
        let end = end.unwrap();
        assert!(matches!(&end, Ok(None)) || end.unwrap_err().code() == Code::Unavailable);
        return;
    }
    let end = turn(&token, vec![(0, done("\"end\""))]);
    results.send(vec![(1, Some(end))]).await;
    assert_eq!(results.codes(1).await, [(1, Code::Ok)].into());
    let end = tokio::time::timeout(PATIENCE, results.answers.message()).await;
    assert!(end.unwrap().unwrap().is_none());
    tokio::time::timeout(PATIENCE, hub.served)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_unknown_task_hub_has_no_stream() {
    let hub = Hub::with(|config| config.dynamic_task_hubs = false).await;
    let refused = Results::open(hub.address, "other").await.err().unwrap();
    assert_eq!(refused.code(), Code::NotFound);
}

const TASKS: i32 = 6;

fn number(task_id: i32) -> u64 {
    u64::try_from(task_id).unwrap()
}

/// Hands in the results of some activities over a connection that is cut.
async fn hand_in_until(cut: Cut, per_frame: usize) {
    let hub = Hub::memory().await;
    hub.start("one").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let calls = (0..TASKS).map(|id| (id, call("step"))).collect();
    worker.answer(&token, calls).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (token, task) = worker.activity().await;
        tasks.push((token, task.task_id));
    }

    let way = Way::open(hub.address, vec![cut]).await;
    let mut acknowledged = BTreeSet::new();
    if let Ok(mut results) = Results::open(way.address, "default").await {
        for frame in tasks.chunks(per_frame) {
            let frame = frame
                .iter()
                .map(|(token, id)| (number(*id), Some(activity(token, &id.to_string()))))
                .collect();
            if !results.send(frame).await {
                break;
            }
        }
        while acknowledged.len() < tasks.len()
            && let Ok(Some(frame)) = results.answers.message().await
        {
            for each in frame.acknowledgements {
                assert_eq!(Code::from_i32(each.code), Code::Ok, "{each:?}");
                assert!(acknowledged.insert(each.number), "{each:?} came twice");
            }
        }
    }

    // What was not acknowledged is handed in once more. What was changes nothing now.
    for (token, id) in &tasks {
        let result = match acknowledged.contains(&number(*id)) {
            true => "another".to_owned(),
            false => id.to_string(),
        };
        loop {
            match worker.finish(token, &result).await {
                Ok(()) => break,
                // The first time it is still being written.
                Err(Code::Unavailable) => tokio::task::yield_now().await,
                Err(code) => panic!("{code:?}"),
            }
        }
    }
    let mut results = BTreeMap::new();
    while results.len() < tasks.len() {
        let (token, turn) = worker.turn().await;
        for event in turn.new_events {
            if let Some(EventType::TaskCompleted(task)) = event.event_type {
                let twice = results.insert(task.task_scheduled_id, task.result.unwrap());
                assert_eq!(twice, None, "task {} ended twice", task.task_scheduled_id);
            }
        }
        worker.answer(&token, vec![]).await.unwrap();
    }
    assert_eq!(results, (0..TASKS).map(|id| (id, id.to_string())).collect());
    let history = hub.history("one").await;
    let ends = history.iter().filter(|kind| **kind == "TaskCompleted");
    assert_eq!(ends.count(), tasks.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_the_stream_loses_and_doubles_nothing_acknowledged(
        up in prop_oneof![0_u64..1500, Just(u64::MAX)],
        down in prop_oneof![0_u64..600, Just(u64::MAX)],
        per_frame in 1_usize..=6,
    ) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let case = hand_in_until(Cut { up, down }, per_frame);
                tokio::time::timeout(PATIENCE, case).await.expect("it hangs");
            });
    }
}
