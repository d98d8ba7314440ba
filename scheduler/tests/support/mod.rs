//! A scheduler on a free port, a client and a hand-driven worker.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod nodes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use countersign_database::testing::Postgres;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use durabletask_proto::*;
use durabletask_scheduler::{
    DatabaseStorage, InProcess, ManualClock, OpenError, PeerPort, Scheduler, SchedulerConfig,
    Storage,
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};

/// Whether every test goes through a node that owns nothing, to the one that it would else go to. So it is
/// in `tests/elsewhere`.
pub const ELSEWHERE: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"elsewhere");

/// Whether every test calls the scheduler without a socket. So it is in `tests/in_process`.
pub const IN_PROCESS: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"in_process");

pub type Client = TaskHubSidecarServiceClient<Channel>;

/// Long enough for a loaded machine; only a failing test waits it out.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How our SDK's workers announce that they continue from what they hold.
pub const CONTINUES: &[(&str, &str)] = &[("history-continuation", "v1")];

/// Whether this test program is the one that runs the tests of others on PostgreSQL.
pub const ON_POSTGRES: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"postgres");

/// A PostgreSQL database in place of memory or of a folder, in the test program `postgres` and where
/// there is PostgreSQL. Each folder stands for one database.
fn database(folder: Option<&Path>) -> Option<Storage> {
    static NAMES: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());
    if !ON_POSTGRES {
        return None;
    }
    let server = Postgres::shared()?;
    let name = match folder {
        None => server.make(),
        Some(folder) => {
            let mut names = NAMES.lock().unwrap();
            let name = names.entry(folder.to_owned());
            name.or_insert_with(|| server.make()).clone()
        }
    };
    Some(Storage::Database(DatabaseStorage {
        url: server.database_named(&name),
        passwords: None,
        node: "test".to_owned(),
    }))
}

pub struct Hub {
    pub client: Client,
    pub clock: Arc<ManualClock>,
    pub stop: CancellationToken,
    pub served: JoinHandle<()>,
    pub address: SocketAddr,
    pub scheduler: Scheduler,
}

impl Hub {
    pub async fn memory() -> Self {
        Self::with(|_| {}).await
    }

    /// In memory, with other settings than usual.
    pub async fn with(change: impl FnOnce(&mut SchedulerConfig)) -> Self {
        let storage = database(None).unwrap_or(Storage::Memory);
        Self::open(storage, change).await.unwrap()
    }

    pub async fn folder(path: &Path) -> Self {
        Self::folder_with(path, |_| {}).await
    }

