//! Changes an account one at a time, at all front doors, so that what one change leaves as it was is
//! what the change before it has left, and so that the audit log's old values are correct.

use std::hash::{BuildHasher as _, RandomState};

use countersign_database::Database;
use countersign_enrollment::ids::EnrollmentId;
use tokio::sync::Mutex;

use crate::http::edge::error::ApiError;

/// The most changes of different accounts that may be in progress at once in this process.
const LANES: usize = 32;

/// The locks under which accounts are changed. Two accounts may share one of this process.
pub(crate) struct AccountLocks {
    lanes: [Mutex<()>; LANES],
    keys: RandomState,
    /// Where other front doors change accounts too.
    shared: Option<Database>,
}

impl AccountLocks {
    pub(crate) fn new(shared: Option<Database>) -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(())),
            keys: RandomState::new(),
            shared,
        }
    }

    /// Does `work` on the account while nobody else changes it.
    pub(super) async fn within<T>(
        &self,
        account: &EnrollmentId,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let lane = self.keys.hash_one(account.as_str()) % LANES as u64;
        let _lane = self.lanes[usize::try_from(lane).unwrap_or(0)].lock().await;
        let Some(database) = &self.shared else {
            return work.await;
        };
        let turn = database.turn("account", account.as_str()).await;
        let turn = turn.map_err(|error| ApiError::DatabaseUnavailable(Box::new(error)))?;
        turn.during(work).await
    }
}
