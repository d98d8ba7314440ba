//! How long ended instances are kept, and the loop that lets them go.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use durabletask_proto::OrchestrationStatus;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::store::{Store, StoreError, first_end};

/// How many instances one transaction lets go.
const STEP: u32 = 200;
/// How long the loop leaves changes alone before it looks again.
const PACE: Duration = Duration::from_secs(1);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(60);

/// How long instances are kept after they ended, by how they ended; `None` means until
/// someone purges them. Each instance goes by its own end, whether its parent runs
/// still or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those that completed.
    pub completed: Option<Duration>,
    /// Those that failed.
    pub failed: Option<Duration>,
    /// Those that were terminated.
    pub terminated: Option<Duration>,
    /// Those that were canceled.
    pub canceled: Option<Duration>,
}

/// Why a retention cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a retention: use 30d, for example, or completed=7d,failed=90d with any of completed, failed, terminated and canceled; the units are d, h, min and s"
)]
pub struct RetentionError(String);

impl Retention {
    /// The same for all.
    #[must_use]
    pub const fn all(age: Duration) -> Self {
        Self {
            completed: Some(age),
            failed: Some(age),
            terminated: Some(age),
            canceled: Some(age),
        }
    }

    /// Status numbers and ages of what goes its own way.
    fn ages(self) -> impl Iterator<Item = (i32, Duration)> {
        use OrchestrationStatus as S;
        [
            (S::Completed, self.completed),
            (S::Failed, self.failed),
            (S::Terminated, self.terminated),
            (S::Canceled, self.canceled),
        ]
        .into_iter()
        .filter_map(|(status, age)| Some((status as i32, age?)))
    }
}

impl FromStr for Retention {
    type Err = RetentionError;

    /// Reads `AGE`, or `STATUS=AGE` for some statuses, comma-separated; a lone `AGE` is
    /// for those that are not named.
    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let wrong = || RetentionError(text.to_owned());
        let mut retention = Self::default();
        let mut others = None;
        for part in text.split(',').map(str::trim) {
            let Some((status, value)) = part.split_once('=') else {
                others = Some(age(part).ok_or_else(wrong)?);
                continue;
            };
            let place = match status.trim() {
                "completed" => &mut retention.completed,
                "failed" => &mut retention.failed,
                "terminated" => &mut retention.terminated,
                "canceled" => &mut retention.canceled,
                _ => return Err(wrong()),
            };
            *place = Some(age(value.trim()).ok_or_else(wrong)?);
        }
        for place in [
            &mut retention.completed,
            &mut retention.failed,
            &mut retention.terminated,
            &mut retention.canceled,
        ] {
            *place = place.or(others);
        }
        Ok(retention)
    }
}

fn age(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit);
    let seconds: u64 = match unit {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(
        count.parse::<u64>().ok()?.checked_mul(seconds)?,
    ))
}

/// Lets ended instances go as soon as they are old enough.
pub(crate) async fn run(
    store: Store,
    dispatch: Arc<Dispatch>,
    retention: Retention,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut changes = dispatch.changes();
    loop {
        changes.borrow_and_update();
        let due = match purge(&store, retention, clock.now()).await {
            Ok(due) => due,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "purging old instances failed; retrying in a minute");
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => continue,
                    () = stop.cancelled() => return,
                }
            }
        };
        tokio::select! {
            () = clock.sleep_until(due) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(PACE) => {}
                    () = stop.cancelled() => return,
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Purges what is old enough now and tells when the next one is.
async fn purge(
    store: &Store,
    retention: Retention,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, StoreError> {
    let mut next = DateTime::<Utc>::MAX_UTC;
    for (status, age) in retention.ages() {
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let Some(until) = now.checked_sub_signed(age) else {
            continue;
        };
        let until_us = until.timestamp_micros();
        let first = loop {
            let first = store.read(move |conn| first_end(conn, status)).await?;
            if first.is_none_or(|first| first > until_us) {
                break first;
            }
            let gone = store
                .writer
                .write(move |tx| tx.purge_old(status, until_us, STEP))
                .await?;
            tracing::debug!(status, gone, "old instances purged");
            if gone == 0 {
                break None;
            }
        };
        if let Some(end) = first.and_then(DateTime::<Utc>::from_timestamp_micros) {
            next = end
                .checked_add_signed(age)
                .map_or(next, |due| due.min(next));
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_read_by_status_or_for_all() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!("30d".parse(), Ok(Retention::all(days(30).unwrap())));
        assert_eq!(
            "completed=7d, failed=90d".parse(),
            Ok(Retention {
                completed: days(7),
                failed: days(90),
                ..Retention::default()
            })
        );
        let mixed: Retention = "failed=90d,1h".parse().unwrap();
        assert_eq!(
            (mixed.failed, mixed.canceled),
            (days(90), Some(Duration::from_secs(3600)))
        );
        for wrong in [
            "",
            "soon",
            "7",
            "7w",
            "running=1d",
            "completed=",
            "99999999999999999999d",
        ] {
            assert!(wrong.parse::<Retention>().is_err(), "{wrong}");
        }
    }
}
