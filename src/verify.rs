//! Checks codes that someone presents: each is accepted once, and guessing
//! is slowed down (RFC 6238 section 5.2, RFC 4226 section 7.3).

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_activities::totp::{self, CodeError};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::EnrollmentId;
use durabletask_sqlite::Database;
use lru::LruCache;
use rusqlite::params;
use thiserror::Error;

use crate::access::secret;
use crate::private_file;

/// The database's name in the data folder.
pub(crate) const VERIFY_DATABASE: &str = "verify.sqlite3";

/// How many time steps a code may be early or late. RFC 6238 recommends at most one.
const WINDOW: [i64; 3] = [0, -1, 1];
/// How many wrong codes of an account one caller may try within [`MEMORY`].
const MOST_WRONG: usize = 5;
/// How many all callers together may try before each of them has only one try.
///
/// Several keys of one person would otherwise multiply the guesses. Only a caller that was
/// wrong has to wait, so that no one can lock others out; that leaves many keys
/// one guess each within [`MEMORY`].
const MOST_WRONG_OF_ALL: usize = 10;
/// How long a wrong code counts.
const MEMORY: TimeDelta = TimeDelta::minutes(5);
/// For how many pairs of account and caller wrong codes are remembered.
const PAIRS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Why a code cannot be checked.
#[derive(Debug, Error)]
pub(crate) enum VerifyError {
    #[error("the accepted code cannot be stored: {0}")]
    Store(#[from] rusqlite::Error),
    #[error("the database cannot be opened: {0}")]
    File(#[source] std::io::Error),
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("too many wrong codes; try again in {retry_after} s")]
    TooManyWrong { retry_after: u64 },
    #[error("the check did not finish")]
    Lost,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Right, and never accepted before. `drift` is in time steps.
    Valid { drift: i64 },
    /// Not this account's current code.
    Wrong,
    /// Right, but it or a later one was accepted already.
    Used,
}

/// An account and the caller that tries codes of it.
type Pair = (EnrollmentId, String);

/// Checks codes and remembers, for each account, the last time step it has accepted.
pub(crate) struct Verifier {
    accepted: Arc<Mutex<Database>>,
    wrong: Mutex<Wrong>,
}

/// When wrong codes were tried.
struct Wrong {
    by_caller: LruCache<Pair, VecDeque<DateTime<Utc>>>,
    /// The most recent ones, from any caller.
    by_account: LruCache<EnrollmentId, VecDeque<DateTime<Utc>>>,
}

impl Wrong {
    fn note(&mut self, pair: Pair, now: DateTime<Utc>) {
        let account = pair.0.clone();
        let of_account = self.by_account.get_or_insert_mut(account, VecDeque::new);
        if of_account.len() >= MOST_WRONG_OF_ALL {
            of_account.pop_front();
        }
        of_account.push_back(now);
        let of_caller = self.by_caller.get_or_insert_mut(pair, VecDeque::new);
        of_caller.push_back(now);
    }

    /// How many wrong codes a caller has left.
    fn most(&mut self, account: &EnrollmentId, now: DateTime<Utc>) -> usize {
        let Some(times) = self.by_account.get_mut(account) else {
            return MOST_WRONG;
        };
        times.retain(|time| now - *time < MEMORY);
        if times.len() < MOST_WRONG_OF_ALL {
            MOST_WRONG
        } else {
            1
        }
    }
}

impl Verifier {
    /// Opens the database of accepted codes at `path`. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, VerifyError> {
        private_file::ensure(path).map_err(VerifyError::File)?;
        let connection = Database::open(path)?;
        connection.write_ahead()?;
        // An accepted code must not be accepted again after a power failure.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS accepted (
                 account TEXT PRIMARY KEY,
                 step    INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID;
             -- Since when codes may be accepted, after a restore: Unix seconds.
             CREATE TABLE IF NOT EXISTS since (
                 only   INTEGER PRIMARY KEY CHECK (only = 1),
                 second INTEGER NOT NULL
             ) STRICT;",
        )?;
        connection.mark()?;
        Ok(Self {
            accepted: Arc::new(Mutex::new(connection)),
            wrong: Mutex::new(Wrong {
                by_caller: LruCache::new(PAIRS),
                by_account: LruCache::new(PAIRS),
            }),
        })
    }

    /// Whether `code` is the account's at `now`, if `caller` may still try.
    pub(crate) async fn check(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        caller: &str,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Verdict, VerifyError> {
        let pair = (id.clone(), caller.to_owned());
        if let Some(retry_after) = self.locked_out(&pair, now) {
            return Err(VerifyError::TooManyWrong { retry_after });
        }
        let verdict = match matching_step(account, code, now)? {
            Some((step, drift)) if self.accept(id, account, step).await? => {
                Verdict::Valid { drift }
            }
            Some(_) => Verdict::Used,
            None => Verdict::Wrong,
        };
        let mut wrong = guard(&self.wrong);
        match verdict {
            Verdict::Valid { .. } => {
                wrong.by_caller.pop(&pair);
            }
            Verdict::Wrong | Verdict::Used => {
                wrong.note(pair, now);
            }
        }
        Ok(verdict)
    }

    /// Seconds until the next try, if there were too many wrong codes.
    fn locked_out(&self, pair: &Pair, now: DateTime<Utc>) -> Option<u64> {
        let mut wrong = guard(&self.wrong);
        let most = wrong.most(&pair.0, now);
        let times = wrong.by_caller.get_mut(pair)?;
        times.retain(|time| now - *time < MEMORY);
        if times.len() < most {
            return None;
        }
        let free_at = *times.front()? + MEMORY;
        Some(u64::try_from((free_at - now).num_seconds()).unwrap_or(0) + 1)
    }

    /// Refuses every code that could have been accepted before `now`: which ones were is unknown
    /// after a restore. Blocks.
    pub(crate) fn restart(&self, now: DateTime<Utc>) -> Result<(), VerifyError> {
        guard(&self.accepted).execute(
            "INSERT INTO since (only, second) VALUES (1, ?1)
             ON CONFLICT (only) DO UPDATE SET second = max(second, excluded.second)",
            params![now.timestamp()],
        )?;
        Ok(())
    }

    /// Marks a time step as used, unless it or a later one was used before.
    async fn accept(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        step: i64,
    ) -> Result<bool, VerifyError> {
        let accepted = Arc::clone(&self.accepted);
        let period = i64::from(account.parameters().period());
        // A code one step early was accepted too.
        let earliest = step.saturating_sub(1).saturating_mul(period);
        let account = id.to_string();
        let changed = tokio::task::spawn_blocking(move || {
            guard(&accepted).execute(
                "INSERT INTO accepted (account, step)
                 SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM since WHERE second >= ?3)
                 ON CONFLICT (account) DO UPDATE SET step = excluded.step
                 WHERE excluded.step > accepted.step",
                params![account, step, earliest],
            )
        })
        .await
        .map_err(|_| VerifyError::Lost)??;
        Ok(changed == 1)
    }
}

