//! What was acknowledged has its effect on orchestrations of our SDK, which continue as
//! new all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask::{
    Client, Connection, ContinueOptions, Event, Failure, Orchestration, OrchestrationContext,
    Payloads, Recursive, Registry, Status, UnprocessedEvents, Worker,
};
use durabletask_proto::OrchestrationStatus;
use support::{Hub, PATIENCE};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const GO: Event<u32> = Event::new("go");
const LOOP: Orchestration<Vec<u32>, Vec<u32>> = Orchestration::new("loop");

/// Collects three events, each in an execution of its own.
async fn collect(ctx: OrchestrationContext, mut seen: Vec<u32>) -> Result<Vec<u32>, Failure> {
    seen.push(ctx.wait_for_event(&GO).await?);
    if seen.len() == 3 {
        return Ok(seen);
    }
    let options = ContinueOptions {
        unprocessed_events: UnprocessedEvents::Keep,
        ..ContinueOptions::default()
    };
    ctx.continue_as_new_with(&seen, options)
}

fn sdk(hub: &Hub) -> (Client, Connection) {
    let connection = Connection::insecure(&format!("http://{}", hub.address), "default").unwrap();
    (Client::new(&connection).unwrap(), connection)
}

/// A worker of ours, until the token is cancelled.
fn collector(connection: &Connection) -> (CancellationToken, JoinHandle<()>) {
    let worker = Worker::builder(connection)
        .registry(Registry::new().orchestration(&LOOP, collect))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = stop.clone();
    let task = tokio::spawn(async move { worker.run(running).await.unwrap() });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_behind_a_suspension_reach_our_sdk_in_order() {
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let (stop, worker) = collector(&connection);
    let id = client.start(&LOOP, &Vec::new()).send().await.unwrap();
    client
        .wait_for_start(&id, Payloads::Omit, PATIENCE)
        .await
        .unwrap();
    stop.cancel();
    worker.await.unwrap();
    client.raise_event(&id, &GO, &1).await.unwrap();
    client.suspend(&id, "").await.unwrap();
    for event in [2, 3] {
        client.raise_event(&id, &GO, &event).await.unwrap();
    }
    let (stop, worker) = collector(&connection);
    // The worker takes the first event, and what it continues as waits.
    while hub.get(&id).await.unwrap().input.as_deref() != Some("[1]") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hub.status(&id).await, OrchestrationStatus::Suspended);
    client.resume(&id, "").await.unwrap();
    let end = client
        .wait_for_completion(&id, Payloads::Include, PATIENCE)
        .await
        .unwrap();
    assert_eq!(end.output::<Vec<u32>>().unwrap(), [1, 2, 3]);
    stop.cancel();
    worker.await.unwrap();
}

const BUSY: Orchestration<u32, ()> = Orchestration::new("busy");

async fn count(ctx: OrchestrationContext, n: u32) -> Result<(), Failure> {
    ctx.wait_for_event(&GO).await?;
    let options = ContinueOptions {
        unprocessed_events: UnprocessedEvents::Keep,
        ..ContinueOptions::default()
    };
    ctx.continue_as_new_with(&(n + 1), options)
}

/// Many loops that are always between two executions, suspended and ended at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_loops_are_suspended_and_end_under_load() {
    const LOOPS: usize = 20;
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let worker = Worker::builder(&connection)
        .registry(Registry::new().orchestration(&BUSY, count))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    let mut loops = JoinSet::new();
    for number in 0..LOOPS {
        let client = client.clone();
        loops.spawn(async move {
            let id = client.start(&BUSY, &0).send().await.unwrap();
            let feeding = CancellationToken::new();
            let feeder = {
                let (client, id, feeding) = (client.clone(), id.clone(), feeding.clone());
                tokio::spawn(async move {
                    while !feeding.is_cancelled() {
                        client.raise_event(&id, &GO, &1).await.unwrap();
                    }
                })
            };
            // Some moment of the load.
            tokio::time::sleep(Duration::from_millis(20 + 3 * number as u64)).await;
            client.suspend(&id, "").await.unwrap();
            let state = client.get(&id, Payloads::Include).await.unwrap().unwrap();
            assert_eq!(state.status, Status::Suspended, "{id}");
            if number % 2 == 0 {
                client.resume(&id, "").await.unwrap();
            }
            client
                .terminate(&id, "enough", Recursive::No)
                .await
                .unwrap();
            let end = client
                .wait_for_completion(&id, Payloads::Include, PATIENCE)
                .await
                .unwrap();
            assert_eq!(end.status, Status::Terminated, "{id}");
            feeding.cancel();
            feeder.await.unwrap();
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended.unwrap();
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
