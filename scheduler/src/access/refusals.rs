//! Logs refused callers: enough to notice, never so much that
//! strangers flood the log.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// How many were refused, and when that was last logged.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    said: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Counts one, and logs it unless that was done just before.
    pub(super) fn note(&self, door: &'static str, from: Option<SocketAddr>) {
        if let Some(refused) = self.count(Instant::now()) {
            tracing::warn!(
                door,
                from = from.map(tracing::field::display),
                refused,
                "refused callers without a valid credential"
            );
        }
    }

    /// How many there were since the last line, if another is due.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since += 1;
        let due = counted
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= PAUSE);
        due.then(|| {
            counted.said = Some(now);
            std::mem::take(&mut counted.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_row_are_one_line_and_all_are_counted() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        assert_eq!(refusals.count(begun), Some(1));
        for _ in 0..100 {
            assert_eq!(refusals.count(begun + PAUSE / 2), None);
        }
        assert_eq!(refusals.count(begun + PAUSE), Some(101));
    }
}
