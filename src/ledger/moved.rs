//! Whether the installation in a database is all there: not while one is being moved into it,
//! and not once it was moved out.

use chrono::Utc;
use countersign_database::{Database, DatabaseError, Transaction, execute, one};
use futures_util::FutureExt as _;

use super::LedgerOpenError;

/// The migration that made the table. A release that does not know it would not look there, so
/// it is refused for as long as something is marked.
const MIGRATION: i32 = 6;

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// An installation is being moved into it.
    Arriving,
    /// Its installation was moved out of it, at this moment in seconds.
    Left(i64),
}

/// Refuses a database that is marked.
///
/// # Errors
///
/// [`LedgerOpenError::Arriving`] and [`LedgerOpenError::Left`].
pub(super) async fn refuse(database: &Database) -> Result<(), LedgerOpenError> {
    match database
        .read(|transaction| marked(transaction).boxed())
        .await?
    {
        None => Ok(()),
        Some(Move::Arriving) => Err(LedgerOpenError::Arriving),
        Some(Move::Left(at)) => Err(LedgerOpenError::Left(on(at))),
    }
}

/// The day of a moment in seconds.
pub(crate) fn on(at: i64) -> String {
    let at = chrono::DateTime::from_timestamp(at, 0).unwrap_or_default();
    at.format("%Y-%m-%d").to_string()
}

/// What is marked in a database, if anything is.
pub(crate) async fn marked(transaction: &Transaction<'_>) -> Result<Option<Move>, DatabaseError> {
    let row = one(transaction, "SELECT state, at FROM installation_move", &[]).await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let (state, at): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some(match state {
        "arriving" => Move::Arriving,
        _ => Move::Left(at),
    }))
}

/// Marks a database as not all there.
pub(crate) async fn mark(transaction: &Transaction<'_>, state: Move) -> Result<(), DatabaseError> {
    let state = match state {
        Move::Arriving => "arriving",
        Move::Left(_) => "left",
    };
    let sql = "INSERT INTO installation_move (state, at) VALUES ($1, $2)";
    execute(transaction, sql, &[&state, &Utc::now().timestamp()]).await?;
    let sql = "UPDATE migrations SET needs = number WHERE number = $1";
    execute(transaction, sql, &[&MIGRATION]).await?;
    Ok(())
}

/// Takes the mark away: everything is there.
pub(crate) async fn unmark(transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
    execute(transaction, "DELETE FROM installation_move", &[]).await?;
    let sql = "UPDATE migrations SET needs = 1 WHERE number = $1";
    execute(transaction, sql, &[&MIGRATION]).await?;
    Ok(())
}
