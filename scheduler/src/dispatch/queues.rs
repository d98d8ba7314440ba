//! The queues of work to dispatch: ready turns and activities.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use durabletask_proto::{ActivityRequest, HistoryEvent};
use prost::Message;

use super::backoff::Item;
use super::lanes::Lane;
use super::state::{ActivityItem, Held, Lease, QueuedActivity, Slot, State, Sticky};
use super::trace;
use crate::metrics::Kind;
use crate::store::{After, Header, PendingActivity};

/// About what an instance needs besides its events: its slot and header, with their texts.
const SLOT_BYTES: usize = 768;
/// About what an activity in a queue needs besides its request.
const ITEM_BYTES: usize = 192;

impl State {
    pub(super) fn events(
        &mut self,
        header: Arc<Header>,
        events: Vec<(i64, HistoryEvent)>,
        replace: bool,
        paused: bool,
    ) {
        if self.gone.hub(header.hub) {
            return;
        }
        let key = header.key;
        self.unpark(&header);
        let slot = self.slots.entry(key).or_insert_with(|| Slot {
            header: Arc::clone(&header),
            events: VecDeque::new(),
            stored: false,
            paused,
            last_seq: 0,
            lease: None,
            queued: false,
        });
        slot.paused = paused;
        if slot.lease.is_none() {
            slot.header = header;
        }
        if replace {
            self.buffered -= drained_size(&slot.events).min(self.buffered);
            slot.events.clear();
            slot.stored = false;
        }
        slot.last_seq = events.last().map_or(slot.last_seq, |(seq, _)| *seq);
        if !slot.stored {
            let size: usize = events.iter().map(|(_, event)| weight(event)).sum();
            if self.buffered + size > self.most_buffered {
                self.buffered -= drained_size(&slot.events).min(self.buffered);
                slot.events.clear();
                slot.stored = true;
            } else {
                self.buffered += size;
                match slot.events.is_empty() {
                    // Without room for more: most instances get one event at a time.
                    true => slot.events = events.into(),
                    false => slot.events.extend(events),
                }
            }
        }
        self.ready(key);
    }

    /// A new execution begins with these events, ahead of those in its inbox.
    pub(super) fn renewed(
        &mut self,
        header: Arc<Header>,
        events: Vec<(i64, HistoryEvent)>,
        dropped: &[i64],
        paused: bool,
    ) {
        if self.gone.hub(header.hub) {
            return;
        }
        let key = header.key;
        self.unpark(&header);
        // If the instance is not in memory, all is read back.
        let slot = self.slots.entry(key).or_insert_with(|| Slot {
            header: Arc::clone(&header),
            events: VecDeque::new(),
            stored: true,
            paused,
            last_seq: 0,
            lease: None,
            queued: false,
        });
        slot.header = header;
        slot.paused = paused;
        if !dropped.is_empty() {
            let before = drained_size(&slot.events);
            slot.events.retain(|(seq, _)| !dropped.contains(seq));
            self.buffered -= (before - drained_size(&slot.events)).min(self.buffered);
        }
        if let Some((last, _)) = events.last() {
            slot.last_seq = slot.last_seq.max(*last);
        }
        if !slot.stored {
            let size: usize = events.iter().map(|(_, event)| weight(event)).sum();
            if self.buffered + size > self.most_buffered {
                self.buffered -= drained_size(&slot.events).min(self.buffered);
                slot.events.clear();
                slot.stored = true;
            } else {
                self.buffered += size;
                for event in events.into_iter().rev() {
                    slot.events.push_front(event);
                }
            }
        }
        self.ready(key);
    }

    pub(super) fn turn_applied(
        &mut self,
        key: i64,
        through: i64,
        header: Arc<Header>,
        after: After,
    ) {
        let ended = after == After::Ended;
        self.unpark(&header);
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.header = Arc::clone(&header);
        // It has begun now, if not before.
        slot.paused = false;
        let lease_id = slot.lease.take();
        self.backoffs.forget(Item::Turn(key));
        if let Some(lease) = lease_id.and_then(|id| self.leases.remove(&id)) {
            if let Held::Turn {
                events: Some(events),
                ..
            } = &lease.held
                && !slot.stored
            {
                // Unconsumed events come first next time.
                for (seq, event) in events.iter().rev().filter(|(seq, _)| *seq > through) {
                    self.buffered += weight(event);
                    slot.events.push_front((*seq, event.clone()));
                }
            }
            let idle = slot.events.is_empty() && (!slot.stored || slot.last_seq <= through);
            if ended || (idle && after != After::Anew) {
                self.drop_slot(key);
            }
            self.meter(lease.hub, Kind::Orchestration)
                .completed(lease.since.elapsed());
            if let Some(id) = lease_id {
                lease.named(id).completed();
                self.applied.put(id, ());
                // A worker holds an instance as its history was before a rewind.
                if matches!(after, After::Ended | After::Rewound) {
                    self.sticky.pop(&key);
                } else {
                    let execution_id = header.execution_id.clone();
                    self.sticky.put(
                        key,
                        Sticky {
                            stream: lease.stream,
                            lease: id,
                            execution_id,
                        },
                    );
                }
            }
            // A new execution begins with the next report.
            if after != After::Anew {
                self.ready(key);
            }
            self.free(&lease);
        } else if ended {
            self.drop_slot(key);
        } else {
            self.park(key);
        }
    }

