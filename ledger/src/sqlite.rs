//! The ledger in the data folder: SQLite, for several processes of one machine.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_authority::{
    ActName, Counted, Decide, LedgerId, Mandate, Matter, MatterState, Permit, Plan, Status, Use,
};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use durabletask_sqlite::Database;
use rand::TryRng as _;
use rand::rngs::SysRng;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::journal::{JournalEntry, NewEntry, Outcome};
use crate::transactions::{Needs, Transactions};
use crate::{
    Begun, Finished, Given, Ledger, LedgerError, MOST_OPEN, Registered, recovery, restored, schema,
};

/// The ledger's file, in the data folder.
pub const LEDGER_DATABASE: &str = "ledger.sqlite3";

/// A ledger in a folder on this machine. Clones share it.
#[derive(Clone)]
pub struct SqliteLedger {
    inner: Arc<Inner>,
}

struct Inner {
    id: LedgerId,
    transactions: Transactions,
    /// For reading many entries of the journal, which may block.
    reader: Mutex<Database>,
}

impl SqliteLedger {
    /// Opens the ledger in `folder`, which must exist, and creates it on first use. Blocks.
    ///
    /// # Errors
    ///
    /// [`LedgerError`], whose text says what to do.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(LEDGER_DATABASE);
        let refused = |source| LedgerError::Io {
            path: path.clone(),
            source,
        };
        durabletask_sqlite::create_private(&path).map_err(refused)?;
        let mut connection = schema::open(&path)?;
        let id = ledger_id(&mut connection)?;
        let reader = Mutex::new(schema::open(&path)?);
        let transactions = Transactions::start(connection).map_err(refused)?;
        Ok(Self {
            inner: Arc::new(Inner {
                id,
                transactions,
                reader,
            }),
        })
    }

    /// Checks what [`SqliteLedger::open`] would refuse, and changes nothing. Answers the id of the ledger in
    /// `folder`, if there is one. Blocks.
    ///
    /// # Errors
    ///
    /// As [`SqliteLedger::open`].
    pub fn look(folder: &Path) -> Result<Option<LedgerId>, LedgerError> {
        let id = schema::look(&folder.join(LEDGER_DATABASE))?;
        id.map(|id| id.parse().map_err(|_| LedgerError::Malformed))
            .transpose()
    }

    /// Withdraws granted requests with a limited number of uses: after a
    /// restore, it is unknown how often they were used since the backup. Pending ones
    /// stay pending. Returns the withdrawn requests.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub async fn withdraw_granted(&self) -> Result<Vec<String>, LedgerError> {
        self.run(Needs::Firm, restored::withdraw_granted).await
    }

    async fn run<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.inner.transactions.run(needs, work).await
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    fn id(&self) -> &LedgerId {
        &self.inner.id
    }

    async fn register(&self, mandate: &Mandate, signed: &SignedMandate) -> Result<(), LedgerError> {
        if mandate.ledger != self.inner.id {
            return Err(LedgerError::OtherLedger);
        }
        let (mandate, signed) = (mandate.clone(), signed.clone());
        self.run(Needs::Firm, move |connection| {
            let (run, digest) = (mandate.run.as_str(), signed.digest());
            let known: Option<String> = connection
                .prepare_cached("SELECT digest FROM mandates WHERE run = ?1")?
                .query_row([run], |row| row.get(0))
                .optional()?;
            match known {
                Some(known) if known == digest.as_str() => return Ok(()),
                Some(_) => return Err(LedgerError::RunTaken),
                None => {}
            }
            connection
                .prepare_cached(
                    "INSERT INTO mandates (run, id, token, digest, registered_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    run,
                    mandate.id,
                    signed.as_text(),
                    digest.as_str(),
                    millis(mandate.issued_at),
                ])?;
            add_matter(connection, run, &mandate.id)
        })
        .await
    }

    async fn plan(
        &self,
        permit: &Permit<Plan>,
        accounts: &[EnrollmentId],
    ) -> Result<(), LedgerError> {
        let run = permit.matter().run.clone();
        let accounts = accounts.to_vec();
        self.run(Needs::Quick, move |connection| {
            for account in &accounts {
                add_matter(connection, run.as_str(), account.as_str())?;
            }
            if accounts.is_empty() {
                close_plan(connection, run.as_str())?;
            }
            Ok(())
        })
        .await
    }

    async fn state(&self, matter: &Matter) -> Result<MatterState, LedgerError> {
        let (ledger, matter) = (self.inner.id.clone(), matter.clone());
        self.run(Needs::Reading, move |connection| {
            state(connection, ledger, &matter)
        })
        .await
    }

    async fn latest(&self, about: &str) -> Result<Option<Registered>, LedgerError> {
        let about = about.to_owned();
        self.run(Needs::Reading, move |connection| {
            let found: Option<(String, String)> = connection
                .prepare_cached(
                    "SELECT mandates.token, matters.status
                     FROM matters JOIN mandates ON mandates.run = matters.run
                     WHERE matters.about = ?1
                     ORDER BY matters.status = 'withdrawn', matters.number DESC LIMIT 1",
                )?
                .query_row([&about], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            found
                .map(|(token, status)| {
                    Ok(Registered {
                        mandate: SignedMandate::from_text(token),
                        status: Status::named(&status).ok_or(LedgerError::Malformed)?,
                    })
                })
                .transpose()
        })
        .await
    }

    async fn still_open(&self, about: &str) -> Result<Vec<Registered>, LedgerError> {
        let about = about.to_owned();
        self.run(Needs::Reading, move |connection| {
            let mut open = connection.prepare_cached(
                "SELECT mandates.token
                 FROM matters JOIN mandates ON mandates.run = matters.run
                 WHERE matters.about = ?1 AND matters.status = 'open'
                 ORDER BY matters.number DESC LIMIT ?2",
            )?;
            let tokens = open.query_map(params![about, MOST_OPEN], |row| row.get(0))?;
            tokens
                .map(|token| {
                    Ok(Registered {
                        mandate: SignedMandate::from_text(token?),
                        status: Status::Open,
                    })
                })
                .collect()
        })
        .await
    }

    async fn record(
        &self,
        permit: &Permit<Decide>,
        signed: &SignedDecision,
    ) -> Result<(), LedgerError> {
        let decision = permit.act().decision.clone();
        let by_requester = decision.by == permit.mandate().requested_by;
        let (matter, version) = (permit.matter().clone(), permit.version());
        let signed = signed.clone();
        self.run(Needs::Firm, move |connection| {
            let number = unchanged(connection, &matter, version)?;
            connection
                .prepare_cached("INSERT INTO decisions (matter, nonce, token) VALUES (?1, ?2, ?3)")?
                .execute(params![number, decision.nonce.as_str(), signed.as_text()])?;
            let status = match (decision.approved, by_requester) {
                (true, _) => None,
                (false, true) => Some(Status::Withdrawn),
                (false, false) => Some(Status::Rejected),
            };
            changed(connection, number, status)
        })
        .await
    }

    async fn withdraw(&self, matter: &Matter) -> Result<(), LedgerError> {
        let matter = matter.clone();
        self.run(Needs::Firm, move |connection| {
            // Ending the run ends every account of an import with it.
            connection
                .prepare_cached(
                    "UPDATE matters SET status = 'withdrawn', version = version + 1
                     WHERE run = ?1 AND status = 'open'
                     AND (about = ?2 OR EXISTS (
                         SELECT 1 FROM mandates WHERE run = ?1 AND id = ?2
                     ))",
                )?
                .execute([matter.run.as_str(), &matter.about])?;
            Ok(())
        })
        .await
    }

    async fn begin(&self, counted: &Counted, now: DateTime<Utc>) -> Result<Begun, LedgerError> {
        let counted = counted.clone();
        self.run(needs(counted.act()), move |connection| {
            let matter = counted.matter();
            let (act, name) = (counted.act(), counted.name());
            let (number, version) = find(connection, matter)?.ok_or(LedgerError::Stale)?;
            if counted.limit() == 1
                && let Some(before) = uses(connection, number)?
                    .into_iter()
                    .find(|it| it.act == act && it.name == name)
            {
                return Ok(Begun::Before(before));
            }
            if version != counted.version() {
                return Err(LedgerError::Stale);
            }
            connection
                .prepare_cached(
                    "INSERT INTO uses (matter, deed, name, begun_at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![number, act.as_str(), name, millis(now)])?;
            // The end of giving out is not recorded: the last use is the end.
            let status = if act == ActName::Release {
                let given = uses(connection, number)?;
                let given = given.iter().filter(|it| it.act == act).count();
                (given >= counted.limit()).then_some(Status::Done)
            } else {
                None
            };
            changed(connection, number, status)?;
            Ok(Begun::Now)
        })
        .await
    }

    async fn finish(&self, counted: &Counted, finished: Finished<'_>) -> Result<(), LedgerError> {
        let counted = counted.clone();
        let Finished {
            at,
            result,
            status,
            entry,
            gives,
        } = finished;
        let result = result.map(str::to_owned);
        let giving = gives.map(recovery::Giving::of);
        self.run(needs(counted.act()), move |connection| {
            let (number, _) = find(connection, counted.matter())?.ok_or(LedgerError::Malformed)?;
            // The earliest that is not done yet: which of several it is does not matter.
            let undone: Option<i64> = connection
                .prepare_cached(
                    "SELECT min(number) FROM uses
                     WHERE matter = ?1 AND deed = ?2 AND name = ?3 AND done_at IS NULL",
                )?
                .query_row(
                    params![number, counted.act().as_str(), counted.name()],
                    |row| row.get(0),
                )?;
            let Some(undone) = undone else {
                return Ok(());
            };
            // Before anything is written.
            if let Some(giving) = giving {
                giving.give(connection, at)?;
            }
            connection
                .prepare_cached("UPDATE uses SET done_at = ?2, result = ?3 WHERE number = ?1")?
                .execute(params![undone, millis(at), result])?;
            if let Some(entry) = entry {
                add_entry(connection, entry)?;
            }
            if counted.act() == ActName::Store {
                close_plan(connection, counted.matter().run.as_str())?;
            }
            changed(connection, number, status)
        })
        .await
    }

    async fn give_recovery(
        &self,
        account: &EnrollmentId,
        marks: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Given>, LedgerError> {
        let (account, marks) = (account.clone(), marks.to_vec());
        self.run(Needs::Firm, move |connection| {
            recovery::give(connection, &account, &marks, now)
        })
        .await
    }

    async fn give_all_recovery(
        &self,
        account: &EnrollmentId,
        marks: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<bool>, LedgerError> {
        let (account, marks) = (account.clone(), marks.to_vec());
        self.run(Needs::Firm, move |connection| {
            recovery::give_all(connection, &account, &marks, now)
        })
        .await
    }

    async fn recovery_given(
        &self,
        account: &EnrollmentId,
        marks: &[String],
    ) -> Result<Vec<bool>, LedgerError> {
        let (account, marks) = (account.clone(), marks.to_vec());
        self.run(Needs::Reading, move |connection| {
            recovery::given(connection, &account, &marks)
        })
        .await
    }

    async fn note(&self, entry: NewEntry) -> Result<(), LedgerError> {
        self.run(Needs::Quick, move |connection| add_entry(connection, entry))
            .await
    }

    async fn journal_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, LedgerError> {
        let inner = Arc::clone(&self.inner);
        // Beside the thread that writes, which should not wait for a long read.
        let read =
            tokio::task::spawn_blocking(move || journal_after(&lock(&inner.reader), after, limit));
        read.await.map_err(|_| LedgerError::Stopped)?
    }
}

/// An act that lets something out or takes something away is flushed to disk before it is
/// done. Repeating a store or a notice does no harm.
const fn needs(act: ActName) -> Needs {
    match act {
        ActName::Store | ActName::Notify => Needs::Quick,
        ActName::Seal
        | ActName::Disable
        | ActName::Restore
        | ActName::SetRecovery
        | ActName::Purge
        | ActName::Release => Needs::Firm,
    }
}

/// The name of the ledger, created on first use.
fn ledger_id(connection: &mut Connection) -> Result<LedgerId, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Option<String> = transaction
        .query_row("SELECT id FROM ledger", [], |row| row.get(0))
        .optional()?;
    let id = match known {
        Some(text) => text.parse().map_err(|_| LedgerError::Malformed)?,
        None => {
            let id = random_id()?;
            transaction.execute("INSERT INTO ledger (id) VALUES (?1)", [id.as_str()])?;
            tracing::info!(ledger = %id, "new ledger created");
            id
        }
    };
    transaction.commit()?;
    Ok(id)
}

/// A name for a new ledger.
pub(crate) fn random_id() -> Result<LedgerId, LedgerError> {
    let mut bytes = [0; 16];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| LedgerError::Random)?;
    Ok(LedgerId::from_bytes(bytes))
}

fn add_matter(connection: &Connection, run: &str, about: &str) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO matters (run, about, status, version)
             VALUES (?1, ?2, 'open', 1)",
        )?
        .execute([run, about])?;
    Ok(())
}

