//! The ledger in the shared database: PostgreSQL, for any number of machines.
//!
//! Every write about a matter locks the matter's row first and then checks its
//! version, so that writes about one matter are ordered, and an act that was judged on an earlier
//! version is refused as stale. Readings see one moment.

mod recovery;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_authority::{
    ActName, Counted, Decide, LedgerId, Mandate, Matter, MatterState, Permit, Plan, Status, Use,
};
use countersign_database::{Database, Row, Transaction, all, execute, one};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use futures_util::FutureExt as _;

use crate::journal::{JournalEntry, NewEntry, Outcome};
use crate::recovery::Giving;
use crate::sqlite::{millis, moment, random_id};
use crate::{Begun, Finished, Given, Ledger, LedgerError, MOST_OPEN, Registered};

/// A ledger in a shared database. Clones share it.
#[derive(Clone)]
pub struct PostgresLedger {
    database: Database,
    id: LedgerId,
}

impl PostgresLedger {
    /// Opens the ledger in `database`, and names it on first use.
    ///
    /// # Errors
    ///
    /// [`LedgerError`], whose text says what to do.
    pub async fn open(database: Database) -> Result<Self, LedgerError> {
        let new = random_id()?;
        let text = database
            .write(|transaction| {
                let new = new.clone();
                async move {
                    // The second process waits for the first, and finds its name.
                    execute(
                        transaction,
                        "INSERT INTO ledger (id) VALUES ($1) ON CONFLICT DO NOTHING",
                        &[&new.as_str()],
                    )
                    .await?;
                    let row = one(transaction, "SELECT id FROM ledger", &[]).await?;
                    let row = row.ok_or(LedgerError::Malformed)?;
                    Ok::<String, LedgerError>(row.try_get(0)?)
                }
                .boxed()
            })
            .await?;
        let id: LedgerId = text.parse().map_err(|_| LedgerError::Malformed)?;
        if id == new {
            tracing::info!(ledger = %id, "new ledger created");
        }
        Ok(Self { database, id })
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    fn id(&self) -> &LedgerId {
        &self.id
    }

    async fn register(&self, mandate: &Mandate, signed: &SignedMandate) -> Result<(), LedgerError> {
        if mandate.ledger != self.id {
            return Err(LedgerError::OtherLedger);
        }
        let (mandate, signed) = (mandate.clone(), signed.clone());
        self.database
            .write(move |transaction| {
                let (mandate, signed) = (mandate.clone(), signed.clone());
                async move {
                    let (run, digest) = (mandate.run.as_str(), signed.digest());
                    let added = execute(
                        transaction,
                        "INSERT INTO ledger_mandates (run, id, token, digest, registered_at)
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (run) DO NOTHING",
                        &[
                            &run,
                            &mandate.id,
                            &signed.as_text(),
                            &digest.as_str(),
                            &millis(mandate.issued_at),
                        ],
                    )
                    .await?;
                    if added > 0 {
                        return add_matter(transaction, run, &mandate.id).await;
                    }
                    let known = one(
                        transaction,
                        "SELECT digest FROM ledger_mandates WHERE run = $1",
                        &[&run],
                    )
                    .await?
                    .ok_or(LedgerError::Malformed)?;
                    match known.try_get::<_, &str>(0)? == digest.as_str() {
                        true => Ok(()),
                        false => Err(LedgerError::RunTaken),
                    }
                }
                .boxed()
            })
            .await
    }

    async fn plan(
        &self,
        permit: &Permit<Plan>,
        accounts: &[EnrollmentId],
    ) -> Result<(), LedgerError> {
        let run = permit.matter().run.clone();
        let mut accounts = accounts.to_vec();
        // In the same order everywhere, so that two transactions that add the same wait for each other.
        accounts.sort();
        self.database
            .write(move |transaction| {
                let (run, accounts) = (run.clone(), accounts.clone());
                async move {
                    for account in &accounts {
                        add_matter(transaction, run.as_str(), account.as_str()).await?;
                    }
                    match accounts.is_empty() {
                        true => close_plan(transaction, run.as_str()).await,
                        false => Ok(()),
                    }
                }
                .boxed()
            })
            .await
    }

    async fn state(&self, matter: &Matter) -> Result<MatterState, LedgerError> {
        let (ledger, matter) = (self.id.clone(), matter.clone());
        self.database
            .read(move |transaction| {
                let (ledger, matter) = (ledger.clone(), matter.clone());
                async move { state(transaction, ledger, &matter).await }.boxed()
            })
            .await
    }

    async fn latest(&self, about: &str) -> Result<Option<Registered>, LedgerError> {
        let about = about.to_owned();
        self.database
            .read(move |transaction| {
                let about = about.clone();
                async move {
                    let found = one(
                        transaction,
                        "SELECT mandates.token, matters.status
                         FROM ledger_matters AS matters
                         JOIN ledger_mandates AS mandates ON mandates.run = matters.run
                         WHERE matters.about = $1
                         ORDER BY matters.status = 'withdrawn', matters.number DESC LIMIT 1",
                        &[&about],
                    )
                    .await?;
                    found
                        .map(|row| {
                            Ok(Registered {
                                mandate: SignedMandate::from_text(row.try_get(0)?),
                                status: status(row.try_get(1)?)?,
                            })
                        })
                        .transpose()
                }
                .boxed()
            })
            .await
    }

    async fn still_open(&self, about: &str) -> Result<Vec<Registered>, LedgerError> {
        let about = about.to_owned();
        self.database
            .read(move |transaction| {
                let about = about.clone();
                async move {
                    let open = all(
                        transaction,
                        "SELECT mandates.token
                         FROM ledger_matters AS matters
                         JOIN ledger_mandates AS mandates ON mandates.run = matters.run
                         WHERE matters.about = $1 AND matters.status = 'open'
                         ORDER BY matters.number DESC LIMIT $2",
                        &[&about, &MOST_OPEN],
                    )
                    .await?;
                    open.iter()
                        .map(|row| {
                            Ok(Registered {
                                mandate: SignedMandate::from_text(row.try_get(0)?),
                                status: Status::Open,
                            })
                        })
                        .collect()
                }
                .boxed()
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
        self.database
            .write(move |transaction| {
                let (matter, signed) = (matter.clone(), signed.clone());
                let (nonce, approved) = (decision.nonce.clone(), decision.approved);
                async move {
                    let number = unchanged(transaction, &matter, version).await?;
                    execute(
                        transaction,
                        "INSERT INTO ledger_decisions (matter, nonce, token) VALUES ($1, $2, $3)",
                        &[&number, &nonce.as_str(), &signed.as_text()],
                    )
                    .await?;
                    let status = match (approved, by_requester) {
                        (true, _) => None,
                        (false, true) => Some(Status::Withdrawn),
                        (false, false) => Some(Status::Rejected),
                    };
                    changed(transaction, number, status).await
                }
                .boxed()
            })
            .await
    }

    async fn withdraw(&self, matter: &Matter) -> Result<(), LedgerError> {
        let matter = matter.clone();
        self.database
            .write(move |transaction| {
                let matter = matter.clone();
                async move {
                    // Ending the run ends every account of an import with it. Locked in the
                    // order of their numbers, as everywhere, so that two transactions do not
                    // deadlock.
                    execute(
                        transaction,
                        "UPDATE ledger_matters SET status = 'withdrawn', version = version + 1
                         WHERE status = 'open' AND number IN (
                             SELECT number FROM ledger_matters
                             WHERE run = $1 AND status = 'open'
                             AND (about = $2 OR EXISTS (
                                 SELECT 1 FROM ledger_mandates WHERE run = $1 AND id = $2
                             ))
                             ORDER BY number FOR UPDATE
                         )",
                        &[&matter.run.as_str(), &matter.about],
                    )
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    async fn begin(&self, counted: &Counted, now: DateTime<Utc>) -> Result<Begun, LedgerError> {
        let counted = counted.clone();
        self.database
            .write(move |transaction| {
                let counted = counted.clone();
                async move { begin(transaction, &counted, now).await }.boxed()
            })
            .await
    }

    async fn finish(&self, counted: &Counted, finished: Finished<'_>) -> Result<(), LedgerError> {
        let counted = counted.clone();
        let (at, status, entry) = (finished.at, finished.status, finished.entry);
        let result = finished.result.map(str::to_owned);
        let giving = finished.gives.map(Giving::of);
        self.database
            .write(move |transaction| {
                let (counted, result, entry) = (counted.clone(), result.clone(), entry.clone());
                let giving = giving.clone();
                async move {
                    if counted.act() == ActName::Store {
                        lock_plan(transaction, counted.matter().run.as_str()).await?;
                    }
                    let (number, _) = find(transaction, counted.matter())
                        .await?
                        .ok_or(LedgerError::Malformed)?;
                    // The earliest that is not done yet: which of several it is does not
                    // matter.
                    let done = execute(
                        transaction,
                        "UPDATE ledger_uses SET done_at = $4, result = $5 WHERE number = (
                             SELECT min(number) FROM ledger_uses
                             WHERE matter = $1 AND deed = $2 AND name = $3 AND done_at IS NULL
                         )",
                        &[
                            &number,
                            &counted.act().as_str(),
                            &counted.name(),
                            &millis(at),
                            &result,
                        ],
                    )
                    .await?;
                    if done == 0 {
                        return Ok(());
                    }
                    if let Some(giving) = giving {
                        let Giving { account, marks, .. } = &giving;
                        let new = recovery::give_all(transaction, account, marks, at).await?;
                        let given: Vec<bool> = new.into_iter().map(|new| !new).collect();
                        giving.check(&given)?;
                    }
                    changed(transaction, number, status).await?;
                    if counted.act() == ActName::Store {
                        close_plan(transaction, counted.matter().run.as_str()).await?;
                    }
                    // Last, since other writers of entries wait from here to the commit.
                    match entry {
                        Some(entry) => add_entry(transaction, entry).await,
                        None => Ok(()),
                    }
                }
                .boxed()
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
        self.database
            .write(move |transaction| {
                let (account, marks) = (account.clone(), marks.clone());
                async move { recovery::give(transaction, &account, &marks, now).await }.boxed()
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
        self.database
            .write(move |transaction| {
                let (account, marks) = (account.clone(), marks.clone());
                async move { recovery::give_all(transaction, &account, &marks, now).await }.boxed()
            })
            .await
    }

    async fn recovery_given(
        &self,
        account: &EnrollmentId,
        marks: &[String],
    ) -> Result<Vec<bool>, LedgerError> {
        let (account, marks) = (account.clone(), marks.to_vec());
        self.database
            .read(move |transaction| {
                let (account, marks) = (account.clone(), marks.clone());
                async move { recovery::given(transaction, &account, &marks).await }.boxed()
            })
            .await
    }

    async fn note(&self, entry: NewEntry) -> Result<(), LedgerError> {
        self.database
            .write(move |transaction| {
                let entry = entry.clone();
                async move { add_entry(transaction, entry).await }.boxed()
            })
            .await
    }

    async fn journal_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, LedgerError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database
            .read(move |transaction| {
                async move {
                    let rows = all(
                        transaction,
                        "SELECT seq, at, about, account, action, outcome, reason
                         FROM ledger_journal WHERE seq > $1 ORDER BY seq LIMIT $2",
                        &[&after, &limit],
                    )
                    .await?;
                    rows.iter().map(journal_entry).collect()
                }
                .boxed()
            })
            .await
    }
}

async fn add_matter(
    transaction: &Transaction<'_>,
    run: &str,
    about: &str,
) -> Result<(), LedgerError> {
    execute(
        transaction,
        "INSERT INTO ledger_matters (run, about, status, version) VALUES ($1, $2, 'open', 1)
         ON CONFLICT (run, about) DO NOTHING",
        &[&run, &about],
    )
    .await?;
    Ok(())
}

/// Ends the planning of an import, once something was stored under it or nothing has to be: a
/// plan that is made again later would not be the requested one.
async fn close_plan(transaction: &Transaction<'_>, run: &str) -> Result<(), LedgerError> {
    execute(
        transaction,
        "UPDATE ledger_matters SET status = 'done', version = version + 1
         WHERE run = $1 AND status = 'open' AND about LIKE 'import-%'",
        &[&run],
    )
    .await?;
    Ok(())
}

/// Locks the import's own matter while it is open. It comes before its accounts', as when a
/// run is withdrawn: another order could deadlock.
async fn lock_plan(transaction: &Transaction<'_>, run: &str) -> Result<(), LedgerError> {
    execute(
        transaction,
        "SELECT FROM ledger_matters
         WHERE run = $1 AND status = 'open' AND about LIKE 'import-%' FOR UPDATE",
        &[&run],
    )
    .await?;
    Ok(())
}

/// The number and version of a matter, which stays as it is until the transaction ends.
async fn find(
    transaction: &Transaction<'_>,
    matter: &Matter,
) -> Result<Option<(i64, u64)>, LedgerError> {
    let found = one(
        transaction,
        "SELECT number, version FROM ledger_matters WHERE run = $1 AND about = $2 FOR UPDATE",
        &[&matter.run.as_str(), &matter.about],
    )
    .await?;
    found
        .map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)?)))
        .transpose()
}

/// The number of a matter that has the version that was judged.
async fn unchanged(
    transaction: &Transaction<'_>,
    matter: &Matter,
    judged: u64,
) -> Result<i64, LedgerError> {
    match find(transaction, matter).await? {
        Some((number, version)) if version == judged => Ok(number),
        _ => Err(LedgerError::Stale),
    }
}

async fn changed(
    transaction: &Transaction<'_>,
    number: i64,
    status: Option<Status>,
) -> Result<(), LedgerError> {
    execute(
        transaction,
        "UPDATE ledger_matters SET version = version + 1, status = coalesce($2, status)
         WHERE number = $1",
        &[&number, &status.map(Status::as_str)],
    )
    .await?;
    Ok(())
}

async fn begin(
    transaction: &Transaction<'_>,
    counted: &Counted,
    now: DateTime<Utc>,
) -> Result<Begun, LedgerError> {
    let (act, name) = (counted.act(), counted.name());
    let found = find(transaction, counted.matter()).await?;
    let (number, version) = found.ok_or(LedgerError::Stale)?;
    if counted.limit() == 1
        && let Some(before) = uses(transaction, number)
            .await?
            .into_iter()
            .find(|it| it.act == act && it.name == name)
    {
        return Ok(Begun::Before(before));
    }
    if version != counted.version() {
        return Err(LedgerError::Stale);
    }
    execute(
        transaction,
        "INSERT INTO ledger_uses (matter, deed, name, begun_at) VALUES ($1, $2, $3, $4)",
        &[&number, &act.as_str(), &name, &millis(now)],
    )
    .await?;
    // The end of giving out is not recorded: the last use is the end.
    let status = if act == ActName::Release {
        let given = uses(transaction, number).await?;
        let given = given.iter().filter(|it| it.act == act).count();
        (given >= counted.limit()).then_some(Status::Done)
    } else {
        None
    };
    changed(transaction, number, status).await?;
    Ok(Begun::Now)
}

async fn state(
    transaction: &Transaction<'_>,
    ledger: LedgerId,
    matter: &Matter,
) -> Result<MatterState, LedgerError> {
    let token = one(
        transaction,
        "SELECT token FROM ledger_mandates WHERE run = $1",
        &[&matter.run.as_str()],
    )
    .await?;
    let token: Option<String> = token.map(|row| row.try_get(0)).transpose()?;
    let mut state = MatterState {
        ledger,
        mandate: token.map(|token| Digest::of(token.as_bytes())),
        status: None,
        version: 0,
        decisions: Vec::new(),
        uses: Vec::new(),
    };
    let found = one(
        transaction,
        "SELECT number, status, version FROM ledger_matters WHERE run = $1 AND about = $2",
        &[&matter.run.as_str(), &matter.about],
    )
    .await?;
    if let Some(row) = found {
        let number: i64 = row.try_get(0)?;
        state.status = Some(status(row.try_get(1)?)?);
        state.version = unsigned(row.try_get(2)?)?;
        let decisions = all(
            transaction,
            "SELECT token FROM ledger_decisions WHERE matter = $1 ORDER BY number",
            &[&number],
        )
        .await?;
        state.decisions = decisions
            .iter()
            .map(|row| row.try_get(0).map(SignedDecision::from_text))
            .collect::<Result<_, _>>()?;
        state.uses = uses(transaction, number).await?;
    }
    Ok(state)
}

async fn uses(transaction: &Transaction<'_>, number: i64) -> Result<Vec<Use>, LedgerError> {
    let rows = all(
        transaction,
        "SELECT deed, name, begun_at, done_at, result FROM ledger_uses
         WHERE matter = $1 ORDER BY number",
        &[&number],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let done_at: Option<i64> = row.try_get(3)?;
            Ok(Use {
                act: ActName::named(row.try_get(0)?).ok_or(LedgerError::Malformed)?,
                name: row.try_get(1)?,
                begun_at: moment(row.try_get(2)?)?,
                done_at: done_at.map(moment).transpose()?,
                result: row.try_get(4)?,
            })
        })
        .collect()
}

/// Adds an entry at the journal's end, which is locked until the commit: numbers are given in
/// the order of the commits, without gaps.
async fn add_entry(transaction: &Transaction<'_>, entry: NewEntry) -> Result<(), LedgerError> {
    let entry = entry.bounded();
    execute(
        transaction,
        "WITH next AS (UPDATE ledger_journal_end SET seq = seq + 1 RETURNING seq)
         INSERT INTO ledger_journal (seq, at, about, account, action, outcome, reason)
         SELECT seq, $1, $2, $3, $4, $5, $6 FROM next",
        &[
            &millis(entry.at),
            &entry.about,
            &entry.account,
            &entry.action,
            &entry.outcome.as_str(),
            &entry.reason,
        ],
    )
    .await?;
    Ok(())
}

fn journal_entry(row: &Row) -> Result<JournalEntry, LedgerError> {
    Ok(JournalEntry {
        seq: unsigned(row.try_get(0)?)?,
        entry: NewEntry {
            at: moment(row.try_get(1)?)?,
            about: row.try_get(2)?,
            account: row.try_get(3)?,
            action: row.try_get(4)?,
            outcome: Outcome::named(row.try_get(5)?).ok_or(LedgerError::Malformed)?,
            reason: row.try_get(6)?,
        },
    })
}

fn status(word: &str) -> Result<Status, LedgerError> {
    Status::named(word).ok_or(LedgerError::Malformed)
}

fn unsigned(number: i64) -> Result<u64, LedgerError> {
    u64::try_from(number).map_err(|_| LedgerError::Malformed)
}
