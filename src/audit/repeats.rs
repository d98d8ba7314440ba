//! Readings of one code, again and again: counted, not written one by one.
//!
//! Who reads an account's code in every second of its time learns it once. The first
//! reading is an entry like any other and is there before the code is given out; those
//! after it by the same caller, from the same address and for the same reason, while it is
//! the same code, tell nothing new about who knows what. They are counted, and one more
//! entry tells how many they were and when the last was. A crash can lose that number,
//! never that the caller has read the code.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::entry::Event;

/// How many codes are followed at a time. Of others every reading is written.
const MOST: usize = 10_000;

/// Codes whose time is not over and whose reading is recorded.
#[derive(Default)]
pub(super) struct Repeats {
    open: Mutex<HashMap<u64, Open>>,
    keys: RandomState,
}

struct Open {
    /// The reading that is recorded, and later the last one.
    event: Event,
    /// When another code is shown.
    until: DateTime<Utc>,
    times: u64,
}

impl Repeats {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        // A count that a panic left out is one reading.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, event: &Event, until: DateTime<Utc>) -> u64 {
        self.keys.hash_one((
            &event.caller,
            event.subject.as_ref().map(|subject| &subject.0),
            event.from,
            &event.reason,
            until,
        ))
    }

    /// Counts a reading of the code that is shown until `until`, if one like it is recorded.
    pub(super) fn again(&self, event: &Event, until: DateTime<Utc>) -> bool {
        let key = self.key(event, until);
        let mut open = self.open();
        let Some(open) = open.get_mut(&key).filter(|open| {
            let known = &open.event;
            // Two readings may have one hash, and neither may hide the other.
            open.until == until
                && known.caller == event.caller
                && known.subject == event.subject
                && known.from == event.from
                && known.reason == event.reason
        }) else {
            return false;
        };
        open.times += 1;
        open.event.at = open.event.at.max(event.at);
        open.event.request_id.clone_from(&event.request_id);
        true
    }

    /// Counts readings like this one, which is recorded, from now on.
    pub(super) fn follow(&self, event: Event, until: DateTime<Utc>) {
        let key = self.key(&event, until);
        let mut open = self.open();
        if open.len() < MOST {
            let times = 0;
            // Two first readings at once are both recorded; what was counted since stays.
            open.entry(key).or_insert(Open {
                event,
                until,
                times,
            });
        }
    }

    /// Whether nothing is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    /// The entries for codes whose time is over at `now`, or for all without it.
    pub(super) fn take(&self, now: Option<DateTime<Utc>>) -> Vec<Event> {
        self.open()
            .extract_if(|_, open| now.is_none_or(|now| open.until <= now))
            .filter(|(_, open)| open.times > 0)
            .map(|(_, open)| Event {
                repeats: Some(open.times),
                ..open.event
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::audit::Action;

    #[test]
    fn only_the_same_reading_is_counted_and_only_while_it_is_the_same_code() {
        let repeats = Repeats::default();
        let start = DateTime::UNIX_EPOCH;
        let until = start + TimeDelta::seconds(30);
        let reading = |caller: &str, seconds: i64| {
            let at = start + TimeDelta::seconds(seconds);
            let mut event = Event::new(Action::ReadCode, caller, at).to("totp-1");
            event.request_id = Some(format!("request-{seconds}"));
            event
        };
        assert!(!repeats.again(&reading("ci", 0), until), "not recorded yet");
        repeats.follow(reading("ci", 0), until);
        assert!(repeats.again(&reading("ci", 1), until));
        assert!(repeats.again(&reading("ci", 2), until));
        let others = [
            reading("other", 3),
            reading("ci", 3).to("totp-2"),
            reading("ci", 3).because("a reason"),
            Event {
                from: Some([10, 0, 0, 1].into()),
                ..reading("ci", 3)
            },
        ];
        for other in &others {
            assert!(!repeats.again(other, until), "{other:?}");
        }
        let next = until + TimeDelta::seconds(30);
        assert!(!repeats.again(&reading("ci", 31), next), "another code");

        assert_eq!(repeats.take(Some(until - TimeDelta::seconds(1))), []);
        let told = Event {
            repeats: Some(2),
            ..reading("ci", 2)
        };
        assert_eq!(repeats.take(Some(until)), [told]);
        assert!(repeats.is_empty());

        repeats.follow(reading("ci", 31), next);
        assert_eq!(repeats.take(None), [], "one reading is one entry");
        assert!(repeats.is_empty());
    }
}
