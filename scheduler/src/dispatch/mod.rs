//! Assigns work items to workers. Everything is in memory; what is durable is in the store,
//! which reports each commit here. Nothing polls: an item is assigned the moment that
//! it appears or that a window frees.

pub(crate) mod backoff;
mod batch;
mod chunks;
mod entities;
mod lanes;
mod leases;
pub(crate) mod pace;
mod parked;
mod parking;
mod queues;
mod removal;
mod state;
mod streams;
pub(crate) mod timers;
mod trace;
pub(crate) mod untaken;
mod waiters;
mod workers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durabletask_proto::{ActivityRequest, GetWorkItemsRequest, HistoryEvent, OrchestratorResponse};
use prost_types::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Load;
use crate::policy::ActivityPolicy;
use crate::store::{Committed, EntityBatch, EntityHeader, Header, Note, Pending, timestamp};
pub(crate) use backoff::ReturnReason;
pub(crate) use batch::{Batch, TURN_BYTES, TURN_EVENTS};
pub(crate) use chunks::{Added, Chunks, Incomplete};
use state::State;
pub(crate) use state::Sticky;
pub(crate) use untaken::Untaken;
pub(crate) use waiters::Waiters;
pub(crate) use workers::{WorkerIdentity, WorkerView};

/// Numbered events of an inbox.
pub(crate) type Events = Arc<Vec<(i64, HistoryEvent)>>;

/// An item assigned to a stream, to be turned into a `WorkItem`.
#[derive(Debug)]
pub(crate) enum Assignment {
    /// A turn. Without events, they and the header are read from the store: that has then no
    /// more than the instance's number, its name and version.
    Turn {
        lease: u64,
        header: Arc<Header>,
        started: Timestamp,
        events: Option<Events>,
        /// The turn after which the worker has kept the execution's state.
        continues: Option<Sticky>,
    },
    /// An activity. Without a request it is read from the store.
    Activity {
        lease: u64,
        id: i64,
        request: Option<Arc<ActivityRequest>>,
    },
    /// Operations of an entity, to be read from the store by its number.
    Entity { lease: u64, key: i64 },
}

/// A turn whose completion has been claimed.
#[derive(Debug)]
pub(crate) struct ClaimedTurn {
    pub(crate) lease: u64,
    pub(crate) header: Arc<Header>,
    pub(crate) started: Timestamp,
    pub(crate) events: Events,
    /// The chunks of its completion that have arrived before.
    pub(crate) chunks: Option<Arc<Chunks>>,
}

/// An activity whose completion has been claimed.
#[derive(Debug)]
pub(crate) struct ClaimedActivity {
    pub(crate) lease: u64,
    pub(crate) id: i64,
    pub(crate) instance: i64,
    pub(crate) request: Arc<ActivityRequest>,
}

/// An entity's batch whose completion has been claimed.
#[derive(Debug)]
pub(crate) struct ClaimedEntity {
    pub(crate) lease: u64,
    pub(crate) key: i64,
    pub(crate) batch: Arc<EntityBatch>,
}

/// The outcome of claiming a completion token.
#[derive(Debug)]
pub(crate) enum Claim<T> {
    /// The caller now owns the completion and must settle it.
    Claimed(T),
    /// This token's completion was applied before: nothing is left to do.
    AlreadyApplied,
    /// Another call is applying this token right now.
    InProgress,
    /// The token is unknown.
    Unknown,
}

/// The result of a claimed completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is durable.
    Applied,
    /// Its instance, execution or row was removed.
    Gone,
    /// Nothing was written; the worker may try again.
    NotApplied,
}

/// A worker's stream; dropping it returns everything that the stream still holds.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    dispatch: Arc<Dispatch>,
    id: u64,
}

impl StreamHandle {
    /// The stream's number, by which the log names it.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.dispatch.lock().end_stream(self.id);
        tracing::info!(stream = self.id, "worker stream closed");
        self.dispatch.idle.notify_waiters();
    }
}

/// The dispatcher.
#[derive(Debug)]
pub(crate) struct Dispatch {
    state: Mutex<State>,
    pub(crate) waiters: Arc<Waiters>,
    first_timer: watch::Sender<i64>,
    idle: Notify,
    freed: Notify,
    changes: watch::Sender<()>,
    /// Canceled once nothing more is dispatched.
    pub(crate) ended: CancellationToken,
    epoch: String,
}

