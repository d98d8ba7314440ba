//! What the settings of a worker change, against a scheduler made of channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(deprecated, reason = "so the protocol marks the fields of chunks")]

mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask::middleware::{Ended, Next};
use durabletask::worker::WorkerError;
use durabletask::worker::{
    CancelActivities, ConnectionStatus, OnVersionMismatch, OversizedTurns, StatusWatch,
    VersionMatch, Versioning, WorkItemFilters, WorkerBuilder, WorkerStatus,
};
use durabletask::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry, Worker,
    select, when_all,
};
use durabletask_core::START_TO_CLOSE_TAG;
use durabletask_proto as proto;
use fake::items::{completed, event, failure_of, input_of, started, turn};
use fake::{Fake, Got, SOON};
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Action;
use proto::work_item::Request as Item;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const ECHO: Activity<u32, u32> = Activity::new("echo");
const ENDLESS: Activity<u32, u32> = Activity::new("endless");
const BIG: Activity<String, String> = Activity::new("big");
const BUSY: Orchestration<u32, u32> = Orchestration::new("busy");
const QUICK: Orchestration<u32, u32> = Orchestration::new("quick");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");
const RACE: Orchestration<u32, u32> = Orchestration::new("race");
const PARENT: Orchestration<u32, u32> = Orchestration::new("parent");
const HUGE: Orchestration<u32, u32> = Orchestration::new("huge");

/// Tells a test what the activity `endless` does.
#[derive(Clone)]
struct Watched {
    begun: mpsc::UnboundedSender<()>,
    ended: mpsc::UnboundedSender<()>,
    at_once: Arc<AtomicUsize>,
}

/// Tells when it is dropped.
struct TellsEnd(Watched);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
        let _ = self.0.ended.send(());
    }
}

fn registry(watched: Watched) -> Registry {
    Registry::new()
        .activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .activity(&ENDLESS, move |_, _| {
            let watched = watched.clone();
            async move {
                watched.at_once.fetch_add(1, Ordering::SeqCst);
                let _ = watched.begun.send(());
                let _ends = TellsEnd(watched);
                std::future::pending::<Result<u32, Failure>>().await
            }
        })
        .orchestration(&STORY, async |ctx: OrchestrationContext, n: u32| {
            Ok(ctx.call_activity(&ENDLESS, &n).await?)
        })
        .orchestration(&RACE, async |ctx: OrchestrationContext, n: u32| {
            let unheard = ctx.call_activity(&ENDLESS, &n);
            select(
                ctx.call_activity(&ENDLESS, &n),
                ctx.call_activity(&ECHO, &n),
            )
            .await;
            drop(unheard);
            ctx.create_timer(Duration::from_secs(60)).await;
            Ok(n)
        })
        .orchestration(&PARENT, async |ctx: OrchestrationContext, n: u32| {
            Ok(ctx.call_sub_orchestration(&STORY, &n).await?)
        })
        .orchestration(&HUGE, async |ctx: OrchestrationContext, n: u32| {
            let text = "x".repeat(1_000_000);
            let calls: Vec<_> = (0..9).map(|_| ctx.call_activity(&BIG, &text)).collect();
            when_all(calls).await?;
            Ok(n)
        })
}

struct Running {
    fake: Fake,
    status: StatusWatch,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    begun: mpsc::UnboundedReceiver<()>,
    ended: mpsc::UnboundedReceiver<()>,
    at_once: Arc<AtomicUsize>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("the worker hangs")
            .unwrap()
            .unwrap();
    }

    async fn until(&self, what: impl FnMut(&WorkerStatus) -> bool) -> WorkerStatus {
        let mut status = self.status.clone();
        tokio::time::timeout(SOON, status.wait_for(what))
            .await
            .unwrap_or_else(|_| panic!("it never came to that: {:?}", self.status.current()))
            .unwrap()
    }
}

async fn soon<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(SOON, receiver.recv())
        .await
        .expect("nothing came")
        .unwrap()
}

async fn run(configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Running {
    run_on(Fake::start().await, configure)
}

fn run_on(fake: Fake, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Running {
    let (begun_sender, begun) = mpsc::unbounded_channel();
    let (ended_sender, ended) = mpsc::unbounded_channel();
    let at_once = Arc::new(AtomicUsize::new(0));
    let watched = Watched {
        begun: begun_sender,
        ended: ended_sender,
        at_once: Arc::clone(&at_once),
    };
    let builder = Worker::builder(&fake.connection())
        .registry(registry(watched))
        .grace_period(Duration::from_millis(100))
        .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20));
    let worker = configure(builder).build().unwrap();
    let status = worker.status();
    let stop = CancellationToken::new();
    let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    Running {
        fake,
        status,
        stop,
        task,
        begun,
        ended,
        at_once,
    }
}