    pub(super) fn activity(&mut self, header: &Header, id: i64, request: Arc<ActivityRequest>) {
        let lane = Lane::activity(
            request.name.clone(),
            request.version.clone(),
            header.version.clone(),
        );
        let size = request_weight(&request);
        let request = (self.buffered + size <= self.most_buffered).then_some(request);
        if request.is_some() {
            self.buffered += size;
        }
        self.offer(
            header.hub,
            ActivityItem {
                instance: header.key,
                id,
                lane: Arc::new(lane),
                request,
            },
        );
    }

    pub(super) fn stored_activity(&mut self, pending: PendingActivity) {
        self.offer(
            pending.hub,
            ActivityItem {
                instance: pending.instance,
                id: pending.id,
                lane: Arc::new(Lane::activity(
                    pending.name,
                    pending.version,
                    pending.wanted_by,
                )),
                request: None,
            },
        );
    }

    pub(super) fn drop_slot(&mut self, key: i64) {
        self.backoffs.forget(Item::Turn(key));
        if let Some(slot) = self.slots.remove(&key) {
            self.buffered -= drained_size(&slot.events).min(self.buffered);
        }
    }

    // Assignment.

    /// Assigns or queues the next turn of an instance, if it has one and no worker holds one.
    pub(super) fn ready(&mut self, key: i64) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let nothing = slot.events.is_empty() && !slot.stored;
        if slot.lease.is_some() || slot.queued || slot.paused || nothing {
            self.park(key);
            return;
        }
        let header = Arc::clone(&slot.header);
        let preferred = self.sticky.get(&key).map(|sticky| sticky.stream);
        let waits = self.backoffs.waits(Item::Turn(key));
        match self.stream_for(header.hub, preferred, |id, s| {
            s.free_turns > 0
                && s.filters.turn(&header.name, header.version.as_deref())
                && waits.allows(id)
        }) {
            Some(stream) => self.assign_turn(stream, key, Duration::ZERO),
            None => {
                // From now on the kind is reported, even before anything is dispatched.
                self.meter(header.hub, Kind::Orchestration);
                slot_queued(&mut self.slots, key);
                let queued = trace::Item {
                    hub: header.hub,
                    kind: Kind::Orchestration,
                    name: &header.name,
                    owner: trace::Owner::Id(&header.instance_id),
                    task_id: None,
                };
                queued.queued();
                let hub = self.hubs.entry(header.hub).or_default();
                let lane = Lane::turn(&header.name, header.version.as_deref());
                hub.turns.push(lane, waits, key);
                self.park(key);
            }
        }
    }

    pub(super) fn offer(&mut self, hub: i64, item: ActivityItem) {
        if self.gone.hub(hub) {
            self.unbuffer(item.request.as_ref());
            return;
        }
        if self.paces.has(&item.lane.name) {
            // Behind waiting ones of its name.
            self.queue_activity(hub, item);
            self.pump_activities_of(hub);
            return;
        }
        let waits = self.backoffs.waits(Item::Activity(item.id));
        match self.stream_for(hub, None, |id, s| {
            s.free_activities > 0 && s.filters.activity(&item.lane) && waits.allows(id)
        }) {
            Some(stream) => self.assign_activity(stream, hub, item, Duration::ZERO),
            None => self.queue_activity(hub, item),
        }
    }

    pub(super) fn queue_activity(&mut self, hub: i64, item: ActivityItem) {
        self.meter(hub, Kind::Activity);
        item.named(hub).queued();
        let waits = self.backoffs.waits(Item::Activity(item.id));
        let queues = self.hubs.entry(hub).or_default();
        let queued = QueuedActivity {
            instance: item.instance,
            id: item.id,
            request: item.request,
        };
        let lane = Lane::clone(&item.lane);
        queues.activities.push(lane, waits, queued);
    }

    /// Fills the free windows of all streams of a hub with activities, those with most
    /// room first.
    pub(super) fn pump_activities_of(&mut self, hub: i64) {
        let mut streams: Vec<(usize, u64)> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.hub == hub && stream.free_activities > 0)
            .map(|(id, stream)| (stream.free_activities, *id))
            .collect();
        streams.sort_unstable_by(|a, b| b.cmp(a));
        for (_, stream) in streams {
            self.pump_activities(stream);
        }
    }

    /// Fills the free windows of all streams.
    pub(super) fn pump_all(&mut self) {
        let mut streams: Vec<u64> = self.streams.keys().copied().collect();
        streams.sort_unstable();
        for stream in streams {
            self.pump(stream);
        }
    }

    /// An activity left its worker; others of its name may go now.
    pub(super) fn activity_back(&mut self, lease: &Lease) {
        if let Held::Activity(item) = &lease.held
            && self.paces.came_back(lease.hub, &item.lane.name)
        {
            self.pump_activities_of(lease.hub);
        }
    }
}

fn slot_queued(slots: &mut HashMap<i64, Slot>, key: i64) {
    if let Some(slot) = slots.get_mut(&key) {
        slot.queued = true;
    }
}

fn drained_size(events: &VecDeque<(i64, HistoryEvent)>) -> usize {
    events.iter().map(|(_, event)| weight(event)).sum()
}

/// About how much memory a waiting event needs, with its share of what is around it.
pub(super) fn weight(event: &HistoryEvent) -> usize {
    size_of::<(i64, HistoryEvent)>() + SLOT_BYTES + event.encoded_len()
}

/// The same of an activity's request.
pub(super) fn request_weight(request: &ActivityRequest) -> usize {
    size_of::<ActivityRequest>() + ITEM_BYTES + request.encoded_len()
}
