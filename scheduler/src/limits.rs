//! Sizes that several parts of the scheduler use.

/// The largest gRPC message either way, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// The rest of a message with a payload: names, ids, tags, trace context.
pub(crate) const ROOM: usize = 128 * 1024;
/// The longest name of a task hub, in bytes.
pub(crate) const MAX_HUB_NAME: usize = 100;
