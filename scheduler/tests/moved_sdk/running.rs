//! A scheduler that a test talks to with the SDK.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use durabletask::client::{EntityQuery, InstanceQuery, Payloads, Status};
use durabletask::worker::WorkerError;
use durabletask::{Client, Connection, Worker};
use durabletask_scheduler::{ManualClock, OpenError, Scheduler, SchedulerConfig, Storage};
use futures_util::TryStreamExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::PATIENCE;
use crate::everything::registry;

/// A scheduler, with a worker or none.
pub(crate) struct Running {
    pub(crate) client: Client,
    connection: Connection,
    stop: CancellationToken,
    server: JoinHandle<()>,
    worker: Option<JoinHandle<Result<(), WorkerError>>>,
}

pub(crate) async fn open(
    storage: &Storage,
    clock: &Arc<ManualClock>,
) -> Result<Scheduler, OpenError> {
    let mut config = SchedulerConfig::new(storage.clone());
    config.clock = clock.clone();
    config.drain_timeout = Duration::from_millis(200);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let config = config.clone();
        match tokio::task::block_in_place(|| Scheduler::open(config)) {
            // The lock of a scheduler that was dropped a moment ago goes with its thread.
            Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            other => return other,
        }
    }
}

impl Running {
    pub(crate) async fn start(storage: &Storage, clock: &Arc<ManualClock>) -> Self {
        let scheduler = open(storage, clock).await.unwrap();
        scheduler.until_owner().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = stop.clone();
        let server = tokio::spawn(async move { scheduler.serve(listener, serving).await.unwrap() });
        let connection = Connection::insecure(&endpoint, "default").unwrap();
        Self {
            client: Client::new(&connection).unwrap(),
            connection,
            stop,
            server,
            worker: None,
        }
    }

    pub(crate) fn work(&mut self, slow_ends: &Arc<AtomicBool>) {
        let worker = Worker::builder(&self.connection)
            .registry(registry(slow_ends))
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        self.worker = Some(tokio::spawn(worker.run_until(stop.cancelled_owned())));
    }

    /// Ends the worker with what it holds.
    pub(crate) async fn lose_worker(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.abort();
            let _ = worker.await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.lose_worker().await;
        self.stop.cancel();
        self.server.await.unwrap();
    }

    pub(crate) async fn until(
        &self,
        id: &str,
        what: &str,
        is: impl Fn(&durabletask::client::InstanceState) -> bool,
    ) {
        let reached = async {
            loop {
                let state = self.client.get(id, Payloads::Include).await.unwrap();
                if state.is_some_and(|state| is(&state)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{id} is never {what}"));
    }

    pub(crate) async fn until_status(&self, id: &str, status: Status) {
        self.until(id, &format!("{status:?}"), |state| state.status == status)
            .await;
    }

    pub(crate) async fn until_history(&self, id: &str, events: usize) {
        let reached = async {
            while self.client.history(id).collect().await.unwrap().len() < events {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{id} never has {events} events"));
    }

    /// All that can be seen from outside: every instance with its history, every entity with its state.
    pub(crate) async fn all(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let query = InstanceQuery::new().payloads(Payloads::Include);
        let instances: Vec<_> = self
            .client
            .list_instances(query)
            .try_collect()
            .await
            .unwrap();
        for instance in instances {
            let whole = self.client.export_instance(&instance.instance_id).await;
            all.insert(instance.instance_id, whole.unwrap().to_json());
        }
        let query = EntityQuery::new().include_state().include_transient();
        let entities: Vec<_> = self
            .client
            .list_entities(query)
            .try_collect()
            .await
            .unwrap();
        for entity in entities {
            all.insert(
                entity.id.to_string(),
                format!("{entity:?} {:?}", entity.state::<serde_json::Value>()),
            );
        }
        all
    }
}
