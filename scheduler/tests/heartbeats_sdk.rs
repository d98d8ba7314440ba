//! Heartbeats of activities with both sides of the wire being ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask::activity::HeartbeatError;
use durabletask::client::Recursive;
use durabletask::worker::RunningWorker;
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Connection, Failure, Orchestration,
    OrchestrationContext, Registry, RetryPolicy, TaskOptions, Worker,
};
use support::{Hub, PATIENCE};
use tokio::sync::{mpsc, oneshot};

const COPY: Activity<u32, u32> = Activity::new("copy");
/// The chunks to copy, and the longest silence in milliseconds.
const BACK_UP: Orchestration<(u32, u64), u32> = Orchestration::new("back-up");

/// Long enough never to end in a test that does not wait for it.
const LONG: u64 = 60_000;

async fn back_up(ctx: OrchestrationContext, (chunks, limit): (u32, u64)) -> Result<u32, Failure> {
    let options = TaskOptions::new()
        .heartbeat_timeout(Duration::from_millis(limit))
        .retry(RetryPolicy::new(2, Duration::ZERO));
    Ok(ctx.call_activity_with(&COPY, &chunks, options).await?)
}

/// One run of the activity, which the test continues by hand.
struct Run {
    ctx: ActivityContext,
    end: oneshot::Sender<Result<u32, Failure>>,
}

/// A worker whose activity hands itself to the test.
fn built(hub: &Hub) -> (Worker, mpsc::UnboundedReceiver<Run>) {
    let (runs, taken) = mpsc::unbounded_channel();
    let registry = Registry::new().orchestration(&BACK_UP, back_up).activity(
        &COPY,
        move |ctx: ActivityContext, _: u32| {
            let (end, ended) = oneshot::channel();
            let handed = runs.send(Run { ctx, end });
            async move {
                handed.map_err(|_| "the test is over")?;
                ended.await.map_err(|_| "the test has dropped it")?
            }
        },
    );
    let worker = Worker::builder(&connection(hub)).registry(registry);
    (worker.build().unwrap(), taken)
}

fn worker(hub: &Hub) -> (RunningWorker, mpsc::UnboundedReceiver<Run>) {
    let (worker, taken) = built(hub);
    (worker.spawn(), taken)
}

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

