//! Sizes that several parts of the scheduler go by.

/// The largest gRPC message either way, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// What stands around a payload in its message: names, ids, tags, what is being traced.
pub(crate) const ROOM: usize = 128 * 1024;
