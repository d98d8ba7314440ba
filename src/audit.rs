//! Who did what, when and from where: an append-only log, each entry chained to the
//! one before, so that later changes are detected.
//!
//! The log holds names, ids and reasons, never a code or a secret. It is a database
//! of its own in the data folder, written by one task that puts many entries into one
//! transaction. The chain is keyed (HMAC-SHA256) with a key derived from the server's,
//! so that someone who can write the file but not read the key cannot make a valid
//! chain. Truncating it leaves a valid, shorter chain, so the end is noted a
//! second time, in a file beside the database.

mod archive;
mod chain;
mod change;
mod entry;
mod error;
mod export;
mod head;
mod journal;
mod journal_entry;
mod log;
mod mark;
mod postgres;
mod redact;
mod repeats;
mod ship;
mod store;
pub(crate) mod transfer;
mod writer;

pub use archive::Archived;
pub(crate) use chain::{KEY_FIELD, SERVER_KEY_SUBJECT};
pub use change::FieldChange;
pub(crate) use change::{Changes, listed};
pub use entry::{Action, Entry, Event, Outcome, Subject};
pub use error::{AuditError, ChainCheck, Loss};
pub use export::{cef, json_line};
pub use head::{AUDIT_HEAD, Head};
pub use journal::{Ingester, Journal, JournalError};
pub use journal_entry::{JournalEntry, JournalOutcome};
pub(crate) use mark::sent;
pub use postgres::PostgresAudit;
pub use redact::without_secrets;
pub(crate) use repeats::{SessionMark, Together};
pub(crate) use ship::Shipper;
pub(crate) use store::look;
pub use store::{AuditQuery, AuditStore};
pub(crate) use writer::Audit;

/// The database's name in the data folder.
pub const AUDIT_DATABASE: &str = "audit.sqlite3";
/// The file there that notes the last entry that a collector has received.
pub(crate) const AUDIT_SENT: &str = "audit.sent";
