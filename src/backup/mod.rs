//! A whole installation in one file: made while it runs, checked, and restored into an empty
//! folder.
//!
//! A backup is the state of **one moment**. Every database is written by transactions of its
//! own, so copies that are made one after the other would belong to different moments: a ledger
//! that knows a decision of which the hub knows nothing, or the other way round. So for a few
//! milliseconds a backup holds the right to write in all of them, in a fixed order, and begins
//! to read each of them while nobody can write. What is copied after that is what the machine
//! would have kept if it had lost its power at that moment, which every part is made to survive.
//!
//! ```text
//! take the right to write      vault, access, verify, ledger, audit, hub
//! begin to read each of them   and read the small files: keys, tokens, ids, the audit log's head
//! give the right back          a few milliseconds later; everyone goes on
//! copy, check, encrypt, write, read back
//! ```
//!
//! The file is a `tar` archive, encrypted for those who may restore it
//! (<https://age-encryption.org/v1>): a manifest with the digest of each part, then the parts.

mod archive;
mod check;
mod contents;
mod create;
mod error;
mod parts;
mod protection;
mod restore;

pub use archive::Manifest;
pub use contents::Contents;
pub use create::{Made, create};
pub use error::BackupError;
pub use protection::{Protection, identities};
pub use restore::{Restored, Verified, restore, verify};
