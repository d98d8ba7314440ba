//! Who is at work under a key and who waits: what the entity of a limit keeps.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The state of the entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queue {
    at_once: u32,
    working: Vec<Working>,
    /// The first one has waited longest.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Working {
    ticket: String,
    /// When it no longer counts.
    until: DateTime<Utc>,
    /// Whether its end is watched already.
    watched: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    ticket: String,
    instance_id: String,
    /// For how long it counts once it works, in milliseconds.
    lease: i64,
}

/// What follows from a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One that has waited is at work now.
    LetIn { ticket: String, instance_id: String },
    /// Look then whether it still is.
    Watch {
        ticket: String,
        until: DateTime<Utc>,
    },
}

impl Queue {
    /// Sets how many may be at work at once.
    pub(super) fn limit(&mut self, at_once: u32) {
        self.at_once = at_once;
    }

    /// Lets one in or has it wait; yields whether it is in, or `None` if `most` others wait already.
    /// One that is known stays where it is.
    pub(super) fn enter(
        &mut self,
        ticket: &str,
        instance_id: &str,
        (now, until): (DateTime<Utc>, DateTime<Utc>),
        most: u32,
    ) -> Option<bool> {
        if self.working.iter().any(|one| one.ticket == ticket) {
            return Some(true);
        }
        if self.waiting.iter().any(|one| one.ticket == ticket) {
            return Some(false);
        }
        if self.waiting.is_empty() && self.has_room() {
            self.work(ticket.to_owned(), until);
            return Some(true);
        }
        if self.waiting.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            return None;
        }
        self.waiting.push_back(Waiting {
            ticket: ticket.to_owned(),
            instance_id: instance_id.to_owned(),
            lease: (until - now).num_milliseconds(),
        });
        Some(false)
    }

    /// One has ended its work, or waits no longer.
    pub(super) fn leave(&mut self, ticket: &str) {
        self.working.retain(|one| one.ticket != ticket);
        self.waiting.retain(|one| one.ticket != ticket);
    }

    /// One that has worked for as long as its lease no longer counts.
    pub(super) fn expire(&mut self, ticket: &str) {
        self.working.retain(|one| one.ticket != ticket);
    }

    /// Lets in as many as there is room for, and says what else is to be done.
    pub(super) fn steps(&mut self, now: DateTime<Utc>) -> Vec<Step> {
        let mut steps = Vec::new();
        while self.has_room()
            && let Some(next) = self.waiting.pop_front()
        {
            let lease = TimeDelta::try_milliseconds(next.lease).unwrap_or(TimeDelta::zero());
            let until = now
                .checked_add_signed(lease)
                .unwrap_or(DateTime::<Utc>::MAX_UTC);
            self.work(next.ticket.clone(), until);
            steps.push(Step::LetIn {
                ticket: next.ticket,
                instance_id: next.instance_id,
            });
        }
        for one in self.working.iter_mut().filter(|one| !one.watched) {
            one.watched = true;
            steps.push(Step::Watch {
                ticket: one.ticket.clone(),
                until: one.until,
            });
        }
        steps
    }

    /// Whether nobody is at work or waits.
    pub(super) fn is_empty(&self) -> bool {
        self.working.is_empty() && self.waiting.is_empty()
    }

    fn has_room(&self) -> bool {
        self.working.len() < usize::try_from(self.at_once).unwrap_or(usize::MAX)
    }

    fn work(&mut self, ticket: String, until: DateTime<Utc>) {
        self.working.push(Working {
            ticket,
            until,
            watched: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Seconds since the tests' beginning.
    fn at(seconds: u32) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + i64::from(seconds), 0).unwrap_or_default()
    }

    #[derive(Clone, Debug)]
    enum Act {
        Enter(u8, u32),
        Leave(u8),
        Wait(u32),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (0..20_u8, 1..4_u32).prop_map(|(who, at_once)| Act::Enter(who, at_once)),
            3 => (0..20_u8).prop_map(Act::Leave),
            2 => (1..8_u32).prop_map(Act::Wait),
        ];
        proptest::collection::vec(act, 0..60)
    }

    proptest! {
        /// Nobody is let in above the limit, passed over or forgotten: while anyone waits,
        /// as many are at work as the limit allows.
        #[test]
        fn the_limit_holds_and_the_order_too(acts in acts()) {
            let mut queue = Queue::default();
            let mut now = 0;
            let mut order: Vec<String> = Vec::new();
            let mut watches: Vec<(String, DateTime<Utc>)> = Vec::new();
            for act in acts {
                let mut at_once = queue.at_once;
                match act {
                    Act::Enter(who, most) => {
                        at_once = most;
                        let ticket = who.to_string();
                        queue.limit(most);
                        let full = queue.waiting.len() == 5;
                        let waits = |queue: &Queue| queue.waiting.iter().any(|one| one.ticket == ticket);
                        let waited = waits(&queue);
                        match queue.enter(&ticket, "i", (at(now), at(now + 5)), 5) {
                            Some(true) => prop_assert!(!waited),
                            Some(false) if waited => {}
                            Some(false) => order.push(ticket),
                            None => prop_assert!(full && !waited),
                        }
                    }
                    Act::Leave(who) => {
                        queue.leave(&who.to_string());
                        order.retain(|ticket| *ticket != who.to_string());
                    }
                    Act::Wait(seconds) => {
                        now += seconds;
                        for (ticket, until) in std::mem::take(&mut watches) {
                            if until <= at(now) {
                                queue.expire(&ticket);
                            } else {
                                watches.push((ticket, until));
                            }
                        }
                    }
                }
                let working = queue.working.len();
                for step in queue.steps(at(now)) {
                    match step {
                        Step::LetIn { ticket, .. } => {
                            prop_assert!(!order.is_empty());
                            prop_assert_eq!(ticket, order.remove(0));
                        }
                        Step::Watch { ticket, until } => watches.push((ticket, until)),
                    }
                }
                let limit = usize::try_from(at_once).unwrap_or(usize::MAX);
                prop_assert!(queue.working.len() <= limit.max(working));
                prop_assert!(queue.waiting.is_empty() || queue.working.len() >= limit);
                // Whatever works is looked at when its lease ends.
                for one in &queue.working {
                    prop_assert!(watches.contains(&(one.ticket.clone(), one.until)));
                }
            }
        }
    }
}
