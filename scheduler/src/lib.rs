//! A durable task hub over SQLite or PostgreSQL that speaks the Durable Task Scheduler's protocol.
//!
//! [`Scheduler::open`] opens a data folder, [`Scheduler::serve`] answers the gRPC
//! service `TaskHubSidecarService` on a listener until it is asked to stop. What a
//! call has acknowledged is on disk: it survives the end of the process and of the
//! machine's power.

mod access;
mod clock;
mod config;
mod dashboard;
mod dispatch;
mod error;
mod guard;
mod in_process;
mod limits;
mod metrics;
mod nodes;
mod operations;
mod policy;
mod private;
mod purging;
mod reload;
mod retention;
mod scheduler;
mod service;
mod status;
mod store;
mod tls;

pub use access::{Access, AccessError, JwtRules, TICKET_LIFE, TicketError, login_path};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{DatabaseStorage, SchedulerConfig, Storage};
pub use countersign_database::{DatabaseUrl, Look, PasswordSource};
pub use error::{OpenError, ServeError};
pub use in_process::{InProcess, Stopped};
pub use nodes::{
    Fingerprint, Node, Owner, Owners, PeerCertificates, PeerError, PeerPort, PeerSettings,
};
pub use policy::{ActivityPolicy, PolicyError, Rate};
pub use retention::{Retention, RetentionError};
pub use scheduler::Scheduler;
pub use store::{
    BackupError, BackupReport, MigrateError, Moved, StorageError, StorageProblem, backup,
    count_instances, keep_elsewhere, kept_elsewhere, look, look_database, move_to_database,
    move_to_folder,
};
pub use tls::{Connection, Inside, Tls, TlsError, TlsListener};
