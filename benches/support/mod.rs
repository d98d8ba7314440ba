//! The system that the benchmarks measure: our scheduler, our worker and our client in
//! one process, over loopback gRPC.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use durabletask::worker::WorkerError;
use durabletask::{Client, Connection, Registry, Worker};
use durabletask_scheduler::{
    DatabaseStorage, OpenError, Scheduler, SchedulerConfig, ServeError, Storage,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a scheduler may take to close.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scheduler with its dashboard, and without a worker, that runs until [`Hub::stop`].
pub(crate) struct Hub {
    pub(crate) client: Client,
    /// Of its dashboard.
    pub(crate) dashboard: SocketAddr,
    connection: Connection,
    serving: JoinHandle<Result<(), ServeError>>,
    pages: JoinHandle<()>,
    stop: CancellationToken,
}

impl Hub {
    pub(crate) async fn open(storage: Storage) -> Self {
        let scheduler = Self::opened(&storage).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port is known");
        let pages = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let dashboard = pages.local_addr().expect("the port is known");
        let stop = CancellationToken::new();
        let router = scheduler.dashboard();
        let ending = stop.clone().cancelled_owned();
        let pages = tokio::spawn(async move {
            let served = axum::serve(pages, router).with_graceful_shutdown(ending);
            served.await.expect("the dashboard is served");
        });
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move { scheduler.serve(listener, stop).await }
        });
        let connection = Connection::parse(&format!(
            "Endpoint=http://{address};TaskHub=default;Authentication=None"
        ))
        .expect("the connection string is right");
        Self {
            client: Client::new(&connection).expect("the client can be built"),
            dashboard,
            connection,
            serving,
            pages,
            stop,
        }
    }

    /// Waits for a scheduler that has just stopped: its lock goes with its last thread.
    async fn opened(storage: &Storage) -> Scheduler {
        let begun = Instant::now();
        loop {
            match Scheduler::open(SchedulerConfig::new(storage.clone())) {
                Err(OpenError::InUse { .. }) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => {
                    let opened = opened.expect("the scheduler opens");
                    opened.until_owner().await;
                    return opened;
                }
            }
        }
    }

    /// Opens it on the file in a folder.
    pub(crate) async fn on_file(folder: &Path) -> Self {
        Self::open(Storage::Directory(folder.to_owned())).await
    }

    pub(crate) fn worker(&self, registry: Registry) -> Working {
        let worker = Worker::builder(&self.connection)
            .registry(registry)
            .build()
            .expect("the worker can be built");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Working {
            task: tokio::spawn(async move { worker.run_until(stopped).await }),
            stop,
        }
    }

    /// Stops it; it has to drain.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving
            .await
            .expect("the scheduler does not panic")
            .expect("the scheduler drains");
        self.pages.await.expect("the dashboard does not panic");
    }
}

/// A worker that runs until [`Working::stop`].
pub(crate) struct Working {
    task: JoinHandle<Result<(), WorkerError>>,
    stop: CancellationToken,
}

impl Working {
    /// Stops it; it has to drain.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("the worker does not panic")
            .expect("the worker drains");
    }
}

/// A scheduler and a worker that run until [`System::stop`].
pub(crate) struct System {
    pub(crate) client: Client,
    /// Where the history is kept, in words.
    pub(crate) storage: &'static str,
    hub: Hub,
    worker: Working,
    _folder: tempfile::TempDir,
}

impl System {
    /// Starts it on a new SQLite file, in memory, or over a database.
    pub(crate) async fn start(memory: bool, database: Option<&str>, registry: Registry) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (storage, words) = if let Some(url) = database {
            let database = DatabaseStorage {
                url: url.parse().expect("the database's URL is right"),
                passwords: None,
                node: "bench".to_owned(),
            };
            (Storage::Database(database), "PostgreSQL")
        } else if memory {
            (Storage::Memory, "in memory")
        } else {
            let folder = folder.path().to_owned();
            (Storage::Directory(folder), "SQLite file, synchronous=FULL")
        };
        let hub = Hub::open(storage).await;
        Self {
            client: hub.client.clone(),
            storage: words,
            worker: hub.worker(registry),
            hub,
            _folder: folder,
        }
    }

    /// Stops the worker, then the scheduler; both have to drain.
    pub(crate) async fn stop(self) {
        self.worker.stop().await;
        self.hub.stop().await;
    }
}

/// What this process has of a kind of memory, in MiB, where the system tells.
pub(crate) fn memory(kind: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(kind))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// The memory of this process that is in use, in MiB, where the system tells.
pub(crate) fn resident() -> Option<u64> {
    memory("VmRSS:")
}

/// Prints the middle and the worst of some times.
pub(crate) fn print_times(what: &str, mut times: Vec<Duration>, factor: f64, unit: &str) {
    times.sort_unstable();
    println!(
        "{what:<18} p50 {:.2} {unit}, p99 {:.2} {unit}",
        percentile(&times, 50) * factor,
        percentile(&times, 99) * factor
    );
}

/// A percentile of sorted times, in seconds.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).map_or(0.0, Duration::as_secs_f64)
}
