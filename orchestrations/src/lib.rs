//! The stories of enrollments, imports and requests: deterministic code only.
//!
//! What is decided here is decided from inputs, results and the replay clock. The
//! orchestration sees previews and sealed values, never an image, a URI or a secret. It
//! carries mandates and signed decisions to the activities, which judge on their own: what
//! a release before mandates has started continues to its next activity, which refuses it.

mod account_request;
mod approval;
mod enroll;
mod import;
mod notify;
pub mod policy;
mod question;

use countersign_enrollment::contract::{ACCOUNT_REQUEST, ENROLL, IMPORT, NOTIFY};
use durabletask_core::Registry;

pub use account_request::account_request;
pub use enroll::enroll;
pub use import::import;
pub use notify::notify;

/// Adds the orchestrations of this package to what a worker can run.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
        .orchestration(&ENROLL, enroll)
        .orchestration(&IMPORT, import)
        .orchestration(&ACCOUNT_REQUEST, account_request)
        .orchestration(&NOTIFY, notify)
}
