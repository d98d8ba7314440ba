//! Workers' streams: opening, closing, and filling their windows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durabletask_proto::{ActivityRequest, GetWorkItemsRequest, HistoryEvent, WorkerCapability};
use tokio::sync::mpsc;

use super::backoff::{ReturnReason, SUSPECT_BYTES};
use super::batch::Batch;
use super::lanes::{Filters, Taken};
use super::pace::Readiness;
use super::parked::instance_of;
use super::queues::{request_weight, weight};
use super::state::{ActivityItem, Held, Lease, MAX_WINDOW, State, Stream};
use super::workers::WorkerIdentity;
use super::{Assignment, Events, turn_start};
use crate::store::Header;

impl State {
    /// The preferred stream if it can take the item, else the one with most room.
    pub(super) fn stream_for(
        &self,
        hub: i64,
        preferred: Option<u64>,
        takes: impl Fn(u64, &Stream) -> bool,
    ) -> Option<u64> {
        if self.closed {
            return None;
        }
        let takes = |id: u64, s: &Stream| s.hub == hub && takes(id, s);
        if let Some(id) = preferred
            && self.streams.get(&id).is_some_and(|s| takes(id, s))
        {
            return Some(id);
        }
        self.streams
            .iter()
            .filter(|(id, s)| takes(**id, s))
            .max_by_key(|(id, s)| (s.free_turns + s.free_activities + s.free_entities, **id))
            .map(|(id, _)| *id)
    }

    pub(super) fn assign_turn(&mut self, stream_id: u64, key: i64, waited: Duration) {
        let lease = self.number();
        let started = turn_start(&*self.clock);
        let (Some(slot), Some(stream)) =
            (self.slots.get_mut(&key), self.streams.get_mut(&stream_id))
        else {
            return;
        };
        let header = Arc::clone(&slot.header);
        let hub = header.hub;
        let events = if slot.stored {
            None
        } else {
            Some(take_turn(&header, &mut slot.events, &mut self.buffered))
        };
        let continues = self
            .sticky
            .get(&key)
            .filter(|s| stream.continues && s.stream == stream_id)
            .cloned();
        slot.lease = Some(lease);
        slot.queued = false;
        stream.free_turns -= 1;
        let events: Option<Events> = events.map(Arc::new);
        let held = Held::Turn {
            header: Arc::clone(&header),
            started,
            events: events.clone(),
        };
        // The channel has room for the whole window; sending only fails for a stream that
        // is ending, which returns its leases itself.
        let _ = stream.sender.try_send(Assignment::Turn {
            lease,
            header,
            started,
            events,
            continues,
        });
        self.lend(lease, stream_id, hub, held, waited);
    }

    /// Subtracts a waiting activity's request from the bytes in memory.
    pub(super) fn unbuffer(&mut self, request: Option<&Arc<ActivityRequest>>) {
        let size = request.map_or(0, |request| request_weight(request));
        self.buffered -= size.min(self.buffered);
    }

    pub(super) fn assign_activity(
        &mut self,
        stream_id: u64,
        hub: i64,
        item: ActivityItem,
        waited: Duration,
    ) {
        let lease = self.number();
        self.unbuffer(item.request.as_ref());
        let Some(stream) = self.streams.get_mut(&stream_id) else {
            return;
        };
        stream.free_activities -= 1;
        if !self.paces.is_empty() {
            let now = self.clock.now().timestamp_micros();
            self.paces.took(hub, &item.lane.name, now);
        }
        let assignment = Assignment::Activity {
            lease,
            id: item.id,
            request: item.request.clone(),
        };
        let _ = stream.sender.try_send(assignment);
        self.lend(lease, stream_id, hub, Held::Activity(item), waited);
    }

    /// Records that a stream has an item, which waited in a queue for `waited`. Its message may be
    /// on its way by then: whatever answers it needs this state.
    pub(super) fn lend(&mut self, id: u64, stream: u64, hub: i64, held: Held, waited: Duration) {
        let lease = Lease {
            hub,
            stream,
            held,
            since: Instant::now(),
            waited,
            chunks: None,
            completing: false,
            bytes: 0,
        };
        self.meter(hub, lease.held.kind()).dispatched(waited);
        if lease.held.is_read() {
            lease.named(id).handed_out(waited);
        }
        self.leases.insert(id, lease);
    }

    /// Fills the free windows of a stream from the queues.
    pub(super) fn pump(&mut self, stream_id: u64) {
        while let Some(stream) = self
            .streams
            .get(&stream_id)
            .filter(|s| s.free_turns > 0 && !self.closed)
        {
            let Some(hub) = self.hubs.get_mut(&stream.hub) else {
                break;
            };
            let hub_id = stream.hub;
            let Some(Taken {
                item: key,
                lane,
                waited,
            }) = hub.turns.pop(|lane| {
                stream.filters.turn(&lane.name, lane.version.as_deref()) && lane.allows(stream_id)
            })
            else {
                break;
            };
            match hub.park.instance(key) {
                Some(parked) if parked.paused => {
                    // It is queued again once it is resumed.
                    parked.queued = false;
                    continue;
                }
                Some(_) => self.unpark(&instance_of(
                    hub_id,
                    key,
                    &lane.name,
                    lane.version.as_deref(),
                )),
                None => {}
            }
            // The instance may have ended or been replaced while it was queued.
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            if slot.paused {
                // It is queued again once it is resumed.
                slot.queued = false;
            } else if slot.queued && slot.lease.is_none() {
                self.assign_turn(stream_id, key, waited);
            }
        }
        self.pump_activities(stream_id);
        self.pump_entities(stream_id);
    }

