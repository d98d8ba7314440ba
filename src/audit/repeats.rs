//! Repeated readings: counted, not written one by one.
//!
//! A page that someone leaves open reads the codes in view at every time step, and a script
//! may ask for the same code many times a second. The first reading is an entry like any other
//! and is there before the code is given out; those after it by the same caller, from the same
//! address and for the same reason are counted, in one browser session or, with a key or a
//! token, while it is the same code. One more entry says how many there were and when the last
//! was. A crash can lose that number, but not the fact that the caller has read the account.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::entry::Event;

/// How many accounts of sessions are followed at a time. Beyond that, every reading is written.
const MOST: usize = 10_000;
/// For how long readings are counted before an entry says how many there were.
const LONGEST: TimeDelta = TimeDelta::hours(1);
/// How long after the last reading that entry is written.
const PAUSE: TimeDelta = TimeDelta::minutes(5);

/// Distinguishes browser sessions, and reveals nothing more about them.
pub(crate) type SessionMark = [u8; 16];

/// The readings that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Together {
    /// Those of one browser session.
    Session(SessionMark),
    /// Those of the code that is valid until then.
    Code(DateTime<Utc>),
}

/// Accounts whose first reading is recorded and whose further readings are counted.
#[derive(Default)]
pub(super) struct Repeats {
    open: Mutex<HashMap<u64, OpenReading>>,
    keys: RandomState,
}

struct OpenReading {
    together: Together,
    /// The reading that is recorded, and later the last one.
    event: Event,
    /// When the first was.
    since: DateTime<Utc>,
    times: u64,
}

impl OpenReading {
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        match self.together {
            Together::Session(_) => now - self.since >= LONGEST || now - self.event.at >= PAUSE,
            Together::Code(until) => until <= now,
        }
    }
}

impl Repeats {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenReading>> {
        // A panic loses one reading at most.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, event: &Event, together: Together) -> u64 {
        self.keys.hash_one((
            together,
            &event.caller,
            event.subject.as_ref().map(|subject| &subject.0),
            event.from,
            &event.reason,
        ))
    }

    /// Counts a reading, if one like it is recorded.
    pub(super) fn again(&self, event: &Event, together: Together) -> bool {
        let key = self.key(event, together);
        let mut open = self.open();
        let Some(open) = open.get_mut(&key).filter(|open| {
            let known = &open.event;
            // Two readings may have the same hash, and neither may hide the other.
            open.together == together
                && !open.is_over(event.at)
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
    pub(super) fn follow(&self, event: Event, together: Together) {
        let key = self.key(&event, together);
        let mut open = self.open();
        if open.len() < MOST {
            let (since, times) = (event.at, 0);
            // Two first readings at once are both recorded; what was counted since stays.
            open.entry(key).or_insert(OpenReading {
                together,
                event,
                since,
                times,
            });
        }
    }

    /// Whether nothing is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    /// The entries for the counts that ended by `now`, or for all of them without it.
    pub(super) fn take(&self, now: Option<DateTime<Utc>>) -> Vec<Event> {
        self.open()
            .extract_if(|_, open| now.is_none_or(|now| open.is_over(now)))
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
    use super::*;
    use crate::audit::Action;

    const TAB: Together = Together::Session([7; 16]);

    fn reading(caller: &str, seconds: i64) -> Event {
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut event = Event::new(Action::ReadCode, caller, at).to("totp-1");
        event.request_id = Some(format!("request-{seconds}"));
        event
    }

    #[test]
    fn only_the_same_reading_in_the_same_session_is_counted() {
        let repeats = Repeats::default();
        assert!(!repeats.again(&reading("ci", 0), TAB), "not recorded yet");
        repeats.follow(reading("ci", 0), TAB);
        assert!(repeats.again(&reading("ci", 1), TAB));
        assert!(repeats.again(&reading("ci", 31), TAB), "also the next code");
        let others = [
            reading("other", 32),
            reading("ci", 32).to("totp-2"),
            reading("ci", 32).because("a reason"),
            Event {
                from: Some([10, 0, 0, 1].into()),
                ..reading("ci", 32)
            },
        ];
        for other in &others {
            assert!(!repeats.again(other, TAB), "{other:?}");
        }
        assert!(
            !repeats.again(&reading("ci", 33), Together::Session([8; 16])),
            "a session"
        );

        let start = DateTime::UNIX_EPOCH;
        assert_eq!(repeats.take(Some(start + TimeDelta::minutes(4))), []);
        let told = Event {
            repeats: Some(2),
            ..reading("ci", 31)
        };
        let later = start + TimeDelta::seconds(31) + PAUSE;
        assert!(!repeats.again(&reading("ci", 331), TAB), "after a pause");
        assert_eq!(repeats.take(Some(later)), [told]);
        assert!(repeats.is_empty());

        repeats.follow(reading("ci", 400), TAB);
        assert_eq!(repeats.take(None), [], "one reading is one entry");
        assert!(repeats.is_empty());
    }

    #[test]
    fn with_a_key_readings_of_the_same_code_are_counted() {
        let repeats = Repeats::default();
        let until = |seconds| Together::Code(DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds));
        repeats.follow(reading("ci", 0), until(30));
        assert!(repeats.again(&reading("ci", 29), until(30)));
        assert!(!repeats.again(&reading("ci", 30), until(60)), "the next");
        let told = repeats.take(Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(30)));
        assert_eq!(told.first().and_then(|event| event.repeats), Some(1));
        assert!(repeats.is_empty());
    }

    #[test]
    fn a_page_that_is_open_all_day_is_reported_every_hour() {
        let repeats = Repeats::default();
        repeats.follow(reading("ci", 0), TAB);
        for step in 1..120 {
            assert!(repeats.again(&reading("ci", step * 30), TAB), "{step}");
        }
        assert!(!repeats.again(&reading("ci", 3600), TAB));
        let told = repeats.take(Some(DateTime::UNIX_EPOCH + LONGEST));
        assert_eq!(told.first().and_then(|event| event.repeats), Some(119));
    }
}
