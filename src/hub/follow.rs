//! Follows enrollments, imports and requests: until their next stage, their end, or a condition.

use std::time::Duration;

use durabletask::client::Payloads;
use tokio::time::Instant;

use super::{FromState, Hub, HubError, Snapshot, Stage};

/// How often the status of what is followed is read: quickly at first, when steps take
/// milliseconds, then increasingly slowly, when it waits for a person.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const SLOWEST_LOOK: Duration = Duration::from_millis(500);

impl Hub {
    /// Waits until the enrollment's stage differs from `since`, it has finished, or
    /// `time` has elapsed; returns its state then.
    pub(crate) async fn follow(
        &self,
        snapshot: Snapshot,
        since: Stage,
        time: Duration,
    ) -> Result<Snapshot, HubError> {
        let mut latest = self
            .until(snapshot, time, |latest| latest.stage != since)
            .await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// Waits until the enrollment has finished or waits for a decision, or `time` has elapsed.
    pub(crate) async fn settle(
        &self,
        snapshot: Snapshot,
        time: Duration,
    ) -> Result<Snapshot, HubError> {
        let is_settled = |latest: &Snapshot| latest.stage == Stage::AwaitingApproval;
        // It nearly always ends within a moment, which the task hub announces.
        let mut latest = self
            .until_from(SLOWEST_LOOK, snapshot, time, is_settled)
            .await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// Waits until something is as wanted, has finished, or `time` has elapsed; returns its
    /// state then.
    pub(super) async fn until<S: FromState>(
        &self,
        seen: S,
        time: Duration,
        wanted: impl Fn(&S) -> bool,
    ) -> Result<S, HubError> {
        self.until_from(FIRST_LOOK, seen, time, wanted).await
    }

    /// The same, with the first look at the status after `pause`. One wait for the end is
    /// kept open; only what happens before that is polled, since the task hub announces no
    /// other change.
    async fn until_from<S: FromState>(
        &self,
        mut pause: Duration,
        seen: S,
        time: Duration,
        wanted: impl Fn(&S) -> bool,
    ) -> Result<S, HubError> {
        let until = Instant::now() + time;
        let id = seen.id().to_owned();
        let ended = self
            .client
            .wait_for_completion(&id, Payloads::Include, time);
        tokio::pin!(ended);
        let mut is_watched = true;
        let mut latest = seen;
        while !wanted(&latest) && !latest.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            tokio::select! {
                end = &mut ended, if is_watched => {
                    is_watched = false;
                    // A failed wait is not an answer: the looks at their own pace meet the same
                    // failure.
                    if let Ok(state) = end {
                        latest = S::read(&state).ok_or(HubError::Unknown)?;
                    }
                }
                () = tokio::time::sleep(pause.min(left)) => {
                    pause = (pause * 2).min(SLOWEST_LOOK);
                    latest = self.look(&id, None).await?;
                }
            }
        }
        Ok(latest)
    }
}
