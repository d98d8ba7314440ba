//! Follows enrollments, imports and requests: until their next stage, their end, or a condition.

use std::time::Duration;

use durabletask::client::Payloads;
use tokio::time::Instant;

use super::{FromState as _, Hub, HubError, Snapshot, Stage, Staged};

/// How often a followed enrollment is polled: quickly at first, when steps take
/// milliseconds, then increasingly slowly, when it waits for a person.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const SLOWEST_LOOK: Duration = Duration::from_millis(500);
impl Hub {
    /// Waits until the enrollment's stage differs from `since`, it has finished, or
    /// `time` is over; returns its state then.
    pub(crate) async fn follow(
        &self,
        snapshot: Snapshot,
        since: Stage,
        time: Duration,
    ) -> Result<Snapshot, HubError> {
        let mut latest = self.until_past(snapshot, since, time).await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// The same for anything that has stages.
    pub(super) async fn until_past<S: Staged>(
        &self,
        seen: S,
        since: S::Stage,
        time: Duration,
    ) -> Result<S, HubError> {
        let until = Instant::now() + time;
        let mut latest = seen;
        let mut pause = FIRST_LOOK;
        while latest.stage() == since && !latest.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let ended = async {
                let waited = self
                    .client
                    .wait_for_completion(latest.id(), Payloads::Omit, left);
                // A wait that fails immediately must not turn this into a busy loop;
                // polling at its own pace meets the same failure.
                if waited.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(pause.min(left)) => {}
            }
            pause = (pause * 2).min(SLOWEST_LOOK);
            latest = self.look(latest.id(), None).await?;
        }
        Ok(latest)
    }

    /// Waits until the enrollment has finished or waits for a decision, or `time` is over.
    pub(crate) async fn settle(
        &self,
        snapshot: Snapshot,
        time: Duration,
    ) -> Result<Snapshot, HubError> {
        let until = Instant::now() + time;
        // It nearly always ends within a moment, and the task hub announces that.
        let ended = self
            .client
            .wait_for_completion(snapshot.id(), Payloads::Include, time);
        if let Ok(Ok(state)) = tokio::time::timeout(SLOWEST_LOOK, ended).await
            && let Some(mut ended) = Snapshot::read(&state).filter(|it| it.stage.has_ended())
        {
            self.check(&mut ended).await?;
            return Ok(ended);
        }
        let mut latest = snapshot;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if latest.stage.has_ended() || latest.stage == Stage::AwaitingApproval || left.is_zero()
            {
                return Ok(latest);
            }
            let since = latest.stage;
            latest = self.follow(latest, since, left).await?;
        }
    }

    /// Polls something until a condition holds, or `time` is over.
    pub(super) async fn until<S: Staged>(
        &self,
        seen: S,
        time: Duration,
        wanted: impl Fn(&S) -> bool,
    ) -> Result<S, HubError> {
        let until = Instant::now() + time;
        let mut latest = seen;
        let mut pause = FIRST_LOOK;
        while !wanted(&latest) && Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
            latest = self.look(latest.id(), None).await?;
        }
        Ok(latest)
    }
}
