//! Checking codes that someone else was given: each is accepted once, and guessing
//! is slowed down (RFC 6238 section 5.2, RFC 4226 section 7.3).

mod folder;
mod postgres;
pub(crate) mod transfer;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use countersign_activities::totp::{self, CodeError};
use countersign_database::DatabaseError;
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::EnrollmentId;
use thiserror::Error;

use crate::access::secret;
use crate::data_dir::NotedFile;

pub use folder::FolderChecks;
pub use postgres::PostgresChecks;

/// The database's name in the data folder.
pub(crate) const VERIFY_DATABASE: &str = NotedFile::Checks.name();

/// How many time steps a code may be early or late. RFC 6238 recommends at most one.
const WINDOW: [i64; 3] = [0, -1, 1];
/// How many wrong codes an account takes from one caller within [`MEMORY`].
const MOST_WRONG: usize = 5;
/// How many it takes from all callers together until each of them has one try instead.
///
/// Several keys of one hand would otherwise have as many guesses more. Only someone who was
/// wrong is kept waiting, so that nobody can lock others out; what that leaves to many keys
/// is one guess for each within [`MEMORY`].
const MOST_WRONG_OF_ALL: usize = 10;
/// How long a wrong code counts.
const MEMORY: TimeDelta = TimeDelta::minutes(5);

/// Why a code cannot be checked.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The file refused.
    #[error("the accepted code cannot be stored: {0}")]
    Store(#[from] rusqlite::Error),
    /// The file cannot be made or opened.
    #[error("the database cannot be opened: {0}")]
    File(#[source] std::io::Error),
    /// It was copied while it was in use, without its log.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The shared database cannot be used.
    // Not transparent: what asks for the cause finds this error, not its cause.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// The account's codes cannot be computed.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The caller has to wait.
    #[error("too many wrong codes; try again in {retry_after} s")]
    TooManyWrong {
        /// In seconds.
        retry_after: u64,
    },
    /// The process is ending, or the work panicked.
    #[error("the check did not finish")]
    Lost,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeCheck {
    /// Right, and never accepted before. `drift` is in time steps.
    Valid { drift: i64 },
    /// Not this account's code now.
    Wrong,
    /// Right, but it or a later one was accepted already.
    Used,
}

/// A code that someone tries.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Of this account.
    pub account: EnrollmentId,
    /// Who tries.
    pub caller: String,
    /// When.
    pub now: DateTime<Utc>,
    /// The time step that it is the code of; none if it is wrong.
    pub step: Option<i64>,
    /// How long a time step of the account is, in seconds.
    pub period: i64,
}

/// What is decided about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is accepted, and was never before.
    Accepted,
    /// It or a later one was accepted already.
    Used,
    /// It is not the account's.
    Wrong,
    /// There were too many wrong ones; nothing is said about this one.
    LockedOut {
        /// In so many seconds it can be tried again.
        retry_after: u64,
    },
}

/// What every store of checked codes promises: over all front doors that share it, each time
/// step of an account is accepted once and time goes forward, also after a restart; and a
/// caller who was wrong too often waits.
#[async_trait]
pub trait Checks: Send + Sync {
    /// Decides about a code, and remembers what was decided.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]; the code was not accepted, as far as anyone knows.
    async fn judge(&self, attempt: Attempt) -> Result<Judged, VerifyError>;
}

/// Checks codes.
pub(crate) struct Verifier {
    checks: Arc<dyn Checks>,
}

impl Verifier {
    /// Checks codes with what `checks` remembers.
    pub(crate) fn new(checks: Arc<dyn Checks>) -> Self {
        Self { checks }
    }

    /// Whether `code` is the account's at `now`, as far as `caller` may still try.
    pub(crate) async fn check(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        caller: &str,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<CodeCheck, VerifyError> {
        let matching = matching_step(account, code, now)?;
        let judged = self.checks.judge(Attempt {
            account: id.clone(),
            caller: caller.to_owned(),
            now,
            step: matching.map(|(step, _)| step),
            period: i64::from(account.parameters().period()),
        });
        match (judged.await?, matching) {
            (Judged::LockedOut { retry_after }, _) => {
                Err(VerifyError::TooManyWrong { retry_after })
            }
            (Judged::Accepted, Some((_, drift))) => Ok(CodeCheck::Valid { drift }),
            (Judged::Used, Some(_)) => Ok(CodeCheck::Used),
            (Judged::Accepted | Judged::Used | Judged::Wrong, _) => Ok(CodeCheck::Wrong),
        }
    }
}

/// The time step that `code` is the code of, and how far it is from now.
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
        if secret::same(given.as_bytes(), right.text.as_bytes()) && found.is_none() {
            let step = i64::try_from(right.valid_from).unwrap_or(i64::MAX) / period;
            found = Some((step, drift));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use countersign_enrollment::otpauth;

    use super::*;

    fn verifier(path: &Path) -> Verifier {
        Verifier::new(Arc::new(FolderChecks::open(path).unwrap()))
    }

    fn account() -> TotpAccount {
        otpauth::parse("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=8")
            .unwrap()
            .account
    }

    fn code(seconds: i64) -> String {
        totp::code_at(&account(), u64::try_from(seconds).unwrap())
            .unwrap()
            .text
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
        let verifier = self::verifier(&path);
        let check = async |verifier: &Verifier, code: String| {
            verifier
                .check(&id, &account(), "rp", &code, at(now))
                .await
                .unwrap()
        };
        let spaced = "0708 1804".to_owned();
        assert_eq!(
            check(&verifier, spaced).await,
            CodeCheck::Valid { drift: 0 }
        );
        assert_eq!(check(&verifier, code(now)).await, CodeCheck::Used);
        drop(verifier);
        let verifier = self::verifier(&path);
        assert_eq!(check(&verifier, code(now - 30)).await, CodeCheck::Used);
        assert_eq!(
            check(&verifier, code(now + 30)).await,
            CodeCheck::Valid { drift: 1 }
        );
        assert_eq!(check(&verifier, code(now + 60)).await, CodeCheck::Wrong);
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_for_the_guesser_alone() {
        let folder = tempfile::tempdir().unwrap();
        let verifier = self::verifier(&folder.path().join("verify.sqlite3"));
        let id = EnrollmentId::random();
        let check = async |caller: &str, code: &str, seconds: i64| {
            verifier
                .check(&id, &account(), caller, code, at(seconds))
                .await
        };
        let now = 1_111_111_109;
        for _ in 0..MOST_WRONG {
            let verdict = check("guesser", "00000000", now).await.unwrap();
            assert_eq!(verdict, CodeCheck::Wrong);
        }
        let Err(VerifyError::TooManyWrong { retry_after }) =
            check("guesser", &code(now), now + 10).await
        else {
            panic!("not locked out");
        };
        assert_eq!(retry_after, 291);
        let verdict = check("other", &code(now), now).await.unwrap();
        assert_eq!(verdict, CodeCheck::Valid { drift: 0 });
        let later = now + 300;
        let verdict = check("guesser", &code(later), later).await.unwrap();
        assert_eq!(verdict, CodeCheck::Valid { drift: 0 });
    }

    #[tokio::test]
    async fn more_keys_bring_no_more_guesses_and_lock_no_one_out() {
        let folder = tempfile::tempdir().unwrap();
        let verifier = self::verifier(&folder.path().join("verify.sqlite3"));
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
        assert_eq!(verdict, CodeCheck::Valid { drift: 0 });
    }
}
