//! Limits by key over all workers of a hub, with both sides of the wire being ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use durabletask::client::{Payloads, Recursive, Status};
use durabletask::history::HistoryPayload;
use durabletask::limits::{self, Limit, TOO_MANY_WAITING};
use durabletask::{
    Activity, ActivityContext, Client, Connection, Event, Failure, Orchestration,
    OrchestrationContext, Registry, Worker,
};
use futures_util::TryStreamExt as _;
use support::{Hub, PATIENCE};

const TENANT: Limit = Limit::new("tenant", 2).waiting(40);
const SHORT: Limit = Limit::new("short", 1)
    .lease(Duration::from_secs(300))
    .waiting(1);
/// The tenant, and whether the work is to fail.
const IMPORT: Orchestration<(String, bool), ()> = Orchestration::new("import");
const COPY: Activity<String, ()> = Activity::new("copy");
/// Works until it gets the event `stop`.
const HOLD: Orchestration<(), ()> = Orchestration::new("hold");
const STOP: Event<()> = Event::new("stop");

/// How many copies run for each tenant, and how many did at most.
type Running = Arc<Mutex<BTreeMap<String, (u32, u32)>>>;

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

fn worker(hub: &Hub, running: &Running) -> Worker {
    let running = Arc::clone(running);
    let copy = move |_: ActivityContext, tenant: String| {
        let running = Arc::clone(&running);
        async move {
            {
                let mut running = running.lock().unwrap();
                let (now, most) = running.entry(tenant.clone()).or_default();
                *now += 1;
                *most = (*most).max(*now);
            }
            // Long enough for others to come in, if they may.
            tokio::time::sleep(Duration::from_millis(3)).await;
            running.lock().unwrap().get_mut(&tenant).unwrap().0 -= 1;
            Ok::<_, Failure>(())
        }
    };
    let registry = Registry::new()
        .orchestration(
            &IMPORT,
            async |ctx: OrchestrationContext, (tenant, fails): (String, bool)| {
                let work = async {
                    ctx.call_activity(&COPY, &tenant).await?;
                    match fails {
                        true => Err("the copy is incomplete".into()),
                        false => Ok(()),
                    }
                };
                TENANT.within(&ctx, &tenant, work).await
            },
        )
        .orchestration(&HOLD, async |ctx: OrchestrationContext, ()| {
            let work = async {
                ctx.set_custom_status(&"at work")?;
                Ok(ctx.wait_for_event(&STOP).await?)
            };
            SHORT.within(&ctx, "only", work).await
        })
        .activity(&COPY, copy);
    let worker = Worker::builder(&connection(hub)).registry(limits::register(registry));
    worker.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_has_more_at_once_than_the_limit_and_all_get_their_turn() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let running = Running::default();
    let workers = [
        worker(&hub, &running).spawn(),
        worker(&hub, &running).spawn(),
    ];
    let mut handles = Vec::new();
    for number in 0..60 {
        let tenant = format!("tenant {}", number % 3);
        let fails = number % 5 == 0;
        handles.push((
            client
                .start(&IMPORT, &(tenant, fails))
                .send()
                .await
                .unwrap(),
            fails,
        ));
    }
    for (handle, fails) in handles {
        let state = client.wait_for_completion(handle.id(), Payloads::Include, PATIENCE);
        let expected = if fails {
            Status::Failed
        } else {
            Status::Completed
        };
        assert_eq!(state.await.unwrap().status, expected);
    }
    let running = running.lock().unwrap().clone();
    assert_eq!(running.len(), 3);
    for (tenant, (now, most)) in running {
        assert_eq!((now, most), (0, 2), "{tenant}");
    }
    for worker in workers {
        worker.stop().await.unwrap();
    }
}

/// Whether the instance has to wait for its turn.
async fn waits(client: &Client, id: &str) -> bool {
    let history: Vec<_> = client.history(id).try_collect().await.unwrap();
    history.iter().any(|event| {
        matches!(&event.payload, HistoryPayload::EntityOperationCompleted { output: Some(entered), .. } if entered == "false")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_terminated_at_its_work_counts_until_its_lease_ends() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub, &Running::default()).spawn();
    let first = client.start(&HOLD, &()).send().await.unwrap();
    let at_work = async {
        while first
            .state()
            .await
            .unwrap()
            .unwrap()
            .custom_status_json
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, at_work).await.unwrap();
    first.terminate("enough", Recursive::No).await.unwrap();
    let second = client.start(&HOLD, &()).send().await.unwrap();
    second.raise_event(&STOP, &()).await.unwrap();
    let waits = async {
        while !waits(&client, second.id()).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
    // Its turn comes although nobody has left.
    hub.clock.set(Utc::now() + Duration::from_secs(600));
    let ended = client
        .wait_for_completion(second.id(), Payloads::Include, PATIENCE)
        .await;
    assert_eq!(ended.unwrap().status, Status::Completed);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_are_refused() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub, &Running::default()).spawn();
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(client.start(&HOLD, &()).send().await.unwrap());
    }
    // One works, one waits; which is refused depends on the order of arrival.
    let refused = futures_util::future::select_all(handles.iter().map(|handle| {
        Box::pin(client.wait_for_completion(handle.id(), Payloads::Include, PATIENCE))
    }));
    let (state, ..) = refused.await;
    let failure = state.unwrap().failure.unwrap();
    assert_eq!(
        failure.root_cause().error_type,
        TOO_MANY_WAITING,
        "{failure:?}"
    );
    worker.stop().await.unwrap();
}
