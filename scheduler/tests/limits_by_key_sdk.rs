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
use tokio::sync::{Barrier, watch};

const TENANT: Limit = Limit::new("tenant", AT_ONCE as u32).waiting(40);
const SHORT: Limit = Limit::new("short", 1)
    .lease(Duration::from_secs(300))
    .waiting(1);
const TENANTS: usize = 3;
/// The tenant, and whether the work is to fail.
const IMPORT: Orchestration<(String, bool), ()> = Orchestration::new("import");
const COPY: Activity<String, ()> = Activity::new("copy");
/// Works until it gets the event `stop`.
const HOLD: Orchestration<(), ()> = Orchestration::new("hold");
const STOP: Event<()> = Event::new("stop");

/// How many copies of one tenant run at once: as many as [`TENANT`] allows.
const AT_ONCE: usize = 2;

/// The copies of one tenant.
struct Copies {
    /// How many run, and how many did at most.
    now_and_most: (usize, usize),
    /// A copy ends only beside another one of its tenant, so that fewer at once would never end.
    in_pairs: Arc<Barrier>,
}

/// The copies of all workers.
struct Running {
    tenants: Mutex<BTreeMap<String, Copies>>,
    /// No copy ends before this is set.
    may_end: watch::Sender<bool>,
}

impl Running {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tenants: Mutex::default(),
            may_end: watch::Sender::new(false),
        })
    }

    fn counts(&self) -> BTreeMap<String, (usize, usize)> {
        let tenants = self.tenants.lock().unwrap();
        tenants
            .iter()
            .map(|(tenant, copies)| (tenant.clone(), copies.now_and_most))
            .collect()
    }

    async fn copy(&self, tenant: &str) {
        let in_pairs = {
            let mut tenants = self.tenants.lock().unwrap();
            let copies = tenants.entry(tenant.to_owned()).or_insert_with(|| Copies {
                now_and_most: (0, 0),
                in_pairs: Arc::new(Barrier::new(AT_ONCE)),
            });
            let (now, most) = &mut copies.now_and_most;
            *now += 1;
            *most = (*most).max(*now);
            Arc::clone(&copies.in_pairs)
        };
        self.may_end.subscribe().wait_for(|may| *may).await.unwrap();
        in_pairs.wait().await;
        let mut tenants = self.tenants.lock().unwrap();
        tenants.get_mut(tenant).unwrap().now_and_most.0 -= 1;
    }
}

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

fn worker(hub: &Hub, running: &Arc<Running>) -> Worker {
    let running = Arc::clone(running);
    let copy = move |_: ActivityContext, tenant: String| {
        let running = Arc::clone(&running);
        async move {
            running.copy(&tenant).await;
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
    let running = Running::new();
    let workers = [
        worker(&hub, &running).spawn(),
        worker(&hub, &running).spawn(),
    ];
    let mut handles = Vec::new();
    for number in 0..60 {
        let tenant = number % TENANTS;
        let fails = number % 5 == 0;
        let import = client.start(&IMPORT, &(format!("tenant {tenant}"), fails));
        handles.push((import.send().await.unwrap(), fails, tenant));
    }
    handles.sort_by_key(|(.., tenant)| *tenant);
    // Two of each tenant are let in, and everyone else has to wait; only then may copies end.
    let let_in_or_waiting = async {
        let counts = || running.counts().into_values().collect::<Vec<_>>();
        while counts() != [(AT_ONCE, AT_ONCE); TENANTS] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for tenant in handles.chunk_by(|(.., one), (.., other)| one == other) {
            let mut let_in = 0;
            for (handle, ..) in tenant {
                let_in += usize::from(entered(&client, handle.id()).await);
            }
            assert_eq!(let_in, AT_ONCE);
        }
        assert_eq!(counts(), [(AT_ONCE, AT_ONCE); TENANTS]);
    };
    tokio::time::timeout(PATIENCE, let_in_or_waiting)
        .await
        .unwrap();
    running.may_end.send_replace(true);
    for (handle, fails, _) in handles {
        let state = client.wait_for_completion(handle.id(), Payloads::Include, PATIENCE);
        let expected = if fails {
            Status::Failed
        } else {
            Status::Completed
        };
        assert_eq!(state.await.unwrap().status, expected);
    }
    let counts: Vec<_> = running.counts().into_values().collect();
    assert_eq!(counts, [(0, AT_ONCE); TENANTS]);
    for worker in workers {
        worker.stop().await.unwrap();
    }
}

/// Whether the instance was let in at once; waits until it knows.
async fn entered(client: &Client, id: &str) -> bool {
    loop {
        let history: Vec<_> = client.history(id).try_collect().await.unwrap();
        let answer = history.iter().find_map(|event| match &event.payload {
            HistoryPayload::EntityOperationCompleted { output, .. } => Some(output.as_deref()),
            _ => None,
        });
        match answer {
            Some(entered) => return entered == Some("true"),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_terminated_at_its_work_counts_until_its_lease_ends() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub, &Running::new()).spawn();
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
    let let_in = tokio::time::timeout(PATIENCE, entered(&client, second.id())).await;
    assert!(!let_in.unwrap());
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
    let worker = worker(&hub, &Running::new()).spawn();
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