fn versioned(name: &str, version: &str) -> Vec<proto::HistoryEvent> {
    let mut events = started(name);
    for event in &mut events {
        if let Some(EventType::ExecutionStarted(started)) = &mut event.event_type {
            started.version = Some(version.to_owned());
        }
    }
    events
}

fn call(name: &str, task_id: i32) -> Item {
    Item::ActivityRequest(proto::ActivityRequest {
        name: name.to_owned(),
        input: Some("7".to_owned()),
        task_id,
        orchestration_instance: Some(proto::OrchestrationInstance {
            instance_id: "abc".to_owned(),
            execution_id: Some("exec".to_owned()),
        }),
        ..Default::default()
    })
}

/// Without what every worker has for queries and updates.
fn registered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let of_the_sdk = |name: &&str| name.starts_with("durabletask.");
    names.filter(|name| !of_the_sdk(name)).collect()
}

#[tokio::test]
async fn filters_name_what_is_registered() {
    let mut running = run(|builder| builder.work_item_filters(WorkItemFilters::Registered)).await;
    let items = running.fake.stream().await;
    let filters = items.request.work_item_filters.clone().unwrap();
    let names = filters.orchestrations.iter().map(|filter| &*filter.name);
    assert_eq!(registered(names), ["huge", "parent", "race", "story"]);
    let names = filters.activities.iter().map(|filter| &*filter.name);
    assert_eq!(registered(names), ["echo", "endless"]);

    // A scheduler that does not know filters gets back what it sends all the same.
    items
        .send("t1", Item::OrchestratorRequest(turn(started("nobody"))))
        .await;
    assert!(
        matches!(running.fake.next().await, Got::AbandonedOrchestration(token) if token == "t1")
    );
    items.send("t2", call("nobody", 0)).await;
    assert!(matches!(running.fake.next().await, Got::AbandonedActivity(token) if token == "t2"));
    running.stop().await;
}

#[tokio::test]
async fn filters_name_the_versions_that_have_code() {
    let mut running = run(|builder| {
        let registry = Registry::new().orchestration_version(
            &BUSY,
            "2",
            async |_: OrchestrationContext, n: u32| Ok(n),
        );
        builder
            .registry(registry)
            .work_item_filters(WorkItemFilters::Registered)
    })
    .await;
    let items = running.fake.stream().await;
    let filters = items.request.work_item_filters.clone().unwrap();
    let asked: Vec<(&str, Vec<&str>)> = filters
        .orchestrations
        .iter()
        .map(|filter| {
            let versions = filter.versions.iter().map(String::as_str).collect();
            (filter.name.as_str(), versions)
        })
        .filter(|(name, _)| !name.starts_with("durabletask."))
        .collect();
    let any = Vec::new();
    assert_eq!(
        asked,
        [
            ("busy", vec!["2"]),
            ("huge", any.clone()),
            ("parent", any.clone()),
            ("race", any.clone()),
            ("story", any),
        ]
    );

    items
        .send("t1", Item::OrchestratorRequest(turn(started("busy"))))
        .await;
    assert!(
        matches!(running.fake.next().await, Got::AbandonedOrchestration(token) if token == "t1")
    );
    running.stop().await;
}

#[tokio::test]
async fn without_filters_everything_is_asked_for() {
    let mut running = run(|builder| builder).await;
    let items = running.fake.stream().await;
    assert_eq!(items.request.work_item_filters, None);
    running.stop().await;
}

#[tokio::test]
async fn another_version_goes_back_or_fails() {
    let strict = Versioning::new("2.0")
        .matching(VersionMatch::Strict)
        .default_version("2.0");
    let versioning = strict.clone();
    let mut running = run(move |builder| {
        builder
            .versioning(versioning)
            .work_item_filters(WorkItemFilters::Registered)
    })
    .await;
    let items = running.fake.stream().await;
    let filters = items.request.work_item_filters.clone().unwrap();
    assert_eq!(filters.orchestrations[0].versions, ["2.0"]);
    items
        .send(
            "t1",
            Item::OrchestratorRequest(turn(versioned("story", "1.0"))),
        )
        .await;
    assert!(
        matches!(running.fake.next().await, Got::AbandonedOrchestration(token) if token == "t1")
    );
    items
        .send(
            "t2",
            Item::OrchestratorRequest(turn(versioned("parent", "2.0"))),
        )
        .await;
    let response = running.fake.orchestration().await;
    let Some(Action::CreateSubOrchestration(child)) = &response.actions[0].orchestrator_action_type
    else {
        panic!("not a child: {response:?}");
    };
    assert_eq!(child.version.as_deref(), Some("2.0"));
    running.stop().await;

    let fails = strict.on_mismatch(OnVersionMismatch::Fail);
    let mut running = run(move |builder| builder.versioning(fails)).await;
    let items = running.fake.stream().await;
    items
        .send(
            "t1",
            Item::OrchestratorRequest(turn(versioned("story", "1.0"))),
        )
        .await;
    let details = failure_of(&running.fake.orchestration().await);
    assert_eq!(details.error_type, "VersionMismatch");
    assert!(details.is_non_retriable);
    running.stop().await;
}

