//! A worker in a task of its own.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{StatusWatch, Worker, WorkerError};

/// A worker that runs in a task of its own; made by [`Worker::spawn`].
///
/// Dropping it asks the worker to stop, without waiting for that.
///
/// ```
/// use durabletask::worker::RunningWorker;
/// use durabletask::{Connection, Worker};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let running: RunningWorker = Worker::builder(&connection).build()?.spawn();
/// println!("{:?}", running.status().current().connection);
/// running.stop().await?;
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct RunningWorker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), WorkerError>>,
    status: StatusWatch,
}

impl RunningWorker {
    pub(super) fn spawn(worker: Worker) -> Self {
        let status = worker.status();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run_until(async {
            // A dropped handle stops the worker too.
            let _ = stopped.await;
        }));
        Self { stop, task, status }
    }

    /// The worker's connection and load, as they change.
    #[must_use]
    pub fn status(&self) -> StatusWatch {
        self.status.clone()
    }

    /// Tells the worker to stop and waits until it has: what is in flight is finished
    /// within the grace period.
    ///
    /// # Errors
    ///
    /// [`WorkerError`] if it could not run.
    pub async fn stop(self) -> Result<(), WorkerError> {
        // A worker that has ended already needs no telling.
        let _ = self.stop.send(());
        self.task
            .await
            .unwrap_or_else(|error| Err(WorkerError::Crashed(error.to_string())))
    }
}
