//! Checked codes in one data folder: what was accepted is in a file, and what was wrong in this
//! process's memory.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_enrollment::ids::EnrollmentId;
use durabletask_sqlite::Database;
use lru::LruCache;
use rusqlite::params;

use super::{Attempt, Checks, Judged, MEMORY, MOST_WRONG, MOST_WRONG_OF_ALL, VerifyError};
use crate::private_file;

/// For how many pairs of account and caller wrong codes are remembered.
const PAIRS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// An account and who tries codes of it.
type Pair = (EnrollmentId, String);

/// What was accepted and what was wrong, in a data folder.
pub struct FolderChecks {
    accepted: Arc<Mutex<Database>>,
    wrong: Mutex<WrongCodes>,
}

/// When wrong codes were tried.
struct WrongCodes {
    by_caller: LruCache<Pair, VecDeque<DateTime<Utc>>>,
    /// The last ones, from any caller.
    by_account: LruCache<EnrollmentId, VecDeque<DateTime<Utc>>>,
}

impl WrongCodes {
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

    /// How many codes a caller may get wrong now.
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

    /// Seconds until the next try, if there were too many.
    fn locked_out(&mut self, pair: &Pair, now: DateTime<Utc>) -> Option<u64> {
        let most = self.most(&pair.0, now);
        let times = self.by_caller.get_mut(pair)?;
        times.retain(|time| now - *time < MEMORY);
        if times.len() < most {
            return None;
        }
        let free_at = *times.front()? + MEMORY;
        Some(u64::try_from((free_at - now).num_seconds()).unwrap_or(0) + 1)
    }
}

impl FolderChecks {
    /// Opens what was accepted before at `path`. Blocks.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] when the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        private_file::ensure(path).map_err(VerifyError::File)?;
        let connection = Database::open(path)?;
        connection.write_ahead()?;
        // A code that was accepted may not be accepted again after a power cut.
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
            wrong: Mutex::new(WrongCodes {
                by_caller: LruCache::new(PAIRS),
                by_account: LruCache::new(PAIRS),
            }),
        })
    }

    /// Checks what [`FolderChecks::open`] would refuse, and changes nothing. Blocks.
    ///
    /// # Errors
    ///
    /// As [`FolderChecks::open`].
    pub(crate) fn look(path: &Path) -> Result<(), VerifyError> {
        if let Some(connection) = durabletask_sqlite::look(path)? {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Accepts no code that could have been accepted before `now`: which ones were is not known
    /// after a restore. Blocks.
    pub(crate) fn restart(&self, now: DateTime<Utc>) -> Result<(), VerifyError> {
        guard(&self.accepted).execute(
            "INSERT INTO since (only, second) VALUES (1, ?1)
             ON CONFLICT (only) DO UPDATE SET second = max(second, excluded.second)",
            params![now.timestamp()],
        )?;
        Ok(())
    }

    /// Takes a time step, unless it or a later one was taken before.
    async fn accept(&self, attempt: &Attempt, step: i64) -> Result<bool, VerifyError> {
        let accepted = Arc::clone(&self.accepted);
        // One step early was accepted too.
        let earliest = step.saturating_sub(1).saturating_mul(attempt.period);
        let account = attempt.account.to_string();
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

#[async_trait]
impl Checks for FolderChecks {
    async fn judge(&self, attempt: Attempt) -> Result<Judged, VerifyError> {
        let pair = (attempt.account.clone(), attempt.caller.clone());
        {
            let mut wrong = guard(&self.wrong);
            if let Some(retry_after) = wrong.locked_out(&pair, attempt.now) {
                return Ok(Judged::LockedOut { retry_after });
            }
            if attempt.step.is_none() {
                wrong.note(pair, attempt.now);
                return Ok(Judged::Wrong);
            }
        }
        let accepted = match attempt.step {
            Some(step) => self.accept(&attempt, step).await?,
            None => false,
        };
        let mut wrong = guard(&self.wrong);
        if accepted {
            wrong.by_caller.pop(&pair);
            return Ok(Judged::Accepted);
        }
        wrong.note(pair, attempt.now);
        Ok(Judged::Used)
    }
}

/// No panic happens while one of these locks is held.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
