//! Remembers the codes that were counted as reads of a lease: a caller who gets the same one again
//! learns nothing new, so it is not counted twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use countersign_enrollment::ids::EnrollmentId;

use crate::codes::CurrentCode;

/// How many are remembered; beyond that, each reading counts.
const MOST: usize = 10_000;

/// By caller and account: until when the code is valid that was counted last.
#[derive(Default)]
pub(crate) struct CountedCodes(Mutex<HashMap<(String, EnrollmentId), DateTime<Utc>>>);

impl CountedCodes {
    fn known(&self) -> MutexGuard<'_, HashMap<(String, EnrollmentId), DateTime<Utc>>> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this code was already counted for this caller.
    pub(super) fn contains(
        &self,
        caller: &str,
        account: &EnrollmentId,
        code: &CurrentCode,
    ) -> bool {
        let key = (caller.to_owned(), account.clone());
        self.known().get(&key) == Some(&code.valid_until)
    }

    /// Remembers that this code was counted.
    pub(super) fn insert(&self, caller: &str, account: &EnrollmentId, code: &CurrentCode) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, until| *until > code.server_time);
        }
        if known.len() < MOST {
            known.insert((caller.to_owned(), account.clone()), code.valid_until);
        }
    }
}
