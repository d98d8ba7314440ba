//! Entities that have work, and the workers that execute it. A slot holds no operations: they are
//! read from the store, with the state, once a worker is found.

use std::sync::Arc;
use std::time::Duration;

use durabletask_scheduler_core::entity_name;

use super::backoff::Item;
use super::lanes::{Lane, Taken};
use super::parked::entity_of;
use super::state::{Held, State};
use super::trace;
use super::{Assignment, Claim, ClaimedEntity};
use crate::metrics::Kind;
use crate::store::{EntityBatch, EntityHeader};

/// An entity with a batch at a worker. One that waits for a worker is parked.
#[derive(Debug)]
pub(super) struct EntitySlot {
    pub(super) header: Arc<EntityHeader>,
    runnable: bool,
    lease: Option<u64>,
}

/// The batch at a worker. Absent until it has been read; until then, the header may have no more
/// than the number and the name.
#[derive(Debug)]
pub(super) struct HeldEntity {
    pub(super) header: Arc<EntityHeader>,
    pub(super) batch: Option<Arc<EntityBatch>>,
}

impl State {
    /// The store reports a queue: `runnable` is whether an operation in it can run.
    pub(super) fn entity(&mut self, header: Arc<EntityHeader>, runnable: bool) {
        if self.gone.hub(header.hub) {
            return;
        }
        let key = header.key;
        if let Some(hub) = self.hubs.get_mut(&header.hub)
            && hub.park.has_entity(key)
        {
            if !runnable {
                // The queue skips it.
                hub.park.take_entity(key);
            }
            return;
        }
        if !runnable && !self.entities.contains_key(&key) {
            return;
        }
        let slot = self.entities.entry(key).or_insert_with(|| EntitySlot {
            header,
            runnable,
            lease: None,
        });
        slot.runnable = runnable;
        self.entity_ready(key);
    }

    pub(super) fn entity_gone(&mut self, hub: i64, key: i64) {
        self.backoffs.forget(Item::Entity(key));
        self.entities.remove(&key);
        if let Some(hub) = self.hubs.get_mut(&hub) {
            hub.park.take_entity(key);
        }
    }

    /// An entity's delay has ended.
    pub(super) fn entity_rested(&mut self, hub: i64, key: i64, lane: &Lane) {
        let parked = self.hubs.get_mut(&hub);
        if parked.is_some_and(|hub| hub.park.take_entity(key)) {
            self.entity(entity_of(hub, key, &lane.name), true);
        }
    }

    /// Assigns or queues the next batch of an entity; removes an entity without work.
    pub(super) fn entity_ready(&mut self, key: i64) {
        let Some(slot) = self.entities.get_mut(&key) else {
            return;
        };
        if slot.lease.is_some() {
            return;
        }
        if !slot.runnable {
            self.entities.remove(&key);
            return;
        }
        let header = Arc::clone(&slot.header);
        let name = entity_name(&header.id);
        let waits = self.backoffs.waits(Item::Entity(key));
        match self.stream_for(header.hub, None, |id, stream| {
            stream.free_entities > 0 && stream.filters.entity(name) && waits.allows(id)
        }) {
            Some(stream) => self.assign_entity(stream, key, Duration::ZERO),
            None => {
                self.meter(header.hub, Kind::Entity);
                let queued = trace::Item {
                    hub: header.hub,
                    kind: Kind::Entity,
                    name,
                    owner: trace::Owner::Id(&header.id),
                    task_id: None,
                };
                queued.queued();
                let hub = self.hubs.entry(header.hub).or_default();
                hub.entities.push(Lane::named(name), waits, key);
                hub.park.add_entity(key);
                self.entities.remove(&key);
            }
        }
    }

    fn assign_entity(&mut self, stream_id: u64, key: i64, waited: Duration) {
        let lease = self.number();
        let (Some(slot), Some(stream)) = (
            self.entities.get_mut(&key),
            self.streams.get_mut(&stream_id),
        ) else {
            return;
        };
        let header = Arc::clone(&slot.header);
        slot.lease = Some(lease);
        // What is reported from now on may be missing from the batch that is read.
        slot.runnable = false;
        stream.free_entities -= 1;
        // As for turns, this only fails for a stream that is ending.
        let _ = stream.sender.try_send(Assignment::Entity { lease, key });
        let hub = header.hub;
        let held = Held::Entity(HeldEntity {
            header,
            batch: None,
        });
        self.lend(lease, stream_id, hub, held, waited);
    }

    /// Fills the free window of a stream from the queue of entities.
    pub(super) fn pump_entities(&mut self, stream_id: u64) {
        while let Some(stream) = self
            .streams
            .get(&stream_id)
            .filter(|stream| stream.free_entities > 0 && !self.closed)
        {
            let Some(hub) = self.hubs.get_mut(&stream.hub) else {
                break;
            };
            let hub_id = stream.hub;
            let Some(Taken {
                item: key,
                lane,
                waited,
            }) = hub
                .entities
                .pop(|lane| stream.filters.entity(&lane.name) && lane.allows(stream_id))
            else {
                break;
            };
            // The entity may have been purged or locked while it was queued.
            if hub.park.take_entity(key) {
                let slot = EntitySlot {
                    header: entity_of(hub_id, key, &lane.name),
                    runnable: true,
                    lease: None,
                };
                self.entities.insert(key, slot);
                self.assign_entity(stream_id, key, waited);
            }
        }
    }

    /// The lease of an entity has ended; `again` means that its operations still wait.
    pub(super) fn entity_released(&mut self, key: i64, lease: u64, again: bool) {
        if let Some(slot) = self
            .entities
            .get_mut(&key)
            .filter(|slot| slot.lease == Some(lease))
        {
            slot.lease = None;
            slot.runnable |= again;
            self.entity_ready(key);
        }
    }

    /// Records what was read from the store for a lease.
    pub(super) fn loaded_entity(
        &mut self,
        id: u64,
        read: &Arc<EntityHeader>,
        batch: &Arc<EntityBatch>,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Held::Entity(held) = &mut lease.held {
            held.header = Arc::clone(read);
            held.batch = Some(Arc::clone(batch));
        }
        lease.named(id).handed_out(lease.waited);
    }

    pub(super) fn claim_entity(&mut self, hub: i64, id: u64) -> Claim<ClaimedEntity> {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.hub == hub) else {
            return self.absent(id);
        };
        match &lease.held {
            _ if lease.completing => Claim::InProgress,
            Held::Entity(HeldEntity {
                header,
                batch: Some(batch),
            }) => {
                lease.completing = true;
                Claim::Claimed(ClaimedEntity {
                    lease: id,
                    key: header.key,
                    batch: Arc::clone(batch),
                })
            }
            Held::Turn { .. } | Held::Activity(_) | Held::Entity(_) => Claim::Unknown,
        }
    }
}
