//! Moves old entries out of the shared database, into a file of their own.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use countersign_database::{Row, Transaction, all, execute, one};
use futures_util::FutureExt as _;

use super::{AT_ONCE, PostgresAudit, end, extend, start, value};
use crate::audit::archive::{Archived, NewArchive, recorded};
use crate::audit::chain::{ChainKeys, Position, SERVER_KEY_SUBJECT, changed_key, place, unsigned};
use crate::audit::entry::{Action, Event, written};
use crate::audit::error::AuditError;
use crate::audit::head::Head;

/// The most entries of one archive: they are removed in one transaction, while writers wait.
const MOST: u64 = 20_000;

impl PostgresAudit {
    /// Moves all entries from before `before`, except the log's last one and those after `sent`,
    /// into the new file `to`, and appends `event`, which records that. The file is read back and
    /// its chain is checked before anything is removed. None if there is nothing that old.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; what was not removed is still in the log.
    pub async fn archive(
        &self,
        to: &Path,
        before: DateTime<Utc>,
        sent: Option<u64>,
        event: &Event,
    ) -> Result<Option<Archived>, AuditError> {
        let start = self.start().await?;
        let most = place(sent.unwrap_or(u64::MAX).min(start.head.sequence + MOST));
        let before = written(before);
        let through = self
            .database
            .read(move |transaction| {
                let before = before.clone();
                async move { through(transaction, most, &before).await }.boxed()
            })
            .await?;
        let Some(through) = through else {
            return Ok(None);
        };
        self.write_archive(to, &start, &through).await?;
        if let Err(error) = self.take_out(&start, &through, event).await {
            // Nothing was removed, so the entries may still go into another archive.
            let _ = std::fs::remove_file(to);
            return Err(error);
        }
        Ok(Some(Archived {
            entries: through.sequence - start.head.sequence,
            through,
        }))
    }

    async fn write_archive(
        &self,
        to: &Path,
        start: &Position,
        through: &Head,
    ) -> Result<(), AuditError> {
        let mut archive = NewArchive::create(to, start, through)?;
        let (mut after, last) = (place(start.head.sequence), place(through.sequence));
        while after < last {
            let rows = self.database.read(move |transaction| {
                async move {
                    let sql = "SELECT sequence, event, hash FROM audit_entries
                               WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $3";
                    let values = &[&after as _, &last as _, &AT_ONCE as _];
                    Ok::<Vec<Row>, AuditError>(all(transaction, sql, values).await?)
                }
                .boxed()
            });
            let rows = rows.await?;
            for row in &rows {
                after = value(row, 0)?;
                archive.add(unsigned(after), value(row, 1)?, &value::<Vec<u8>>(row, 2)?)?;
            }
            if rows.is_empty() {
                return Err(AuditError::ArchivedMeanwhile);
            }
        }
        archive.finish(&self.inside.chain())
    }

    /// Removes entries that are in a file now: all of them, with the entry that records it, or
    /// none. A log from which part of an archive was removed could not be verified.
    async fn take_out(
        &self,
        start: &Position,
        through: &Head,
        event: &Event,
    ) -> Result<(), AuditError> {
        let event = recorded(event, &start.head, through);
        let (start, through) = (start.clone(), through.clone());
        let inside = Arc::clone(&self.inside);
        let end = self
            .database
            .write(move |transaction| {
                let (start, through) = (start.clone(), through.clone());
                let (event, inside) = (event.clone(), Arc::clone(&inside));
                async move {
                    let keys = inside.chain();
                    // Locks the chain's end first, as every writer does.
                    end(transaction, &keys).await?;
                    if self::start(transaction, &keys).await? != start {
                        return Err(AuditError::ArchivedMeanwhile);
                    }
                    let key = key_after(transaction, &keys, &start, &through).await?;
                    let code = keys.find(&key, through.sequence)?.archived(&through);
                    remove(transaction, &through, &code).await?;
                    extend(transaction, &inside, &[event]).await
                }
                .boxed()
            })
            .await?;
        self.note(end).await;
        Ok(())
    }
}

/// The last entry to archive.
async fn through(
    transaction: &Transaction<'_>,
    most: i64,
    before: &str,
) -> Result<Option<Head>, AuditError> {
    let row = one(
        transaction,
        "SELECT sequence, hash FROM audit_entries
         WHERE sequence < (SELECT sequence FROM audit_end) AND sequence <= $1
           AND sequence < coalesce(
               (SELECT min(sequence) FROM audit_entries WHERE at >= $2),
               (SELECT sequence FROM audit_end))
         ORDER BY sequence DESC LIMIT 1",
        &[&most, &before],
    )
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let sequence = unsigned(value(&row, 0)?);
    let hash: Vec<u8> = value(&row, 1)?;
    Ok(Some(Head {
        sequence,
        hash: hash
            .try_into()
            .map_err(|_| AuditError::Unreadable { sequence })?,
    }))
}

/// The key with which the entry after `through` is chained, while all after `start` are in the
/// database still.
async fn key_after(
    transaction: &Transaction<'_>,
    keys: &ChainKeys,
    start: &Position,
    through: &Head,
) -> Result<Arc<str>, AuditError> {
    let sql =
        "SELECT event FROM audit_entries WHERE action = $1 AND subject = $2 AND sequence <= $3
               ORDER BY sequence DESC";
    let (action, last) = (Action::RotateSecret.as_str(), place(through.sequence));
    for row in all(transaction, sql, &[&action, &SERVER_KEY_SUBJECT, &last]).await? {
        if let Some(id) = changed_key(&value::<String>(&row, 0)?) {
            return Ok(id);
        }
    }
    if let Some(id) = &start.key {
        return Ok(Arc::clone(id));
    }
    let sql = "SELECT event, hash FROM audit_entries ORDER BY sequence LIMIT 1";
    let first = one(transaction, sql, &[]).await?;
    let begun = match first {
        Some(row) => keys.follow(
            start,
            &value::<String>(&row, 0)?,
            &value::<Vec<u8>>(&row, 1)?,
        )?,
        None => None,
    };
    Ok(begun
        .and_then(|begun| begun.key)
        .unwrap_or_else(|| keys.first()))
}

async fn remove(
    transaction: &Transaction<'_>,
    through: &Head,
    code: &[u8; 32],
) -> Result<(), AuditError> {
    let trigger =
        |what: &str| format!("ALTER TABLE audit_entries {what} TRIGGER audit_entries_stay");
    let sequence = place(through.sequence);
    execute(transaction, &trigger("DISABLE"), &[]).await?;
    let sql = "DELETE FROM audit_entries WHERE sequence <= $1";
    execute(transaction, sql, &[&sequence]).await?;
    execute(transaction, &trigger("ENABLE"), &[]).await?;
    execute(transaction, "DELETE FROM audit_archived", &[]).await?;
    execute(
        transaction,
        "INSERT INTO audit_archived (sequence, hash, code) VALUES ($1, $2, $3)",
        &[&sequence, &through.hash.as_slice(), &code.as_slice()],
    )
    .await?;
    Ok(())
}
