//! A session of its own for moving everything in or out, which may take as long as it takes.

use std::time::{Duration, Instant};

use deadpool::managed::Object;
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::IsolationLevel;

use crate::{Database, DatabaseError};

/// What differs from other sessions: its name, and that no statement ends by itself.
const SESSION: &str = "
    SET application_name = 'countersign migrate';
    SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
";
/// How long sessions that are just ending may take.
const ENDING: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// A session for moving everything in or out.
pub struct Transfer(ClientWrapper);

impl Database {
    /// A session without the bounds of usual work, for one process that nobody waits for.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn transfer(&self) -> Result<Transfer, DatabaseError> {
        // It does not go back to the others.
        let session = Object::take(self.session().await?);
        session.batch_execute(SESSION).await?;
        Ok(Transfer(session))
    }
}

impl Transfer {
    /// Begins a transaction, all of whose statements see the moment of the first one. Dropped,
    /// it changes nothing.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn begin(&mut self) -> Result<Transaction<'_>, DatabaseError> {
        let builder = self.0.build_transaction();
        let builder = builder.isolation_level(IsolationLevel::RepeatableRead);
        Ok(builder.start().await?)
    }
}

/// How many sessions of other processes of this program a database has, once those that are just
/// ending have ended. A running process always has one.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn others(transaction: &Transaction<'_>) -> Result<u64, DatabaseError> {
    let begun = Instant::now();
    loop {
        // A transaction looks once otherwise.
        transaction
            .query_one("SELECT pg_stat_clear_snapshot()", &[])
            .await?;
        let row = transaction
            .query_one(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND application_name LIKE 'countersign%'",
                &[],
            )
            .await?;
        let count: i64 = row.try_get(0)?;
        if count == 0 || begun.elapsed() > ENDING {
            return Ok(u64::try_from(count).unwrap_or(0));
        }
        tokio::time::sleep(LOOK).await;
    }
}
