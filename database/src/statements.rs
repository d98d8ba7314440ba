//! Statements of a transaction, prepared once for each connection.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::DatabaseError;

/// The values of a statement's parameters.
pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs a statement; how many rows it has changed.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<u64, DatabaseError> {
    let statement = transaction.prepare_cached(sql).await?;
    Ok(transaction.execute(&statement, parameters).await?)
}

/// Runs a query; all rows that it finds.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn all(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, DatabaseError> {
    let statement = transaction.prepare_cached(sql).await?;
    Ok(transaction.query(&statement, parameters).await?)
}

/// Runs a query that finds one row at most.
///
/// # Errors
///
/// [`DatabaseError`], also when there are several.
pub async fn one(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Option<Row>, DatabaseError> {
    let statement = transaction.prepare_cached(sql).await?;
    Ok(transaction.query_opt(&statement, parameters).await?)
}

/// Waits until no other transaction works on the same `what` of a `kind`: where there may be
/// no row yet that could be locked.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn one_at_a_time(
    transaction: &Transaction<'_>,
    kind: &str,
    what: &str,
) -> Result<(), DatabaseError> {
    let name = format!("{kind} {what}");
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    execute(transaction, sql, &[&name]).await?;
    Ok(())
}
