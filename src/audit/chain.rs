//! How entries are chained, wherever they are kept: each hash covers the one before it, under a key
//! that is derived from the server's.

use zeroize::Zeroizing;

use crate::access::secret;

const LABEL: &[u8] = b"countersign audit v1";

/// The key of the chain.
pub(super) fn key_of(server_key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(secret::mac(server_key, &[LABEL]))
}

/// The hash before the first entry.
pub(super) fn beginning(key: &[u8; 32]) -> [u8; 32] {
    secret::mac(key, &[b"beginning"])
}

/// The hash of an entry after the one with the hash `before`.
pub(super) fn link(key: &[u8; 32], before: &[u8; 32], sequence: u64, event: &str) -> [u8; 32] {
    secret::mac(key, &[before, &sequence.to_be_bytes(), event.as_bytes()])
}

/// A place in the log as databases keep it.
pub(super) fn place(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// The same, the other way round.
pub(super) fn unsigned(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or(0)
}
