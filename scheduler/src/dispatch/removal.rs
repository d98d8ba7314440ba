//! What was removed: instances and activities, and deleted task hubs.

use std::collections::HashSet;

use super::backoff::Item;
use super::state::{Held, State};

/// What must not be dispatched although it may still be queued.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Removed activities that are still in a queue; each is removed when it is found there.
    activities: HashSet<i64>,
    /// Deleted task hubs, whose last commits may still be reported.
    hubs: HashSet<i64>,
}

impl Removed {
    pub(super) fn hub(&self, hub: i64) -> bool {
        self.hubs.contains(&hub)
    }

    /// Whether an activity that was taken from its queue has been removed.
    pub(super) fn met(&mut self, activity: i64) -> bool {
        !self.activities.is_empty() && self.activities.remove(&activity)
    }
}

impl State {
    /// An instance was removed, with these activities.
    pub(super) fn gone(&mut self, hub: i64, key: i64, activities: &[i64]) {
        self.sticky.pop(&key);
        if let Some(hub) = self.hubs.get_mut(&hub) {
            hub.park.take(key);
        }
        let lease = self.slots.get(&key).and_then(|slot| slot.lease);
        self.drop_slot(key);
        if let Some(lease) = lease {
            self.revoke(lease);
        }
        self.withdraw(hub, activities);
    }

    /// Takes back the turn of an instance from its worker.
    pub(super) fn turn_revoked(&mut self, key: i64) {
        let lease = self.slots.get_mut(&key).and_then(|slot| slot.lease.take());
        if let Some(lease) = lease {
            self.revoke(lease);
        }
    }

    /// Activities were removed: takes them back from their workers and out of the queues.
    pub(super) fn withdraw(&mut self, hub: i64, activities: &[i64]) {
        if activities.is_empty() || self.gone.hub(hub) {
            return;
        }
        for id in activities {
            self.backoffs.forget(Item::Activity(*id));
        }
        let mut queued: HashSet<i64> = activities.iter().copied().collect();
        let held: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| match &lease.held {
                Held::Activity(item) => queued.remove(&item.id),
                Held::Turn { .. } | Held::Entity(_) => false,
            })
            .map(|(id, _)| *id)
            .collect();
        // Before a window is freed, which may take from the queue.
        self.gone.activities.extend(queued);
        for lease in held {
            self.revoke(lease);
        }
    }

    /// Ends a lease whose item was removed. One that is being completed ends with its completion.
    /// A later completion is answered like a repeat: an official worker takes
    /// an error for the end of its stream, and delays everything that it holds.
    pub(super) fn revoke(&mut self, id: u64) {
        if self.leases.get(&id).is_some_and(|lease| !lease.completing)
            && let Some(lease) = self.leases.remove(&id)
        {
            self.applied.put(id, ());
            self.activity_back(&lease);
            self.free(&lease);
        }
    }

    /// Everything is another node's: streams end, and nothing is dispatched. Completions that were
    /// applied stay known.
    pub(super) fn forget(&mut self) {
        self.gone = Removed::default();
        self.streams.clear();
        self.leases.clear();
        self.slots.clear();
        self.entities.clear();
        self.sticky.clear();
        self.backoffs.clear();
        for hub in std::mem::take(&mut self.hubs).into_keys() {
            self.paces.forget(hub);
        }
        self.meters.clear();
        self.buffered = 0;
    }

    /// A task hub was deleted: its streams end, and nothing of it is dispatched any more.
    pub(super) fn hub_gone(&mut self, hub: i64) {
        self.gone.hubs.insert(hub);
        self.paces.forget(hub);
        self.meters.retain(|(each, _), _| *each != hub);
        // Closing its channel ends the stream.
        self.streams.retain(|_, stream| stream.hub != hub);
        let Self {
            leases, backoffs, ..
        } = self;
        leases.retain(|_, lease| {
            let stays = lease.hub != hub || lease.completing;
            if !stays {
                backoffs.forget(lease.held.item());
            }
            stays
        });
        if let Some(mut queues) = self.hubs.remove(&hub) {
            for item in queues.activities.drain() {
                self.backoffs.forget(Item::Activity(item.id));
                self.gone.activities.remove(&item.id);
                self.unbuffer(item.request.as_ref());
            }
            for key in queues.park.instances() {
                self.sticky.pop(&key);
                self.backoffs.forget(Item::Turn(key));
            }
            for key in queues.park.entities() {
                self.backoffs.forget(Item::Entity(key));
            }
        }
        let keys: Vec<i64> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.header.hub == hub)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.sticky.pop(&key);
            self.drop_slot(key);
        }
        let Self {
            entities, backoffs, ..
        } = self;
        entities.retain(|key, slot| {
            let stays = slot.header.hub != hub;
            if !stays {
                backoffs.forget(Item::Entity(*key));
            }
            stays
        });
    }
}
