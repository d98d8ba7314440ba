//! Leases: claiming, settling and returning work items.

use std::sync::Arc;

use durabletask_proto::ActivityRequest;

use super::backoff::ReturnReason;
use super::queues::{request_weight, weight};
use super::state::{ActivityItem, Held, Lease, State};
use super::{Claim, ClaimedActivity, ClaimedTurn, Events, Settled};
use crate::store::Header;

impl State {
    pub(super) fn turn_of(&self, hub: i64, instance_id: &str) -> Option<u64> {
        if instance_id.is_empty() {
            // One that has not been read has no id yet.
            return None;
        }
        self.leases
            .iter()
            .find(|(_, lease)| lease.hub == hub && matches!(&lease.held, Held::Turn { header, .. } if header.instance_id == instance_id))
            .map(|(id, _)| *id)
    }

    pub(super) fn activity_of(&self, hub: i64, instance_id: &str, task_id: i32) -> Option<u64> {
        let is = |held: &Held| match held {
            Held::Activity(ActivityItem {
                request: Some(request),
                ..
            }) => {
                request.task_id == task_id
                    && request
                        .orchestration_instance
                        .as_ref()
                        .is_some_and(|i| i.instance_id == instance_id)
            }
            Held::Activity(_) | Held::Turn { .. } | Held::Entity(_) => false,
        };
        self.leases
            .iter()
            .find(|(_, lease)| lease.hub == hub && is(&lease.held))
            .map(|(id, _)| *id)
    }

    pub(super) fn outstanding(&self, hub: i64, instance_id: &str) -> Option<Arc<Header>> {
        let lease = self.leases.get(&self.turn_of(hub, instance_id)?)?;
        match &lease.held {
            Held::Turn { header, .. } => Some(Arc::clone(header)),
            Held::Activity(_) | Held::Entity(_) => None,
        }
    }