impl Dispatch {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        activities: HashMap<String, ActivityPolicy>,
        waiting_bytes: usize,
    ) -> Arc<Self> {
        // The epoch makes tokens of an earlier process unknown to this one.
        let epoch = uuid::Uuid::new_v4().simple().to_string();
        Arc::new(Self {
            state: Mutex::new(State::new(clock, activities, waiting_bytes)),
            waiters: Arc::default(),
            first_timer: watch::Sender::new(i64::MAX),
            idle: Notify::new(),
            freed: Notify::new(),
            changes: watch::Sender::new(()),
            ended: CancellationToken::new(),
            epoch,
        })
    }

    /// Opens a worker's stream over a hub; `window` is used if the worker names none.
    pub(crate) fn open_stream(
        self: &Arc<Self>,
        hub: i64,
        request: &GetWorkItemsRequest,
        window: usize,
        max_bytes: usize,
        caller: WorkerIdentity,
    ) -> (StreamHandle, mpsc::Receiver<Assignment>) {
        let (id, assignments) = self
            .lock()
            .open_stream(hub, request, window, max_bytes, caller);
        (
            StreamHandle {
                dispatch: Arc::clone(self),
                id,
            },
            assignments,
        )
    }

    pub(crate) fn token(&self, lease: u64) -> String {
        format!("{}-{lease:x}", self.epoch)
    }

    fn lease(&self, token: &str) -> Option<u64> {
        let (epoch, lease) = token.split_once('-')?;
        if epoch == self.epoch {
            u64::from_str_radix(lease, 16).ok()
        } else {
            None
        }
    }

    /// Keeps a chunk of a turn's completion that is not the last one.
    pub(crate) fn add_chunk(&self, hub: i64, response: OrchestratorResponse) -> Added {
        let mut state = self.lock();
        let lease = if response.completion_token.is_empty() {
            state.turn_of(hub, &response.instance_id)
        } else {
            self.lease(&response.completion_token)
        };
        lease.map_or(Added::Unknown, |lease| {
            state.add_chunk(hub, lease, response)
        })
    }

    /// Claims the completion of a turn: by token, or without one by instance.
    pub(crate) fn claim_turn(
        &self,
        hub: i64,
        token: &str,
        instance_id: &str,
    ) -> Claim<ClaimedTurn> {
        let mut state = self.lock();
        let lease = if token.is_empty() {
            state.turn_of(hub, instance_id)
        } else {
            self.lease(token)
        };
        lease.map_or(Claim::Unknown, |lease| state.claim_turn(hub, lease))
    }

    /// Claims the completion of an activity: by token, or without one by instance and task.
    pub(crate) fn claim_activity(
        &self,
        hub: i64,
        token: &str,
        instance_id: &str,
        task_id: i32,
    ) -> Claim<ClaimedActivity> {
        let mut state = self.lock();
        let lease = if token.is_empty() {
            state.activity_of(hub, instance_id, task_id)
        } else {
            self.lease(token)
        };
        lease.map_or(Claim::Unknown, |lease| state.claim_activity(hub, lease))
    }

    /// Claims the completion of an entity's batch by token.
    pub(crate) fn claim_entity(&self, hub: i64, token: &str) -> Claim<ClaimedEntity> {
        self.lease(token)
            .map_or(Claim::Unknown, |lease| self.lock().claim_entity(hub, lease))
    }

    /// Ends a claim.
    pub(crate) fn settle(&self, lease: u64, how: Settled) {
        self.lock().settle(lease, how);
        self.idle.notify_waiters();
    }

    /// Returns an item to its queue; the next holder gets the whole history. False
    /// if the token is unknown.
    pub(crate) fn abandon(&self, hub: i64, token: &str, why: ReturnReason) -> bool {
        let given_back = self.lease(token).is_some_and(|lease| {
            let mut state = self.lock();
            state.give_back(Some(hub), lease, why) || state.was_applied(lease)
        });
        self.idle.notify_waiters();
        given_back
    }

    /// Returns an item that could not be turned into a message.
    pub(crate) fn give_back(&self, lease: u64) {
        self.lock().give_back(None, lease, ReturnReason::Unread);
    }

    /// Records the size of an item's message.
    pub(crate) fn sent(&self, lease: u64, bytes: usize) {
        if bytes >= backoff::SUSPECT_BYTES {
            self.lock().sent(lease, bytes);
        }
    }

    /// Gives an item whose message is too large for its stream to another one that
    /// accepts this size. False if none does.
    pub(crate) fn pass_on(&self, lease: u64, bytes: usize) -> bool {
        self.lock().pass_on(lease, bytes)
    }

    /// Records what was read from the store for a lease.
    pub(crate) fn loaded_turn(
        &self,
        lease: u64,
        header: &Arc<Header>,
        events: &Events,
        last_seq: i64,
    ) {
        self.lock().loaded_turn(lease, header, events, last_seq);
    }

    /// Records what was read from the store for a lease.
    pub(crate) fn loaded_activity(&self, lease: u64, request: &Arc<ActivityRequest>) {
        self.lock().loaded_activity(lease, request);
    }

    /// Records what was read from the store for a lease.
    pub(crate) fn loaded_entity(
        &self,
        lease: u64,
        header: &Arc<EntityHeader>,
        batch: &Arc<EntityBatch>,
    ) {
        self.lock().loaded_entity(lease, header, batch);
    }

    /// The key and execution of an instance's outstanding turn.
    pub(crate) fn outstanding(&self, hub: i64, instance_id: &str) -> Option<Arc<Header>> {
        self.lock().outstanding(hub, instance_id)
    }

    /// Every kind of work of every hub that has had some.
    pub(crate) fn loads(&self) -> Vec<Load> {
        self.lock().loads()
    }

    /// Work that no worker accepts, of one task hub or of all.
    pub(crate) fn untaken(&self, hub: Option<i64>) -> Vec<Untaken> {
        self.lock().untaken(hub)
    }

    /// The workers of a hub, the longest connected one first.
    pub(crate) fn workers(&self, hub: i64) -> Vec<WorkerView> {
        self.lock().workers(hub)
    }

    /// How many workers' streams each hub has.
    pub(crate) fn worker_counts(&self) -> HashMap<i64, usize> {
        self.lock().worker_counts()
    }

    /// Stops dispatching.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.ended.cancel();
        self.idle.notify_waiters();
    }

    /// Returns once no stream holds an item.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Returns once a commit has removed something since this was last awaited.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Marked as changed by each commit that changed something.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// When an activity that waits for its rate limit may be dispatched, in microseconds since
    /// 1970; `i64::MAX` if none waits.
    pub(crate) fn next_permit(&self) -> watch::Receiver<i64> {
        self.lock().next_permit.subscribe()
    }

    /// Dispatches what had to wait for its rate limit.
    pub(crate) fn permits_are_due(&self) {
        let mut state = self.lock();
        state.next_permit.send_replace(i64::MAX);
        state.pump_all();
    }

    /// When the next timer is due, in microseconds since 1970; `i64::MAX` without one.
    pub(crate) fn first_timer(&self) -> watch::Receiver<i64> {
        self.first_timer.subscribe()
    }

    fn timer_set(&self, at: i64) {
        self.first_timer.send_if_modified(|first| {
            let sooner = at < *first;
            *first = at.min(*first);
            sooner
        });
    }

    /// Clears the first timer, before the store is asked for the next one.
    pub(crate) fn reset_timer(&self) {
        self.first_timer.send_replace(i64::MAX);
    }

    /// The store's answer to what is due next.
    pub(crate) fn next_timer(&self, at: Option<i64>) {
        self.timer_set(at.unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Committed for Dispatch {
    fn committed(&self, notes: Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        let mut state = self.lock();
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        let mut freed = false;
        let mut first_timer = i64::MAX;
        for note in notes {
            match note {
                Note::Events {
                    header,
                    events,
                    replace,
                    paused,
                } => state.events(header, events, replace, paused),
                Note::Renewed {
                    header,
                    events,
                    dropped,
                    paused,
                } => state.renewed(header, events, &dropped, paused),
                Note::TurnApplied {
                    key,
                    through,
                    header,
                    after,
                } => state.turn_applied(key, through, header, after),
                Note::Activity {
                    header,
                    id,
                    request,
                } => state.activity(&header, id, request),
                Note::Entity { header, runnable } => state.entity(header, runnable),
                Note::EntityGone { hub, key } => {
                    state.entity_gone(hub, key);
                    freed = true;
                }
                Note::TimerSet(at) => first_timer = first_timer.min(at),
                Note::Changed { hub, instance_id } => changed.push((hub, instance_id)),
                Note::Gone {
                    hub,
                    key,
                    instance_id,
                    activities,
                } => {
                    state.gone(hub, key, &activities);
                    freed = true;
                    changed.push((hub, instance_id));
                }
                Note::Withdrawn { hub, activities } => state.withdraw(hub, &activities),
                Note::TurnRevoked { key } => state.turn_revoked(key),
                Note::HubGone { hub } => {
                    state.hub_gone(hub);
                    gone.push(hub);
                }
            }
        }
        drop(state);
        if freed {
            self.freed.notify_one();
        }
        self.timer_set(first_timer);
        self.changes.send_replace(());
        for (hub, instance_id) in changed {
            self.waiters.notify(hub, instance_id);
        }
        for hub in gone {
            self.waiters.notify_hub(hub);
        }
    }

    fn restore(&self, pending: Pending) {
        match pending {
            Pending::Instance(instance) => self.lock().stored_events(&instance),
            Pending::Activity(activity) => self.lock().stored_activity(activity),
            Pending::Entity(header) => self.lock().entity(Arc::new(header), true),
            Pending::Timer(at) => self.timer_set(at),
        }
    }

    fn forget(&self) {
        self.lock().forget();
        self.reset_timer();
        self.idle.notify_waiters();
        self.changes.send_replace(());
        // They find that nothing is known here any more.
        self.waiters.notify_all();
    }
}

/// The time of a turn: the `OrchestratorStarted` event's timestamp.
fn turn_start(clock: &dyn Clock) -> Timestamp {
    timestamp(clock.now())
}
