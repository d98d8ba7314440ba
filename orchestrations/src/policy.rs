//! Retries and pace, as named constants.

use std::time::Duration;

use durabletask_core::{RetryPolicy, TaskOptions};

/// Reading and checking have no outside to wait for; a second attempt covers a worker
/// that was short of memory or threads for a moment.
pub const READ: RetryPolicy = RetryPolicy::new(3, Duration::from_secs(1)).backoff(2.0);

/// The vault may be away for a while: about an hour of patience (1, 2, 4 … 60, 60 … seconds).
pub const STORE: RetryPolicy = RetryPolicy::new(64, Duration::from_secs(1))
    .backoff(2.0)
    .max_interval(Duration::from_secs(60));

/// Whom a notice is for may be away for a while: about two hours of patience (2, 4, 8 …
/// 600, 600 … seconds).
pub const NOTIFY: RetryPolicy = RetryPolicy::new(20, Duration::from_secs(2))
    .backoff(2.0)
    .max_interval(Duration::from_secs(600));

/// How many enrollments an import starts at once, and how long it pauses after them:
/// 100 in ten seconds, a third of what Key Vault creates in that time (service limits).
pub const IMPORT_BURST: usize = 10;
/// See [`IMPORT_BURST`].
pub const IMPORT_PAUSE: Duration = Duration::from_secs(1);

/// What the task hub says of a sub-orchestration whose id a running instance has.
pub const STILL_RUNS: &str = "OrchestrationAlreadyExists";

/// The options of an activity that is tried again by this policy.
pub(crate) fn retried(retry: RetryPolicy) -> TaskOptions {
    TaskOptions::new().retry(retry)
}
