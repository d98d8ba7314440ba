//! What waits for a worker and can be read from the store when one is found. Only its number is in
//! memory, once here and once in its queue, so that instances and entities can wait by the million.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::lanes::Lane;
use super::state::{Slot, State};
use super::trace;
use crate::metrics::Kind;
use crate::store::{EntityHeader, Header, PendingInstance};

/// A map that is mostly empty gives its memory back from this capacity on.
const ROOMY: usize = 1024;

/// An instance that no worker holds and whose events are in the store only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    /// It is in the queue of its name.
    pub(super) queued: bool,
    /// No worker gets a turn of it for now.
    pub(super) paused: bool,
}

/// Everything of one task hub that is parked.
#[derive(Debug, Default)]
pub(super) struct Park {
    instances: HashMap<i64, Parked>,
    /// All of them are queued.
    entities: HashSet<i64>,
}

impl Park {
    pub(super) fn add(&mut self, key: i64, parked: Parked) {
        self.instances.insert(key, parked);
    }

    /// The instance, if it is parked.
    pub(super) fn instance(&mut self, key: i64) -> Option<&mut Parked> {
        self.instances.get_mut(&key)
    }

    /// Ends an instance's being parked.
    pub(super) fn take(&mut self, key: i64) -> Option<Parked> {
        let taken = self.instances.remove(&key)?;
        let (len, capacity) = (self.instances.len(), self.instances.capacity());
        if capacity > ROOMY && len < capacity / 4 {
            self.instances.shrink_to(len * 2);
        }
        Some(taken)
    }

    pub(super) fn add_entity(&mut self, key: i64) {
        self.entities.insert(key);
    }

    pub(super) fn has_entity(&self, key: i64) -> bool {
        self.entities.contains(&key)
    }

    /// Ends an entity's being parked; false if it was not.
    pub(super) fn take_entity(&mut self, key: i64) -> bool {
        let taken = self.entities.remove(&key);
        let (len, capacity) = (self.entities.len(), self.entities.capacity());
        if taken && capacity > ROOMY && len < capacity / 4 {
            self.entities.shrink_to(len * 2);
        }
        taken
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = i64> {
        self.instances.keys().copied()
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = i64> {
        self.entities.iter().copied()
    }
}

/// What is known of a parked instance: its number and its lane. The rest is read with its events.
pub(super) fn instance_of(hub: i64, key: i64, lane: &Lane) -> Arc<Header> {
    Arc::new(Header {
        hub,
        key,
        instance_id: String::new(),
        execution_id: String::new(),
        name: lane.name.clone(),
        version: lane.version.clone(),
        has_history: false,
        turns: 0,
        span: None,
    })
}

/// The same of an entity.
pub(super) fn entity_of(hub: i64, key: i64, lane: &Lane) -> Arc<EntityHeader> {
    let id = format!("@{}@", lane.name);
    Arc::new(EntityHeader { hub, key, id })
}

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
