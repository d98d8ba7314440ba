//! The dispatcher's state: slots of instances with work, leases, streams and queues.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use durabletask_proto::{ActivityRequest, HistoryEvent};
use durabletask_scheduler_core::entity_name;
use lru::LruCache;
use prost_types::Timestamp;
use tokio::sync::{mpsc, watch};

use super::backoff::Backoffs;
use super::chunks::Chunks;
use super::entities::{EntitySlot, HeldEntity};
use super::lanes::{Filters, Lane, Lanes, note_origin};
use super::pace::Paces;
use super::parked::Park;
use super::removal::Removed;
use super::trace;
use super::workers::{Share, WorkerIdentity, WorkerView};
use super::{Assignment, Events};
use crate::clock::Clock;
use crate::metrics::{Kind, Load, Meter};
use crate::policy::ActivityPolicy;
use crate::store::Header;

/// How many applied tokens are remembered, to answer a repeat with success.
pub(super) const APPLIED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// How many idle instances are remembered with the stream that ran them last.
pub(super) const STICKY: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// The largest window of a worker, whatever it requests.
pub(super) const MAX_WINDOW: usize = 4096;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) header: Arc<Header>,
    pub(super) events: VecDeque<(i64, HistoryEvent)>,
    /// The events are in the store only.
    pub(super) stored: bool,
    /// No worker gets a turn of it for now.
    pub(super) paused: bool,
    pub(super) last_seq: i64,
    pub(super) lease: Option<u64>,
    pub(super) queued: bool,
}

#[derive(Debug)]
pub(super) struct ActivityItem {
    pub(super) instance: i64,
    pub(super) id: i64,
    pub(super) lane: Arc<Lane>,
    pub(super) request: Option<Arc<ActivityRequest>>,
}

/// An activity in its queue, which knows its lane.
#[derive(Debug)]
pub(super) struct QueuedActivity {
    pub(super) instance: i64,
    pub(super) id: i64,
    pub(super) request: Option<Arc<ActivityRequest>>,
}

impl QueuedActivity {
    pub(super) fn in_lane(self, lane: Arc<Lane>) -> ActivityItem {
        ActivityItem {
            instance: self.instance,
            id: self.id,
            lane,
            request: self.request,
        }
    }
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
    /// How long the item was in a queue before.
    pub(super) waited: Duration,
    /// The chunks of a completion so far.
    pub(super) chunks: Option<Arc<Chunks>>,
    pub(super) completing: bool,
    /// The size of its message if that was large, otherwise 0.
    pub(super) bytes: usize,
}

impl ActivityItem {
    /// How the log names it.
    pub(super) fn named(&self, hub: i64) -> trace::Item<'_> {
        let instance = self
            .request
            .as_ref()
            .and_then(|request| request.orchestration_instance.as_ref());
        trace::Item {
            hub,
            kind: Kind::Activity,
            name: &self.lane.name,
            owner: instance.map_or(trace::Owner::Key(self.instance), |instance| {
                trace::Owner::Id(&instance.instance_id)
            }),
            task_id: self.request.as_ref().map(|request| request.task_id),
        }
    }
}

