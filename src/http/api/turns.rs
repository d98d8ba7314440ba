//! One change of an account at a time, so that the audit log says truly what was before.

use std::hash::{BuildHasher as _, RandomState};

use countersign_enrollment::ids::EnrollmentId;
use tokio::sync::{Mutex, MutexGuard};

/// How many changes of different accounts may be in progress at once, at most.
const LANES: usize = 32;

/// The turns in which accounts are changed. Two accounts may share one.
pub(crate) struct Turns {
    lanes: [Mutex<()>; LANES],
    keys: RandomState,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(())),
            keys: RandomState::new(),
        }
    }

    /// Waits for the account's turn, which lasts until what is answered is dropped.
    pub(super) async fn of(&self, account: &EnrollmentId) -> MutexGuard<'_, ()> {
        let lane = self.keys.hash_one(account.as_str()) % LANES as u64;
        self.lanes[usize::try_from(lane).unwrap_or(0)].lock().await
    }
}
