//! The audit log in the shared database: PostgreSQL, with one chain for all front doors.
//!
//! Each writer locks the chain's end and continues from there. Each front door also notes
//! the end that it saw last, in memory and in a file on its own machine, and appends
//! nothing to a log that ends before that: a database that was replaced by an older copy
//! is noticed while the front door runs and when it starts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_database::{
    Database, DatabaseError, Row, Step, Transaction, Turn, all, execute, one,
};
use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;

use super::archive::check_all;
use super::chain::{ChainKeys, Position, place, unsigned};
use super::entry::{Action, Entry, Event, written};
use super::error::{AuditError, ChainCheck, Loss};
use super::head::{AUDIT_HEAD, Found, Head, HeadFile};
use super::journal_entry::{self, JournalEntry};
use super::store::AuditQuery;
use crate::access::ServerKeys;
use crate::access::secret;

mod archiving;
mod losing;

/// How many entries are read at once while the chain is checked.
const AT_ONCE: i64 = 1_000;
/// Among the journals' marks, that of the collector to which the record is sent.
const COLLECTOR: &str = "collector";

/// An installation's audit log in its shared database. Clones share it.
#[derive(Clone)]
pub struct PostgresAudit {
    database: Database,
    inside: Arc<PostgresState>,
}

struct PostgresState {
    keys: ServerKeys,
    file: HeadFile,
    /// The furthest end that this process knows of.
    known: Mutex<Head>,
    /// How many losses this machine's note says were accepted.
    losses: u64,
}

impl PostgresState {
    /// The keys of the chain as they are now.
    fn chain(&self) -> ChainKeys {
        ChainKeys::of(&self.keys)
    }

    fn known(&self) -> MutexGuard<'_, Head> {
        // Replaced as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresAudit {
    /// Opens the audit log in `database`, and creates it if there never was one. Its keys are
    /// derived from `server_keys`, which all front doors share; the end is noted in `folder`.
    ///
    /// # Errors
    ///
    /// [`AuditError`], whose text says what to do; [`AuditError::Incomplete`] when entries
    /// are missing that this machine has noted.
    pub async fn open(
        database: Database,
        folder: &Path,
        server_keys: impl Into<ServerKeys>,
    ) -> Result<Self, AuditError> {
        let keys = server_keys.into();
        let first = ChainKeys::of(&keys).beginning().head;
        let file = HeadFile::beside(&folder.join(AUDIT_HEAD), &keys);
        let (known, losses) = match file.read().map_err(AuditError::File)? {
            Found::Nothing => (first.clone(), 0),
            Found::Garbage => return Err(Loss::HeadUnreadable.into()),
            Found::Note(note) => (note.head, note.losses),
        };
        let checked = keys.clone();
        let end = database
            .write(move |transaction| {
                let (first, known) = (first.clone(), known.clone());
                let keys = ChainKeys::of(&checked);
                async move {
                    let sql = "INSERT INTO audit_end (sequence, hash) VALUES (0, $1)
                               ON CONFLICT DO NOTHING";
                    execute(transaction, sql, &[&first.hash.as_slice()]).await?;
                    let end = end(transaction, &keys).await?;
                    keys.appending(&end)?;
                    check(transaction, &keys, &end.head, &known).await?;
                    Ok::<Head, AuditError>(end.head)
                }
                .boxed()
            })
            .await?;
        let opened = Self {
            database,
            inside: Arc::new(PostgresState {
                keys,
                file,
                known: Mutex::new(end.clone()),
                losses,
            }),
        };
        opened.note(end).await;
        Ok(opened)
    }

    /// Appends events in order, all or none. When this returns, they are on the
    /// database's disk. Returns the chain's new end.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; [`AuditError::Incomplete`] when entries are missing that this process
    /// has noted.
    pub async fn append(&self, events: &[Event]) -> Result<Head, AuditError> {
        let (events, inside) = (events.to_vec(), Arc::clone(&self.inside));
        let end = self
            .database
            .write(move |transaction| {
                let (events, inside) = (events.clone(), Arc::clone(&inside));
                async move { extend(transaction, &inside, &events).await }.boxed()
            })
            .await?;
        self.note(end.clone()).await;
        Ok(end)
    }

