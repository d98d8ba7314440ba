//! Retry arithmetic: pure, without jitter, so that every replay computes the same instants.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::FailureDetails;

/// The longest delay that is computed; anything above is cut to it.
const MAX_DELAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Decides by the failure whether to try again; part of a [`RetryPolicy`].
///
/// It is asked on every replay, so it must answer the same for the same failure.
///
/// ```
/// use durabletask::retry::RetryIf;
/// use durabletask::FailureDetails;
///
/// let unless_refused = RetryIf::new(|failure| failure.error_type != "Refused");
/// assert!(unless_refused.allows(&FailureDetails::new("Busy", "come back later")));
/// assert!(!unless_refused.allows(&FailureDetails::new("Refused", "do not come back")));
/// ```
#[derive(Clone, Copy)]
pub struct RetryIf(fn(&FailureDetails) -> bool);

impl RetryIf {
    /// Retries if `decide` says so. Failures that are marked as permanent
    /// are not even asked about.
    ///
    /// ```
    /// use std::time::Duration;
    /// use durabletask::retry::RetryIf;
    /// use durabletask::RetryPolicy;
    ///
    /// let mut policy = RetryPolicy::new(5, Duration::from_secs(10));
    /// policy.retry_if = Some(RetryIf::new(|failure| failure.error_type != "InvalidAddress"));
    /// ```
    #[must_use]
    pub const fn new(decide: fn(&FailureDetails) -> bool) -> Self {
        Self(decide)
    }

    /// Whether to try again after `failure`.
    #[must_use]
    pub fn allows(self, failure: &FailureDetails) -> bool {
        (self.0)(failure)
    }
}

impl fmt::Debug for RetryIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryIf")
    }
}

impl PartialEq for RetryIf {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

/// How a failed activity or sub-orchestration is tried again.
///
/// The delay before retry `n` (the first has `n = 0`) is
/// `min(first_interval * backoff^n, max_interval)`, or longer if the failure says so
/// ([`Failure::retry_after`](crate::Failure::retry_after)). All time is read from the replay
/// clock.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::RetryPolicy;
///
/// /// After 1, 2, 4, 8 and 10 seconds.
/// const POLICY: RetryPolicy = RetryPolicy::new(6, Duration::from_secs(1))
///     .backoff(2.0)
///     .max_interval(Duration::from_secs(10));
/// assert_eq!(POLICY.retry_if, None);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// All attempts, the first one included; 0 counts as 1.
    pub max_attempts: u32,
    /// The delay before the first retry.
    pub first_interval: Duration,
    /// By how much each delay is longer than the one before; 1.0 keeps it constant.
    pub backoff: f64,
    /// The longest delay between two attempts.
    pub max_interval: Option<Duration>,
    /// No attempt starts later than this after the first one.
    pub timeout: Option<Duration>,
    /// Which failures are worth another attempt; `None` for all that are not permanent.
    pub retry_if: Option<RetryIf>,
}

impl RetryPolicy {
    /// Up to `max_attempts` attempts with a constant delay of `first_interval`.
    #[must_use]
    pub const fn new(max_attempts: u32, first_interval: Duration) -> Self {
        Self {
            max_attempts,
            first_interval,
            backoff: 1.0,
            max_interval: None,
            timeout: None,
            retry_if: None,
        }
    }

    /// By how much each delay is longer than the one before.
    #[must_use]
    pub const fn backoff(mut self, factor: f64) -> Self {
        self.backoff = factor;
        self
    }

    /// The longest delay between two attempts.
    #[must_use]
    pub const fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// No attempt starts later than this after the first one.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Which failures are worth another attempt. Those that are marked as permanent are
    /// not asked about.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use durabletask::RetryPolicy;
    ///
    /// const POLICY: RetryPolicy = RetryPolicy::new(5, Duration::from_secs(10))
    ///     .retry_if(|failure| failure.error_type != "InvalidAddress");
    /// # let _ = POLICY;
    /// ```
    #[must_use]
    pub const fn retry_if(mut self, decide: fn(&FailureDetails) -> bool) -> Self {
        self.retry_if = Some(RetryIf::new(decide));
        self
    }