/// Ends the planning of an import, once something was stored under it or nothing has to be: a
/// plan that is made again later would not be the requested one.
fn close_plan(connection: &Connection, run: &str) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE matters SET status = 'done', version = version + 1
             WHERE run = ?1 AND status = 'open' AND about LIKE 'import-%'",
        )?
        .execute([run])?;
    Ok(())
}

/// The number and version of a matter.
fn find(connection: &Connection, matter: &Matter) -> Result<Option<(i64, u64)>, LedgerError> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT number, version FROM matters WHERE run = ?1 AND about = ?2")?
        .query_row([matter.run.as_str(), &matter.about], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    found
        .map(|(number, version)| {
            let version = u64::try_from(version).map_err(|_| LedgerError::Malformed)?;
            Ok((number, version))
        })
        .transpose()
}

/// The number of a matter that has the version that was judged.
fn unchanged(connection: &Connection, matter: &Matter, judged: u64) -> Result<i64, LedgerError> {
    match find(connection, matter)? {
        Some((number, version)) if version == judged => Ok(number),
        _ => Err(LedgerError::Stale),
    }
}

fn changed(
    connection: &Connection,
    number: i64,
    status: Option<Status>,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE matters SET version = version + 1, status = coalesce(?2, status)
             WHERE number = ?1",
        )?
        .execute(params![number, status.map(Status::as_str)])?;
    Ok(())
}