    pub(super) fn claim_turn(&mut self, hub: i64, id: u64) -> Claim<ClaimedTurn> {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.hub == hub) else {
            return self.absent(id);
        };
        match &lease.held {
            _ if lease.completing => Claim::InProgress,
            Held::Turn {
                header,
                started,
                events: Some(events),
            } => {
                lease.completing = true;
                Claim::Claimed(ClaimedTurn {
                    lease: id,
                    header: Arc::clone(header),
                    started: *started,
                    events: Arc::clone(events),
                    chunks: lease.chunks.clone(),
                })
            }
            Held::Turn { .. } | Held::Activity(_) | Held::Entity(_) => Claim::Unknown,
        }
    }

    /// A turn's lease that a worker of the hub may complete.
    pub(super) fn turn_lease(&mut self, hub: i64, id: u64) -> Option<&mut Lease> {
        self.leases
            .get_mut(&id)
            .filter(|lease| lease.hub == hub && matches!(lease.held, Held::Turn { .. }))
    }

    pub(super) fn was_applied(&self, id: u64) -> bool {
        self.applied.contains(&id)
    }

    pub(super) fn claim_activity(&mut self, hub: i64, id: u64) -> Claim<ClaimedActivity> {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.hub == hub) else {
            return self.absent(id);
        };
        match &lease.held {
            _ if lease.completing => Claim::InProgress,
            Held::Activity(ActivityItem {
                instance,
                id: row,
                request: Some(request),
                ..
            }) => {
                lease.completing = true;
                Claim::Claimed(ClaimedActivity {
                    lease: id,
                    id: *row,
                    instance: *instance,
                    request: Arc::clone(request),
                })
            }
            Held::Turn { .. } | Held::Activity(_) | Held::Entity(_) => Claim::Unknown,
        }
    }

    pub(super) fn absent<T>(&mut self, id: u64) -> Claim<T> {
        if self.applied.contains(&id) {
            Claim::AlreadyApplied
        } else {
            Claim::Unknown
        }
    }

    pub(super) fn settle(&mut self, id: u64, how: Settled) {
        match how {
            // A turn's lease has already ended, with the report of its commit.
            Settled::Applied | Settled::Gone => {
                let Some(lease) = self.leases.remove(&id) else {
                    return;
                };
                if how == Settled::Applied {
                    lease.named(id).completed();
                    self.meter(lease.hub, lease.held.kind())
                        .completed(lease.since.elapsed());
                } else {
                    lease.named(id).dropped();
                }
                // If its item was removed, the completion is dropped like one that
                // arrives later.
                self.applied.put(id, ());
                self.backoffs.forget(lease.held.item());
                match &lease.held {
                    Held::Turn { header, .. } => {
                        let key = header.key;
                        if let Some(slot) = self
                            .slots
                            .get_mut(&key)
                            .filter(|slot| slot.lease == Some(id))
                        {
                            slot.lease = None;
                            self.ready(key);
                        }
                    }
                    Held::Entity(entity) => self.entity_released(entity.header.key, id, false),
                    Held::Activity(_) => self.activity_back(&lease),
                }
                self.free(&lease);
            }
            Settled::NotApplied => {
                let Some(lease) = self.leases.get_mut(&id) else {
                    return;
                };
                lease.completing = false;
                if !self.streams.contains_key(&lease.stream) {
                    self.give_back(None, id, ReturnReason::Lost);
                }
            }
        }
    }

    /// Frees the window that a lease took and fills it again.
    pub(super) fn free(&mut self, lease: &Lease) {
        let Some(stream) = self.streams.get_mut(&lease.stream) else {
            return;
        };
        match lease.held {
            Held::Turn { .. } => stream.free_turns += 1,
            Held::Activity(_) => stream.free_activities += 1,
            Held::Entity(_) => stream.free_entities += 1,
        }
        self.pump(lease.stream);
    }

    /// Requeues a lease's item, undelivered events in front of later ones.
    pub(super) fn give_back(&mut self, hub: Option<i64>, id: u64, why: ReturnReason) -> bool {
        let mine = |lease: &Lease| !lease.completing && hub.is_none_or(|hub| hub == lease.hub);
        if !self.leases.get(&id).is_some_and(mine) {
            return false;
        }
        let Some(mut lease) = self.leases.remove(&id) else {
            return false;
        };
        self.meter(lease.hub, lease.held.kind()).returned();
        lease.named(id).returned(why.text());
        self.back_off(&lease, why);
        if let Held::Activity(item) = &lease.held {
            self.paces.came_back(lease.hub, &item.lane.name);
        }
        match &mut lease.held {
            Held::Turn { header, events, .. } => {
                let key = header.key;
                // A worker that returned a turn may not hold the state of the previous one.
                self.sticky.pop(&key);
                if let Some(slot) = self
                    .slots
                    .get_mut(&key)
                    .filter(|slot| slot.lease == Some(id))
                {
                    slot.lease = None;
                    if !slot.stored
                        && let Some(events) = events
                    {
                        for (seq, event) in events.iter().rev() {
                            self.buffered += weight(event);
                            slot.events.push_front((*seq, event.clone()));
                        }
                    }
                    self.ready(key);
                }
            }
            Held::Entity(entity) => self.entity_released(entity.header.key, id, true),
            Held::Activity(item) => {
                self.buffered += item.request.as_deref().map_or(0, request_weight);
                let again = ActivityItem {
                    instance: item.instance,
                    id: item.id,
                    lane: Arc::clone(&item.lane),
                    request: item.request.take(),
                };
                self.offer(lease.hub, again);
            }
        }
        self.free(&lease);
        true
    }

    /// Records a turn that was read from the store: what it belongs to, its events and the
    /// number of the last event that is waiting.
    pub(super) fn loaded_turn(
        &mut self,
        id: u64,
        read: &Arc<Header>,
        turn: &Events,
        last_seq: i64,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Held::Turn { header, events, .. } = &mut lease.held {
            *header = Arc::clone(read);
            *events = Some(Arc::clone(turn));
        }
        lease.named(id).handed_out(lease.waited);
        let slot = self.slots.get_mut(&read.key);
        if let Some(slot) = slot.filter(|slot| slot.lease == Some(id)) {
            slot.header = Arc::clone(read);
            slot.last_seq = slot.last_seq.max(last_seq);
        }
    }

    pub(super) fn loaded_activity(&mut self, id: u64, read: &Arc<ActivityRequest>) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Held::Activity(item) = &mut lease.held {
            item.request = Some(Arc::clone(read));
        }
        lease.named(id).handed_out(lease.waited);
    }
}
