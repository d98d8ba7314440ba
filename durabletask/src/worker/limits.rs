//! The bounds of a worker, each with its default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::payloads::LargePayloads;

use super::chunks::OversizedTurns;
use super::filters::WorkItemFilters;
use super::running::CancelActivities;
use super::versioning::Versioning;

/// The official SDKs take 100 items of each kind per CPU.
const ITEMS_PER_CPU: usize = 100;

/// A larger answer than this is refused by schedulers: 3.9 MiB, as in the official SDKs.
pub(super) const MAX_RESPONSE_BYTES: usize = 4_089_446;
/// How long the scheduler may take to answer the greeting.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one attempt to hand a result back may take.
pub(super) const COMPLETION_TIMEOUT: Duration = Duration::from_secs(60);
/// After how many failures in a row the channel is made anew.
pub(super) const FAILURES_PER_CHANNEL: u32 = 5;
/// How long a work item that this worker must not run is held before it goes
/// back, so that it does not come and go in a tight loop.
pub(super) const HAND_BACK_DELAY: Duration = Duration::from_secs(1);
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
    /// How many calls of an activity may run at once, by its name.
    pub(super) calls: BTreeMap<String, Arc<Semaphore>>,
    pub(super) oversized: OversizedTurns,
    pub(super) cancel_activities: CancelActivities,
    pub(super) payloads: Option<LargePayloads>,
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
            calls: BTreeMap::new(),
            oversized: OversizedTurns::default(),
            cancel_activities: CancelActivities::default(),
            payloads: None,
        }
    }
}
