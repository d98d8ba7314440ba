//! The bounds of a worker, each with its default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::payloads::LargePayloads;

use super::chunks::OversizedTurns;
use super::divergence::OnDivergence;
use super::filters::WorkItemFilters;
use super::running::CancelActivities;
use super::versioning::Versioning;

/// The official SDKs take 100 items of each kind per CPU.
const ITEMS_PER_CPU: usize = 100;

/// A larger answer than this is refused by schedulers: 3.9 MiB, as in the official SDKs.
pub(super) const MAX_RESPONSE_BYTES: usize = 4_089_446;
/// How long the scheduler may take to answer the greeting.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one attempt to send a result may take.
pub(super) const COMPLETION_TIMEOUT: Duration = Duration::from_secs(60);
/// After how many failures in a row the channel is recreated.
pub(super) const FAILURES_PER_CHANNEL: u32 = 5;
/// How long a work item that this worker must not run is held before it goes
/// back, so that it does not come and go in a tight loop.
pub(super) const HAND_BACK_DELAY: Duration = Duration::from_secs(1);
/// How long an instance whose code has diverged from its history is held before it is tried
/// again.
pub(super) const DIVERGENCE_DELAY: Duration = Duration::from_secs(5);
/// How long an abandoning call may take; it is a courtesy only.
pub(super) const ABANDON_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) orchestrations: usize,
    pub(super) activities: usize,
    pub(super) entities: usize,
    pub(super) cached_executions: usize,
    pub(super) grace_period: Duration,
    pub(super) silence_timeout: Duration,
    pub(super) reconnect_base: Duration,
    pub(super) reconnect_max: Duration,
    pub(super) filters: WorkItemFilters,
    pub(super) versioning: Option<Versioning>,
    /// How many turns of an orchestration may run at once.
    pub(super) turns: PerName,
    /// How many calls of an activity may run at once.
    pub(super) calls: PerName,
    /// How many batches of entities of one name may run at once.
    pub(super) batches: PerName,
    pub(super) oversized: OversizedTurns,
    pub(super) on_divergence: OnDivergence,
    pub(super) cancel_activities: CancelActivities,
    pub(super) cancellation_grace: Duration,
    pub(super) payloads: Option<LargePayloads>,
    /// Whether results go by one stream where the scheduler offers it.
    pub(super) completion_stream: bool,
}

impl Default for Options {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            orchestrations: ITEMS_PER_CPU * cpus,
            activities: ITEMS_PER_CPU * cpus,
            entities: ITEMS_PER_CPU * cpus,
            cached_executions: 10_000,
            grace_period: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(120),
            reconnect_base: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            filters: WorkItemFilters::default(),
            versioning: None,
            turns: PerName::default(),
            calls: PerName::default(),
            batches: PerName::default(),
            oversized: OversizedTurns::default(),
            on_divergence: OnDivergence::default(),
            cancel_activities: CancelActivities::default(),
            cancellation_grace: Duration::from_secs(5),
            payloads: None,
            completion_stream: true,
        }
    }
}

/// How many items of one name may be at work at once; a name that is not here has
/// no limit of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct PerName(BTreeMap<String, Arc<Semaphore>>);

/// The right to be at work, for as long as it lives.
#[derive(Debug)]
pub(super) struct Slot(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

impl PerName {
    pub(super) fn set(&mut self, name: &str, limit: usize) {
        let slots = Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS));
        self.0.insert(name.to_owned(), Arc::new(slots));
    }

    /// A slot for `name`, once there is one.
    pub(super) async fn slot(&self, name: &str) -> Slot {
        match self.0.get(name) {
            // The semaphores are never closed, so this always yields one.
            Some(slots) => Slot(Arc::clone(slots).acquire_owned().await.ok()),
            None => Slot(None),
        }
    }

    /// A slot for `name`, if there is one now.
    pub(super) fn slot_now(&self, name: &str) -> Option<Slot> {
        match self.0.get(name) {
            Some(slots) => Some(Slot(Some(Arc::clone(slots).try_acquire_owned().ok()?))),
            None => Some(Slot(None)),
        }
    }
}
