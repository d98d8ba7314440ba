//! Items that were returned uncompleted, and how long they are delayed.
//!
//! An item that a worker returns goes to another worker at once, and to the same one
//! only after a delay that doubles each time: a worker that rejects it would
//! otherwise get it a thousand times a second. An item that its streams do not
//! survive, again and again, is delayed for all of them in the same way, so that one
//! message that a client cannot receive does not hold up everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durabletask_scheduler_core::entity_name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::parked::instance_of;
use super::state::{Held, Lease, State};

/// The delay after an item is returned for the first time.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How often an item is returned before that is logged.
const TOLD_AT: u32 = 5;
/// No client refuses messages smaller than this for their size.
pub(super) const SUSPECT_BYTES: usize = 64 * 1024;

/// A work item, by the number of what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Turn(i64),
    Activity(i64),
    Entity(i64),
}

impl Held {
    pub(super) fn item(&self) -> Item {
        match self {
            Self::Turn { header, .. } => Item::Turn(header.key),
            Self::Activity(item) => Item::Activity(item.id),
            Self::Entity(entity) => Item::Entity(entity.header.key),
        }
    }
}

/// Why an item was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReturnReason {
    /// The worker wants the whole history, or the entity's state.
    AsksAgain,
    /// The worker returned it.
    Abandoned,
    /// The worker does not accept a message of that size, but another one does.
    TooLarge,
    /// Its stream ended.
    Lost,
    /// Its stream ended, and it was the largest item there.
    Suspected,
    /// It could not be read.
    Unread,
}

impl ReturnReason {
    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::AsksAgain => "the worker needs the whole history or state",
            Self::Abandoned => "the worker abandoned it",
            Self::TooLarge => "its message is too large for the worker",
            Self::Lost => "the worker's stream ended",
            Self::Suspected => "the worker's stream ended, perhaps because of its size",
            Self::Unread => "it could not be read from the database",
        }
    }
}

/// The streams that an item is kept from until its delay has ended. Part of its lane, so that items
/// with equal delays are found together, in the order in which they are due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExcludedStreams {
    /// Streams that returned it.
    from: Vec<u64>,
    /// All streams.
    from_all: bool,
    level: u32,
}

impl ExcludedStreams {
    /// Whether a stream may get the item before the delay has ended.
    pub(super) fn allows(&self, stream: u64) -> bool {
        !self.from_all && !self.from.contains(&stream)
    }

    pub(super) const fn is_for_all(&self) -> bool {
        self.from_all
    }
}

/// An item's returns so far.
#[derive(Debug)]
struct Backoff {
    since: Instant,
    /// Streams that returned it and are still open.
    by: Vec<u64>,
    times: u32,
    strikes: u32,
    asked: bool,
    waits: Option<(Arc<ExcludedStreams>, Instant)>,
}

/// All items that were returned and have not been completed since.
#[derive(Debug)]
pub(super) struct Backoffs {
    items: HashMap<Item, Backoff>,
    next: watch::Sender<Option<Instant>>,
}

impl Backoffs {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.next.send_replace(None);
    }
}

impl Default for Backoffs {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            next: watch::Sender::new(None),
        }
    }
}

/// How an item waits in its queue.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueWait {
    /// Since when, if earlier than now.
    pub(super) since: Option<Instant>,
    pub(super) excluded: Option<Arc<ExcludedStreams>>,
    pub(super) due: Option<Instant>,
}

impl QueueWait {
    pub(super) fn allows(&self, stream: u64) -> bool {
        self.excluded
            .as_ref()
            .is_none_or(|kept| kept.allows(stream))
    }
}

fn delay(level: u32) -> Duration {
    let doublings = level.saturating_sub(1).min(16);
    (FIRST_DELAY * (1 << doublings)).min(LONGEST_DELAY)
}

impl Backoffs {
    /// How an item that is ready for dispatch waits.
    pub(super) fn waits(&mut self, item: Item) -> QueueWait {
        if self.items.is_empty() {
            return QueueWait::default();
        }
        let Some(backoff) = self.items.get_mut(&item) else {
            return QueueWait::default();
        };
        // A delay can end while the item is with another worker, or its instance is suspended:
        // then the loop has come by without finding the item in a queue.
        backoff.waits.take_if(|(_, due)| *due <= Instant::now());
        let (excluded, due) = backoff.waits.clone().unzip();
        let since = Some(backoff.since);
        if let Some(due) = due {
            self.wake_at(due);
        }
        QueueWait {
            since,
            excluded,
            due,
        }
    }

    /// Forgets the item: it is done or removed.
    pub(super) fn forget(&mut self, item: Item) {
        if !self.items.is_empty() {
            self.items.remove(&item);
        }
    }

    /// The item's delay has ended.
    fn rested(&mut self, item: Item) {
        if let Some(backoff) = self.items.get_mut(&item) {
            backoff.waits = None;
        }
    }