#[tokio::test]
async fn a_rewind_is_answered_with_the_history_that_is_to_stand() {
    let mut running = run(|builder| builder).await;
    let items = running.fake.stream().await;
    let mut past = started("story");
    past.push(event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "endless".to_owned(),
            ..Default::default()
        }),
    ));
    past.push(event(
        -1,
        EventType::TaskFailed(proto::TaskFailedEvent {
            task_scheduled_id: 0,
            failure_details: None,
        }),
    ));
    past.push(event(
        1,
        EventType::ExecutionCompleted(proto::ExecutionCompletedEvent::default()),
    ));
    let new = vec![
        event(
            -1,
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
        ),
        event(
            -1,
            EventType::ExecutionRewound(proto::ExecutionRewoundEvent::default()),
        ),
    ];
    // Inline and streamed.
    running.fake.set_history(past.clone());
    for (token, request) in [
        (
            "t1",
            proto::OrchestratorRequest {
                past_events: past,
                ..turn(new.clone())
            },
        ),
        (
            "t2",
            proto::OrchestratorRequest {
                requires_history_streaming: true,
                ..turn(new)
            },
        ),
    ] {
        items.send(token, Item::OrchestratorRequest(request)).await;
        let response = loop {
            match running.fake.next().await {
                Got::History(_) => {}
                Got::Orchestration(response) => break response,
                other => panic!("not a turn: {other:?}"),
            }
        };
        assert_eq!(response.completion_token, token);
        assert_eq!(response.actions[0].id, -1);
        let Some(Action::RewindOrchestration(rewind)) =
            &response.actions[0].orchestrator_action_type
        else {
            panic!("not a rewind: {response:?}");
        };
        let kinds: Vec<&str> = rewind.new_history.iter().map(proto::event_kind).collect();
        assert_eq!(
            kinds,
            [
                "OrchestratorStarted",
                "ExecutionStarted",
                "OrchestratorStarted",
                "ExecutionRewound"
            ]
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_large_turn_is_sent_in_chunks_if_that_is_allowed() {
    let mut running = run(|builder| builder.oversized_turns(OversizedTurns::Chunk)).await;
    let items = running.fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("huge"))))
        .await;
    let mut ids = Vec::new();
    loop {
        let chunk = running.fake.orchestration().await;
        assert_eq!(chunk.completion_token, "t1");
        ids.extend(chunk.actions.iter().map(|action| action.id));
        if !chunk.is_partial {
            break;
        }
    }
    assert!(ids.into_iter().eq(0..9));
    running.stop().await;
}

#[tokio::test]
async fn calls_of_one_activity_are_limited_by_its_name() {
    let mut running = run(|builder| builder.max_concurrent_activity(&ENDLESS, 2)).await;
    let items = running.fake.stream().await;
    for id in 0..5 {
        items.send(&format!("t{id}"), call("endless", id)).await;
    }
    items.send("echo", call("echo", 9)).await;
    // Another activity does not wait for them.
    assert_eq!(running.fake.activity().await.completion_token, "echo");
    soon(&mut running.begun).await;
    soon(&mut running.begun).await;
    let status = running
        .until(|status| status.activities_in_flight == 5)
        .await;
    assert!(status.is_connected());
    assert_eq!(running.at_once.load(Ordering::SeqCst), 2);
    assert!(running.begun.try_recv().is_err());
    running.stop().await;
}

/// Orchestrations named `busy` compute until the test lets one of them go on.
struct Busy {
    begun: mpsc::UnboundedReceiver<()>,
    go_on: std::sync::mpsc::Sender<()>,
    most_at_once: Arc<AtomicUsize>,
}

