//! The settings of a scheduler.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_database::{DatabaseUrl, PasswordSource};

use crate::access::Access;
use crate::clock::{Clock, SystemClock};
use crate::limits::{MAX_HUB_NAME, MAX_MESSAGE, ROOM};
use crate::nodes::{Owners, PeerPort};
use crate::policy::ActivityPolicy;
use crate::retention::Retention;
use crate::tls::Tls;

/// The default limit of gRPC clients in most languages, in bytes.
const COMMON_MESSAGE: usize = 4 * 1024 * 1024;
/// The largest useful value of `max_message_bytes`.
const MESSAGE_RANGE: std::ops::RangeInclusive<usize> = 64 * 1024..=MAX_MESSAGE;

/// Where a scheduler keeps its task hubs.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A folder; the database is the file `scheduler.sqlite3` in it. The folder is
    /// created where it is missing.
    Directory(PathBuf),
    /// Nothing is kept once the scheduler is dropped. Meant for tests.
    Memory,
    /// A PostgreSQL database, which several schedulers may share: one of them owns the task hubs,
    /// and the others stand by to take them.
    Database(DatabaseStorage),
}

/// A PostgreSQL database with task hubs, in its schema `durabletask`.
#[derive(Clone)]
pub struct DatabaseStorage {
    /// Where it is, and as whom to log in.
    pub url: DatabaseUrl,
    /// Gives the password for each connection; none if the URL has it, or if none is needed.
    pub passwords: Option<Arc<dyn PasswordSource>>,
    /// What this scheduler is called among those that share the database.
    pub node: String,
}

impl fmt::Debug for DatabaseStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseStorage")
            .field("url", &self.url)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The settings of a scheduler. Start from [`SchedulerConfig::new`] and change fields.
#[derive(Clone)]
pub struct SchedulerConfig {
    /// Where the task hubs are kept.
    pub storage: Storage,
    /// The task hub of a call without a `taskhub` header.
    pub default_hub: String,
    /// Task hubs that exist from the start, besides the default one.
    pub task_hubs: Vec<String>,
    /// Whether a task hub is created when its name is first used. Default true; otherwise a
    /// call that names an unknown one is refused.
    pub dynamic_task_hubs: bool,
    /// The largest single payload (input, output, event, custom status), in bytes. Default
    /// 4 MiB less 128 KiB, which leaves room for the rest of the message.
    pub max_payload_bytes: usize,
    /// The largest message for a client or worker that does not declare its limit,
    /// in bytes. Default 4 MiB, the default of gRPC clients in most languages.
    pub max_message_bytes: usize,
    /// How large an orchestration's history may become, in bytes; one that would outgrow
    /// this fails. Default 64 MiB, which is also the largest message: a worker that does
    /// not stream gets the whole history in one.
    pub max_history_bytes: u64,
    /// The most task hubs; a call that would create one more is refused. Default 1,000.
    pub max_task_hubs: usize,
    /// How long a connection may be silent before it is pinged,
    /// and how long the answer may take. Default 5 seconds: work items of a frozen worker
    /// go to others within 10.
    pub keepalive: Duration,
    /// How often each worker stream gets a `HealthPing`. Default 30 seconds.
    pub health_ping_interval: Duration,
    /// How many bytes of events and activities' inputs that wait for a worker stay in memory.
    /// The rest is in the storage only, and is read when a worker takes it. Default 16 MiB.
    pub waiting_bytes: usize,
    /// How many work items of a kind a worker stream holds at once if it names no number. Default 100.
    pub default_window: usize,
    /// The longest that one `WaitForInstance*` call is held open. Default 10 minutes.
    pub max_wait: Duration,
    /// How long a stop waits for outstanding work items and open connections. Default 10 seconds.
    pub drain_timeout: Duration,
    /// How activities are dispatched, by name. Others are dispatched as soon
    /// as a worker has room.
    pub activities: HashMap<String, ActivityPolicy>,
    /// How long finished instances are kept. Default: until they are purged.
    pub retention: Retention,
    /// Host names under which browsers may open the dashboard, besides IP addresses and
    /// `localhost`: a request under another name may come from an attacker's page.
    pub dashboard_hosts: Vec<String>,
    /// Who may call, over gRPC and on the dashboard. Default: anyone.
    pub access: Access,
    /// Certificate and key of the gRPC service. Default: none, HTTP/2 in plaintext.
    pub tls: Option<Tls>,
    /// Where the other nodes of this scheduler call this one. Default: nowhere; it is the only node, or
    /// stands by without answering calls while another owns the task hubs of its database.
    pub peers: Option<PeerPort>,
    /// Who owns which task hub, if there are several nodes; then `peers` is needed too. Not over a
    /// database, which says that itself.
    pub owners: Option<Arc<dyn Owners>>,
    /// Connections that read what workers and waiting clients need, besides the single writer.
    /// Default 2. Lists and pages have two of their own.
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

    /// Checks the settings.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn check(&self) -> Result<(), String> {
        if !MESSAGE_RANGE.contains(&self.max_message_bytes) {
            return Err(format!(
                "the largest message must be {} to {} bytes, not {}",
                MESSAGE_RANGE.start(),
                MESSAGE_RANGE.end(),
                self.max_message_bytes
            ));
        }
        match (&self.storage, self.peers.is_some(), self.owners.is_some()) {
            (Storage::Database(_), _, true) => {
                return Err("over a database, the database says who owns what".to_owned());
            }
            (Storage::Database(_), _, false) => {}
            (_, peers, owners) if peers != owners => {
                return Err(
                    "several nodes need both: a port at which they call each other, and who owns what"
                        .to_owned(),
                );
            }
            _ => {}
        }
        for name in self.hub_names() {
            let fits = (1..=MAX_HUB_NAME).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !fits {
                return Err(format!(
                    "a task hub's name must have 1 to {MAX_HUB_NAME} visible ASCII characters, not {name:?}"
                ));
            }
        }
        Ok(())
    }

    /// The default hub and the others that exist from the start.
    pub(crate) fn hub_names(&self) -> Vec<String> {
        std::iter::once(&self.default_hub)
            .chain(&self.task_hubs)
            .cloned()
            .collect()
    }
}

impl Default for SchedulerConfig {
    /// In memory; see the fields for each default.
    fn default() -> Self {
        Self {
            storage: Storage::Memory,
            default_hub: "default".to_owned(),
            task_hubs: Vec::new(),
            dynamic_task_hubs: true,
            max_payload_bytes: COMMON_MESSAGE - ROOM,
            max_message_bytes: COMMON_MESSAGE,
            max_history_bytes: 64 * 1024 * 1024,
            max_task_hubs: 1000,
            keepalive: Duration::from_secs(5),
            health_ping_interval: Duration::from_secs(30),
            waiting_bytes: 16 * 1024 * 1024,
            default_window: 100,
            max_wait: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(10),
            activities: HashMap::new(),
            retention: Retention::default(),
            dashboard_hosts: Vec::new(),
            access: Access::default(),
            tls: None,
            peers: None,
            owners: None,
            read_connections: 2,
            clock: Arc::new(SystemClock),
        }
    }
}
