//! A worker's status.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

/// How a worker is, at one moment; see [`Worker::status`](super::Worker::status).
///
/// ```
/// use durabletask::worker::{ConnectionStatus, WorkerStatus};
///
/// let status = WorkerStatus::default();
/// assert_eq!(status.connection, ConnectionStatus::NotStarted);
/// assert_eq!(status.activities_in_flight, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// How it stands with the scheduler.
    pub connection: ConnectionStatus,
    /// How many attempts to take work items have failed since the last message.
    pub consecutive_failures: u32,
    /// When the latest message of the scheduler came, pings included.
    pub last_message_at: Option<DateTime<Utc>>,
    /// How many orchestration turns are in flight.
    pub orchestrations_in_flight: usize,
    /// How many activities are in flight.
    pub activities_in_flight: usize,
    /// How many batches of entity operations are in flight.
    pub entities_in_flight: usize,
}

/// How a worker stands with the scheduler.
///
/// ```
/// use durabletask::worker::ConnectionStatus;
///
/// /// A health check's answer.
/// fn healthy(connection: &ConnectionStatus) -> bool {
///     match connection {
///         ConnectionStatus::Disconnected { reason } => {
///             eprintln!("the scheduler is lost: {reason}");
///             false
///         }
///         _ => true,
///     }
/// }
/// assert!(healthy(&ConnectionStatus::Draining));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// The worker does not run yet.
    #[default]
    NotStarted,
    /// It opens the stream of work items for the first time.
    Connecting,
    /// It takes work items.
    Connected,
    /// The connection is lost; the worker tries again.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// It was asked to stop and finishes what is in flight.
    Draining,
    /// It has stopped.
    Stopped,
}

impl WorkerStatus {
    /// Whether the worker takes work items now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection == ConnectionStatus::Connected
    }
}

/// A worker's status as it changes; see [`Worker::status`](super::Worker::status).
///
/// ```
/// use durabletask::worker::StatusWatch;
///
/// /// Waits until the worker takes work items; false if it ends first.
/// async fn connected(mut status: StatusWatch) -> bool {
///     while !status.current().is_connected() {
///         if status.changed().await.is_none() {
///             return false;
///         }
///     }
///     true
/// }
/// # let _ = connected;
/// ```
#[derive(Clone, Debug)]
pub struct StatusWatch(watch::Receiver<WorkerStatus>);

impl StatusWatch {
    /// The status now.
    #[must_use]
    pub fn current(&self) -> WorkerStatus {
        self.0.borrow().clone()
    }

    /// Waits for a change and yields the new status; `None` once the worker has ended.
    pub async fn changed(&mut self) -> Option<WorkerStatus> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until `wanted` accepts the status and yields it; `None` if the worker
    /// ends before.
    pub async fn wait_for(
        &mut self,
        wanted: impl FnMut(&WorkerStatus) -> bool,
    ) -> Option<WorkerStatus> {
        Some(self.0.wait_for(wanted).await.ok()?.clone())
    }
}

/// The kinds of work that are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Orchestration,
    Activity,
    Entity,
}

/// The sending end, shared by all parts of a worker.
#[derive(Clone, Debug)]
pub(super) struct Health {
    sender: Arc<watch::Sender<WorkerStatus>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(WorkerStatus::default())),
        }
    }

    pub(super) fn subscribe(&self) -> StatusWatch {
        StatusWatch(self.sender.subscribe())
    }

    pub(super) fn connection(&self, connection: ConnectionStatus) {
        self.sender.send_if_modified(|status| {
            let changed = status.connection != connection;
            status.connection = connection;
            changed
        });
    }

    pub(super) fn failed(&self, failures: u32, reason: String) {
        self.sender.send_modify(|status| {
            status.connection = ConnectionStatus::Disconnected { reason };
            status.consecutive_failures = failures;
        });
    }

    pub(super) fn message(&self) {
        self.sender.send_modify(|status| {
            status.last_message_at = Some(Utc::now());
            status.consecutive_failures = 0;
        });
    }

    /// Counts a piece of work until the guard is dropped.
    pub(super) fn begin(&self, work: Work) -> InFlight {
        self.count(work, |count| *count += 1);
        InFlight {
            health: self.clone(),
            work,
        }
    }

    fn count(&self, work: Work, change: impl FnOnce(&mut usize)) {
        self.sender.send_modify(|status| {
            change(match work {
                Work::Orchestration => &mut status.orchestrations_in_flight,
                Work::Activity => &mut status.activities_in_flight,
                Work::Entity => &mut status.entities_in_flight,
            });
        });
    }
}

/// A piece of work in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    health: Health,
    work: Work,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.health
            .count(self.work, |count| *count = count.saturating_sub(1));
    }
}
