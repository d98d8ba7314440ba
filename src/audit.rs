//! Who did what, when and from where: an append-only record, each entry chained to the
//! one before, that shows later whether anybody has changed it.
//!
//! The record holds names, ids and reasons, never a code or a secret. It is a database
//! of its own in the data folder, written by one task that puts many entries into one
//! transaction. The chain is keyed (HMAC-SHA256) with a key derived from the server's,
//! so that whoever can write the file but not read the key cannot make a chain that
//! holds. Cutting entries off its end leaves a valid, shorter chain: who wants to notice
//! that keeps the head that `countersign audit verify` prints somewhere else.

mod entry;
mod export;
mod repeats;
mod ship;
mod store;
mod writer;

pub use entry::{Action, Entry, Event, Outcome, Subject, without_secrets};
pub use export::{cef, json_line};
pub(crate) use ship::Shipper;
pub use store::{AuditError, AuditQuery, AuditStore, Verdict};
pub(crate) use writer::Audit;

/// The database's name in the data folder.
pub const AUDIT_DATABASE: &str = "audit.sqlite3";
/// The file there that says up to which entry a collector has the record.
pub(crate) const AUDIT_SENT: &str = "audit.sent";
