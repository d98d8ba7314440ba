//! The running activities, so that those whose results are not needed can be ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durabletask_core::Cancellation;
use tokio_util::sync::CancellationToken;

/// When the worker ends an activity's future before it is done.
///
/// It can do so only for activities that run in the same process as the turn
/// that makes them needless; the protocol has no message for it. An activity that has
/// asked for [`ActivityContext::cancelled`](crate::ActivityContext::cancelled) is notified, and
/// has the time of [`WorkerBuilder::cancellation_grace`](super::WorkerBuilder::cancellation_grace)
/// to end by itself. The future of any other is dropped at its next await, so cleaning up
/// belongs into destructors.
///
/// ```
/// use durabletask::{Connection, Worker};
/// use durabletask::worker::CancelActivities;
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection).cancel_activities(CancelActivities::WhenGivenUp).build()?;
/// # let _ = worker;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelActivities {
    /// Never.
    Never,
    /// When the orchestration that called it was terminated.
    #[default]
    WhenTerminated,
    /// Also when the orchestration awaited the call and gave it up: the call
    /// lost a `select`, or the orchestration ended meanwhile. Calls that were
    /// never awaited continue.
    WhenGivenUp,
}

type Key = (String, Option<String>);

/// Activities by instance and execution, and therein by task.
#[derive(Debug)]
pub(super) struct RunningActivities {
    grace: Duration,
    calls: Arc<Mutex<HashMap<Key, HashMap<i32, CancellationToken>>>>,
}

/// An activity under way; ends with the guard.
#[derive(Debug)]
pub(super) struct RunningCall {
    calls: Arc<Mutex<HashMap<Key, HashMap<i32, CancellationToken>>>>,
    key: Key,
    task_id: i32,
    needless: CancellationToken,
}

impl RunningActivities {
    /// None yet. One that is asked to stop has `grace` to do so.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            calls: Arc::default(),
        }
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    pub(super) fn begin(
        &self,
        instance_id: &str,
        execution_id: Option<&str>,
        task_id: i32,
    ) -> RunningCall {
        let key = (instance_id.to_owned(), execution_id.map(str::to_owned));
        let needless = CancellationToken::new();
        lock(&self.calls)
            .entry(key.clone())
            .or_default()
            .insert(task_id, needless.clone());
        RunningCall {
            calls: Arc::clone(&self.calls),
            key,
            task_id,
            needless,
        }
    }

    /// Ends the given calls of an execution.
    pub(super) fn cancel(&self, instance_id: &str, execution_id: Option<&str>, task_ids: &[i32]) {
        if task_ids.is_empty() {
            return;
        }
        let key = (instance_id.to_owned(), execution_id.map(str::to_owned));
        if let Some(calls) = lock(&self.calls).get(&key) {
            for needless in task_ids.iter().filter_map(|id| calls.get(id)) {
                needless.cancel();
            }
        }
    }

    /// Ends all calls of an execution.
    pub(super) fn cancel_all(&self, instance_id: &str, execution_id: Option<&str>) {
        let key = (instance_id.to_owned(), execution_id.map(str::to_owned));
        if let Some(calls) = lock(&self.calls).get(&key) {
            calls.values().for_each(CancellationToken::cancel);
        }
    }
}

impl RunningCall {
    /// Runs `work` to its end, or until its result is no longer needed; if it has
    /// asked to be notified of that, `grace` longer.
    pub(super) async fn run<F: Future>(
        &self,
        work: F,
        cancellation: &Cancellation,
        grace: Duration,
    ) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        if let Some(output) = self.needless.run_until_cancelled(work.as_mut()).await {
            return Some(output);
        }
        cancellation.cancel();
        if !cancellation.is_watched() {
            return None;
        }
        tokio::time::timeout(grace, work).await.ok()
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        if let Some(of_execution) = calls.get_mut(&self.key) {
            of_execution.remove(&self.task_id);
            if of_execution.is_empty() {
                calls.remove(&self.key);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single step, so a panic elsewhere leaves the table whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
