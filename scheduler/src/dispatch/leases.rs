//! Leases: claiming, settling and returning work items.

use std::sync::Arc;

use durabletask_proto::ActivityRequest;
use prost::Message;

use super::setbacks::Why;
use super::state::{ActivityItem, Held, Lease, State};
use super::trace;
use super::{Claim, ClaimedActivity, ClaimedTurn, Events, Settled};
use crate::store::Header;

impl State {
    pub(super) fn turn_of(&self, hub: i64, instance_id: &str) -> Option<u64> {
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
                    trace::completed(id, &lease);
                    self.meter(lease.hub, lease.held.kind())
                        .completed(lease.since.elapsed());
                } else {
                    trace::dropped(id, &lease);
                }
                // If its item was removed, the completion is dropped like one that
                // arrives later.
                self.applied.put(id, ());
                self.setbacks.forget(lease.held.item());
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
                    self.give_back(None, id, Why::Lost);
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
    pub(super) fn give_back(&mut self, hub: Option<i64>, id: u64, why: Why) -> bool {
        let mine = |lease: &Lease| !lease.completing && hub.is_none_or(|hub| hub == lease.hub);
        if !self.leases.get(&id).is_some_and(mine) {
            return false;
        }
        let Some(mut lease) = self.leases.remove(&id) else {
            return false;
        };
        self.meter(lease.hub, lease.held.kind()).returned();
        trace::returned(id, &lease, why);
        self.set_back(&lease, why);
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
                            self.buffered += event.encoded_len();
                            slot.events.push_front((*seq, event.clone()));
                        }
                    }
                    self.ready(key);
                }
            }
            Held::Entity(entity) => self.entity_released(entity.header.key, id, true),
            Held::Activity(item) => {
                let size = item
                    .request
                    .as_ref()
                    .map_or(0, |request| request.encoded_len());
                self.buffered += size;
                let again = ActivityItem {
                    instance: item.instance,
                    id: item.id,
                    lane: std::mem::take(&mut item.lane),
                    request: item.request.take(),
                };
                self.offer(lease.hub, again);
            }
        }
        self.free(&lease);
        true
    }

    pub(super) fn loaded_turn(&mut self, id: u64, read: &Events) {
        if let Some(Lease {
            held: Held::Turn { events, .. },
            ..
        }) = self.leases.get_mut(&id)
        {
            *events = Some(Arc::clone(read));
        }
    }

    pub(super) fn loaded_activity(&mut self, id: u64, read: &Arc<ActivityRequest>) {
        if let Some(Lease {
            held: Held::Activity(item),
            ..
        }) = self.leases.get_mut(&id)
        {
            item.request = Some(Arc::clone(read));
        }
    }
}
