//! Checked codes in the shared database: each is accepted once over all front doors, and
//! guesses at one of them count at the others.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_database::{
    Database, DatabaseError, Failure, Transaction, all, execute, one_at_a_time,
};
use countersign_enrollment::ids::EnrollmentId;
use futures_util::FutureExt as _;

use super::{Attempt, Checks, Judged, MEMORY, MOST_WRONG, MOST_WRONG_OF_ALL, VerifyError};

impl Failure for VerifyError {
    fn of_database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// What was accepted and what was wrong, in a shared database.
pub struct PostgresChecks {
    database: Database,
}

impl PostgresChecks {
    /// What `database` holds of it.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Checks for PostgresChecks {
    /// All in one transaction, with the account locked: of many who guess at once as many are
    /// judged as may.
    async fn judge(&self, attempt: Attempt) -> Result<Judged, VerifyError> {
        self.database
            .write(move |transaction| {
                let attempt = attempt.clone();
                async move { judge(transaction, &attempt).await }.boxed()
            })
            .await
    }
}

async fn judge(transaction: &Transaction<'_>, attempt: &Attempt) -> Result<Judged, VerifyError> {
    let Attempt {
        account,
        caller,
        now,
        step,
        ..
    } = attempt;
    one_at_a_time(transaction, "verify", account.as_str()).await?;
    if let Some(retry_after) = locked_out(transaction, account, caller, *now).await? {
        return Ok(Judged::LockedOut { retry_after });
    }
    if let Some(step) = step {
        let taken = execute(
            transaction,
            "INSERT INTO verify_accepted AS kept (account, step) VALUES ($1, $2)
             ON CONFLICT (account) DO UPDATE SET step = excluded.step
             WHERE excluded.step > kept.step",
            &[&account.as_str(), step],
        )
        .await?;
        if taken == 1 {
            let sql = "DELETE FROM verify_wrong WHERE account = $1 AND caller = $2";
            execute(transaction, sql, &[&account.as_str(), caller]).await?;
            return Ok(Judged::Accepted);
        }
    }
    execute(
        transaction,
        "INSERT INTO verify_wrong (account, caller, at) VALUES ($1, $2, $3)",
        &[&account.as_str(), caller, &now.timestamp_millis()],
    )
    .await?;
    Ok(match step {
        Some(_) => Judged::Used,
        None => Judged::Wrong,
    })
}

/// Seconds until the caller's next try, if there were too many.
async fn locked_out(
    transaction: &Transaction<'_>,
    account: &EnrollmentId,
    caller: &str,
    now: DateTime<Utc>,
) -> Result<Option<u64>, VerifyError> {
    let since = (now - MEMORY).timestamp_millis();
    // Those of this account: other transactions hold the locks of others.
    let sql = "DELETE FROM verify_wrong WHERE account = $1 AND at <= $2";
    execute(transaction, sql, &[&account.as_str(), &since]).await?;
    let sql = "SELECT at, caller = $2 FROM verify_wrong WHERE account = $1 ORDER BY at";
    let rows = all(transaction, sql, &[&account.as_str(), &caller]).await?;
    let most = match rows.len() < MOST_WRONG_OF_ALL {
        true => MOST_WRONG,
        false => 1,
    };
    let mut own = Vec::new();
    for row in &rows {
        let at: i64 = row.try_get(0).map_err(DatabaseError::from)?;
        if row.try_get(1).map_err(DatabaseError::from)? {
            own.push(at);
        }
    }
    let Some(first) = own.first().filter(|_| own.len() >= most) else {
        return Ok(None);
    };
    let left = first + MEMORY.num_milliseconds() - now.timestamp_millis();
    Ok(Some(u64::try_from(left / 1_000).unwrap_or(0) + 1))
}