    pub(super) fn pump_activities(&mut self, stream_id: u64) {
        while let Some(stream) = self
            .streams
            .get(&stream_id)
            .filter(|s| s.free_activities > 0 && !self.closed)
        {
            let hub_id = stream.hub;
            let Some(hub) = self.hubs.get_mut(&hub_id) else {
                break;
            };
            let found = if self.paces.is_empty() {
                hub.activities
                    .pop(|lane| stream.filters.activity(lane) && lane.allows(stream_id))
            } else {
                let now = self.clock.now().timestamp_micros();
                let mut permit = i64::MAX;
                let found = hub.activities.pop_first(|lane| {
                    if !stream.filters.activity(lane) || !lane.allows(stream_id) {
                        return None;
                    }
                    match self.paces.readiness(hub_id, &lane.name, now) {
                        Readiness::Now(priority) => Some(priority),
                        Readiness::NotBefore(at) => {
                            permit = permit.min(at);
                            None
                        }
                        Readiness::Full => None,
                    }
                });
                self.next_permit.send_if_modified(|next| {
                    let sooner = permit < *next;
                    *next = permit.min(*next);
                    sooner
                });
                found
            };
            let Some(Taken { item, lane, waited }) = found else {
                break;
            };
            if self.gone.met(item.id) {
                self.unbuffer(item.request.as_ref());
                continue;
            }
            self.assign_activity(stream_id, hub_id, item.in_lane(lane), waited);
        }
    }

    // Streams.

    pub(super) fn open_stream(
        &mut self,
        hub: i64,
        request: &GetWorkItemsRequest,
        window: usize,
        max_bytes: usize,
        caller: WorkerIdentity,
    ) -> (u64, mpsc::Receiver<Assignment>) {
        let size = |asked: i32| match usize::try_from(asked) {
            Ok(0) | Err(_) => window,
            Ok(asked) => asked.min(MAX_WINDOW),
        };
        let free_turns = size(request.max_concurrent_orchestration_work_items);
        let free_activities = size(request.max_concurrent_activity_work_items);
        let free_entities = size(request.max_concurrent_entity_work_items);
        // A freed window can be filled before the stream has taken the message that
        // freed it, so there is room for each window twice.
        let (sender, assignments) =
            mpsc::channel(2 * (free_turns + free_activities + free_entities));
        let id = self.number();
        let streaming = request
            .capabilities
            .contains(&(WorkerCapability::HistoryStreaming as i32));
        let filters = Filters::of(request);
        if self.gone.hub(hub) {
            // The channel's sender is dropped with this call, which ends the stream.
            return (id, assignments);
        }
        let since = self.clock.now();
        self.streams.insert(
            id,
            Stream {
                hub,
                sender,
                streaming,
                continues: streaming && caller.continues,
                max_bytes,
                filters,
                caller,
                since,
                turn_window: free_turns,
                activity_window: free_activities,
                entity_window: free_entities,
                free_turns,
                free_activities,
                free_entities,
            },
        );
        self.pump(id);
        (id, assignments)
    }

    pub(super) fn end_stream(&mut self, id: u64) {
        self.streams.remove(&id);
        let mut held: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, l)| l.stream == id && !l.completing)
            .map(|(lease, _)| *lease)
            .collect();
        held.sort_unstable();
        // A client that cannot receive a message ends its stream, without naming the
        // message: the largest one is the likeliest, and goes to the end of the queue.
        let suspect = held
            .iter()
            .filter_map(|id| self.leases.get(id).map(|lease| (lease.bytes, *id)))
            .filter(|(bytes, _)| *bytes >= SUSPECT_BYTES)
            .max()
            .map(|(_, id)| id);
        for lease in held.into_iter().filter(|id| Some(*id) != suspect) {
            self.give_back(None, lease, ReturnReason::Lost);
        }
        if let Some(suspect) = suspect {
            self.give_back(None, suspect, ReturnReason::Suspected);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.leases.is_empty()
    }
}

/// Takes the events of one turn, at least one if there is one.
fn take_turn(
    header: &Header,
    events: &mut VecDeque<(i64, HistoryEvent)>,
    buffered: &mut usize,
) -> Vec<(i64, HistoryEvent)> {
    let mut batch = Batch::of(header);
    let mut taken = Vec::new();
    while let Some((_, event)) = events.front() {
        if !batch.takes(event) {
            break;
        }
        taken.extend(events.pop_front());
    }
    let size: usize = taken.iter().map(|(_, event)| weight(event)).sum();
    *buffered -= size.min(*buffered);
    taken
}
