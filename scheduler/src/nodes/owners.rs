//! Who owns which task hub, as the nodes' shared table says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

/// What a node knows about the others: which of them live, and which task hub each one owns.
///
/// Every call asks, so an implementation answers from memory and never waits. It may be out of
/// date for a moment: the owner decides for itself whether it still is one, and a node that
/// asks the wrong one is refused before anything has happened.
pub trait Owners: Send + Sync + 'static {
    /// The owner of the task hub of this name, in any case (`taskhub` headers are
    /// case-insensitive).
    fn owner(&self, hub: &str) -> Owner;

    /// All live nodes, this one among them. Only these may call each other.
    fn nodes(&self) -> Arc<[Node]>;

    /// Notifies of each change after which [`Owners::owner`] or [`Owners::nodes`] may answer
    /// differently. A renewed lease is no change.
    fn changed(&self) -> watch::Receiver<()>;

    /// Why this node cannot say who owns what at the moment, as a sentence for people; then it is
    /// not ready.
    fn unready(&self) -> Option<String> {
        None
    }
}

/// Who answers the calls for a task hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Here,
    /// Another node.
    Node(Node),
    /// No node at the moment; one will soon.
    Nobody {
        /// When to look again, if there is no notice before.
        retry_after: Duration,
    },
    /// The task hub is not known. This node looks for it in the storage, and creates it if that is allowed.
    NoSuchHub,
}

/// A node, as it is published to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, which no other process has had before.
    pub id: Arc<str>,
    /// Where the others reach it: `HOST:PORT`.
    pub address: Arc<str>,
    /// Which certificate it presents.
    pub certificate: Fingerprint,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.address)
    }
}

/// The SHA-256 digest of a certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// The fingerprint with these bytes, as [`Fingerprint::as_bytes`] gave them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
