//! The real scheduler is killed with SIGKILL at random moments, many times, under load.
//! Whoever was told that something was done must find it done: no acknowledged start,
//! event or result is lost, no result is applied twice, and every instance ends.
//!
//! `CRASH_KILLS` sets how often, `CRASH_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use support::*;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;

const ACTIVITIES: i32 = 3;
const CLIENTS: usize = 4;
const WORKERS: usize = 2;
/// How long everything may take to end once nobody kills any more.
const SETTLE: Duration = Duration::from_secs(180);

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn up_to(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }
}

/// What the scheduler has acknowledged.
#[derive(Default)]
struct Acknowledged {
    started: BTreeSet<String>,
    /// Instance → payloads of the events that were accepted.
    raised: BTreeMap<String, BTreeSet<String>>,
    /// (Instance, task) → results that were accepted. More than one is a fault already.
    results: BTreeMap<(String, i32), Vec<String>>,
}

/// What the load shares.
#[derive(Clone)]
struct Load {
    address: watch::Receiver<String>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    numbers: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Load {
    /// A client of the process that runs now.
    fn client(&self) -> Client {
        let channel = tonic::transport::Channel::from_shared(self.address.borrow().clone())
            .unwrap()
            .connect_timeout(Duration::from_secs(5))
            .connect_lazy();
        Client::new(channel).max_decoding_message_size(64 << 20)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts instances and raises an event to each, again until that is acknowledged.
    async fn clients(self) {
        let mut client = self.client();
        let mut address = self.address.clone();
        while !self.stop.is_cancelled() {
            if address.has_changed().unwrap_or(false) {
                address.borrow_and_update();
                client = self.client();
            }
            let id = format!("i{}", self.number());
            if start(&client, "default", &id).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            self.acknowledged.lock().unwrap().started.insert(id.clone());
            self.raise(&mut client, &id).await;
        }
    }

    async fn raise(&self, client: &mut Client, id: &str) {
        loop {
            // Whether an unanswered event arrived is not known, so each try is another one.
            let payload = self.number().to_string();
            let message = RaiseEventRequest {
                instance_id: id.to_owned(),
                name: "go".to_owned(),
                input: Some(payload.clone()),
            };
            match client.raise_event(to_hub("default", message)).await {
                Ok(_) => {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    acknowledged
                        .raised
                        .entry(id.to_owned())
                        .or_default()
                        .insert(payload);
                    return;
                }
                Err(status) => {
                    assert_ne!(status.code(), Code::NotFound, "{id} was acknowledged");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    *client = self.client();
                }
            }
        }
    }

    /// Executes what it is given until it is told to stop.
    async fn worker(self, finished: CancellationToken) {
        while !finished.is_cancelled() {
            let client = self.client();
            let ask = GetWorkItemsRequest {
                max_concurrent_orchestration_work_items: 20,
                max_concurrent_activity_work_items: 20,
                ..Default::default()
            };
            let Ok(stream) = client.clone().get_work_items(to_hub("default", ask)).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut stream = stream.into_inner();
            let mut working = JoinSet::new();
            loop {
                let item = tokio::select! {
                    item = stream.message() => item,
                    () = finished.cancelled() => break,
                };
                let Ok(Some(item)) = item else { break };
                working.spawn(self.clone().execute(client.clone(), item));
                while let Some(done) = working.try_join_next() {
                    done.unwrap();
                }
            }
            while let Some(done) = working.join_next().await {
                done.unwrap();
            }
        }
    }

    async fn execute(self, mut client: Client, item: WorkItem) {
        match item.request {
            Some(work_item::Request::OrchestratorRequest(turn)) => {
                let response = OrchestratorResponse {
                    instance_id: turn.instance_id.clone(),
                    completion_token: item.completion_token,
                    actions: decide(&turn),
                    ..Default::default()
                };
                // A turn that is not acknowledged comes again.
                let _ = client
                    .complete_orchestrator_task(to_hub("default", response))
                    .await;
            }
            Some(work_item::Request::ActivityRequest(activity)) => {
                let result = self.number().to_string();
                let id = activity.orchestration_instance.unwrap().instance_id;
                let response = ActivityResponse {
                    instance_id: id.clone(),
                    task_id: activity.task_id,
                    result: Some(result.clone()),
                    completion_token: item.completion_token,
                    ..Default::default()
                };
                let answer = client
                    .complete_activity_task(to_hub("default", response))
                    .await;
                if answer.is_ok() {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    let key = (id, activity.task_id);
                    acknowledged.results.entry(key).or_default().push(result);
                }
            }
            _ => {}
        }
    }
}

/// The orchestration: three activities one after the other, then an event, then the end.
/// It decides from the history alone, as orchestrators do.
fn decide(turn: &OrchestratorRequest) -> Vec<OrchestratorAction> {
    let (mut scheduled, mut results, mut told) = (0, Vec::new(), false);
    for event in turn.past_events.iter().chain(&turn.new_events) {
        match &event.event_type {
            Some(Event::TaskScheduled(_)) => scheduled += 1,
            Some(Event::TaskCompleted(done)) => {
                results.push(done.result.clone().unwrap_or_default())
            }
            Some(Event::EventRaised(_)) => told = true,
            _ => {}
        }
    }
    let completed = i32::try_from(results.len()).unwrap();
    assert!(completed <= scheduled, "a result came twice: {turn:?}");
    let action = if completed == scheduled && scheduled < ACTIVITIES {
        Action::ScheduleTask(ScheduleTaskAction {
            name: "step".to_owned(),
            ..Default::default()
        })
    } else if completed == ACTIVITIES && told {
        Action::CompleteOrchestration(CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Completed as i32,
            result: Some(results.join(",")),
            ..Default::default()
        })
    } else {
        return vec![];
    };
    vec![OrchestratorAction {
        id: scheduled,
        orchestrator_action_type: Some(action),
    }]
}

/// Compares what is stored with what was acknowledged.
async fn check(client: &Client, acknowledged: &Acknowledged) {
    for ((id, task), results) in &acknowledged.results {
        assert_eq!(
            results.len(),
            1,
            "two results of {id} {task} were accepted: {results:?}"
        );
    }
    for id in &acknowledged.started {
        let (state, history) = (ended(client, id).await, history(client, id).await);
        let mut answers: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut events = Vec::new();
        let mut scheduled = 0;
        for event in history {
            match event.event_type {
                Some(Event::TaskScheduled(_)) => scheduled += 1,
                Some(Event::TaskCompleted(done)) => answers
                    .entry(done.task_scheduled_id)
                    .or_default()
                    .push(done.result.unwrap_or_default()),
                Some(Event::EventRaised(raised)) => events.push(raised.input.unwrap_or_default()),
                _ => {}
            }
        }
        assert_eq!(scheduled, ACTIVITIES, "{id}");
        let mut output = Vec::new();
        for task in 0..ACTIVITIES {
            let results = answers.remove(&task).unwrap_or_default();
            assert_eq!(results.len(), 1, "{id} {task} was answered by {results:?}");
            if let Some(accepted) = acknowledged.results.get(&(id.clone(), task)) {
                assert_eq!(
                    &results, accepted,
                    "{id} {task}: the accepted result counts"
                );
            }
            output.extend(results);
        }
        assert!(answers.is_empty(), "{id}: {answers:?}");
        assert_eq!(
            state.output.as_deref(),
            Some(output.join(",").as_str()),
            "{id}"
        );
        for payload in acknowledged.raised.get(id).into_iter().flatten() {
            let times = events.iter().filter(|each| *each == payload).count();
            // An event that comes after the end is accepted and dropped; the first one of
            // an instance cannot, for the end waits for it.
            assert!(times <= 1, "{id}: event {payload} came {times} times");
        }
        assert!(!events.is_empty(), "{id} was told to go");
    }
}

async fn ended(client: &Client, id: &str) -> OrchestrationState {
    let begun = tokio::time::Instant::now();
    loop {
        let get = GetInstanceRequest {
            instance_id: id.to_owned(),
            get_inputs_and_outputs: true,
        };
        let answer = client
            .clone()
            .get_instance(to_hub("default", get))
            .await
            .unwrap();
        let state = answer.into_inner().orchestration_state;
        let state = state.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        if state.orchestration_status == OrchestrationStatus::Completed as i32 {
            return state;
        }
        assert!(begun.elapsed() < SETTLE, "{id} ends: {state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn history(client: &Client, id: &str) -> Vec<HistoryEvent> {
    let request = StreamInstanceHistoryRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let stream = client
        .clone()
        .stream_instance_history(to_hub("default", request))
        .await;
    let mut stream = stream.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        events.extend(chunk.events);
    }
    events
}

async fn survive(kills: u64) {
    let seed = std::env::var("CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &[]);
    let (address, addresses) = watch::channel(process.grpc.clone());
    let load = Load {
        address: addresses,
        acknowledged: Arc::default(),
        numbers: Arc::default(),
        stop: CancellationToken::new(),
    };
    let finished = CancellationToken::new();
    let mut clients = JoinSet::new();
    let mut workers = JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(clients.spawn(load.clone().clients())));
    (0..WORKERS).for_each(|_| drop(workers.spawn(load.clone().worker(finished.clone()))));

    for _ in 0..kills {
        // From amid the first calls to amid full load.
        tokio::time::sleep(Duration::from_millis(random.up_to(300))).await;
        process.kill();
        process = Process::start(folder.path(), &[]);
        address.send_replace(process.grpc.clone());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.stop.cancel();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    let client = load.client();
    for id in &acknowledged.started {
        ended(&client, id).await;
    }
    finished.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    let mut acknowledged = acknowledged;
    let late = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    for (key, results) in late.results {
        acknowledged.results.entry(key).or_default().extend(results);
    }
    check(&client, &acknowledged).await;
    println!(
        "{kills} kills: {} instances, {} results and {} events were acknowledged, none lost or doubled",
        acknowledged.started.len(),
        acknowledged.results.len(),
        acknowledged.raised.len(),
    );
    assert!(!acknowledged.started.is_empty(), "the load did something");
}

fn kills(default: u64) -> u64 {
    std::env::var("CRASH_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_kills_under_load() {
    survive(kills(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run it with --ignored, and CRASH_KILLS for another number"]
async fn what_is_acknowledged_survives_hundreds_of_kills() {
    survive(kills(300)).await;
}
