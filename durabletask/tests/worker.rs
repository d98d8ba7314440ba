//! The worker against a scheduler made of channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use durabletask::worker::{CancelActivities, OnDivergence, WorkerBuilder, WorkerError};
use durabletask::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry, Worker,
    when_all,
};
use durabletask_proto as proto;
use fake::items::{
    activity, completed, continuing, failure_of, input_of, scheduled, started, turn,
};
use fake::{Fake, Got, SOON};
use proto::history_event::EventType;
use proto::work_item::Request as Item;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const ECHO: Activity<u32, u32> = Activity::new("echo");
const GATED: Activity<u32, u32> = Activity::new("gated");
const PANICS: Activity<u32, u32> = Activity::new("panics");
const BIG: Activity<String, String> = Activity::new("big");
const TWICE: Orchestration<u32, u32> = Orchestration::new("twice");
const HUGE: Orchestration<u32, u32> = Orchestration::new("huge");

/// Activities named `gated` go on when the test adds a permit.
fn registry(gate: &Arc<Semaphore>) -> Registry {
    let gate = Arc::clone(gate);
    Registry::new()
        .activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .activity(&GATED, move |_, n| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(n)
            }
        })
        .activity(
            &PANICS,
            async |_: ActivityContext, _: u32| -> Result<u32, Failure> { panic!("out of luck") },
        )
        .orchestration(&TWICE, async |ctx: OrchestrationContext, n: u32| {
            let n = ctx.call_activity(&ECHO, &n).await?;
            Ok(ctx.call_activity(&ECHO, &(n + 1)).await?)
        })
        .orchestration(&HUGE, async |ctx: OrchestrationContext, n: u32| {
            let text = "x".repeat(1_000_000);
            let calls: Vec<_> = (0..5).map(|_| ctx.call_activity(&BIG, &text)).collect();
            when_all(calls).await?;
            Ok(n)
        })
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    gate: Arc<Semaphore>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.finished().await;
    }

    async fn finished(self) {
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("the worker hangs")
            .unwrap()
            .unwrap();
    }
}

fn run_with(fake: &Fake, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Running {
    let gate = Arc::new(Semaphore::new(0));
    let builder = Worker::builder(&fake.connection())
        .registry(registry(&gate))
        .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20));
    let stop = CancellationToken::new();
    let task = tokio::spawn(
        configure(builder)
            .build()
            .unwrap()
            .run_until(stop.clone().cancelled_owned()),
    );
    Running { stop, task, gate }
}

fn run(fake: &Fake) -> Running {
    run_with(fake, |builder| builder)
}

#[tokio::test]
async fn it_introduces_itself_and_answers() {
    let mut fake = Fake::start().await;
    let worker = run_with(&fake, |builder| {
        builder
            .max_concurrent_orchestrations(3)
            .max_concurrent_activities(4)
    });
    let items = fake.stream().await;
    assert_eq!(items.headers["taskhub"], "test-hub");
    assert!(items.headers["x-user-agent"].ends_with("(DurableTaskWorker)"));
    assert_eq!(items.headers["workerid"].split(',').count(), 3);
    assert_eq!(items.request.max_concurrent_orchestration_work_items, 3);
    assert_eq!(items.request.max_concurrent_activity_work_items, 4);
    assert_eq!(items.request.capabilities, [1]);

    items
        .send("t1", Item::OrchestratorRequest(turn(started("twice"))))
        .await;
    let response = fake.orchestration().await;
    assert_eq!(
        (
            response.instance_id.as_str(),
            response.completion_token.as_str()
        ),
        ("abc", "t1")
    );
    assert_eq!(input_of(&response), "7");

    items.send("t2", activity("echo", 5)).await;
    let response = fake.activity().await;
    assert_eq!(
        (response.task_id, response.completion_token.as_str()),
        (5, "t2")
    );
    assert_eq!(response.result.as_deref(), Some("7"));
    worker.stop().await;
    items.closed().await;
}

