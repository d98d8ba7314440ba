//! A backend, and a task hub of it with a client and a worker.

use std::time::Duration;

use durabletask::client::{InstanceState, Payloads, Status};
use durabletask::worker::WorkerBuilder;
use durabletask::{Client, ClientError, Connection, Orchestration, Registry, Worker};
use durabletask_scheduler::{Scheduler, SchedulerConfig, Storage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long one wait may take. Only a broken feature waits it out.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Something that speaks the protocol.
pub struct Backend {
    /// Its name in the table and in the exclusions.
    pub name: &'static str,
    connection_string: String,
    /// Whether it keeps hubs apart by the request header.
    has_hubs: bool,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Backend {
    /// Our own scheduler, and whatever the environment names.
    pub async fn at_hand() -> Vec<Self> {
        let mut backends = vec![Self::own().await];
        for (name, variable, has_hubs) in [
            ("own-postgres", "CONFORMANCE_OWN_POSTGRES", true),
            ("python-backend", "CONFORMANCE_PYTHON_BACKEND", false),
            ("go-sidecar", "CONFORMANCE_GO_SIDECAR", false),
            ("dts", "DTS_CONNECTION_STRING", false),
        ] {
            if let Ok(connection_string) = std::env::var(variable) {
                backends.push(Self {
                    name,
                    connection_string,
                    has_hubs,
                    serving: None,
                });
            }
        }
        backends
    }

    async fn own() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheduler = Scheduler::open(SchedulerConfig::new(Storage::Memory)).unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let served =
            tokio::spawn(async move { scheduler.serve(listener, stopping).await.unwrap() });
        Self {
            name: "own-scheduler",
            connection_string: format!(
                "Endpoint=http://{address};TaskHub=default;Authentication=None"
            ),
            has_hubs: true,
            serving: Some((stop, served)),
        }
    }

    /// Ends what this process serves.
    pub async fn stop(self) {
        if let Some((stop, served)) = self.serving {
            stop.cancel();
            served.await.unwrap();
        }
    }

    fn connection(&self, feature: &str) -> Connection {
        let mut text = self.connection_string.clone();
        if self.has_hubs {
            // The last of a repeated key counts.
            text.push_str(&format!(";TaskHub={feature}"));
        }
        Connection::parse(&text).unwrap()
    }
}

/// A worker in progress. Dropped, it drains without anyone waiting for it.
pub struct Running {
    stop: DropGuard,
    running: JoinHandle<()>,
}

impl Running {
    /// Drains the worker.
    pub async fn stop(self) {
        drop(self.stop);
        self.running.await.unwrap();
    }
}

/// A task hub with a client.
#[derive(Clone)]
pub struct Hub {
    pub connection: Connection,
    pub client: Client,
}

impl Hub {
    /// Connects to a hub of the backend.
    pub fn open(backend: &Backend, feature: &str) -> Self {
        let connection = backend.connection(feature);
        Self {
            client: Client::new(&connection).unwrap(),
            connection,
        }
    }

    /// Starts a worker that runs `registry`.
    pub fn worker(
        &self,
        registry: Registry,
        configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
    ) -> Running {
        let builder = Worker::builder(&self.connection)
            .registry(registry)
            .grace_period(Duration::from_secs(2));
        let worker = configure(builder).build().unwrap();
        let stop = CancellationToken::new();
        let running = worker.run_until(stop.clone().cancelled_owned());
        Running {
            stop: stop.drop_guard(),
            running: tokio::spawn(async move { running.await.unwrap() }),
        }
    }

    /// Starts an instance under an id that nothing else uses.
    pub async fn start<I: Serialize, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &I,
    ) -> String {
        self.client
            .start(orchestration, input)
            .send()
            .await
            .unwrap()
            .into_id()
    }

    /// The state of an instance once it has begun to run.
    pub async fn begun(&self, instance_id: &str) -> InstanceState {
        self.client
            .wait_for_start(instance_id, Payloads::Include, DEADLINE)
            .await
            .unwrap()
    }

    /// The state of an instance once it has ended.
    pub async fn end(&self, instance_id: &str) -> InstanceState {
        self.client
            .wait_for_completion(instance_id, Payloads::Include, DEADLINE)
            .await
            .unwrap()
    }

    /// The output of an instance that has to complete.
    pub async fn output<O: DeserializeOwned>(&self, instance_id: &str) -> O {
        let state = self.end(instance_id).await;
        assert_eq!(state.status, Status::Completed, "{:?}", state.failure);
        state.output().unwrap()
    }

    /// Runs an orchestration that has to complete, and gives its output.
    pub async fn run<I: Serialize, O: DeserializeOwned>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &I,
    ) -> O {
        let instance_id = self.start(orchestration, input).await;
        self.output(&instance_id).await
    }

    /// The present state, if there is such an instance.
    pub async fn get(&self, instance_id: &str) -> Option<InstanceState> {
        self.client
            .get(instance_id, Payloads::Include)
            .await
            .unwrap()
    }

    /// Asks again until the state is as wanted.
    pub async fn until(&self, instance_id: &str, holds: impl Fn(&InstanceState) -> bool) {
        let waiting = async {
            loop {
                if self
                    .get(instance_id)
                    .await
                    .is_some_and(|state| holds(&state))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("still {:?}", self.get(instance_id).await);
        }
    }

    /// Makes sure that an instance does not end within a moment.
    pub async fn stays_open(&self, instance_id: &str) {
        let moment = Duration::from_millis(700);
        let waited = self
            .client
            .wait_for_completion(instance_id, Payloads::Omit, moment)
            .await;
        assert!(
            matches!(waited, Err(ClientError::Timeout { .. })),
            "{waited:?}"
        );
    }
}

/// An id that nothing else uses.
pub fn fresh(prefix: &str) -> String {
    format!(
        "{prefix}-{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    )
}
