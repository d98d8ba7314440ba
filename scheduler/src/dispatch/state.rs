//! The dispatcher's state: slots of instances with work, leases, streams and queues.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use durabletask_proto::{ActivityRequest, GetWorkItemsRequest, HistoryEvent, WorkerCapability};
use durabletask_scheduler_core::travels_alone;
use lru::LruCache;
use prost::Message;
use prost_types::Timestamp;
use tokio::sync::{mpsc, watch};

use super::chunks::Chunks;
use super::entities::{EntitySlot, HeldEntity};
use super::gone::Gone;
use super::lanes::{Filters, Lanes};
use super::pace::{Paces, Turn};
use super::workers::{Caller, Share, WorkerView};
use super::{Assignment, Claim, ClaimedActivity, ClaimedTurn, Events, Settled, turn_start};
use crate::clock::Clock;
use crate::metrics::{Kind, Load, Meter};
use crate::policy::ActivityPolicy;
use crate::store::{After, Header};

/// How many applied tokens are remembered, to answer a repeat with success.
const APPLIED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// How many idle instances are remembered with the stream that ran them last.
const STICKY: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// How many bytes of events and requests wait in memory; beyond, they are read back from the store.
const BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// How many events one turn is given at most, and how many bytes of them.
pub(crate) const TURN_EVENTS: usize = 1000;
const TURN_BYTES: usize = 1024 * 1024;
/// The largest window a worker gets, whatever it asks for.
const MAX_WINDOW: usize = 4096;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) header: Arc<Header>,
    events: VecDeque<(i64, HistoryEvent)>,
    /// The events are in the store only.
    stored: bool,
    last_seq: i64,
    pub(super) lease: Option<u64>,
    queued: bool,
}

#[derive(Debug)]
pub(super) struct ActivityItem {
    instance: i64,
    pub(super) id: i64,
    name: String,
    version: Option<String>,
    request: Option<Arc<ActivityRequest>>,
}

#[derive(Debug)]
pub(super) enum Held {
    Turn {
        header: Arc<Header>,
        started: Timestamp,
        events: Option<Events>,
    },
    Activity(ActivityItem),
    Entity(HeldEntity),
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) hub: i64,
    pub(super) stream: u64,
    pub(super) held: Held,
    pub(super) since: Instant,
    /// What has come of a completion in chunks.
    pub(super) chunks: Option<Arc<Chunks>>,
    pub(super) completing: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hub: i64,
    pub(super) sender: mpsc::Sender<Assignment>,
    streaming: bool,
    pub(super) filters: Filters,
    caller: Caller,
    since: DateTime<Utc>,
    turn_window: usize,
    activity_window: usize,
    entity_window: usize,
    free_turns: usize,
    free_activities: usize,
    pub(super) free_entities: usize,
}

#[derive(Debug, Default)]
pub(super) struct Hub {
    turns: Lanes<i64>,
    pub(super) activities: Lanes<ActivityItem>,
    pub(super) entities: Lanes<i64>,
}