#[tokio::test]
async fn failures_of_activities_are_distinguished() {
    let mut fake = Fake::start().await;
    let worker = run(&fake);
    let items = fake.stream().await;
    items.send("t1", activity("panics", 0)).await;
    let details = fake.activity().await.failure_details.unwrap();
    assert_eq!(
        (details.error_type.as_str(), details.error_message.as_str()),
        ("Panic", "out of luck")
    );
    items.send("t2", activity("nobody", 1)).await;
    let details = fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "ActivityTaskNotFound");
    assert!(details.is_non_retriable);
    items
        .send("t3", Item::OrchestratorRequest(turn(started("nobody"))))
        .await;
    let details = failure_of(&fake.orchestration().await);
    assert_eq!(details.error_type, "OrchestratorTaskNotFound");
    worker.stop().await;
}

#[tokio::test]
async fn a_turn_continues_from_the_live_execution() {
    let mut fake = Fake::start().await;
    let worker = run(&fake);
    let items = fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("twice"))))
        .await;
    fake.orchestration().await;
    // No history is sent or asked for: only the live state can know the second step.
    items
        .send(
            "t2",
            Item::OrchestratorRequest(continuing("t1", completed(0, "10"))),
        )
        .await;
    assert_eq!(input_of(&fake.orchestration().await), "11");
    worker.stop().await;
}

#[tokio::test]
async fn a_stale_or_missing_live_execution_falls_back_to_the_history() {
    let mut fake = Fake::start().await;
    let mut past = started("twice");
    past.push(scheduled(0));
    fake.set_history(past.clone());
    let worker = run(&fake);
    let items = fake.stream().await;

    items
        .send("t1", Item::OrchestratorRequest(turn(started("twice"))))
        .await;
    fake.orchestration().await;
    items
        .send(
            "t2",
            Item::OrchestratorRequest(continuing("another", completed(0, "20"))),
        )
        .await;
    let Got::History(request) = fake.next().await else {
        panic!("the history was not asked for");
    };
    assert!(request.for_work_item_processing);
    assert_eq!(
        (
            request.instance_id.as_str(),
            request.execution_id.as_deref()
        ),
        ("abc", Some("exec"))
    );
    assert_eq!(input_of(&fake.orchestration().await), "21");

    // The same with the history inline, as for a scheduler without our extension.
    let request = proto::OrchestratorRequest {
        past_events: past,
        ..turn(completed(0, "30"))
    };
    items.send("t3", Item::OrchestratorRequest(request)).await;
    assert_eq!(input_of(&fake.orchestration().await), "31");
    worker.stop().await;
}

#[tokio::test]
async fn a_turn_that_the_scheduler_did_not_take_is_not_continued() {
    let mut fake = Fake::start().await;
    let mut past = started("twice");
    past.push(scheduled(0));
    fake.set_history(past);
    fake.answer_completions(vec![Err(Status::not_found("gone"))]);
    // One turn at a time, so that the first is over when the second begins.
    let worker = run_with(&fake, |builder| builder.max_concurrent_orchestrations(1));
    let items = fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("twice"))))
        .await;
    fake.orchestration().await;
    items
        .send(
            "t2",
            Item::OrchestratorRequest(continuing("t1", completed(0, "20"))),
        )
        .await;
    assert!(matches!(fake.next().await, Got::History(_)));
    assert_eq!(input_of(&fake.orchestration().await), "21");
    worker.stop().await;
}

