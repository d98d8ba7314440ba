//! The worker: takes work items from a task hub and answers them.

mod activity;
mod cache;
mod chunks;
mod completion;
mod completion_stream;
mod divergence;
mod entity;
mod filters;
mod host;
mod items;
mod limits;
mod link;
mod orchestration;
mod prepare;
mod running;
mod settings;
mod spawned;
mod status;
mod stream;
mod versioning;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use durabletask_core::Registry;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, answer_clients};
use crate::connection::{Connection, ConnectionError, Headers};

use completion_stream::Completions;
use limits::Options;
use link::Link;
use status::Health;

pub use chunks::OversizedTurns;
pub use divergence::OnDivergence;
pub use filters::WorkItemFilters;
pub use running::CancelActivities;
pub use spawned::RunningWorker;
pub use status::{ConnectionStatus, StatusWatch, WorkerStatus};
pub use versioning::{OnVersionMismatch, VersionMatch, Versioning};

/// Why a worker cannot be built.
///
/// ```
/// use durabletask::worker::WorkerError;
/// use durabletask::{Activity, ActivityContext, Connection, Registry, Worker};
///
/// const ECHO: Activity<u32, u32> = Activity::new("echo");
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let echo = || Registry::new().activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n));
/// let twice = Worker::builder(&connection).registry(echo()).registry(echo()).build();
/// assert!(matches!(twice, Err(WorkerError::Duplicates(_))));
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The endpoint cannot be used.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Two handlers were registered under one name.
    #[error("registered twice: {}; each name needs exactly one handler", .0.join(", "))]
    Duplicates(Vec<String>),
    /// The task that ran the worker panicked or was aborted.
    #[error("the worker's task ended before it was asked to: {0}")]
    Crashed(String),
}

/// Runs the orchestrations, activities and entities of a [`Registry`] for one task hub.
///
/// ```
/// use durabletask::{Activity, ActivityContext, Connection, Registry, Worker};
///
/// const ECHO: Activity<u32, u32> = Activity::new("echo");
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection)
///     .registry(Registry::new().activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n)))
///     .build()?;
/// let running = worker.spawn();
/// // Once the process is asked to end:
/// running.stop().await?;
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
pub struct Worker {
    connection: Connection,
    registry: Arc<Registry>,
    options: Options,
    health: Health,
}

/// A worker being configured; made by [`Worker::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{Connection, Worker};
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let builder = Worker::builder(&connection)
///     .max_concurrent_activities(20)
///     .grace_period(Duration::from_secs(10));
/// let worker = builder.build()?;
/// # let _ = worker;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call `build` to get the worker"]
pub struct WorkerBuilder {
    connection: Connection,
    registry: Registry,
    options: Options,
}

impl Worker {
    /// A worker for the task hub that `connection` names.
    pub fn builder(connection: &Connection) -> WorkerBuilder {
        WorkerBuilder {
            connection: connection.clone(),
            registry: Registry::new(),
            options: Options::default(),
        }
    }

    /// The worker's connection and load, as they change. Take it before the worker runs.
    ///
    /// ```
    /// use durabletask::{Connection, Worker};
    ///
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let worker = Worker::builder(&connection).build()?;
    /// let status = worker.status();
    /// assert!(!status.current().is_connected());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> StatusWatch {
        self.health.subscribe()
    }

    /// Takes and answers work items until `stop` is ready, reconnecting for as long as it
    /// takes.
    ///
    /// Then it drains: items that arrive late are returned, items in flight are
    /// finished within the grace period, and the stream is closed. Must be polled within a
    /// Tokio runtime. Dropping the future instead ends the work in flight; the scheduler
    /// gives it to another worker.
    ///
    /// ```no_run
    /// # use durabletask::worker::{Worker, WorkerError};
    /// # async fn example(worker: Worker) -> Result<(), WorkerError> {
    /// worker.run_until(async { _ = tokio::signal::ctrl_c().await }).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WorkerError::Connection`] if no connection can ever be made.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), WorkerError> {
        let headers = Headers::for_worker(&self.connection);
        // Completions have a connection of their own, so that a large work item
        // on its way in cannot hold them up.
        let intake = Link::new(&self.connection, &headers)?;
        let completions = Completions::new(
            Link::new(&self.connection, &headers)?,
            self.options.completion_stream,
        );
        let mut client = Client::new(&self.connection)?;
        if let Some(payloads) = &self.options.payloads {
            client = client.with_large_payloads(payloads.clone());
        }
        let session = stream::Intake::new(
            intake,
            completions,
            Arc::new(answer_clients(Registry::clone(&self.registry), &client)),
            client,
            self.options,
            self.health,
        );
        let token = CancellationToken::new();
        let mut running = std::pin::pin!(session.run(token.clone()));
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            biased;
            () = &mut running => return Ok(()),
            () = &mut stop => token.cancel(),
        }
        running.await;
        Ok(())
    }

    /// Runs the worker in a task of its own, until it is asked to stop. Must be called
    /// within a Tokio runtime.
    ///
    /// ```
    /// use durabletask::{Connection, Worker};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let running = Worker::builder(&connection).build()?.spawn();
    /// running.stop().await?;
    /// # Ok(())
    /// # }
    /// # let _ = example;
    /// ```
    pub fn spawn(self) -> RunningWorker {
        RunningWorker::spawn(self)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("connection", &self.connection)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    /// Adds the handlers of `registry`.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = self.registry.merge(registry);
        self
    }

    /// How many orchestration turns may be in flight (100 per CPU by default, at least 1).
    pub fn max_concurrent_orchestrations(mut self, limit: usize) -> Self {
        self.options.orchestrations = limit.max(1);
        self
    }

    /// How many activities may be in flight (100 per CPU by default, at least 1).
    pub fn max_concurrent_activities(mut self, limit: usize) -> Self {
        self.options.activities = limit.max(1);
        self
    }

    /// How many batches of entity operations may be in flight (100 per CPU by default,
    /// at least 1). An entity has one batch in flight at a time.
    pub fn max_concurrent_entities(mut self, limit: usize) -> Self {
        self.options.entities = limit.max(1);
        self
    }

    /// How many live executions are kept between turns (10,000 by default; 0
    /// keeps none, so that every turn replays its history).
    pub fn max_cached_executions(mut self, limit: usize) -> Self {
        self.options.cached_executions = limit;
        self
    }

    /// How long work in flight may take to finish after the stop (30 seconds by default).
    pub fn grace_period(mut self, period: Duration) -> Self {
        self.options.grace_period = period;
        self
    }

    /// After how long without any message the connection counts as lost (120
    /// seconds by default). Schedulers send pings more often than that.
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.options.silence_timeout = timeout.max(Duration::from_millis(4));
        self
    }

    /// The bounds of the random delay before a reconnection: it is drawn from
    /// 0 to `min(max, base * 2^n)` after `n` failures (1 and 30 seconds by default).
    pub fn reconnect_backoff(mut self, base: Duration, max: Duration) -> Self {
        self.options.reconnect_base = base;
        self.options.reconnect_max = max;
        self
    }

    /// The worker.
    ///
    /// # Errors
    ///
    /// [`WorkerError`] if a name has two handlers, or if this build cannot speak
    /// to the endpoint.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if !self.registry.duplicates().is_empty() {
            return Err(WorkerError::Duplicates(self.registry.duplicates().to_vec()));
        }
        self.connection.check_supported()?;
        Ok(Worker {
            connection: self.connection,
            registry: Arc::new(self.registry),
            options: self.options,
            health: Health::new(),
        })
    }
}