fn busy() -> (Registry, Busy) {
    let (tell, begun) = mpsc::unbounded_channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let may_go_on = Arc::new(Mutex::new(may_go_on));
    let most_at_once = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&most_at_once);
    let at_once = Arc::new(AtomicUsize::new(0));
    let registry = Registry::new()
        .orchestration(&QUICK, async |_: OrchestrationContext, n: u32| Ok(n))
        .orchestration(&BUSY, move |_, n| {
            let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let _ = tell.send(());
            tokio::task::block_in_place(|| may_go_on.lock().unwrap().recv().unwrap());
            at_once.fetch_sub(1, Ordering::SeqCst);
            std::future::ready(Ok(n))
        });
    let busy = Busy {
        begun,
        go_on,
        most_at_once,
    };
    (registry, busy)
}

fn of_instance(id: i32, request: proto::OrchestratorRequest) -> Item {
    Item::OrchestratorRequest(proto::OrchestratorRequest {
        instance_id: format!("instance-{id}"),
        ..request
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn turns_of_one_orchestration_are_limited_by_its_name() {
    let (registry, mut busy) = busy();
    let mut running = run(|builder| {
        builder
            .registry(registry)
            .max_concurrent_orchestration(&BUSY, 2)
    })
    .await;
    let items = running.fake.stream().await;
    for id in 0..5 {
        let item = of_instance(id, turn(started("busy")));
        items.send(&format!("t{id}"), item).await;
    }
    soon(&mut busy.begun).await;
    soon(&mut busy.begun).await;
    // Another orchestration does not wait for them.
    items
        .send("quick", of_instance(9, turn(started("quick"))))
        .await;
    assert_eq!(running.fake.orchestration().await.completion_token, "quick");
    running
        .until(|status| status.orchestrations_in_flight == 5)
        .await;
    assert!(busy.begun.try_recv().is_err());
    for _ in 0..5 {
        busy.go_on.send(()).unwrap();
        running.fake.orchestration().await;
    }
    assert_eq!(busy.most_at_once.load(Ordering::SeqCst), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_turn_that_waits_holds_no_stream_of_history() {
    let (registry, mut busy) = busy();
    let mut running = run(|builder| {
        builder
            .registry(registry)
            .max_concurrent_orchestration(&BUSY, 1)
    })
    .await;
    running.fake.set_history(started("busy"));
    let items = running.fake.stream().await;
    let streamed = proto::OrchestratorRequest {
        requires_history_streaming: true,
        ..turn(vec![event(
            -1,
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
        )])
    };
    items.send("t0", of_instance(0, streamed.clone())).await;
    assert!(matches!(running.fake.next().await, Got::History(_)));
    soon(&mut busy.begun).await;
    // The second looks who it is, and comes back when it may begin.
    running.fake.keep_histories_open(true);
    items.send("t1", of_instance(1, streamed)).await;
    assert!(matches!(running.fake.next().await, Got::History(_)));
    assert!(matches!(running.fake.next().await, Got::HistoryLeft));
    running.fake.keep_histories_open(false);
    busy.go_on.send(()).unwrap();
    busy.go_on.send(()).unwrap();
    let mut answered = Vec::new();
    let mut histories = 0;
    while answered.len() < 2 {
        match running.fake.next().await {
            Got::Orchestration(response) => answered.push(response.completion_token),
            Got::History(_) => histories += 1,
            other => panic!("not expected: {other:?}"),
        }
    }
    answered.sort();
    assert_eq!((answered, histories), (vec!["t0".into(), "t1".into()], 1));
    assert_eq!(busy.most_at_once.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test]
async fn an_activity_that_takes_too_long_fails_and_may_be_retried() {
    let mut running = run(|builder| builder).await;
    let items = running.fake.stream().await;
    let Item::ActivityRequest(mut request) = call("endless", 0) else {
        unreachable!("a call");
    };
    request
        .tags
        .insert(START_TO_CLOSE_TAG.to_owned(), "20".to_owned());
    items.send("t1", Item::ActivityRequest(request)).await;
    let details = running.fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "ActivityTimeout");
    assert!(!details.is_non_retriable);
    soon(&mut running.ended).await;
    running.stop().await;
}

#[tokio::test]
async fn terminating_an_orchestration_ends_its_activities() {
    let mut running = run(|builder| builder).await;
    let items = running.fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("story"))))
        .await;
    input_of(&running.fake.orchestration().await);
    items.send("t2", call("endless", 0)).await;
    soon(&mut running.begun).await;
    let terminated = vec![event(
        -1,
        EventType::ExecutionTerminated(proto::ExecutionTerminatedEvent::default()),
    )];
    let mut past = started("story");
    past.push(event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "endless".to_owned(),
            ..Default::default()
        }),
    ));
    let request = proto::OrchestratorRequest {
        past_events: past,
        ..turn(terminated)
    };
    items.send("t3", Item::OrchestratorRequest(request)).await;
    running.fake.orchestration().await;
    soon(&mut running.ended).await;
    let details = running.fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "ActivityCancelled");
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_lost_a_race_is_ended_and_one_that_nobody_awaited_is_not() {
    let mut running = run(|builder| builder.cancel_activities(CancelActivities::WhenGivenUp)).await;
    let items = running.fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("race"))))
        .await;
    assert_eq!(running.fake.orchestration().await.actions.len(), 3);
    items.send("t2", call("endless", 0)).await;
    items.send("t3", call("endless", 1)).await;
    soon(&mut running.begun).await;
    soon(&mut running.begun).await;
    let scheduled = |id, name: &str| {
        event(
            id,
            EventType::TaskScheduled(proto::TaskScheduledEvent {
                name: name.to_owned(),
                ..Default::default()
            }),
        )
    };
    let mut past = started("race");
    past.extend([
        scheduled(0, "endless"),
        scheduled(1, "endless"),
        scheduled(2, "echo"),
    ]);
    let request = proto::OrchestratorRequest {
        past_events: past,
        ..turn(completed(2, "7"))
    };
    items.send("t4", Item::OrchestratorRequest(request)).await;
    running.fake.orchestration().await;
    soon(&mut running.ended).await;
    assert_eq!(running.fake.activity().await.task_id, 1);
    assert_eq!(running.at_once.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test]
