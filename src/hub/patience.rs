//! Calls of the task hub that may be done twice, again while it gives no answer.

use std::time::Duration;

use durabletask::ClientError;

/// How long after a call that got no answer it is made again. A connection that breaks, or a task
/// hub that is being restarted, should be no failure for a caller; one that is away should be,
/// before the caller gives up.
pub(super) const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// Calls, and calls again while the task hub is unavailable, a few times.
pub(super) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut pauses = PAUSES.iter();
    loop {
        let pause = match call().await {
            Err(ClientError::Unavailable(reason)) => {
                let Some(pause) = pauses.next() else {
                    return Err(ClientError::Unavailable(reason));
                };
                tracing::info!(%reason, "the task hub gave no answer; calling again");
                pause
            }
            done => return done,
        };
        tokio::time::sleep(*pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A hub that gives no answer so many times.
    async fn after(silent: usize) -> (Result<(), ClientError>, usize) {
        let calls = Cell::new(0);
        let done = patiently(|| {
            calls.set(calls.get() + 1);
            std::future::ready(match calls.get() > silent {
                true => Ok(()),
                false => Err(ClientError::Unavailable("reset".to_owned())),
            })
        });
        (done.await, calls.get())
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_asked_for_again_and_not_endlessly() {
        assert!(matches!(after(0).await, (Ok(()), 1)));
        assert!(matches!(after(3).await, (Ok(()), 4)));
        assert!(matches!(
            after(9).await,
            (Err(ClientError::Unavailable(_)), 4)
        ));
        let refuses =
            || std::future::ready(Err::<(), _>(ClientError::InvalidArgument(String::new())));
        let refused = patiently(refuses);
        assert!(matches!(
            refused.await,
            Err(ClientError::InvalidArgument(_))
        ));
    }
}
