//! The bounds of a worker, each with its default.

use std::time::Duration;

/// The official SDKs take 100 items of each kind per CPU.
const ITEMS_PER_CPU: usize = 100;

/// A larger answer than this is refused by schedulers: 3.9 MiB, as in the official SDKs.
pub(super) const MAX_RESPONSE_BYTES: usize = 4_089_446;
/// How long the scheduler may take to answer the greeting.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an abandoning call may take; it is a courtesy only.
pub(super) const ABANDON_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) orchestrations: usize,
    pub(super) activities: usize,
    pub(super) cached_executions: usize,
    pub(super) grace_period: Duration,
    pub(super) silence_timeout: Duration,
    pub(super) reconnect_base: Duration,
    pub(super) reconnect_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            orchestrations: ITEMS_PER_CPU * cpus,
            activities: ITEMS_PER_CPU * cpus,
            cached_executions: 10_000,
            grace_period: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(120),
            reconnect_base: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
        }
    }
}
