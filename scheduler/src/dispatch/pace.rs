//! Which activities may be dispatched now, by the policies of their names, and when the
//! next one may.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use crate::clock::Clock;
use crate::policy::{ActivityPolicy, Rate};

/// How far a rate may run ahead: by what it allows in this time.
const AHEAD_US: i64 = 100_000;

/// An activity policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may be dispatched; higher numbers go first.
    Now(i32),
    /// Not before this time, in microseconds since 1970.
    NotBefore(i64),
    /// Not before another one of its name has ended.
    Full,
}

/// One name in one task hub.
#[derive(Debug, Default)]
struct Pace {
    held: usize,
    /// When the rate has caught up with all that was dispatched (the "theoretical arrival
    /// time" of the generic cell rate algorithm), in microseconds since 1970.
    caught_up_us: i64,
}

/// The policies and how far each name has used its rate.
#[derive(Debug, Default)]
pub(super) struct Paces {
    policies: HashMap<String, ActivityPolicy>,
    paces: HashMap<(i64, String), Pace>,
}

impl Paces {
    pub(super) fn new(policies: HashMap<String, ActivityPolicy>) -> Self {
        Self {
            policies,
            paces: HashMap::new(),
        }
    }

    /// Whether activities of this name have a policy.
    pub(super) fn has(&self, name: &str) -> bool {
        self.policies.contains_key(name)
    }

    /// Whether no name has a policy.
    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    pub(super) fn turn(&mut self, hub: i64, name: &str, now_us: i64) -> Turn {
        let Some(policy) = self.policies.get(name) else {
            return Turn::Now(0);
        };
        let Some(pace) = self.paces.get_mut(&(hub, name.to_owned())) else {
            return Turn::Now(policy.priority);
        };
        if policy.concurrency.is_some_and(|most| pace.held >= most) {
            return Turn::Full;
        }
        if let Some(rate) = policy.rate {
            // If the clock was set back, a name waits for one period at most.
            let latest = now_us.saturating_add(ahead_us(rate) + interval_us(rate));
            pace.caught_up_us = pace.caught_up_us.min(latest);
            let earliest = pace.caught_up_us - ahead_us(rate);
            if earliest > now_us {
                return Turn::NotBefore(earliest);
            }
        }
        Turn::Now(policy.priority)
    }

    /// One of this name was dispatched.
    pub(super) fn took(&mut self, hub: i64, name: &str, now_us: i64) {
        let Some(policy) = self.policies.get(name) else {
            return;
        };
        let pace = self.paces.entry((hub, name.to_owned())).or_default();
        pace.held += 1;
        if let Some(rate) = policy.rate {
            pace.caught_up_us = pace.caught_up_us.max(now_us) + interval_us(rate);
        }
    }

    /// A task hub was deleted.
    pub(super) fn forget(&mut self, hub: i64) {
        self.paces.retain(|(each, _), _| *each != hub);
    }

    /// One of this name ended. True if another one may go now.
    pub(super) fn came_back(&mut self, hub: i64, name: &str) -> bool {
        let Some(pace) = self.paces.get_mut(&(hub, name.to_owned())) else {
            return false;
        };
        pace.held = pace.held.saturating_sub(1);
        self.policies
            .get(name)
            .is_some_and(|policy| policy.concurrency.is_some())
    }
}

/// The time from one to the next, at least a microsecond.
fn interval_us(rate: Rate) -> i64 {
    let period = i64::try_from(rate.period.as_micros()).unwrap_or(i64::MAX / 4);
    (period.min(i64::MAX / 4) / i64::from(rate.count.max(1))).max(1)
}

/// How far ahead of its time one may be dispatched.
fn ahead_us(rate: Rate) -> i64 {
    let interval = interval_us(rate);
    (AHEAD_US / interval - 1).max(0) * interval
}

/// Dispatches what had to wait for its rate limit, as soon as possible.
pub(crate) async fn run(dispatch: Arc<Dispatch>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut next = dispatch.next_permit();
    loop {
        let due = DateTime::<Utc>::from_timestamp_micros(*next.borrow_and_update())
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        if clock.now() < due {
            tokio::select! {
                () = clock.sleep_until(due) => {}
                changed = next.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        } else {
            dispatch.permits_are_due();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn paces(text: &str) -> Paces {
        Paces::new(HashMap::from([("a".to_owned(), text.parse().unwrap())]))
    }

    #[test]
    fn concurrency_counts_what_is_held() {
        let mut paces = paces("concurrency=2,priority=7");
        for _ in 0..2 {
            assert_eq!(paces.turn(1, "a", 0), Turn::Now(7));
            paces.took(1, "a", 0);
        }
        assert_eq!(paces.turn(1, "a", 0), Turn::Full);
        assert_eq!(paces.turn(2, "a", 0), Turn::Now(7), "another task hub");
        assert_eq!(paces.turn(1, "b", 0), Turn::Now(0), "another name");
        assert!(paces.came_back(1, "a"));
        assert_eq!(paces.turn(1, "a", 0), Turn::Now(7));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut paces = paces("rate=1/s");
        paces.took(1, "a", 1_000_000_000);
        let Turn::NotBefore(at) = paces.turn(1, "a", 5_000_000) else {
            panic!("one a second")
        };
        assert_eq!(at, 6_000_000);
        assert_eq!(paces.turn(1, "a", at), Turn::Now(0));
    }

    proptest! {
        /// However often it is asked, no period sees more than its share plus what
        /// a tenth of a second allows; and a request at the named time succeeds.
        #[test]
        fn a_rate_holds_over_every_period(
            count in 1_u32..500,
            period_ms in 1_u64..5_000,
            steps in proptest::collection::vec(0_i64..400_000, 1..200),
        ) {
            let rate = Rate { count, period: Duration::from_millis(period_ms) };
            let policy = ActivityPolicy { rate: Some(rate), ..ActivityPolicy::default() };
            let mut paces = Paces::new(HashMap::from([("a".to_owned(), policy)]));
            let mut now = 1_000_000_000;
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                for _ in 0..5 {
                    match paces.turn(1, "a", now) {
                        Turn::Now(_) => {
                            paces.took(1, "a", now);
                            taken.push(now);
                        }
                        Turn::NotBefore(at) => {
                            prop_assert!(at > now && at <= now + interval_us(rate));
                            now = at;
                            prop_assert_eq!(paces.turn(1, "a", now), Turn::Now(0));
                        }
                        Turn::Full => prop_assert!(false, "there is no bound on how many"),
                    }
                }
            }
            let ahead = 1 + ahead_us(rate) / interval_us(rate);
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let allowed = (to - from) / interval_us(rate) + ahead;
                    prop_assert!(i64::try_from(last - first + 1).unwrap() <= allowed);
                }
            }
        }
    }
}