fn state(
    connection: &Connection,
    ledger: LedgerId,
    matter: &Matter,
) -> Result<MatterState, LedgerError> {
    let token: Option<String> = connection
        .prepare_cached("SELECT token FROM mandates WHERE run = ?1")?
        .query_row([matter.run.as_str()], |row| row.get(0))
        .optional()?;
    let found: Option<(i64, String, i64)> = connection
        .prepare_cached(
            "SELECT number, status, version FROM matters WHERE run = ?1 AND about = ?2",
        )?
        .query_row([matter.run.as_str(), &matter.about], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let mut state = MatterState {
        ledger,
        mandate: token.map(|token| Digest::of(token.as_bytes())),
        status: None,
        version: 0,
        decisions: Vec::new(),
        uses: Vec::new(),
    };
    if let Some((number, status, version)) = found {
        state.status = Some(Status::named(&status).ok_or(LedgerError::Malformed)?);
        state.version = u64::try_from(version).map_err(|_| LedgerError::Malformed)?;
        state.decisions = connection
            .prepare_cached("SELECT token FROM decisions WHERE matter = ?1 ORDER BY number")?
            .query_map([number], |row| row.get(0).map(SignedDecision::from_text))?
            .collect::<Result<_, _>>()?;
        state.uses = uses(connection, number)?;
    }
    Ok(state)
}

fn uses(connection: &Connection, number: i64) -> Result<Vec<Use>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT deed, name, begun_at, done_at, result FROM uses
         WHERE matter = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([number])?;
    let mut uses = Vec::new();
    while let Some(row) = rows.next()? {
        let act: String = row.get(0)?;
        let done_at: Option<i64> = row.get(3)?;
        uses.push(Use {
            act: ActName::named(&act).ok_or(LedgerError::Malformed)?,
            name: row.get(1)?,
            begun_at: moment(row.get(2)?)?,
            done_at: done_at.map(moment).transpose()?,
            result: row.get(4)?,
        });
    }
    Ok(uses)
}