#[tokio::test]
async fn a_diverging_instance_is_held_if_the_worker_is_configured_to() {
    let mut fake = Fake::start().await;
    let worker = run_with(&fake, |builder| builder.on_divergence(OnDivergence::Hold));
    let items = fake.stream().await;
    // The history records a step that the code does not take.
    let mut past = started("twice");
    past.push(fake::items::event(
        0,
        EventType::TimerCreated(proto::TimerCreatedEvent::default()),
    ));
    let mut request = turn(completed(0, "8"));
    request.past_events = past;
    items
        .send("t1", Item::OrchestratorRequest(request.clone()))
        .await;
    let Got::AbandonedOrchestration(token) = fake.next().await else {
        panic!("it was answered");
    };
    assert_eq!(token, "t1");
    worker.stop().await;

    let worker = run(&fake);
    let items = fake.stream().await;
    items.send("t2", Item::OrchestratorRequest(request)).await;
    let details = failure_of(&fake.orchestration().await);
    assert_eq!(details.error_type, "NonDeterminismError");
    worker.stop().await;
}

#[tokio::test]
async fn an_activity_with_a_token_is_asked_to_stop_and_may_clean_up() {
    const COPIES: Activity<u32, u32> = Activity::new("copies");
    let mut fake = Fake::start().await;
    let begun = Arc::new(Semaphore::new(0));
    let worker = run_with(&fake, |builder| {
        let registry = Registry::new().activity_with_state(
            &COPIES,
            Arc::clone(&begun),
            async |begun: Arc<Semaphore>, ctx: ActivityContext, _: u32| {
                begun.add_permits(1);
                ctx.cancelled().await;
                assert!(ctx.is_cancelled());
                Err(Failure::new("Cleaned", "it cleaned up"))
            },
        );
        builder
            .registry(registry)
            .cancel_activities(CancelActivities::WhenTerminated)
    });
    let items = fake.stream().await;
    items.send("t1", activity("copies", 0)).await;
    begun.acquire().await.unwrap().forget();
    let mut ended = started("twice");
    ended.push(fake::items::event(
        -1,
        EventType::ExecutionTerminated(proto::ExecutionTerminatedEvent::default()),
    ));
    let mut request = turn(ended);
    request.execution_id = None;
    items.send("t2", Item::OrchestratorRequest(request)).await;
    fake.orchestration().await;
    let details = fake.activity().await.failure_details.unwrap();
    assert_eq!(details.error_type, "Cleaned");
    worker.stop().await;
}

#[tokio::test]
async fn a_spawned_worker_runs_until_it_is_stopped() {
    let mut fake = Fake::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = Worker::builder(&fake.connection()).registry(registry(&gate));
    let worker = worker.build().unwrap().spawn();
    let items = fake.stream().await;
    items.send("t1", activity("echo", 5)).await;
    assert_eq!(fake.activity().await.result.as_deref(), Some("7"));
    let mut status = worker.status();
    assert!(
        status
            .wait_for(|status| status.is_connected())
            .await
            .is_some()
    );
    worker.stop().await.unwrap();
    items.closed().await;
}

#[tokio::test]
async fn a_result_is_sent_again_after_a_transient_error_and_dropped_when_its_item_is_gone() {
    let mut fake = Fake::start().await;
    fake.answer_completions(vec![
        Err(Status::unavailable("busy")),
        Ok(()),
        Err(Status::not_found("gone")),
    ]);
    let worker = run(&fake);
    let items = fake.stream().await;
    items.send("t1", activity("echo", 0)).await;
    assert_eq!(fake.activity().await.completion_token, "t1");
    assert_eq!(fake.activity().await.completion_token, "t1");
    items.send("t2", activity("echo", 1)).await;
    assert_eq!(fake.activity().await.completion_token, "t2");
    items.send("t3", activity("echo", 2)).await;
    assert_eq!(fake.activity().await.completion_token, "t3");
    worker.stop().await;
}

