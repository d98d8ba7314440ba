//! Codes that log a browser in: each is valid once and for a few minutes, and nothing of them
//! is kept outside of this process's memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Duration, Utc};
use zeroize::Zeroizing;

use super::identity::Subject;
use super::secret::{self, RandomUnavailable};

/// How long a code is good.
pub(crate) const CODE_LIFETIME: Duration = Duration::minutes(10);
/// How many codes are good at a time; one more ends the oldest.
const MOST_CODES: usize = 16;

struct Kept {
    hash: [u8; 32],
    subject: Subject,
    until: DateTime<Utc>,
}

/// The codes that are good now.
#[derive(Default)]
pub(crate) struct LoginCodes(Mutex<VecDeque<Kept>>);

impl LoginCodes {
    /// A new code for the administrator.
    pub(crate) fn for_administrator(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Zeroizing<String>, RandomUnavailable> {
        self.issue(&Subject::Admin, now)
    }

    /// A new code for a caller, of 256 random bits.
    pub(super) fn issue(
        &self,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Zeroizing<String>, RandomUnavailable> {
        let code = secret::random_token("")?;
        let mut kept = self.lock(now);
        if kept.len() == MOST_CODES {
            kept.pop_front();
        }
        kept.push_back(Kept {
            hash: secret::hash(&code),
            subject: subject.clone(),
            until: now + CODE_LIFETIME,
        });
        Ok(code)
    }

    /// Whom a code is for; nobody if it was used or its time is over.
    pub(super) fn whose(&self, code: &str, now: DateTime<Utc>) -> Option<Subject> {
        let hash = secret::hash(code);
        let kept = self.lock(now);
        let found = kept.iter().find(|kept| secret::same(&kept.hash, &hash));
        found.map(|kept| kept.subject.clone())
    }

    /// Uses a code up; whether it was good until now.
    pub(super) fn redeem(&self, code: &str, now: DateTime<Utc>) -> bool {
        let hash = secret::hash(code);
        let mut kept = self.lock(now);
        let before = kept.len();
        kept.retain(|kept| !secret::same(&kept.hash, &hash));
        kept.len() < before
    }

    /// What is still good at `now`.
    fn lock(&self, now: DateTime<Utc>) -> MutexGuard<'_, VecDeque<Kept>> {
        // A list, which a panic leaves whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| now < kept.until);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_for_a_while() {
        let codes = LoginCodes::default();
        let now = Utc::now();
        let code = codes.issue(&Subject::Admin, now).unwrap();
        assert!(code.len() >= 22, "128 bits");
        assert_eq!(codes.whose(&code, now), Some(Subject::Admin));
        assert_eq!(codes.whose(&code[1..], now), None);
        assert!(codes.redeem(&code, now));
        assert!(!codes.redeem(&code, now));
        assert_eq!(codes.whose(&code, now), None);

        let code = codes.issue(&Subject::Admin, now).unwrap();
        assert_eq!(codes.whose(&code, now + CODE_LIFETIME), None);
        assert!(!codes.redeem(&code, now));
    }

    #[test]
    fn only_the_latest_codes_are_kept() {
        let codes = LoginCodes::default();
        let now = Utc::now();
        let made: Vec<_> = (0..=MOST_CODES)
            .map(|_| codes.issue(&Subject::Admin, now).unwrap())
            .collect();
        assert_eq!(codes.whose(&made[0], now), None);
        assert!(made[1..].iter().all(|code| codes.redeem(code, now)));
    }
}