impl Held {
    const fn kind(&self) -> Kind {
        match self {
            Self::Turn { .. } => Kind::Orchestration,
            Self::Activity(_) => Kind::Activity,
            Self::Entity(_) => Kind::Entity,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sticky {
    stream: u64,
    lease: u64,
    execution_id: String,
}

pub(super) struct State {
    clock: Arc<dyn Clock>,
    pub(super) hubs: HashMap<i64, Hub>,
    pub(super) streams: HashMap<u64, Stream>,
    pub(super) slots: HashMap<i64, Slot>,
    pub(super) entities: HashMap<i64, EntitySlot>,
    pub(super) leases: HashMap<u64, Lease>,
    pub(super) meters: HashMap<(i64, Kind), Arc<Meter>>,
    pub(super) gone: Gone,
    pub(super) paces: Paces,
    pub(super) next_permit: watch::Sender<i64>,
    applied: LruCache<u64, ()>,
    pub(super) sticky: LruCache<i64, Sticky>,
    buffered: usize,
    next: u64,
    pub(super) closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("slots", &self.slots.len())
            .field("leases", &self.leases.len())
            .finish()
    }
}

impl State {
    pub(super) fn new(clock: Arc<dyn Clock>, activities: HashMap<String, ActivityPolicy>) -> Self {
        Self {
            clock,
            hubs: HashMap::new(),
            streams: HashMap::new(),
            slots: HashMap::new(),
            entities: HashMap::new(),
            leases: HashMap::new(),
            meters: HashMap::new(),
            gone: Gone::default(),
            paces: Paces::new(activities),
            next_permit: watch::Sender::new(i64::MAX),
            applied: LruCache::new(APPLIED),
            sticky: LruCache::new(STICKY),
            buffered: 0,
            next: 0,
            closed: false,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn meter(&mut self, hub: i64, kind: Kind) -> &Meter {
        self.meters.entry((hub, kind)).or_default()
    }

    /// Every kind of work of every hub that has seen some, in order.
    pub(super) fn loads(&self) -> Vec<Load> {
        let mut held: HashMap<(i64, Kind), usize> = HashMap::new();
        for lease in self.leases.values() {
            *held.entry((lease.hub, lease.held.kind())).or_default() += 1;
        }
        let queued = |hub: i64, kind| {
            self.hubs.get(&hub).map_or(0, |hub| match kind {
                Kind::Orchestration => hub.turns.len(),
                Kind::Activity => hub.activities.len(),
                Kind::Entity => hub.entities.len(),
            })
        };
        let mut keys: Vec<(i64, Kind)> = self.meters.keys().copied().collect();
        keys.sort_unstable();
        keys.into_iter()
            .filter_map(|(hub, kind)| {
                Some(Load {
                    hub,
                    kind,
                    queued: queued(hub, kind),
                    held: held.get(&(hub, kind)).copied().unwrap_or(0),
                    meter: Arc::clone(self.meters.get(&(hub, kind))?),
                })
            })
            .collect()
    }

    /// The workers of a hub, the one that has been there longest first.
    pub(super) fn workers(&self, hub: i64) -> Vec<WorkerView> {
        let mut streams: Vec<(&u64, &Stream)> =
            self.streams.iter().filter(|(_, s)| s.hub == hub).collect();
        streams.sort_unstable_by_key(|(id, _)| **id);
        streams
            .into_iter()
            .map(|(_, stream)| WorkerView {
                caller: stream.caller.clone(),
                since: stream.since,
                turns: Share {
                    held: stream.turn_window.saturating_sub(stream.free_turns),
                    window: stream.turn_window,
                    names: stream.filters.turn_names(),
                },
                activities: Share {
                    held: stream
                        .activity_window
                        .saturating_sub(stream.free_activities),
                    window: stream.activity_window,
                    names: stream.filters.activity_names(),
                },
                entities: Share {
                    held: stream.entity_window.saturating_sub(stream.free_entities),
                    window: stream.entity_window,
                    names: stream.filters.entity_names(),
                },
            })
            .collect()
    }

    /// How many workers' streams each hub has.
    pub(super) fn worker_counts(&self) -> HashMap<i64, usize> {
        let mut counts = HashMap::new();
        for stream in self.streams.values() {
            *counts.entry(stream.hub).or_default() += 1;
        }
        counts
    }

    // What the store reports.

    pub(super) fn stored_events(&mut self, header: Header, last_seq: i64) {
        let key = header.key;
        let slot = Slot {
            header: Arc::new(header),
            events: VecDeque::new(),
            stored: true,
            last_seq,
            lease: None,
            queued: false,
        };
        self.slots.insert(key, slot);
        self.ready(key);
    }

    pub(super) fn events(
        &mut self,
        header: Arc<Header>,
        events: Vec<(i64, HistoryEvent)>,
        replace: bool,
    ) {
        if self.gone.hub(header.hub) {
            return;
        }
        let key = header.key;
        let slot = self.slots.entry(key).or_insert_with(|| Slot {
            header: Arc::clone(&header),
            events: VecDeque::new(),
            stored: false,
            last_seq: 0,
            lease: None,
            queued: false,
        });
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
            let size: usize = events.iter().map(|(_, event)| event.encoded_len()).sum();
            if self.buffered + size > BUFFER_BYTES {
                self.buffered -= drained_size(&slot.events).min(self.buffered);
                slot.events.clear();
                slot.stored = true;
            } else {
                self.buffered += size;
                slot.events.extend(events);
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
        let anew = matches!(after, After::Anew | After::Ended);
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.header = Arc::clone(&header);
        let lease_id = slot.lease.take();
        if let Some(lease) = lease_id.and_then(|id| self.leases.remove(&id)) {
            if let Held::Turn {
                events: Some(events),
                ..
            } = &lease.held
                && !slot.stored
            {
                // What the worker left unconsumed comes first next time.
                for (seq, event) in events.iter().rev().filter(|(seq, _)| *seq > through) {
                    self.buffered += event.encoded_len();
                    slot.events.push_front((*seq, event.clone()));
                }
            }
            let idle = slot.events.is_empty() && (!slot.stored || slot.last_seq <= through);
            // A new execution gets its whole inbox with the next report; what waits here
            // is part of that.
            if idle || anew {
                self.drop_slot(key);
            }
            self.meter(lease.hub, Kind::Orchestration)
                .completed(lease.since.elapsed());
            if let Some(id) = lease_id {
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
            self.ready(key);
            self.free(&lease);
        } else if anew {
            self.drop_slot(key);
        }
    }

    pub(super) fn activity(
        &mut self,
        hub: i64,
        instance: i64,
        id: i64,
        request: Arc<ActivityRequest>,
    ) {
        let (name, version) = (request.name.clone(), request.version.clone());
        let size = request.encoded_len();
        let request = (self.buffered + size <= BUFFER_BYTES).then_some(request);
        if request.is_some() {
            self.buffered += size;
        }
        self.offer(
            hub,
            ActivityItem {
                instance,
                id,
                name,
                version,
                request,
            },
        );
    }

    pub(super) fn stored_activity(
        &mut self,
        hub: i64,
        instance: i64,
        id: i64,
        name: &str,
        version: Option<&str>,
    ) {
        let (name, version) = (name.to_owned(), version.map(str::to_owned));
        self.offer(
            hub,
            ActivityItem {
                instance,
                id,
                name,
                version,
                request: None,
            },
        );
    }

    pub(super) fn drop_slot(&mut self, key: i64) {
        if let Some(slot) = self.slots.remove(&key) {
            self.buffered -= drained_size(&slot.events).min(self.buffered);
        }
    }

    // Assignment.

    /// Assigns or queues the next turn of an instance, if it has one and none is out.
    fn ready(&mut self, key: i64) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        if slot.lease.is_some() || slot.queued || (slot.events.is_empty() && !slot.stored) {
            return;
        }
        let header = Arc::clone(&slot.header);
        let preferred = self.sticky.get(&key).map(|sticky| sticky.stream);
        match self.stream_for(header.hub, preferred, |s| {
            s.free_turns > 0 && s.filters.turn(&header.name, header.version.as_deref())
        }) {
            Some(stream) => self.assign_turn(stream, key, Duration::ZERO),
            None => {
                // From now on the kind is told of, also before anything is dispatched.
                self.meter(header.hub, Kind::Orchestration);
                slot_queued(&mut self.slots, key);
                let hub = self.hubs.entry(header.hub).or_default();
                hub.turns.push(&header.name, header.version.as_deref(), key);
            }
        }
    }

    fn offer(&mut self, hub: i64, item: ActivityItem) {
        if self.gone.hub(hub) {
            self.unbuffer(&item);
            return;
        }
        if self.paces.has(&item.name) {
            // Behind those of its name that wait already.
            self.queue_activity(hub, item);
            self.pump_activities_of(hub);
            return;
        }
        match self.stream_for(hub, None, |s| {
            s.free_activities > 0 && s.filters.activity(&item.name, item.version.as_deref())
        }) {
            Some(stream) => self.assign_activity(stream, hub, item, Duration::ZERO),
            None => self.queue_activity(hub, item),
        }
    }

    fn queue_activity(&mut self, hub: i64, item: ActivityItem) {
        self.meter(hub, Kind::Activity);
        let (name, version) = (item.name.clone(), item.version.clone());
        self.hubs
            .entry(hub)
            .or_default()
            .activities
            .push(&name, version.as_deref(), item);
    }

    /// Fills the free windows of all streams of a hub with activities, those with most
    /// room first.
    fn pump_activities_of(&mut self, hub: i64) {
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

    /// An activity is with no worker any more; others of its name may go now.
    pub(super) fn activity_back(&mut self, lease: &Lease) {
        if let Held::Activity(item) = &lease.held
            && self.paces.came_back(lease.hub, &item.name)
        {
            self.pump_activities_of(lease.hub);
        }
    }

    /// The preferred stream if it can take the item, else the one with most room.
    pub(super) fn stream_for(
        &self,
        hub: i64,
        preferred: Option<u64>,
        takes: impl Fn(&Stream) -> bool,
    ) -> Option<u64> {
        if self.closed {
            return None;
        }
        let takes = |s: &Stream| s.hub == hub && takes(s);
        if let Some(id) = preferred
            && self.streams.get(&id).is_some_and(takes)
        {
            return Some(id);
        }
        self.streams
            .iter()
            .filter(|(_, s)| takes(s))
            .max_by_key(|(id, s)| (s.free_turns + s.free_activities + s.free_entities, **id))
            .map(|(id, _)| *id)
    }

    fn assign_turn(&mut self, stream_id: u64, key: i64, waited: Duration) {
        let lease = self.number();
        let started = turn_start(&*self.clock);
        let (Some(slot), Some(stream)) =
            (self.slots.get_mut(&key), self.streams.get_mut(&stream_id))
        else {
            return;
        };
        let header = Arc::clone(&slot.header);
        let events = if slot.stored {
            None
        } else {
            Some(take_turn(&mut slot.events, &mut self.buffered))
        };
        let continues = self
            .sticky
            .get(&key)
            .filter(|s| {
                stream.streaming && s.stream == stream_id && s.execution_id == header.execution_id
            })
            .map(|s| s.lease);
        slot.lease = Some(lease);
        slot.queued = false;
        stream.free_turns -= 1;
        let events: Option<Events> = events.map(Arc::new);
        let held = Held::Turn {
            header: Arc::clone(&header),
            started,
            events: events.clone(),
        };
        self.meters
            .entry((header.hub, Kind::Orchestration))
            .or_default()
            .dispatched(waited);
        self.leases.insert(
            lease,
            Lease {
                hub: header.hub,
                stream: stream_id,
                held,
                since: Instant::now(),
                chunks: None,
                completing: false,
            },
        );
        // The channel has room for the whole window; it only fails for a stream that
        // is ending, which gives its leases back itself.
        let _ = stream.sender.try_send(Assignment::Turn {
            lease,
            header,
            started,
            events,
            continues,
        });
    }

    /// Counts a waiting activity's request out of what waits in memory.
    pub(super) fn unbuffer(&mut self, item: &ActivityItem) {
        let size = item
            .request
            .as_ref()
            .map_or(0, |request| request.encoded_len());
        self.buffered -= size.min(self.buffered);
    }

    fn assign_activity(&mut self, stream_id: u64, hub: i64, item: ActivityItem, waited: Duration) {
        let lease = self.number();
        self.unbuffer(&item);
        let Some(stream) = self.streams.get_mut(&stream_id) else {
            return;
        };
        stream.free_activities -= 1;
        if !self.paces.is_empty() {
            let now = self.clock.now().timestamp_micros();
            self.paces.took(hub, &item.name, now);
        }
        let assignment = Assignment::Activity {
            lease,
            id: item.id,
            request: item.request.clone(),
        };
        self.meters
            .entry((hub, Kind::Activity))
            .or_default()
            .dispatched(waited);
        self.leases.insert(
            lease,
            Lease {
                hub,
                stream: stream_id,
                held: Held::Activity(item),
                since: Instant::now(),
                chunks: None,
                completing: false,
            },
        );
        let _ = stream.sender.try_send(assignment);
    }

    /// Fills the free windows of a stream from the queues.
    fn pump(&mut self, stream_id: u64) {
        while let Some(stream) = self
            .streams
            .get(&stream_id)
            .filter(|s| s.free_turns > 0 && !self.closed)
        {
            let Some(hub) = self.hubs.get_mut(&stream.hub) else {
                break;
            };
            let Some((key, waited)) = hub
                .turns
                .pop(|name, version| stream.filters.turn(name, version))
            else {
                break;
            };
            // The instance may have ended or been replaced while it was queued.
            if self
                .slots
                .get(&key)
                .is_some_and(|slot| slot.queued && slot.lease.is_none())
            {
                self.assign_turn(stream_id, key, waited);
            }
        }
        self.pump_activities(stream_id);
        self.pump_entities(stream_id);
    }

    fn pump_activities(&mut self, stream_id: u64) {
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
                    .pop(|name, version| stream.filters.activity(name, version))
            } else {
                let now = self.clock.now().timestamp_micros();
                let mut permit = i64::MAX;
                let found = hub.activities.pop_first(|name, version| {
                    if !stream.filters.activity(name, version) {
                        return None;
                    }
                    match self.paces.turn(hub_id, name, now) {
                        Turn::Now(priority) => Some(priority),
                        Turn::NotBefore(at) => {
                            permit = permit.min(at);
                            None
                        }
                        Turn::Full => None,
                    }
                });
                self.next_permit.send_if_modified(|next| {
                    let sooner = permit < *next;
                    *next = permit.min(*next);
                    sooner
                });
                found
            };
            let Some((item, waited)) = found else {
                break;
            };
            if self.gone.met(item.id) {
                self.unbuffer(&item);
                continue;
            }
            self.assign_activity(stream_id, hub_id, item, waited);
        }
    }

    // Streams.

    pub(super) fn open_stream(
        &mut self,
        hub: i64,
        request: &GetWorkItemsRequest,
        window: usize,
        caller: Caller,
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
            // The channel's sender goes with this call, and so does the stream.
            return (id, assignments);
        }
        let since = self.clock.now();
        self.streams.insert(
            id,
            Stream {
                hub,
                sender,
                streaming,
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
        for lease in held {
            self.give_back(None, lease);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.leases.is_empty()
    }

    // Leases.

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
            // A turn's lease has already gone, with the report of its commit.
            Settled::Applied | Settled::Gone => {
                let Some(lease) = self.leases.remove(&id) else {
                    return;
                };
                if how == Settled::Applied {
                    self.meter(lease.hub, lease.held.kind())
                        .completed(lease.since.elapsed());
                    self.applied.put(id, ());
                }
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
                    self.give_back(None, id);
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

    /// Requeues what a lease holds, undelivered events in front of later ones.
    pub(super) fn give_back(&mut self, hub: Option<i64>, id: u64) -> bool {
        let mine = |lease: &Lease| !lease.completing && hub.is_none_or(|hub| hub == lease.hub);
        if !self.leases.get(&id).is_some_and(mine) {
            return false;
        }
        let Some(mut lease) = self.leases.remove(&id) else {
            return false;
        };
        self.meter(lease.hub, lease.held.kind()).returned();
        if let Held::Activity(item) = &lease.held {
            self.paces.came_back(lease.hub, &item.name);
        }
        match &mut lease.held {
            Held::Turn { header, events, .. } => {
                let key = header.key;
                // Whoever gave a turn back may not hold the state of the one before.
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
                let (name, version) = (item.name.clone(), item.version.clone());
                let size = item
                    .request
                    .as_ref()
                    .map_or(0, |request| request.encoded_len());
                self.buffered += size;
                let again = ActivityItem {
                    instance: item.instance,
                    id: item.id,
                    name,
                    version,
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

fn slot_queued(slots: &mut HashMap<i64, Slot>, key: i64) {
    if let Some(slot) = slots.get_mut(&key) {
        slot.queued = true;
    }
}

fn drained_size(events: &VecDeque<(i64, HistoryEvent)>) -> usize {
    events.iter().map(|(_, event)| event.encoded_len()).sum()
}

/// Takes the events of one turn, at least one if there is one.
fn take_turn(
    events: &mut VecDeque<(i64, HistoryEvent)>,
    buffered: &mut usize,
) -> Vec<(i64, HistoryEvent)> {
    let mut taken = Vec::new();
    let mut size = 0;
    while let Some((_, event)) = events.front() {
        let len = event.encoded_len();
        let alone = travels_alone(event);
        if alone && !taken.is_empty() {
            break;
        }
        if taken.len() >= TURN_EVENTS || (size > 0 && size + len > TURN_BYTES) {
            break;
        }
        size += len;
        taken.extend(events.pop_front());
        if alone {
            break;
        }
    }
    *buffered -= size.min(*buffered);
    taken
}