    /// In a folder, with other settings than usual.
    pub async fn folder_with(path: &Path, change: impl Fn(&mut SchedulerConfig)) -> Self {
        if let Some(storage) = database(Some(path)) {
            return Self::open(storage, &change).await.unwrap();
        }
        // The lock of a scheduler that was dropped a moment ago goes with its thread.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Self::open(Storage::Directory(path.to_owned()), &change).await {
                Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::task::yield_now().await
                }
                other => return other.unwrap(),
            }
        }
    }

    async fn open(
        storage: Storage,
        change: impl FnOnce(&mut SchedulerConfig),
    ) -> Result<Self, OpenError> {
        let clock = Arc::new(ManualClock::new(
            DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
        ));
        let mut config = SchedulerConfig::new(storage);
        config.clock = clock.clone();
        config.drain_timeout = Duration::from_millis(200);
        change(&mut config);
        let stop = CancellationToken::new();
        let (address, scheduler, served) = match ELSEWHERE {
            false => serve(config, &stop).await?,
            true => serve_elsewhere(config, &stop).await?,
        };
        let client = match IN_PROCESS {
            false => nodes::client_of(address),
            true => client_within(scheduler.in_process()),
        };
        Ok(Self {
            client,
            clock,
            stop,
            served,
            address,
            scheduler,
        })
    }

    /// Drops everything at once, without draining.
    pub async fn crash(self) {
        self.served.abort();
        let _ = self.served.await;
    }

    pub async fn start(&self, id: &str) {
        self.try_start(CreateInstanceRequest {
            instance_id: id.into(),
            name: "Hello".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    }

    pub async fn try_start(&self, request: CreateInstanceRequest) -> Result<String, Code> {
        self.client
            .clone()
            .start_instance(request)
            .await
            .map(|r| r.into_inner().instance_id)
            .map_err(|s| s.code())
    }

    pub async fn get(&self, id: &str) -> Option<OrchestrationState> {
        let request = GetInstanceRequest {
            instance_id: id.into(),
            get_inputs_and_outputs: true,
        };
        self.client
            .clone()
            .get_instance(request)
            .await
            .unwrap()
            .into_inner()
            .orchestration_state
    }

    pub async fn status(&self, id: &str) -> OrchestrationStatus {
        OrchestrationStatus::try_from(self.get(id).await.unwrap().orchestration_status).unwrap()
    }

    pub async fn raise(&self, id: &str, name: &str) -> Result<(), Code> {
        let request = RaiseEventRequest {
            instance_id: id.into(),
            name: name.into(),
            input: Some("1".into()),
        };
        self.client
            .clone()
            .raise_event(request)
            .await
            .map(|_| ())
            .map_err(|s| s.code())
    }

    pub async fn worker(&self) -> Worker {
        self.worker_with(GetWorkItemsRequest::default(), "default")
            .await
    }

    pub async fn worker_with(&self, request: GetWorkItemsRequest, hub: &str) -> Worker {
        self.worker_that(request, hub, &[]).await
    }

    /// A worker that says something about itself in headers.
    pub async fn worker_that(
        &self,
        request: GetWorkItemsRequest,
        hub: &str,
        headers: &[(&'static str, &str)],
    ) -> Worker {
        let mut request = Request::new(request);
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
            .metadata_mut()
            .insert("taskhub", hub.parse().unwrap());
        let stream = self
            .client
            .clone()
            .get_work_items(request)
            .await
            .unwrap()
            .into_inner();
        Worker {
            client: self.client.clone(),
            stream,
            hub: hub.to_owned(),
        }
    }

    pub async fn history(&self, id: &str) -> Vec<&'static str> {
        let request = StreamInstanceHistoryRequest {
            instance_id: id.into(),
            ..Default::default()
        };
        let mut stream = self
            .client
            .clone()
            .stream_instance_history(request)
            .await
            .unwrap()
            .into_inner();
        let mut kinds = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            kinds.extend(chunk.events.iter().map(event_kind));
        }
        kinds
    }
}

/// A client without a socket; its address is nowhere, so that a call that left the process would fail.
pub fn client_within(near: InProcess) -> Client {
    let connector = tower::service_fn(move |_| {
        let opening = near.connect();
        async move { opening.await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://127.0.0.1:1");
    let channel = endpoint.connect_with_connector_lazy(connector);
    TaskHubSidecarServiceClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
}

async fn serve(
    config: SchedulerConfig,
    stop: &CancellationToken,
) -> Result<(SocketAddr, Scheduler, JoinHandle<()>), OpenError> {
    let scheduler = Scheduler::open(config)?;
    scheduler.until_owner().await;
    let (listener, address) = nodes::bind().await;
    let (serving, stop) = (scheduler.clone(), stop.clone());
    let served = tokio::spawn(async move { serving.serve(listener, stop).await.unwrap() });
    Ok((address, scheduler, served))
}

/// Two nodes: one with these settings, which owns all task hubs, and one that passes every call on to it. The
/// second is what the test sees.
async fn serve_elsewhere(
    mut config: SchedulerConfig,
    stop: &CancellationToken,
) -> Result<(SocketAddr, Scheduler, JoinHandle<()>), OpenError> {
    let table = nodes::FakeTable::new();
    let mut front = config.clone();
    front.storage = Storage::Memory;
    for config in [&mut config, &mut front] {
        let port = PeerPort::bind(&nodes::peer_settings()).await.unwrap();
        let node = port.node();
        table.give_rest(&node.id);
        config.owners = Some(table.seen_by(&node.id));
        config.peers = Some(port);
        table.join(node);
    }
    let owner = config.peers.as_ref().unwrap().node();
    table.give_rest(&owner.id);
    let (_, _, owner) = serve(config, stop).await?;
    let (address, scheduler, front) = serve(front, stop).await?;
    let served = tokio::spawn(async move {
        // A test that ends them at once ends this task.
        let (mut owner, mut front) = (Ends(owner), Ends(front));
        (&mut owner.0).await.unwrap();
        (&mut front.0).await.unwrap();
    });
    Ok((address, scheduler, served))
}

/// A task that ends with this value.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub struct Worker {
    pub client: Client,
    pub stream: Streaming<WorkItem>,
    pub hub: String,
}

impl Worker {
    pub async fn next(&mut self) -> WorkItem {
        let next = async {
            loop {
                let item = self.stream.message().await.unwrap();
                let item = item.expect("an open stream");
                if !matches!(item.request, Some(work_item::Request::HealthPing(_))) {
                    return item;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("a work item in time")
    }

    pub async fn turn(&mut self) -> (String, OrchestratorRequest) {
        let item = self.next().await;
        let Some(work_item::Request::OrchestratorRequest(turn)) = item.request else {
            panic!("{item:?}")
        };
        (item.completion_token, turn)
    }

    pub async fn activity(&mut self) -> (String, ActivityRequest) {
        let item = self.next().await;
        let Some(work_item::Request::ActivityRequest(activity)) = item.request else {
            panic!("{item:?}")
        };
        (item.completion_token, activity)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("taskhub", self.hub.parse().unwrap());
        request
    }

    /// Gives a turn back.
    pub async fn abandon(&self, token: &str) -> Result<(), Code> {
        let request = self.request(AbandonOrchestrationTaskRequest {
            completion_token: token.into(),
        });
        self.client
            .clone()
            .abandon_task_orchestrator_work_item(request)
            .await
            .map(|_| ())
            .map_err(|s| s.code())
    }

    pub async fn answer(&self, token: &str, actions: Vec<(i32, Action)>) -> Result<(), Code> {
        let response = OrchestratorResponse {
            actions: actions
                .into_iter()
                .map(|(id, action)| OrchestratorAction {
                    id,
                    orchestrator_action_type: Some(action),
                })
                .collect(),
            completion_token: token.into(),
            ..Default::default()
        };
        self.respond(response).await
    }

    pub async fn respond(&self, response: OrchestratorResponse) -> Result<(), Code> {
        let request = self.request(response);
        self.client
            .clone()
            .complete_orchestrator_task(request)
            .await
            .map(|_| ())
            .map_err(|s| s.code())
    }

    pub async fn finish(&self, token: &str, result: &str) -> Result<(), Code> {
        let response = ActivityResponse {
            result: Some(result.into()),
            completion_token: token.into(),
            ..Default::default()
        };
        let request = self.request(response);
        self.client
            .clone()
            .complete_activity_task(request)
            .await
            .map(|_| ())
            .map_err(|s| s.code())
    }
}

pub fn call(name: &str) -> Action {
    Action::ScheduleTask(ScheduleTaskAction {
        name: name.into(),
        input: Some("\"in\"".into()),
        ..Default::default()
    })
}

pub fn complete(status: OrchestrationStatus, result: &str) -> Action {
    Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: status as i32,
        result: Some(result.into()),
        ..Default::default()
    })
}

pub fn done(result: &str) -> Action {
    complete(OrchestrationStatus::Completed, result)
}

pub fn kinds(events: &[HistoryEvent]) -> Vec<&'static str> {
    events.iter().map(event_kind).collect()
}