    /// Wakes the loop that dispatches delayed items.
    fn wake_at(&self, due: Instant) {
        self.next.send_if_modified(|next| {
            let sooner = next.is_none_or(|next| due < next);
            if sooner {
                *next = Some(due);
            }
            sooner
        });
    }
}

impl State {
    /// Records that a lease's item was returned.
    pub(super) fn back_off(&mut self, lease: &Lease, why: ReturnReason) {
        if matches!(why, ReturnReason::Lost | ReturnReason::Unread) {
            return;
        }
        let now = Instant::now();
        let item = lease.held.item();
        let backoff = self.backoffs.items.entry(item).or_insert_with(|| Backoff {
            since: lease.since,
            by: Vec::new(),
            times: 0,
            strikes: 0,
            asked: false,
            waits: None,
        });
        backoff
            .by
            .retain(|stream| self.streams.contains_key(stream));
        if why == ReturnReason::AsksAgain && !backoff.asked {
            backoff.asked = true;
            return;
        }
        let level = if why == ReturnReason::Suspected {
            backoff.strikes += 1;
            // Workers come and go: the first time proves nothing.
            if backoff.strikes == 1 {
                return;
            }
            // Fewer attempts, since each costs the worker everything that it holds.
            backoff.strikes + 3
        } else {
            backoff.times += 1;
            if !backoff.by.contains(&lease.stream) {
                backoff.by.push(lease.stream);
                backoff.by.sort_unstable();
            }
            backoff.times
        };
        let excluded = ExcludedStreams {
            from: backoff.by.clone(),
            from_all: why == ReturnReason::Suspected,
            level,
        };
        let due = now + delay(level);
        backoff.waits = Some((Arc::new(excluded), due));
        if backoff.times.max(backoff.strikes) == TOLD_AT {
            let name = lease.held.name();
            let bytes = lease.bytes;
            match why {
                ReturnReason::Suspected => tracing::warn!(
                    name,
                    bytes,
                    "each worker's stream ended while it held this work item, perhaps because \
                     the worker cannot receive a message of this size; retrying less and less \
                     often"
                ),
                _ => tracing::warn!(
                    name,
                    "workers keep abandoning this work item; retrying less and less often"
                ),
            }
        }
        self.backoffs.wake_at(due);
    }

    pub(super) fn sent(&mut self, lease: u64, bytes: usize) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.bytes = bytes;
        }
    }

    pub(super) fn pass_on(&mut self, id: u64, bytes: usize) -> bool {
        let Some(lease) = self.leases.get(&id) else {
            return false;
        };
        let taken = self.streams.iter().any(|(id, stream)| {
            let (wants, fits) = match &lease.held {
                Held::Turn { header, .. } => (
                    stream.filters.turn(&header.name, header.version.as_deref()),
                    stream.streaming || stream.max_bytes >= bytes,
                ),
                Held::Activity(item) => (
                    stream.filters.activity(&item.lane),
                    stream.max_bytes >= bytes,
                ),
                Held::Entity(entity) => (
                    stream.filters.entity(entity_name(&entity.header.id)),
                    stream.max_bytes >= bytes,
                ),
            };
            *id != lease.stream && stream.hub == lease.hub && wants && fits
        });
        taken && self.give_back(None, id, ReturnReason::TooLarge)
    }

    /// Dispatches items whose delay has ended.
    fn release(&mut self) {
        let now = Instant::now();
        self.backoffs.next.send_replace(None);
        let hubs: Vec<i64> = self.hubs.keys().copied().collect();
        for hub in hubs {
            let Some(queues) = self.hubs.get_mut(&hub) else {
                continue;
            };
            let turns = queues.turns.pop_due(now);
            let activities = queues.activities.pop_due(now);
            let entities = queues.entities.pop_due(now);
            for (lane, key) in turns {
                self.backoffs.rested(Item::Turn(key));
                self.unpark(&instance_of(hub, key, &lane.name, lane.version.as_deref()));
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.queued = false;
                    self.ready(key);
                }
            }
            for (lane, item) in activities {
                self.backoffs.rested(Item::Activity(item.id));
                if self.gone.met(item.id) {
                    self.unbuffer(item.request.as_ref());
                } else {
                    self.offer(hub, item.in_lane(lane));
                }
            }
            for (lane, key) in entities {
                self.backoffs.rested(Item::Entity(key));
                self.entity_rested(hub, key, &lane);
            }
        }
        let next = self
            .hubs
            .values()
            .filter_map(|hub| {
                let turns = hub.turns.first_due().into_iter();
                turns
                    .chain(hub.activities.first_due())
                    .chain(hub.entities.first_due())
                    .min()
            })
            .min();
        if let Some(next) = next {
            self.backoffs.wake_at(next);
        }
    }
}

/// Dispatches delayed items as soon as possible.
pub(crate) async fn run(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut next = dispatch.lock().backoffs.next.subscribe();
    loop {
        let due = *next.borrow_and_update();
        let waited = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => dispatch.lock().release(),
            changed = next.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        assert_eq!(delay(1), FIRST_DELAY);
        assert_eq!(delay(2), 2 * FIRST_DELAY);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }
}
