//! A whole installation in one file: created while it runs, checked, and restored into an empty
//! folder.
//!
//! A backup is the state of **one moment**. Every database has transactions of its
//! own, so copies that were made one after the other would belong to different moments: a ledger
//! with a decision that the hub does not have, or the other way round. So for a few
//! milliseconds a backup holds the write locks of all of them, taken in a fixed order, and begins
//! a read transaction in each. What is copied after that is the state that the machine
//! would have after a power failure at that moment, which every part is made to survive.
//!
//! ```text
//! take the write locks         vault, access, verify, ledger, audit, hub
//! open a read transaction in each   and read the small files: keys, tokens, ids, the audit log's head
//! release the locks            a few milliseconds later; writers continue
//! copy, check, encrypt, write, read back
//! ```
//!
//! Where the servers share a database, one of its snapshots is read instead, and only the hub is
//! locked while it begins. The file holds the same databases as that of a data folder, so that each
//! kind of installation can be restored as the other.
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
pub use contents::{Contents, Unwrapping};
pub use create::{Made, Opening, create};
pub(crate) use create::{SharedSource, create_shared};
pub use error::BackupError;
pub use protection::{Protection, identities};
pub use restore::{Restored, Verified, restore, verify};