async fn the_status_follows_the_connection() {
    let mut running = run(|builder| builder).await;
    let items = running.fake.stream().await;
    running.until(WorkerStatus::is_connected).await;
    items
        .send("t1", Item::HealthPing(proto::HealthPing {}))
        .await;
    running
        .until(|status| status.last_message_at.is_some())
        .await;
    items.fail(tonic::Status::cancelled("RST_STREAM")).await;
    running.fake.stream().await;
    running.until(WorkerStatus::is_connected).await;
    let status = running.status.clone();
    running.stop().await;
    assert_eq!(status.current().connection, ConnectionStatus::Stopped);
}

#[tokio::test]
async fn failures_are_counted_until_the_scheduler_is_there() {
    let fake = Fake::start().await;
    fake.kill();
    fake.gone().await;
    let mut running = run_on(fake, |builder| builder);
    // More than it takes to make the channels anew.
    let lost = running
        .until(|status| status.consecutive_failures >= 6)
        .await;
    assert!(matches!(
        lost.connection,
        ConnectionStatus::Disconnected { .. }
    ));
    running.fake.restart().await;
    running.until(WorkerStatus::is_connected).await;
    let items = running.fake.stream().await;
    items
        .send("t1", Item::HealthPing(proto::HealthPing {}))
        .await;
    running
        .until(|status| status.consecutive_failures == 0)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn middleware_wraps_every_handler() {
    let mut fake = Fake::start().await;
    let registry = Registry::new()
        .activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .orchestration(&STORY, async |ctx: OrchestrationContext, n: u32| {
            Ok(ctx.call_activity(&ECHO, &n).await?)
        })
        .activity_middleware(async |ctx: ActivityContext, next: Next| {
            if next.input_json() == Some("13") {
                return Err(Failure::new("Unlucky", ctx.name()).permanent());
            }
            Ok(format!("[{}]", next.run().await?))
        })
        .activity_middleware(async |_: ActivityContext, next: Next| {
            Ok(format!("({})", next.run().await?))
        })
        .orchestration_middleware(async |ctx: OrchestrationContext, next: Next<Ended>| {
            // A layer may call activities as well.
            let _: u32 = ctx.call_activity(&ECHO, &1).await?;
            next.run().await
        });
    let stop = CancellationToken::new();
    let worker = Worker::builder(&fake.connection())
        .registry(registry)
        .build()
        .unwrap();
    let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let items = fake.stream().await;
    items.send("t1", call("echo", 0)).await;
    assert_eq!(fake.activity().await.result.as_deref(), Some("[(7)]"));
    let Item::ActivityRequest(mut request) = call("echo", 1) else {
        unreachable!("a call");
    };
    request.input = Some("13".to_owned());
    items.send("t2", Item::ActivityRequest(request)).await;
    let details = fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "Unlucky");
    items
        .send("t3", Item::OrchestratorRequest(turn(started("story"))))
        .await;
    assert_eq!(input_of(&fake.orchestration().await), "1");
    stop.cancel();
    task.await.unwrap().unwrap();
}
