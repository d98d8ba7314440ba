//! Decoders of others, kept from taking down the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a third-party decoder and takes a panic in it for "nothing found": images made to break
/// a decoder must not take down the caller.
pub(super) fn guarded<T>(attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_default()
}
