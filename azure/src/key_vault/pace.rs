//! Not too fast: writes in an even stream, and everyone waits when the vault says so.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets calls through one after another at an even pace, after a first burst.
pub(super) struct Pace {
    every: Duration,
    /// How far the stream may run ahead after a quiet time.
    burst: Duration,
    /// When the next one would go if all had kept the pace.
    next: Mutex<Instant>,
}

impl Pace {
    /// `per_second` calls a second, and as many at once after a quiet second.
    pub(super) fn new(per_second: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        let burst = Duration::from_secs(1);
        let now = Instant::now();
        Self {
            every,
            burst,
            next: Mutex::new(now.checked_sub(burst).unwrap_or(now)),
        }
    }

    /// When the next call may go. It is taken by asking.
    pub(super) fn take(&self) -> Instant {
        let now = Instant::now();
        let earliest = now.checked_sub(self.burst).unwrap_or(now);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (*next).max(earliest);
        *next = slot + self.every;
        slot.max(now)
    }
}

/// Closed for as long as the vault asks to be left alone.
#[derive(Default)]
pub(super) struct Gate {
    opens: Mutex<Option<Instant>>,
}

impl Gate {
    /// When calls may go again, if that is later than now.
    pub(super) fn opens(&self) -> Option<Instant> {
        let opens = *self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        opens.filter(|opens| *opens > Instant::now())
    }

    /// Closes for `wait` from now, if it is not closed for longer.
    pub(super) fn close(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut opens = self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        *opens = Some(opens.map_or(until, |opens| opens.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bulk_of_writes_becomes_an_even_stream() {
        let pace = Pace::new(25);
        let start = Instant::now();
        for _ in 0..250 {
            tokio::time::sleep_until(pace.take()).await;
        }
        let took = start.elapsed();
        // 25 of them were free.
        assert!(
            took >= Duration::from_secs(8) && took <= Duration::from_secs(10),
            "{took:?}"
        );
        // A long quiet time earns no more than one burst.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let start = Instant::now();
        for _ in 0..100 {
            tokio::time::sleep_until(pace.take()).await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(2_900),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_opens_on_its_own() {
        let gate = Gate::default();
        assert_eq!(gate.opens(), None);
        gate.close(Duration::from_secs(5));
        gate.close(Duration::from_secs(1));
        let opens = gate.opens().unwrap();
        assert_eq!(opens - Instant::now(), Duration::from_secs(5));
        tokio::time::sleep_until(opens).await;
        assert_eq!(gate.opens(), None);
    }
}
