//! When instances are parked, and when they are not any more.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lanes::Lane;
use super::parked::Parked;
use super::state::{Slot, State};
use super::trace;
use crate::metrics::Kind;
use crate::store::{Header, PendingInstance};

impl State {
    /// An instance that was waiting when the process started.
    pub(super) fn stored_events(&mut self, pending: &PendingInstance) {
        let parked = Parked {
            queued: !pending.paused,
            paused: pending.paused,
        };
        if parked.queued {
            self.meter(pending.hub, Kind::Orchestration);
            let queued = trace::Item {
                hub: pending.hub,
                kind: Kind::Orchestration,
                name: &pending.name,
                owner: trace::Owner::Id(&pending.instance_id),
                task_id: None,
            };
            queued.queued();
        }
        let hub = self.hubs.entry(pending.hub).or_default();
        hub.park.add(pending.key, parked);
        if parked.queued {
            let lane = Lane::turn(&pending.name, pending.version.as_deref());
            hub.turns.push(lane, Default::default(), pending.key);
        }
    }

    /// Keeps only the number of an instance that waits with its events in the store.
    pub(super) fn park(&mut self, key: i64) {
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        let (queued, paused) = (slot.queued, slot.paused);
        if !slot.stored || slot.lease.is_some() || !(queued || paused) {
            return;
        }
        let hub = slot.header.hub;
        self.slots.remove(&key);
        let hub = self.hubs.entry(hub).or_default();
        hub.park.add(key, Parked { queued, paused });
    }

    /// Gives an instance its slot back, if it is parked.
    pub(super) fn unpark(&mut self, header: &Arc<Header>) {
        let key = header.key;
        let hub = self.hubs.get_mut(&header.hub);
        if let Some(parked) = hub.and_then(|hub| hub.park.take(key)) {
            let slot = Slot {
                header: Arc::clone(header),
                events: VecDeque::new(),
                stored: true,
                paused: parked.paused,
                last_seq: 0,
                lease: None,
                queued: parked.queued,
            };
            self.slots.insert(key, slot);
        }
    }
}