fn add_entry(connection: &Connection, entry: NewEntry) -> Result<(), LedgerError> {
    let entry = entry.bounded();
    connection
        .prepare_cached(
            "INSERT INTO journal (at, about, account, action, outcome, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            millis(entry.at),
            entry.about,
            entry.account,
            entry.action,
            entry.outcome.as_str(),
            entry.reason,
        ])?;
    Ok(())
}

fn journal_after(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<JournalEntry>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, about, account, action, outcome, reason FROM journal
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let (after, limit) = (
        i64::try_from(after).unwrap_or(i64::MAX),
        i64::try_from(limit).unwrap_or(i64::MAX),
    );
    let mut rows = statement.query([after, limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(journal_entry(row)?);
    }
    Ok(entries)
}

fn journal_entry(row: &Row<'_>) -> Result<JournalEntry, LedgerError> {
    let seq: i64 = row.get(0)?;
    let outcome: String = row.get(5)?;
    Ok(JournalEntry {
        seq: u64::try_from(seq).map_err(|_| LedgerError::Malformed)?,
        entry: NewEntry {
            at: moment(row.get(1)?)?,
            about: row.get(2)?,
            account: row.get(3)?,
            action: row.get(4)?,
            outcome: Outcome::named(&outcome).ok_or(LedgerError::Malformed)?,
            reason: row.get(6)?,
        },
    })
}

pub(crate) const fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

pub(crate) fn moment(millis: i64) -> Result<DateTime<Utc>, LedgerError> {
    DateTime::from_timestamp_millis(millis).ok_or(LedgerError::Malformed)
}

/// A panic while it was locked left only a transaction that was rolled back.
fn lock(connection: &Mutex<Database>) -> MutexGuard<'_, Database> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
