//! Our SDK's worker hands its results in on a stream, or by calls, over connections that are cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/cut.rs"]
mod cut;
mod support;

use std::time::Duration;

use cut::{Cut, Way};
use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, ActivityContext, Client, Connection, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use support::{Hub, PATIENCE};
use tokio_util::sync::CancellationToken;

const ADD_ONE: Activity<u32, u32> = Activity::new("add-one");
const COUNT: Orchestration<u32, u32> = Orchestration::new("count");
const INSTANCES: u32 = 12;
const STEPS: u32 = 4;

async fn add_one(_: ActivityContext, number: u32) -> Result<u32, Failure> {
    Ok(number + 1)
}

async fn count(ctx: OrchestrationContext, mut number: u32) -> Result<u32, Failure> {
    for _ in 0..STEPS {
        number = ctx.call_activity(&ADD_ONE, &number).await?;
    }
    Ok(number)
}

/// Each instance ends with each result once, although the worker's connections are cut.
async fn count_over(cuts: Vec<Cut>, stream: bool) {
    let hub = Hub::memory().await;
    let near = Connection::insecure(&format!("http://{}", hub.address), "default").unwrap();
    let client = Client::new(&near).unwrap();
    let way = Way::open(hub.address, cuts).await;
    let far = Connection::insecure(&format!("http://{}", way.address), "default").unwrap();
    let registry = Registry::new()
        .orchestration(&COUNT, count)
        .activity(&ADD_ONE, add_one);
    let worker = Worker::builder(&far)
        .registry(registry)
        .completion_stream(stream)
        .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let working = tokio::spawn(async move { worker.run_until(stopped).await });

    let mut ids = Vec::new();
    for number in 0..INSTANCES {
        let started = client.start(&COUNT, &(number * 100)).send().await.unwrap();
        ids.push(started.into_id());
    }
    for (number, id) in (0..).zip(&ids) {
        let state = client
            .wait_for_completion(id, Payloads::Include, PATIENCE)
            .await
            .unwrap();
        assert_eq!(state.status, Status::Completed);
        let counted: u32 = state.output().unwrap();
        assert_eq!(counted, number * 100 + STEPS);
        let history = hub.history(id).await;
        let ends = history.iter().filter(|kind| **kind == "TaskCompleted");
        assert_eq!(u32::try_from(ends.count()), Ok(STEPS));
    }
    stop.cancel();
    working.await.unwrap().unwrap();
}

/// Connections that end earlier and later, in both directions, and then some that stay.
fn cuts(seed: u64) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = (1..=8)
        .map(|n| Cut {
            up: 200 + (seed * 977 + n * 613) % 6000,
            down: 100 + (seed * 619 + n * 389) % 3000,
        })
        .collect();
    cuts.push(Cut::NEVER);
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_arrive_once_on_the_stream_and_by_calls() {
    count_over(vec![Cut::NEVER], true).await;
    count_over(vec![Cut::NEVER], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_arrive_once_whatever_is_cut() {
    let cases = (0..4).flat_map(|seed| [(seed, true), (seed, false)]);
    let cases = cases.map(|(seed, stream)| count_over(cuts(seed), stream));
    futures_util::future::join_all(cases).await;
}
