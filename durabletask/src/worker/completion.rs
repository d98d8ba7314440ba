//! Handing results back, again and again while the scheduler may not have them.

use std::future::Future;
use std::time::Duration;

use tonic::{Code, Status};

use super::limits::COMPLETION_TIMEOUT;

const ATTEMPTS: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Random lengthening, so that workers do not come back all at once.
const JITTER: f64 = 0.2;

/// What became of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The scheduler has it.
    Accepted,
    /// It will never accept it: the item was removed, or refused.
    Lost,
}

/// Sends a completion until it is accepted, refused or out of attempts.
/// Repetition is safe, because a completion token is used once.
pub(super) async fn deliver<F, Fut>(instance_id: &str, what: &'static str, send: F) -> Delivery
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), Status>>,
{
    let mut backoff = BACKOFF_MIN;
    for attempt in 1..=ATTEMPTS {
        let status = match tokio::time::timeout(COMPLETION_TIMEOUT, send()).await {
            Ok(Ok(())) => return Delivery::Accepted,
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the scheduler does not confirm a result"),
        };
        if status.code() == Code::NotFound {
            tracing::debug!(
                instance_id,
                what,
                "the work item is gone; its result is dropped"
            );
            return Delivery::Lost;
        }
        if !is_transient(status.code()) || attempt == ATTEMPTS {
            tracing::warn!(
                instance_id,
                what,
                attempt,
                code = ?status.code(),
                reason = status.message(),
                "the scheduler did not accept a result; it will dispatch the work item again"
            );
            return Delivery::Lost;
        }
        tracing::debug!(instance_id, what, attempt, code = ?status.code(), "a result is sent again");
        tokio::time::sleep(backoff.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    Delivery::Lost
}

fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unauthenticated
            | Code::PermissionDenied
    )
}