    /// Appends `event`, which names the next server key, with which the chain continues; nothing,
    /// and the answer is false, if it continues with that already.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; nothing was appended.
    pub async fn change_key(&self, event: &Event) -> Result<bool, AuditError> {
        let inside = Arc::clone(&self.inside);
        let changed = self.database.write(|transaction| {
            let (event, inside) = (event.clone(), Arc::clone(&inside));
            async move {
                let keys = inside.chain();
                let there = end(transaction, &keys).await?;
                if keys.continues_with_next(&there) {
                    return Ok::<_, AuditError>(None);
                }
                extend(transaction, &inside, &[event]).await.map(Some)
            }
            .boxed()
        });
        let Some(end) = changed.await? else {
            return Ok(false);
        };
        self.note(end).await;
        Ok(true)
    }

    /// Appends an event together with `also`, all or nothing.
    pub(crate) async fn append_with<W>(&self, event: Event, also: W) -> Result<Head, AuditError>
    where
        W: for<'t> Fn(&'t Transaction<'t>) -> Step<'t, (), DatabaseError> + Send + Sync,
    {
        let inside = Arc::clone(&self.inside);
        let end = self
            .database
            .write(|transaction| {
                let (event, inside) = (event.clone(), Arc::clone(&inside));
                let also = also(transaction);
                async move {
                    also.await?;
                    extend(transaction, &inside, &[event]).await
                }
                .boxed()
            })
            .await?;
        self.note(end.clone()).await;
        Ok(end)
    }

    /// Up to which place the journal `id` was copied into the record.
    pub(super) async fn mark(&self, id: &str) -> Result<u64, AuditError> {
        let id = id.to_owned();
        self.database
            .read(move |transaction| {
                let id = id.clone();
                async move { Ok(mark(transaction, &id).await?.unwrap_or(0)) }.boxed()
            })
            .await
    }

    /// Appends entries of the journal `id` that come after `from`, once over all front doors:
    /// nothing, and the answer is false, if another one has copied them in the meantime.
    pub(super) async fn copy(
        &self,
        id: &str,
        from: u64,
        entries: &[JournalEntry],
    ) -> Result<bool, AuditError> {
        let (events, to) = journal_entry::events(from, entries)?;
        let (id, inside) = (id.to_owned(), Arc::clone(&self.inside));
        let end = self
            .database
            .write(move |transaction| {
                let (id, events, inside) = (id.clone(), events.clone(), Arc::clone(&inside));
                async move {
                    // Locks the chain's end, so that one copies at a time.
                    end(transaction, &inside.chain()).await?;
                    if mark(transaction, &id).await?.unwrap_or(0) != from {
                        return Ok(None);
                    }
                    let sql = "INSERT INTO audit_marks (journal, sequence) VALUES ($1, $2)
                               ON CONFLICT (journal) DO UPDATE SET sequence = excluded.sequence";
                    execute(transaction, sql, &[&id, &place(to)]).await?;
                    extend(transaction, &inside, &events).await.map(Some)
                }
                .boxed()
            })
            .await?;
        let Some(end) = end else {
            return Ok(false);
        };
        self.note(end).await;
        Ok(true)
    }

    /// The turn to send the record to a collector; none while another front door has it.
    pub(super) async fn turn_to_send(&self) -> Result<Option<Turn>, AuditError> {
        Ok(self.database.turn_if_free("audit", COLLECTOR).await?)
    }

    /// The last entry that a collector has received; none where there is no collector.
    pub(crate) async fn sent(&self) -> Result<Option<u64>, AuditError> {
        self.database
            .read(|transaction| mark(transaction, COLLECTOR).boxed())
            .await
    }