    /// Whether the policy lets `failure` be tried again at all.
    #[must_use]
    pub fn allows(&self, failure: &FailureDetails) -> bool {
        !failure.non_retriable
            && self
                .retry_if
                .is_none_or(|retry_if| retry_if.allows(failure))
    }

    /// The delay before the next attempt, or `None` if there is none.
    ///
    /// `attempts` have failed so far, the latest with `failure`; the first started at
    /// `started` and it is `now` on the replay clock.
    #[must_use]
    pub fn next_delay(
        &self,
        attempts: u32,
        failure: &FailureDetails,
        started: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Duration> {
        if attempts >= self.max_attempts.max(1) {
            return None;
        }
        let asked = failure.retry_after.unwrap_or_default().min(MAX_DELAY);
        let delay = self.delay(attempts.saturating_sub(1)).max(asked);
        if let Some(timeout) = self.timeout {
            let elapsed = (now - started).to_std().unwrap_or_default();
            if elapsed.saturating_add(delay) > timeout {
                return None;
            }
        }
        Some(delay)
    }

    fn delay(&self, exponent: u32) -> Duration {
        let ceiling = self.max_interval.unwrap_or(MAX_DELAY).min(MAX_DELAY);
        let backoff = if self.backoff.is_finite() && self.backoff > 0.0 {
            self.backoff
        } else {
            1.0
        };
        // Multiplied step by step, because the precision of `powi` differs between platforms.
        let mut seconds = self.first_interval.as_secs_f64();
        for _ in 0..exponent {
            let next = seconds * backoff;
            if next == seconds || next > ceiling.as_secs_f64() {
                seconds = next;
                break;
            }
            seconds = next;
        }
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(ceiling)
            .min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> FailureDetails {
        FailureDetails::new("Busy", "come back later")
    }

    fn delays(policy: &RetryPolicy) -> Vec<u64> {
        let start = DateTime::UNIX_EPOCH;
        (1..)
            .map_while(|attempts| policy.next_delay(attempts, &busy(), start, start))
            .map(|delay| delay.as_secs())
            .collect()
    }

    #[test]
    fn delays_grow_up_to_the_ceiling() {
        let policy = RetryPolicy {
            backoff: 2.0,
            max_interval: Some(Duration::from_secs(10)),
            ..RetryPolicy::new(6, Duration::from_secs(2))
        };
        assert_eq!(delays(&policy), [2, 4, 8, 10, 10]);
        assert_eq!(delays(&RetryPolicy::new(3, Duration::from_secs(5))), [5, 5]);
        assert_eq!(delays(&RetryPolicy::new(0, Duration::from_secs(5))), [0; 0]);
    }

    #[test]
    fn a_delay_beyond_the_timeout_is_refused() {
        let policy = RetryPolicy {
            timeout: Some(Duration::from_secs(10)),
            ..RetryPolicy::new(100, Duration::from_secs(4))
        };
        let start = DateTime::UNIX_EPOCH;
        let after = |seconds| start + chrono::TimeDelta::seconds(seconds);
        assert!(policy.next_delay(2, &busy(), start, after(6)).is_some());
        assert!(policy.next_delay(2, &busy(), start, after(7)).is_none());
    }

    #[test]
    fn a_failure_can_ask_for_a_longer_delay_but_not_for_a_shorter_one() {
        let start = DateTime::UNIX_EPOCH;
        let policy = RetryPolicy::new(3, Duration::from_secs(5)).timeout(Duration::from_secs(60));
        let after = |seconds| {
            let mut failure = busy();
            failure.retry_after = Some(Duration::from_secs(seconds));
            policy.next_delay(1, &failure, start, start)
        };
        assert_eq!(after(20), Some(Duration::from_secs(20)));
        assert_eq!(after(1), Some(Duration::from_secs(5)));
        assert_eq!(after(61), None);
    }

    #[test]
    fn absurd_factors_do_not_overflow() {
        for backoff in [f64::INFINITY, f64::NAN, -3.0, 1e300] {
            let policy = RetryPolicy {
                backoff,
                ..RetryPolicy::new(u32::MAX, Duration::from_secs(1))
            };
            let start = DateTime::UNIX_EPOCH;
            assert!(
                policy
                    .next_delay(u32::MAX - 1, &busy(), start, start)
                    .unwrap()
                    <= MAX_DELAY
            );
        }
    }
}
