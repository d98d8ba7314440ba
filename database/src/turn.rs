//! Turns at what takes several transactions, or asks another service too, and what only one process
//! of an installation may do at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Object;
use tokio::sync::OwnedSemaphorePermit;

use crate::DatabaseError;
use crate::connection::Connector;
use crate::database::{Database, PATIENCE};

/// How often the holder of a turn says that it goes on: before the server takes it for gone.
const KEPT: Duration = Duration::from_secs(4);

/// A turn, which ends when it is dropped, with its connection, and ten seconds after its process
/// has vanished without a word.
#[must_use = "a turn ends when it is dropped"]
pub struct Turn {
    /// In the transaction that holds the lock; none once it has ended.
    session: Option<Object<Connector>>,
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// Ends it, and keeps its connection for other work.
    pub async fn end(mut self) {
        // Whatever this is interrupted in, dropping it closes the connection.
        if self.run("COMMIT").await.is_ok()
            && let Some(session) = self.session.take()
        {
            drop(session);
        }
    }

    /// Does `work` in this turn, however long it takes, and ends the turn.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let keeping = async {
            loop {
                tokio::time::sleep(KEPT).await;
                if let Err(error) = self.go_on().await {
                    tracing::warn!(%error, "a lock was lost while its work continues");
                    return std::future::pending::<Infallible>().await;
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            never = keeping => match never {},
        };
        self.end().await;
        done
    }

    /// Keeps a turn that takes longer than ten seconds.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] when it has ended, or may have.
    pub async fn go_on(&self) -> Result<(), DatabaseError> {
        self.run("SELECT").await
    }

    async fn run(&self, sql: &str) -> Result<(), DatabaseError> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        Ok(session.batch_execute(sql).await?)
    }

    /// Asks for the lock `what` of a `kind`: whether it is free, or waits until it is.
    async fn lock(&self, function: &str, kind: &str, what: &str) -> Result<bool, DatabaseError> {
        let Some(session) = &self.session else {
            return Ok(false);
        };
        // As `one_at_a_time` does it, under a name of its own.
        let name = format!("turn {kind} {what}");
        let sql = format!("SELECT {function}(hashtextextended($1, 0))::text");
        let row = session.query_one(&sql, &[&name]).await?;
        let answer: &str = row.try_get(0)?;
        Ok(answer != "false")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Not for others: it is in a transaction, which the server rolls back.
            drop(Object::take(session));
        }
    }
}

impl Database {
    /// Waits for the turn at `what` of a `kind`, over all processes of the installation.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`], also when it is not free for as long as a statement may take.
    pub async fn turn(&self, kind: &str, what: &str) -> Result<Turn, DatabaseError> {
        let waited = tokio::time::timeout(PATIENCE, async {
            let turn = self.begun().await?;
            turn.lock("pg_advisory_xact_lock", kind, what).await?;
            Ok(turn)
        });
        waited.await.unwrap_or(Err(DatabaseError::Late(PATIENCE)))
    }

    /// The turn at `what` of a `kind`; none if it is taken.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn turn_if_free(
        &self,
        kind: &str,
        what: &str,
    ) -> Result<Option<Turn>, DatabaseError> {
        let asked = tokio::time::timeout(PATIENCE, async {
            let turn = self.begun().await?;
            if turn.lock("pg_try_advisory_xact_lock", kind, what).await? {
                return Ok(Some(turn));
            }
            turn.end().await;
            Ok(None)
        });
        asked.await.unwrap_or(Err(DatabaseError::Late(PATIENCE)))
    }

    /// A transaction for a lock.
    async fn begun(&self) -> Result<Turn, DatabaseError> {
        let place = Arc::clone(&self.turns).acquire_owned().await;
        let turn = Turn {
            _place: place.map_err(|_| DatabaseError::Exhausted(self.size))?,
            session: Some(self.session().await?),
        };
        turn.run("BEGIN").await?;
        Ok(turn)
    }
}