#[tokio::test]
async fn it_comes_back_after_every_kind_of_disconnection() {
    let mut fake = Fake::start().await;
    let worker = run(&fake);
    // The peer cancels the stream, as the service does after some hours.
    let items = fake.stream().await;
    items.fail(Status::cancelled("RST_STREAM")).await;
    // The peer ends the stream in good order.
    drop(fake.stream().await);
    // The peer dies and comes back.
    let items = fake.stream().await;
    fake.restart().await;
    drop(items);
    let items = fake.stream().await;
    items.send("t1", activity("echo", 0)).await;
    assert_eq!(fake.activity().await.completion_token, "t1");
    worker.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_abandoned() {
    let mut fake = Fake::start().await;
    let worker = run_with(&fake, |builder| {
        builder.silence_timeout(Duration::from_millis(200))
    });
    let begun = std::time::Instant::now();
    let first = fake.stream().await;
    let second = fake.stream().await;
    // It was given up for its silence, and not sooner.
    assert!(begun.elapsed() >= Duration::from_millis(200));
    first.closed().await;
    drop(second);
    worker.stop().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_hands_back_the_rest() {
    let mut fake = Fake::start().await;
    let worker = run(&fake);
    let items = fake.stream().await;
    items.send("t1", activity("gated", 0)).await;
    items.send("t2", activity("echo", 1)).await;
    assert_eq!(fake.activity().await.completion_token, "t2");

    worker.stop.cancel();
    items.send("t3", activity("echo", 2)).await;
    items
        .send("t4", Item::OrchestratorRequest(turn(started("twice"))))
        .await;
    let mut abandoned = Vec::new();
    for _ in 0..2 {
        match fake.next().await {
            Got::AbandonedActivity(token) | Got::AbandonedOrchestration(token) => {
                abandoned.push(token)
            }
            other => panic!("not handed back: {other:?}"),
        }
    }
    abandoned.sort();
    assert_eq!(abandoned, ["t3", "t4"]);
    // There is no other worker, so what was handed back comes again: it is kept.
    items.send("t5", activity("echo", 2)).await;
    items.send("t6", activity("echo", 3)).await;
    match fake.next().await {
        Got::AbandonedActivity(token) => assert_eq!(token, "t6"),
        other => panic!("not handed back: {other:?}"),
    }
    assert!(!worker.task.is_finished());
    worker.gate.add_permits(1);
    assert_eq!(fake.activity().await.completion_token, "t1");
    worker.finished().await;
    items.closed().await;
}

#[tokio::test]
async fn the_grace_period_bounds_the_draining() {
    let mut fake = Fake::start().await;
    let worker = run_with(&fake, |builder| {
        builder.grace_period(Duration::from_millis(50))
    });
    let items = fake.stream().await;
    items.send("t1", activity("gated", 0)).await;
    items.send("t2", activity("echo", 1)).await;
    assert_eq!(fake.activity().await.completion_token, "t2");
    worker.stop().await;
    items.closed().await;
}

#[tokio::test]
async fn a_result_that_is_always_refused_fails_the_orchestration() {
    let mut fake = Fake::start().await;
    let worker = run(&fake);
    let items = fake.stream().await;
    items
        .send("t1", Item::OrchestratorRequest(turn(started("huge"))))
        .await;
    let details = failure_of(&fake.orchestration().await);
    assert_eq!(details.error_type, "OrchestratorResponseTooLarge");
    assert!(details.is_non_retriable);
    worker.stop().await;
}

#[tokio::test]
async fn it_waits_for_an_unreachable_scheduler_and_stops_on_request() {
    let mut fake = Fake::start().await;
    fake.kill();
    fake.gone().await;
    // One that waits can be stopped.
    let worker = run(&fake);
    worker.stop().await;
    // One that goes on waiting works as soon as there is a scheduler.
    let worker = run(&fake);
    fake.restart().await;
    let items = fake.stream().await;
    items.send("t1", activity("echo", 0)).await;
    assert_eq!(fake.activity().await.completion_token, "t1");
    worker.stop().await;
}

#[test]
fn two_handlers_for_one_name_are_refused() {
    let connection = durabletask::Connection::insecure("http://127.0.0.1:1", "hub").unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let error = Worker::builder(&connection)
        .registry(registry(&gate))
        .registry(registry(&gate))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("activity 'echo'"), "{error}");
}
