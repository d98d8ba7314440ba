//! Codes that log a browser in: each is valid once and for a few minutes. Here they are kept in
//! the memory of one process.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Duration, Utc};

use super::secret;
use super::store::SecretHash;

/// How long a code is good.
pub(crate) const CODE_LIFETIME: Duration = Duration::minutes(10);
/// How many codes are good at a time; one more ends the oldest.
pub(super) const MOST_CODES: usize = 16;

struct KeptCode {
    hash: SecretHash,
    who: String,
    until: DateTime<Utc>,
}

/// The codes that are good now.
#[derive(Default)]
pub(super) struct LoginCodes(Mutex<VecDeque<KeptCode>>);

impl LoginCodes {
    /// Keeps a code for the subject `who`.
    pub(super) fn keep(&self, hash: &SecretHash, who: &str, now: DateTime<Utc>) {
        let mut kept = self.lock(now);
        if kept.len() == MOST_CODES {
            kept.pop_front();
        }
        kept.push_back(KeptCode {
            hash: *hash,
            who: who.to_owned(),
            until: now + CODE_LIFETIME,
        });
    }

    /// Whom a code is for; nobody if it was used or its time has passed.
    pub(super) fn whose(&self, hash: &SecretHash, now: DateTime<Utc>) -> Option<String> {
        let kept = self.lock(now);
        let found = kept.iter().find(|kept| secret::same(&kept.hash, hash));
        found.map(|kept| kept.who.clone())
    }

    /// Uses a code up; whether it was good until now.
    pub(super) fn redeem(&self, hash: &SecretHash, now: DateTime<Utc>) -> bool {
        let mut kept = self.lock(now);
        let before = kept.len();
        kept.retain(|kept| !secret::same(&kept.hash, hash));
        kept.len() < before
    }

    /// What is still good at `now`.
    fn lock(&self, now: DateTime<Utc>) -> MutexGuard<'_, VecDeque<KeptCode>> {
        // A list, which a panic leaves whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| now < kept.until);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(codes: &LoginCodes, code: &str, now: DateTime<Utc>) -> SecretHash {
        let hash = secret::hash(code);
        codes.keep(&hash, "a.mark", now);
        hash
    }

    #[test]
    fn a_code_is_good_once_and_for_a_while() {
        let codes = LoginCodes::default();
        let now = Utc::now();
        let code = keep(&codes, "first", now);
        assert_eq!(codes.whose(&code, now).as_deref(), Some("a.mark"));
        assert_eq!(codes.whose(&secret::hash("firs"), now), None);
        assert!(codes.redeem(&code, now));
        assert!(!codes.redeem(&code, now));
        assert_eq!(codes.whose(&code, now), None);

        let code = keep(&codes, "second", now);
        assert_eq!(codes.whose(&code, now + CODE_LIFETIME), None);
        assert!(!codes.redeem(&code, now));
    }

    #[test]
    fn only_the_latest_codes_are_kept() {
        let codes = LoginCodes::default();
        let now = Utc::now();
        let made: Vec<_> = (0..=MOST_CODES)
            .map(|number| keep(&codes, &number.to_string(), now))
            .collect();
        assert_eq!(codes.whose(&made[0], now), None);
        assert!(made[1..].iter().all(|code| codes.redeem(code, now)));
    }
}
