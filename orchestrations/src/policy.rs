//! Retries and pace, as named constants.

use std::time::Duration;

use durabletask_core::{FailureDetails, RetryPolicy, TaskOptions};

/// The vault may be away for a while: about an hour of patience (1, 2, 4 … 60, 60 … seconds).
pub const STORE: RetryPolicy = RetryPolicy::new(64, Duration::from_secs(1))
    .backoff(2.0)
    .max_interval(Duration::from_secs(60));

/// Reading and checking ask the ledger and the vault, which may be away for as long. Only what the
/// work itself has ended with, a panic, it would end with again.
pub const READ: RetryPolicy = STORE.retry_if(comes_from_outside);

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

/// Whether a failure has another cause than the activity's own work.
fn comes_from_outside(failure: &FailureDetails) -> bool {
    // The second one is a panic on a thread for blocking work.
    failure.error_type != "Panic" && !failure.error_type.ends_with("::JoinError")
}
