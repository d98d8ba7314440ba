//! What waits for a worker and can be read from the store when one is found. Only its number is in
//! memory, once here and once in its queue, so that instances and entities can wait by the million.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::store::{EntityHeader, Header};

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

/// What is known of a parked instance: its number, and the name and version that its lane has. The
/// rest is read with its events.
pub(super) fn instance_of(hub: i64, key: i64, name: &str, version: Option<&str>) -> Arc<Header> {
    Arc::new(Header {
        hub,
        key,
        instance_id: String::new(),
        execution_id: String::new(),
        name: name.to_owned(),
        version: version.map(str::to_owned),
        has_history: false,
        turns: 0,
        span: None,
    })
}

/// The same of an entity.
pub(super) fn entity_of(hub: i64, key: i64, name: &str) -> Arc<EntityHeader> {
    let id = format!("@{name}@");
    Arc::new(EntityHeader { hub, key, id })
}
