//! What a scheduler can be told before it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// Where a scheduler keeps its task hubs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A folder; the database is the file `scheduler.sqlite3` in it. The folder is
    /// created where it is missing.
    Directory(PathBuf),
    /// Nothing is kept once the scheduler is dropped. Meant for tests.
    Memory,
}

/// The settings of a scheduler. Start from [`SchedulerConfig::new`] and change fields.
#[derive(Clone)]
pub struct SchedulerConfig {
    /// Where the task hubs are kept.
    pub storage: Storage,
    /// The task hub of a call without a `taskhub` header.
    pub default_hub: String,
    /// The largest single payload (input, output, event, custom status), in bytes. Default 4 MiB.
    pub max_payload_bytes: usize,
    /// How often each worker stream gets a `HealthPing`. Default 30 seconds.
    pub health_ping_interval: Duration,
    /// How many work items of a kind a worker stream holds at once when it names no number. Default 100.
    pub default_window: usize,
    /// The longest that one `WaitForInstance*` call is held open. Default 10 minutes.
    pub max_wait: Duration,
    /// How long a stop waits for outstanding work items and open connections. Default 10 seconds.
    pub drain_timeout: Duration,
    /// Connections for queries and history, besides the single writer. Default 2.
    pub read_connections: usize,
    /// The only source of wall time.
    pub clock: Arc<dyn Clock>,
}

impl SchedulerConfig {
    /// The default settings over the given storage, with the task hub `default`.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            ..Self::default()
        }
    }
}

impl Default for SchedulerConfig {
    /// In memory; see the fields for each default.
    fn default() -> Self {
        Self {
            storage: Storage::Memory,
            default_hub: "default".to_owned(),
            max_payload_bytes: 4 * 1024 * 1024,
            health_ping_interval: Duration::from_secs(30),
            default_window: 100,
            max_wait: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(10),
            read_connections: 2,
            clock: Arc::new(SystemClock),
        }
    }
}
