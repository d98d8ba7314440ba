//! Which recovery codes were given out.

use chrono::{DateTime, Utc};
use countersign_database::{Transaction, all, execute, one_at_a_time};
use countersign_enrollment::ids::EnrollmentId;

use crate::sqlite::millis;
use crate::{Given, LedgerError};

/// Which of these were given out.
pub(super) async fn given(
    transaction: &Transaction<'_>,
    account: &EnrollmentId,
    marks: &[String],
) -> Result<Vec<bool>, LedgerError> {
    let rows = all(
        transaction,
        "SELECT EXISTS (
             SELECT 1 FROM ledger_recovery_given AS given
             WHERE given.account = $1 AND given.mark = asked.mark
         ) FROM unnest($2::text[]) WITH ORDINALITY AS asked (mark, place) ORDER BY place",
        &[&account.as_str(), &marks],
    )
    .await?;
    let given: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
    Ok(given?)
}

/// Records that the first of these that was not given out is given out now.
pub(super) async fn give(
    transaction: &Transaction<'_>,
    account: &EnrollmentId,
    marks: &[String],
    now: DateTime<Utc>,
) -> Result<Option<Given>, LedgerError> {
    // There may be no row to lock yet, so this locks the account.
    one_at_a_time(transaction, "recovery", account.as_str()).await?;
    let given = given(transaction, account, marks).await?;
    let mut left = given
        .iter()
        .zip(marks)
        .enumerate()
        .filter(|(_, (given, _))| !**given);
    let Some((index, (_, mark))) = left.next() else {
        return Ok(None);
    };
    let left = left.count();
    execute(
        transaction,
        "INSERT INTO ledger_recovery_given (account, mark, given_at) VALUES ($1, $2, $3)",
        &[&account.as_str(), mark, &millis(now)],
    )
    .await?;
    Ok(Some(Given { index, left }))
}

/// Writes down that all of these are given out now, and says which of them were not before.
pub(super) async fn give_all(
    transaction: &Transaction<'_>,
    account: &EnrollmentId,
    marks: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<bool>, LedgerError> {
    one_at_a_time(transaction, "recovery", account.as_str()).await?;
    let given = given(transaction, account, marks).await?;
    execute(
        transaction,
        "INSERT INTO ledger_recovery_given (account, mark, given_at)
         SELECT DISTINCT $1::text, mark, $3::bigint FROM unnest($2::text[]) AS asked (mark)
         ON CONFLICT DO NOTHING",
        &[&account.as_str(), &marks, &millis(now)],
    )
    .await?;
    Ok(given.into_iter().map(|given| !given).collect())
}
