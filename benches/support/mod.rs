//! The system that the benchmarks measure: our scheduler, our worker and our client in
//! one process, over loopback gRPC.

use durabletask::worker::WorkerError;
use durabletask::{Client, Connection, Registry, Worker};
use durabletask_scheduler::{Scheduler, SchedulerConfig, ServeError, Storage};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A scheduler and a worker that run until [`System::stop`].
pub(crate) struct System {
    pub(crate) client: Client,
    /// Where the history is kept, in words.
    pub(crate) storage: &'static str,
    working: JoinHandle<Result<(), WorkerError>>,
    worker_stop: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl System {
    /// Starts it on a new SQLite file, or in memory.
    pub(crate) async fn start(memory: bool, registry: Registry) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (storage, words) = if memory {
            (Storage::Memory, "in memory")
        } else {
            let folder = folder.path().to_owned();
            (Storage::Directory(folder), "SQLite file, synchronous=FULL")
        };
        let scheduler =
            Scheduler::open(SchedulerConfig::new(storage)).expect("the scheduler opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port is known");
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move { scheduler.serve(listener, stop).await }
        });
        let connection = Connection::parse(&format!(
            "Endpoint=http://{address};TaskHub=default;Authentication=None"
        ))
        .expect("the connection string is right");
        let worker = Worker::builder(&connection)
            .registry(registry)
            .build()
            .expect("the worker can be built");
        let worker_stop = CancellationToken::new();
        let working = tokio::spawn({
            let stop = worker_stop.clone();
            async move { worker.run_until(stop.cancelled_owned()).await }
        });
        Self {
            client: Client::new(&connection).expect("the client can be built"),
            storage: words,
            working,
            worker_stop,
            serving,
            stop,
            _folder: folder,
        }
    }

    /// Stops the worker, then the scheduler; both have to drain.
    pub(crate) async fn stop(self) {
        self.worker_stop.cancel();
        self.working
            .await
            .expect("the worker does not panic")
            .expect("the worker drains");
        self.stop.cancel();
        self.serving
            .await
            .expect("the scheduler does not panic")
            .expect("the scheduler drains");
    }
}