impl Lease {
    /// How the log names it under its number.
    pub(super) fn named(&self, id: u64) -> trace::Holding<'_> {
        let whole = |kind, name, owner| trace::Item {
            hub: self.hub,
            kind,
            name,
            owner: trace::Owner::Id(owner),
            task_id: None,
        };
        trace::Holding {
            item: match &self.held {
                Held::Turn { header, .. } => {
                    let mut item = whole(Kind::Orchestration, &header.name, &header.instance_id);
                    if header.instance_id.is_empty() {
                        // It has not been read yet.
                        item.owner = trace::Owner::Key(header.key);
                    }
                    item
                }
                Held::Activity(item) => item.named(self.hub),
                Held::Entity(entity) => {
                    let id = &*entity.header.id;
                    whole(Kind::Entity, entity_name(id), id)
                }
            },
            lease: id,
            stream: self.stream,
            since: self.since,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hub: i64,
    pub(super) sender: mpsc::Sender<Assignment>,
    /// It can stream a history besides the work item.
    pub(super) streaming: bool,
    /// It may get a turn without the history that it holds itself.
    pub(super) continues: bool,
    /// The largest message that it accepts.
    pub(super) max_bytes: usize,
    pub(super) filters: Filters,
    pub(super) caller: WorkerIdentity,
    pub(super) since: DateTime<Utc>,
    pub(super) turn_window: usize,
    pub(super) activity_window: usize,
    pub(super) entity_window: usize,
    pub(super) free_turns: usize,
    pub(super) free_activities: usize,
    pub(super) free_entities: usize,
}

#[derive(Debug, Default)]
pub(super) struct Hub {
    pub(super) turns: Lanes<i64>,
    pub(super) activities: Lanes<QueuedActivity>,
    pub(super) entities: Lanes<i64>,
    pub(super) park: Park,
}

impl Held {
    /// The name of the orchestration, activity or entity.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Turn { header, .. } => &header.name,
            Self::Activity(item) => &item.lane.name,
            Self::Entity(entity) => entity_name(&entity.header.id),
        }
    }

    /// Whether all of it is in memory, so that it can be sent.
    pub(super) const fn is_read(&self) -> bool {
        match self {
            Self::Turn { events, .. } => events.is_some(),
            Self::Activity(item) => item.request.is_some(),
            Self::Entity(entity) => entity.batch.is_some(),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Turn { .. } => Kind::Orchestration,
            Self::Activity(_) => Kind::Activity,
            Self::Entity(_) => Kind::Entity,
        }
    }
}

/// The stream that ran an instance's last turn, which may have kept its state.
#[derive(Clone, Debug)]
pub(crate) struct Sticky {
    pub(super) stream: u64,
    /// Of that turn.
    pub(crate) lease: u64,
    pub(crate) execution_id: String,
}

pub(super) struct State {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hubs: HashMap<i64, Hub>,
    pub(super) streams: HashMap<u64, Stream>,
    pub(super) slots: HashMap<i64, Slot>,
    pub(super) entities: HashMap<i64, EntitySlot>,
    pub(super) leases: HashMap<u64, Lease>,
    pub(super) meters: HashMap<(i64, Kind), Arc<Meter>>,
    pub(super) gone: Removed,
    pub(super) paces: Paces,
    pub(super) backoffs: Backoffs,
    pub(super) next_permit: watch::Sender<i64>,
    pub(super) applied: LruCache<u64, ()>,
    pub(super) sticky: LruCache<i64, Sticky>,
    /// How many bytes of events and requests wait in memory, and how many may; beyond, they are
    /// read back from the store.
    pub(super) buffered: usize,
    pub(super) most_buffered: usize,
    pub(super) next: u64,
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
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        activities: HashMap<String, ActivityPolicy>,
        most_buffered: usize,
    ) -> Self {
        note_origin();
        Self {
            clock,
            hubs: HashMap::new(),
            streams: HashMap::new(),
            slots: HashMap::new(),
            entities: HashMap::new(),
            leases: HashMap::new(),
            meters: HashMap::new(),
            gone: Removed::default(),
            paces: Paces::new(activities),
            backoffs: Backoffs::default(),
            next_permit: watch::Sender::new(i64::MAX),
            applied: LruCache::new(APPLIED),
            sticky: LruCache::new(STICKY),
            buffered: 0,
            most_buffered,
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

    /// Every kind of work of every hub that has had some, in order.
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
        let untaken = self.untaken(None);
        keys.into_iter()
            .filter_map(|(hub, kind)| {
                Some(Load {
                    hub,
                    kind,
                    queued: queued(hub, kind),
                    held: held.get(&(hub, kind)).copied().unwrap_or(0),
                    untaken: untaken
                        .iter()
                        .filter(|one| one.hub == hub && one.kind == kind)
                        .map(|one| one.count)
                        .sum(),
                    meter: Arc::clone(self.meters.get(&(hub, kind))?),
                })
            })
            .collect()
    }

    /// The workers of a hub, the longest connected one first.
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
}