    /// Notes that a collector has received everything up to `sequence`.
    pub(super) async fn note_sent(&self, sequence: u64) -> Result<(), AuditError> {
        self.database
            .write(move |transaction| {
                async move {
                    let sql = "INSERT INTO audit_marks AS kept (journal, sequence) VALUES ($1, $2)
                               ON CONFLICT (journal) DO UPDATE SET
                               sequence = greatest(kept.sequence, excluded.sequence)";
                    execute(transaction, sql, &[&COLLECTOR, &place(sequence)]).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    /// Checks that the record goes as far as this process knows.
    pub(super) async fn check(&self) -> Result<(), AuditError> {
        let inside = Arc::clone(&self.inside);
        self.database
            .write(move |transaction| {
                let inside = Arc::clone(&inside);
                async move {
                    let keys = inside.chain();
                    let end = end(transaction, &keys).await?;
                    keys.appending(&end)?;
                    let known = inside.known().clone();
                    check(transaction, &keys, &end.head, &known).await
                }
                .boxed()
            })
            .await
    }

    /// The entries that a query asks for, in its order.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unreadable`] when something other than an entry is there.
    pub async fn query(&self, query: &AuditQuery) -> Result<Vec<Entry>, AuditError> {
        let query = query.clone();
        self.database
            .read(move |transaction| {
                let query = query.clone();
                async move { select(transaction, &query).await }.boxed()
            })
            .await
    }

    /// Checks the whole chain, and compares its end with the end that this machine has noted
    /// and, if given, with one that was `kept` elsewhere.
    ///
    /// # Errors
    ///
    /// [`AuditError`] when it cannot be read.
    pub async fn verify(&self, kept: Option<&Head>) -> Result<ChainCheck, AuditError> {
        self.verify_with(kept, &[]).await
    }

    /// As [`PostgresAudit::verify`], from the first entry on, with the archives that hold the
    /// entries that are no longer in the database.
    ///
    /// # Errors
    ///
    /// [`AuditError::Archive`] when one of them is invalid or missing.
    pub async fn verify_with(
        &self,
        kept: Option<&Head>,
        archives: &[PathBuf],
    ) -> Result<ChainCheck, AuditError> {
        // Before the entries: entries appended in the meantime are not counted as missing.
        let mut noted: Vec<Head> = kept.cloned().into_iter().collect();
        noted.push(self.inside.known().clone());
        noted.push(
            self.database
                .read(|t| async move { last(t).await }.boxed())
                .await?,
        );
        let keys = self.inside.chain();
        let mut at = self.start().await?;
        check_all(archives, &keys, &at, kept)?;
        if let Some(other) = differing(&noted, &at.head) {
            return Ok(ChainCheck::Incomplete(other));
        }
        loop {
            let after = place(at.head.sequence);
            let rows = self.database.read(move |transaction| {
                async move {
                    let sql = "SELECT sequence, event, hash, at, action, caller, subject
                               FROM audit_entries WHERE sequence > $1 ORDER BY sequence LIMIT $2";
                    Ok::<Vec<Row>, AuditError>(all(transaction, sql, &[&after, &AT_ONCE]).await?)
                }
                .boxed()
            });
            let rows = rows.await?;
            for row in &rows {
                let sequence = at.head.sequence + 1;
                at = match follow(&keys, &at, row)? {
                    Some(next) => next,
                    None => return Ok(ChainCheck::Broken { sequence }),
                };
                if let Some(other) = differing(&noted, &at.head) {
                    return Ok(ChainCheck::Incomplete(other));
                }
            }
            if rows.is_empty() {
                break;
            }
        }
        if let Some(loss) = keys.lost_rotation(&at) {
            return Ok(ChainCheck::Incomplete(loss));
        }
        let at = at.head;
        let furthest = noted.iter().max_by_key(|head| head.sequence);
        Ok(match furthest {
            Some(head) if head.sequence > at.sequence => {
                ChainCheck::Incomplete(Loss::of(at.sequence, head))
            }
            _ => ChainCheck::Intact(at),
        })
    }

    /// The entry before the first one in the database.
    async fn start(&self) -> Result<Position, AuditError> {
        let inside = Arc::clone(&self.inside);
        self.database
            .read(move |transaction| {
                let inside = Arc::clone(&inside);
                async move { start(transaction, &inside.chain()).await }.boxed()
            })
            .await
    }

    /// Notes the end, unless a later one is noted.
    async fn note(&self, end: Head) {
        {
            let mut known = self.inside.known();
            if known.sequence < end.sequence {
                *known = end.clone();
            }
        }
        let inside = Arc::clone(&self.inside);
        let noted =
            tokio::task::spawn_blocking(move || inside.file.write(&end, inside.losses)).await;
        // The entries are written. A note that lags behind is incomplete, never wrong.
        match noted {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the audit log's head cannot be saved in {AUDIT_HEAD}");
            }
            Err(error) => tracing::error!(%error, "saving the audit log's head failed"),
        }
    }
}

/// What was noted, if it differs from the entry at `at`.
fn differing(noted: &[Head], at: &Head) -> Option<Loss> {
    let other = |head: &&Head| head.sequence == at.sequence && !secret::same(&head.hash, &at.hash);
    noted.iter().find(other).map(|head| Loss::Other {
        sequence: head.sequence,
    })
}

/// Appends events to the record; its new end.
async fn extend(
    transaction: &Transaction<'_>,
    inside: &PostgresState,
    events: &[Event],
) -> Result<Head, AuditError> {
    let keys = inside.chain();
    let mut end = end(transaction, &keys).await?;
    // After the lock: what is known by then is no further than the end.
    let known = inside.known().clone();
    check(transaction, &keys, &end.head, &known).await?;
    for event in events {
        let (text, next) = keys.append(&end, event)?;
        insert(transaction, event, &text, &next.head).await?;
        end = next;
    }
    note_end(transaction, &end).await?;
    Ok(end.head)
}

/// Notes the chain's end in the database.
pub(super) async fn note_end(
    transaction: &Transaction<'_>,
    end: &Position,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO audit_end (sequence, hash, key) VALUES ($1, $2, $3)
               ON CONFLICT (single) DO UPDATE SET
               sequence = excluded.sequence, hash = excluded.hash, key = excluded.key";
    let (sequence, hash) = (place(end.head.sequence), end.head.hash.as_slice());
    execute(transaction, sql, &[&sequence, &hash, &end.key.as_deref()]).await?;
    Ok(())
}

/// Up to which place the journal `id` was copied, if it was.
async fn mark(transaction: &Transaction<'_>, id: &str) -> Result<Option<u64>, AuditError> {
    let sql = "SELECT sequence FROM audit_marks WHERE journal = $1";
    let row = one(transaction, sql, &[&id]).await?;
    let mark: Option<i64> = row.map(|row| value(&row, 0)).transpose()?;
    Ok(mark.map(unsigned))
}

/// The chain's end and the key with which it continues, which no one else changes until the
/// transaction ends.
async fn end(transaction: &Transaction<'_>, keys: &ChainKeys) -> Result<Position, AuditError> {
    let sql = "SELECT sequence, hash, key FROM audit_end FOR UPDATE";
    let row = one(transaction, sql, &[]).await?;
    let key: Option<String> = match &row {
        Some(row) => value(row, 2)?,
        None => None,
    };
    let head = head(row)?;
    let key = match (key, head.sequence) {
        (Some(id), _) => Some(id.into()),
        (None, 0) => None,
        // Written by a release that knew one key.
        (None, _) => Some(keys.first()),
    };
    Ok(Position { head, key })
}

/// The chain's end as it is noted in the database.
async fn last(transaction: &Transaction<'_>) -> Result<Head, AuditError> {
    head(one(transaction, "SELECT sequence, hash FROM audit_end", &[]).await?)
}

fn head(row: Option<Row>) -> Result<Head, AuditError> {
    // Someone has removed it, and perhaps more.
    let row = row.ok_or(Loss::HeadMissing)?;
    let sequence = unsigned(value(&row, 0)?);
    let hash: Vec<u8> = value(&row, 1)?;
    Ok(Head {
        sequence,
        hash: hash
            .try_into()
            .map_err(|_| AuditError::Unreadable { sequence })?,
    })
}

/// The entry before the first one in the database: it is in an archive, or it is the chain's
/// beginning.
async fn start(transaction: &Transaction<'_>, keys: &ChainKeys) -> Result<Position, AuditError> {
    let sql = "SELECT sequence, hash, code FROM audit_archived ORDER BY sequence DESC LIMIT 1";
    let Some(row) = one(transaction, sql, &[]).await? else {
        return Ok(keys.beginning());
    };
    let sequence = unsigned(value(&row, 0)?);
    let (hash, code): (Vec<u8>, Vec<u8>) = (value(&row, 1)?, value(&row, 2)?);
    let hash = hash
        .try_into()
        .map_err(|_| AuditError::Unreadable { sequence })?;
    keys.after_archive(Head { sequence, hash }, &code)
        .ok_or(AuditError::ArchiveUnproven(sequence))
}

/// Checks that an audit log that ends at `end` has every noted entry.
async fn check(
    transaction: &Transaction<'_>,
    keys: &ChainKeys,
    end: &Head,
    known: &Head,
) -> Result<(), AuditError> {
    if known.sequence > end.sequence {
        return Err(Loss::of(end.sequence, known).into());
    }
    let other = || Loss::Other {
        sequence: known.sequence,
    };
    let there: Option<Vec<u8>> = if known.sequence == end.sequence {
        Some(end.hash.to_vec())
    } else if known.sequence == 0 {
        // Every chain begins with the same hash.
        return Ok(());
    } else {
        let sql = "SELECT hash FROM audit_entries WHERE sequence = $1";
        match one(transaction, sql, &[&place(known.sequence)]).await? {
            Some(row) => Some(value(&row, 0)?),
            // Archives prove themselves.
            None if known.sequence < start(transaction, keys).await?.head.sequence => return Ok(()),
            None => None,
        }
    };
    match there.is_some_and(|hash| secret::same(&hash, &known.hash)) {
        true => Ok(()),
        false => Err(other().into()),
    }
}

/// Writes an event at its place, with its text as it is chained.
async fn insert(
    transaction: &Transaction<'_>,
    event: &Event,
    text: &str,
    head: &Head,
) -> Result<(), DatabaseError> {
    let asked = SearchColumns::of(event);
    execute(
        transaction,
        "INSERT INTO audit_entries (sequence, event, hash, at, action, caller, subject)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            &place(head.sequence),
            &text,
            &head.hash.as_slice(),
            &asked.at,
            &asked.action,
            &asked.caller,
            &asked.subject,
        ],
    )
    .await?;
    Ok(())
}

/// The parameters of a query.
#[derive(PartialEq, Eq)]
struct SearchColumns {
    at: String,
    action: String,
    caller: String,
    subject: Option<String>,
}

impl SearchColumns {
    fn of(event: &Event) -> Self {
        // No text of PostgreSQL has a NUL; in the event's JSON it is escaped.
        let text = |text: &str| text.replace('\0', "\u{fffd}");
        Self {
            at: written(event.at),
            action: event.action.as_str().to_owned(),
            caller: text(&event.caller),
            subject: event.subject.as_ref().map(|subject| text(&subject.0)),
        }
    }
}

/// The place of the entry in `row`, if it is the next one in the chain after `at`.
fn follow(keys: &ChainKeys, at: &Position, row: &Row) -> Result<Option<Position>, AuditError> {
    let (text, kept): (String, Vec<u8>) = (value(row, 1)?, value(row, 2)?);
    let next = keys.follow(at, &text, &kept)?;
    let sequence = unsigned(value(row, 0)?);
    // An entry that its columns misrepresent could not be found; that counts as changed.
    let asked = SearchColumns {
        at: value(row, 3)?,
        action: value(row, 4)?,
        caller: value(row, 5)?,
        subject: value(row, 6)?,
    };
    let is_found =
        serde_json::from_str(&text).is_ok_and(|event| SearchColumns::of(&event) == asked);
    Ok(next.filter(|next| next.head.sequence == sequence && is_found))
}

async fn select(
    transaction: &Transaction<'_>,
    query: &AuditQuery,
) -> Result<Vec<Entry>, AuditError> {
    let (past, order) = match query.newest_first {
        false => (">", "ASC"),
        true => ("<", "DESC"),
    };
    let sql = format!(
        "SELECT sequence, event, hash FROM audit_entries
         WHERE ($1::bigint IS NULL OR sequence {past} $1)
           AND ($2::text IS NULL OR caller = $2)
           AND ($3::text IS NULL OR subject = $3)
           AND ($4::text IS NULL OR action = $4)
           AND ($5::text IS NULL OR at >= $5)
           AND ($6::text IS NULL OR at < $6)
         ORDER BY sequence {order} LIMIT $7"
    );
    let has_nul = |text: &Option<String>| text.as_deref().is_some_and(|text| text.contains('\0'));
    if has_nul(&query.caller) || has_nul(&query.subject) {
        return Ok(Vec::new());
    }
    let rows = all(
        transaction,
        &sql,
        &[
            &query.after.map(place),
            &query.caller,
            &query.subject,
            &query.action.map(Action::as_str),
            &query.since.map(written),
            &query.until.map(written),
            &i64::try_from(query.limit).unwrap_or(i64::MAX),
        ],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let sequence = unsigned(value(row, 0)?);
            let text: String = value(row, 1)?;
            let event =
                serde_json::from_str(&text).map_err(|_| AuditError::Unreadable { sequence })?;
            Ok(Entry {
                sequence,
                event,
                hash: HEXLOWER.encode(&value::<Vec<u8>>(row, 2)?),
            })
        })
        .collect()
}

/// The value of a column, which has the type of its definition.
fn value<T: for<'r> countersign_database::FromSql<'r>>(
    row: &Row,
    column: usize,
) -> Result<T, AuditError> {
    row.try_get(column)
        .map_err(|error| DatabaseError::from(error).into())
}