/// The time step of `code`, and its distance from now.
fn matching_step(
    account: &TotpAccount,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Option<(i64, i64)>, CodeError> {
    let given: String = code
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let period = i64::from(account.parameters().period());
    let mut found = None;
    for drift in WINDOW {
        let Ok(moment) = u64::try_from(now.timestamp() + drift * period) else {
            continue;
        };
        let right = totp::code_at(account, moment)?;
        // Every step is compared, in the same time whichever matches.
        if secret::same(given.as_bytes(), right.token.as_bytes()) && found.is_none() {
            let step = i64::try_from(right.valid_from).unwrap_or(i64::MAX) / period;
            found = Some((step, drift));
        }
    }
    Ok(found)
}

/// No panic happens while one of these locks is held.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use countersign_enrollment::otpauth;

    use super::*;

    fn account() -> TotpAccount {
        otpauth::parse("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=8")
            .unwrap()
            .account
    }

    fn code(seconds: i64) -> String {
        totp::code_at(&account(), u64::try_from(seconds).unwrap())
            .unwrap()
            .token
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[tokio::test]
    async fn a_code_is_taken_once_and_time_goes_forward_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verify.sqlite3");
        let id = EnrollmentId::random();
        let now = 1_111_111_109;
        assert_eq!(code(now), "07081804", "RFC 6238 appendix B");
        let verifier = Verifier::open(&path).unwrap();
        let check = async |verifier: &Verifier, code: String| {
            verifier
                .check(&id, &account(), "rp", &code, at(now))
                .await
                .unwrap()
        };
        let spaced = "0708 1804".to_owned();
        assert_eq!(check(&verifier, spaced).await, Verdict::Valid { drift: 0 });
        assert_eq!(check(&verifier, code(now)).await, Verdict::Used);
        drop(verifier);
        let verifier = Verifier::open(&path).unwrap();
        assert_eq!(check(&verifier, code(now - 30)).await, Verdict::Used);
        assert_eq!(
            check(&verifier, code(now + 30)).await,
            Verdict::Valid { drift: 1 }
        );
        assert_eq!(check(&verifier, code(now + 60)).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_for_the_guesser_alone() {
        let folder = tempfile::tempdir().unwrap();
        let verifier = Verifier::open(&folder.path().join("verify.sqlite3")).unwrap();
        let id = EnrollmentId::random();
        let check = async |caller: &str, code: &str, seconds: i64| {
            verifier
                .check(&id, &account(), caller, code, at(seconds))
                .await
        };
        let now = 1_111_111_109;
        for _ in 0..MOST_WRONG {
            let verdict = check("guesser", "00000000", now).await.unwrap();
            assert_eq!(verdict, Verdict::Wrong);
        }
        let Err(VerifyError::TooManyWrong { retry_after }) =
            check("guesser", &code(now), now + 10).await
        else {
            panic!("not locked out");
        };
        assert_eq!(retry_after, 291);
        let verdict = check("other", &code(now), now).await.unwrap();
        assert_eq!(verdict, Verdict::Valid { drift: 0 });
        let later = now + 300;
        let verdict = check("guesser", &code(later), later).await.unwrap();
        assert_eq!(verdict, Verdict::Valid { drift: 0 });
    }

    #[tokio::test]
    async fn more_keys_are_not_as_many_guesses_more_and_lock_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let verifier = Verifier::open(&folder.path().join("verify.sqlite3")).unwrap();
        let id = EnrollmentId::random();
        let now = 1_111_111_109;
        let check = async |caller: &str, code: &str| {
            verifier.check(&id, &account(), caller, code, at(now)).await
        };
        let mut judged = 0;
        for key in 0..8 {
            for _ in 0..MOST_WRONG {
                judged += usize::from(check(&format!("key-{key}"), "00000000").await.is_ok());
            }
        }
        // Two keys have all their guesses, the six others have one.
        assert_eq!(judged, MOST_WRONG_OF_ALL + 6);
        // Someone who was wrong once waits, others do not.
        assert!(matches!(
            check("key-7", &code(now)).await,
            Err(VerifyError::TooManyWrong { .. })
        ));
        let verdict = check("honest", &code(now)).await.unwrap();
        assert_eq!(verdict, Verdict::Valid { drift: 0 });
    }
}
