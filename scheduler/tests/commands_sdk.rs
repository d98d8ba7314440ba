//! What was acknowledged has its effect on orchestrations of our SDK, which continue as
//! new all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask::client::{Payloads, Recursive, Status};
use durabletask::worker::WorkItemFilters;
use durabletask::{
    Client, Connection, Entity, Event, Failure, Operation, Orchestration, OrchestrationContext,
    Outcome, Registry, TaskError, Worker,
};
use durabletask_proto::{EntityQuery, OrchestrationStatus, QueryEntitiesRequest};
use support::{Hub, PATIENCE};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const GO: Event<u32> = Event::new("go");
const LOOP: Orchestration<Vec<u32>, Vec<u32>> = Orchestration::new("loop");

/// Collects three events, each in an execution of its own.
async fn collect(
    ctx: OrchestrationContext,
    mut seen: Vec<u32>,
) -> Result<Outcome<Vec<u32>, Vec<u32>>, Failure> {
    seen.push(ctx.wait_for_event(&GO).await?);
    if seen.len() == 3 {
        return Ok(Outcome::Done(seen));
    }
    Ok(Outcome::continue_as_new(seen))
}

fn sdk(hub: &Hub) -> (Client, Connection) {
    let connection = Connection::insecure(&format!("http://{}", hub.address), "default").unwrap();
    (Client::new(&connection).unwrap(), connection)
}

/// A worker of ours, until the token is canceled.
fn collector(connection: &Connection) -> (CancellationToken, JoinHandle<()>) {
    let worker = Worker::builder(connection)
        .registry(Registry::new().continuing(&LOOP, collect))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = stop.clone();
    let task =
        tokio::spawn(async move { worker.run_until(running.cancelled_owned()).await.unwrap() });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_behind_a_suspension_reach_our_sdk_in_order() {
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let (stop, worker) = collector(&connection);
    let id = client
        .start(&LOOP, &Vec::new())
        .send()
        .await
        .unwrap()
        .into_id();
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

async fn count(ctx: OrchestrationContext, n: u32) -> Result<Outcome<u32, ()>, Failure> {
    ctx.wait_for_event(&GO).await?;
    Ok(Outcome::continue_as_new(n + 1))
}

/// Many loops that are always between two executions, suspended and ended at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_loops_are_suspended_and_end_under_load() {
    const LOOPS: usize = 20;
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let worker = Worker::builder(&connection)
        .registry(Registry::new().continuing(&BUSY, count))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let mut loops = JoinSet::new();
    for number in 0..LOOPS {
        let client = client.clone();
        loops.spawn(async move {
            let id = client.start(&BUSY, &0).send().await.unwrap().into_id();
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

const EATS: Orchestration<u32, ()> = Orchestration::new("eats");

/// Takes one event in each of so many executions.
async fn eat(ctx: OrchestrationContext, left: u32) -> Result<Outcome<u32, ()>, Failure> {
    ctx.wait_for_event(&GO).await?;
    Ok(match left {
        1 => Outcome::Done(()),
        _ => Outcome::continue_as_new(left - 1),
    })
}

/// How long a worker of ours takes for a backlog.
async fn work_off(count: u32) -> Duration {
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let id = client.start(&EATS, &count).send().await.unwrap().into_id();
    for n in 0..count {
        client.raise_event(&id, &GO, &n).await.unwrap();
    }
    let worker = Worker::builder(&connection)
        .registry(Registry::new().continuing(&EATS, eat))
        .build()
        .unwrap();
    let begun = std::time::Instant::now();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let end = client
        .wait_for_completion(&id, Payloads::Omit, PATIENCE)
        .await
        .unwrap();
    assert_eq!(end.status, Status::Completed);
    let took = begun.elapsed();
    stop.cancel();
    running.await.unwrap().unwrap();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_costs_our_sdk_per_event() {
    let few = work_off(100).await;
    let many = work_off(400).await;
    // Four times as many: four times the cost, with room for a busy machine.
    assert!(many < 8 * few + Duration::from_secs(1), "{few:?}, {many:?}");
}

const SLOW: Entity<u32> = Entity::new("slow");
const RUN: Operation<u32, (), ()> = Operation::new("run");
const CALLS: Orchestration<(), String> = Orchestration::new("calls");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_an_entity_are_answered_when_it_is_purged() {
    let hub = Hub::memory().await;
    let (client, connection) = sdk(&hub);
    let registry = Registry::new().orchestration(&CALLS, async |ctx: OrchestrationContext, ()| {
        match ctx.call_entity(&SLOW.id("k"), &RUN, &()).await {
            Err(TaskError::Failed { details, .. }) => Ok(details.error_type.clone()),
            other => Err(Failure::new("Unexpected", format!("{other:?}"))),
        }
    });
    // Nobody takes the entity's work, so the calls wait.
    let worker = Worker::builder(&connection)
        .registry(registry)
        .work_item_filters(WorkItemFilters::Registered)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(client.start(&CALLS, &()).send().await.unwrap().into_id());
    }
    let query = QueryEntitiesRequest {
        query: Some(EntityQuery {
            include_transient: true,
            ..EntityQuery::default()
        }),
    };
    let waiting = async || {
        let found = hub.client.clone().query_entities(query.clone()).await;
        let found = found.unwrap().into_inner().entities;
        found.first().map_or(0, |entity| entity.backlog_queue_size)
    };
    let all_wait = async {
        while waiting().await < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_wait).await.unwrap();
    let purged = client.purge("@slow@k", Recursive::No).await.unwrap();
    assert_eq!(purged.deleted, 1);
    for id in callers {
        let end = client
            .wait_for_completion(&id, Payloads::Include, PATIENCE)
            .await
            .unwrap();
        assert_eq!(end.output::<String>().unwrap(), "EntityPurged");
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