async fn taken(runs: &mut mpsc::UnboundedReceiver<Run>) -> Run {
    tokio::time::timeout(PATIENCE, runs.recv())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_attempt_continues_from_the_last_heartbeat() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let (worker, mut runs) = worker(&hub);
    let instance = client.start(&BACK_UP, &(9, LONG)).send().await.unwrap();
    let first = taken(&mut runs).await;
    assert_eq!(first.ctx.heartbeat_timeout(), Some(Duration::from_secs(60)));
    assert_eq!(first.ctx.last_heartbeat::<u32>().await, Ok(None));
    for done in 1..=3_u32 {
        first.ctx.heartbeat(&done).await.unwrap();
    }
    assert_eq!(first.ctx.last_heartbeat().await, Ok(Some(3)));
    let other = first.ctx.last_heartbeat::<String>().await;
    assert!(
        matches!(other, Err(HeartbeatError::Payload(_))),
        "{other:?}"
    );
    let large = first.ctx.heartbeat(&"x".repeat(17_000)).await;
    assert!(
        matches!(
            large,
            Err(HeartbeatError::TooLarge {
                bytes: 17_002,
                limit: 16_384
            })
        ),
        "{large:?}"
    );
    let ended = first.ctx.clone();
    first.end.send(Err("the disk is full".into())).unwrap();

    let second = taken(&mut runs).await;
    assert_eq!(second.ctx.attempt(), 2);
    assert_eq!(second.ctx.last_heartbeat().await, Ok(Some(3)));
    // The first has ended, and its context knows.
    let late = ended.heartbeat(&4).await;
    assert!(matches!(late, Err(HeartbeatError::Ended(_))), "{late:?}");
    assert_eq!(second.ctx.last_heartbeat().await, Ok(Some(3)));
    second.end.send(Ok(9)).unwrap();
    assert_eq!(instance.result().await, Ok(9));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_heartbeat_is_lost_when_workers_and_the_scheduler_die() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::folder(folder.path()).await;
    let client = Client::new(&connection(&hub)).unwrap();
    let started = client.start(&BACK_UP, &(9, LONG)).instance_id("b").send();
    started.await.unwrap();
    let mut done = 0_u32;
    // None of them ends by itself.
    let mut kept = Vec::new();
    for round in 0..6 {
        let (worker, mut runs) = built(&hub);
        let working = tokio::spawn(worker.run_until(std::future::pending()));
        let run = taken(&mut runs).await;
        assert_eq!(run.ctx.attempt(), 1);
        let last = run.ctx.last_heartbeat::<u32>().await.unwrap();
        assert_eq!(last, (done > 0).then_some(done), "in round {round}");
        for _ in 0..round {
            done += 1;
            run.ctx.heartbeat(&done).await.unwrap();
        }
        // It is gone at once, whatever it was doing.
        working.abort();
        kept.push(run);
        if round % 2 == 1 {
            hub.crash().await;
            hub = Hub::folder(folder.path()).await;
        }
    }
    let (worker, mut runs) = worker(&hub);
    let run = taken(&mut runs).await;
    assert_eq!(run.ctx.last_heartbeat().await, Ok(Some(done)));
    run.end.send(Ok(done)).unwrap();
    let client = Client::new(&connection(&hub)).unwrap();
    assert_eq!(client.instance(&BACK_UP, "b").result().await, Ok(15));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orchestration_sees_the_silence_of_a_frozen_worker() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let (worker, mut runs) = worker(&hub);
    let instance = client.start(&BACK_UP, &(9, LONG)).send().await.unwrap();
    let first = taken(&mut runs).await;
    first.ctx.heartbeat(&1).await.unwrap();
    assert_eq!(first.ctx.last_heartbeat().await, Ok(Some(1)));
    // On the clock of the scheduler time passes; the activity and its worker do nothing.
    let second = loop {
        hub.clock.advance(Duration::from_secs(60));
        match tokio::time::timeout(Duration::from_millis(50), runs.recv()).await {
            Ok(run) => break run.unwrap(),
            Err(_) => continue,
        }
    };
    assert_eq!(second.ctx.attempt(), 2);
    assert_eq!(second.ctx.last_heartbeat().await, Ok(Some(1)));
    second.end.send(Ok(9)).unwrap();
    assert_eq!(instance.result().await, Ok(9));
    drop(first);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_falls_silent_is_given_up_by_its_worker() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let (worker, mut runs) = worker(&hub);
    let instance = client.start(&BACK_UP, &(9, 150)).send().await.unwrap();
    let kept = Mutex::new(Vec::new());
    for attempt in 1..=2 {
        let run = taken(&mut runs).await;
        assert_eq!(run.ctx.attempt(), attempt);
        kept.lock().unwrap().push(run);
    }
    let Err(ClientError::Failed { failure, .. }) = instance.result().await else {
        panic!("it did not fail");
    };
    assert!(failure.root_cause().is_heartbeat_timeout(), "{failure:?}");
    let runs = kept.into_inner().unwrap();
    let late = runs[0].ctx.heartbeat(&1).await;
    let limit = Duration::from_millis(150);
    assert_eq!(late, Err(HeartbeatError::TooLate { limit }));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_after_the_end_of_its_orchestration_is_refused() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let (worker, mut runs) = worker(&hub);
    let instance = client.start(&BACK_UP, &(9, LONG)).send().await.unwrap();
    let run = taken(&mut runs).await;
    // Kept beyond the activity, so that it is the instance that has ended.
    let ctx = Arc::new(run.ctx.clone());
    ctx.heartbeat(&1).await.unwrap();
    instance.terminate(&(), Recursive::No).await.unwrap();
    assert!(instance.result().await.is_err());
    let late = ctx.heartbeat(&2).await;
    assert!(matches!(late, Err(HeartbeatError::Ended(_))), "{late:?}");
    let last = ctx.last_heartbeat::<u32>().await;
    assert!(matches!(last, Err(HeartbeatError::Ended(_))), "{last:?}");
    worker.stop().await.unwrap();
}
