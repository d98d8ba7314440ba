//! Changes an account one at a time, so that the audit log's old values are correct.

use std::hash::{BuildHasher as _, RandomState};

use countersign_enrollment::ids::EnrollmentId;
use tokio::sync::{Mutex, MutexGuard};

/// The most changes of different accounts that may be in progress at once.
const LANES: usize = 32;

/// The locks under which accounts are changed. Two accounts may share one.
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

    /// Waits for the account's lock, which is held until the returned guard is dropped.
    pub(super) async fn of(&self, account: &EnrollmentId) -> MutexGuard<'_, ()> {
        let lane = self.keys.hash_one(account.as_str()) % LANES as u64;
        self.lanes[usize::try_from(lane).unwrap_or(0)].lock().await
    }
}
