//! External events: what arrived, who waits, and in which order.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use chrono::{DateTime, Utc};

/// An external event that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raised {
    sequence: u64,
    pub(crate) name: String,
    pub(crate) input: Option<String>,
    pub(crate) timestamp: Option<DateTime<Utc>>,
}

/// Buffered events and waiters by name. Names are compared without regard to
/// case; both sides are first in, first out.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffered: BTreeMap<String, VecDeque<Raised>>,
    queues: BTreeMap<String, VecDeque<u64>>,
    waiters: BTreeMap<u64, Waiter>,
    next_waiter: u64,
    next_sequence: u64,
}

#[derive(Debug)]
struct Waiter {
    key: String,
    waker: Option<Waker>,
    delivered: Option<Raised>,
}

impl Inbox {
    /// Takes an event in; yields the waker of the waiter that got it.
    pub(crate) fn raise(
        &mut self,
        name: String,
        input: Option<String>,
        timestamp: Option<DateTime<Utc>>,
    ) -> Option<Waker> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.deliver(Raised {
            sequence,
            name,
            input,
            timestamp,
        })
    }

    fn deliver(&mut self, raised: Raised) -> Option<Waker> {
        let key = raised.name.to_lowercase();
        if let Some(queue) = self.queues.get_mut(&key) {
            let first = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&key);
            }
            if let Some(waiter) = first.and_then(|id| self.waiters.get_mut(&id)) {
                waiter.delivered = Some(raised);
                return waiter.waker.take();
            }
        }
        let buffer = self.buffered.entry(key).or_default();
        // An event that a dropped waiter returns keeps its place in the order of arrival.
        let at = buffer.partition_point(|other| other.sequence < raised.sequence);
        buffer.insert(at, raised);
        None
    }

    /// Registers a waiter; it gets the oldest buffered event at once, if there is one.
    pub(crate) fn wait(&mut self, name: &str) -> u64 {
        let id = self.next_waiter;
        self.next_waiter += 1;
        let key = name.to_lowercase();
        let mut delivered = None;
        if let Some(buffer) = self.buffered.get_mut(&key) {
            delivered = buffer.pop_front();
            if buffer.is_empty() {
                self.buffered.remove(&key);
            }
        }
        if delivered.is_none() {
            self.queues.entry(key.clone()).or_default().push_back(id);
        }
        self.waiters.insert(
            id,
            Waiter {
                key,
                waker: None,
                delivered,
            },
        );
        id
    }

    /// The waiter's event, if it has come; otherwise remembers whom to wake.
    pub(crate) fn poll(&mut self, id: u64, waker: &Waker) -> Option<Raised> {
        let waiter = self.waiters.get_mut(&id)?;
        if let Some(raised) = waiter.delivered.take() {
            self.waiters.remove(&id);
            return Some(raised);
        }
        match &mut waiter.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        None
    }

    /// Forgets a waiter. An event that it got and did not look at goes to the
    /// next one; yields whom to wake for it.
    pub(crate) fn cancel(&mut self, id: u64) -> Option<Waker> {
        let waiter = self.waiters.remove(&id)?;
        if let Some(raised) = waiter.delivered {
            return self.deliver(raised);
        }
        if let Some(queue) = self.queues.get_mut(&waiter.key) {
            queue.retain(|other| *other != id);
            if queue.is_empty() {
                self.queues.remove(&waiter.key);
            }
        }
        None
    }

    /// Whether someone has looked for an event and would be woken by it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiters.values().any(|waiter| waiter.waker.is_some())
    }

    /// The events that nobody took whose names satisfy `wanted`, in the order of arrival.
    pub(crate) fn take_where(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<Raised> {
        let mut events = Vec::new();
        self.buffered.retain(|name, buffer| {
            let take = wanted(name);
            if take {
                events.extend(buffer.drain(..));
            }
            !take
        });
        events.sort_by_key(|event| event.sequence);
        events
    }

    /// All unconsumed events, in the order of arrival.
    pub(crate) fn take_unprocessed(&mut self) -> Vec<Raised> {
        let mut events: Vec<Raised> = std::mem::take(&mut self.buffered)
            .into_values()
            .flatten()
            .collect();
        events.sort_by_key(|event| event.sequence);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(inbox: &mut Inbox, waiter: u64) -> Option<String> {
        inbox
            .poll(waiter, Waker::noop())
            .and_then(|raised| raised.input)
    }

    #[test]
    fn waiters_and_events_meet_first_in_first_out() {
        let mut inbox = Inbox::default();
        let first = inbox.wait("Go");
        let second = inbox.wait("gO");
        inbox.raise("GO".into(), Some("1".into()), None);
        inbox.raise("go".into(), Some("2".into()), None);
        assert_eq!(poll(&mut inbox, second).as_deref(), Some("2"));
        assert_eq!(poll(&mut inbox, first).as_deref(), Some("1"));
    }

    #[test]
    fn a_dropped_waiter_consumes_no_event() {
        let mut inbox = Inbox::default();
        let dropped = inbox.wait("go");
        let delivered = inbox.wait("go");
        inbox.cancel(dropped);
        inbox.raise("go".into(), Some("1".into()), None);
        inbox.raise("go".into(), Some("2".into()), None);
        inbox.cancel(delivered);
        let next = inbox.wait("go");
        assert_eq!(poll(&mut inbox, next).as_deref(), Some("1"));
        let left = inbox.take_unprocessed();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].input.as_deref(), Some("2"));
    }
}
