//! The ledger of authority: mandates, decisions, uses, and
//! what became of each.
//!
//! It is separate from the history of progress, which the task hub keeps and can roll back,
//! replay or lose. Front door and worker check it before they act, and record in it what
//! they are about to do before they do it. [`SqliteLedger`] keeps it in the data folder, and
//! [`PostgresLedger`] in a database that several machines share.

mod error;
mod journal;
mod postgres;
mod recovery;
mod restored;
mod schema;
mod sqlite;
mod transactions;
pub mod transfer;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_authority::{
    Counted, Decide, LedgerId, Mandate, Matter, MatterState, Permit, Plan, Status, Use,
};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{SignedDecision, SignedMandate};

pub use error::LedgerError;
pub use journal::{JournalEntry, NewEntry, Outcome};
pub use postgres::PostgresLedger;
pub use recovery::Given;
pub use restored::{LedgerContents, contents};
pub use sqlite::{LEDGER_DATABASE, SqliteLedger};

/// How a counted act begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is recorded, for the first time.
    Now,
    /// It was begun before, and may have been done: after a crash, or for an answer that
    /// was lost.
    Before(Use),
}

/// How many open mandates of one matter are looked at.
pub const MOST_OPEN: i64 = 64;

/// A mandate that the ledger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The mandate.
    pub mandate: SignedMandate,
    /// What became of the requested matter.
    pub status: Status,
}

/// What every ledger promises.
///
/// Each method has all of its effect or none. When it has returned `Ok`, what it wrote
/// survives the end of the process; what [`Ledger::register`], [`Ledger::record`],
/// [`Ledger::withdraw`] and acts other than storing and notices wrote survives the end of
/// the machine too. What was written about a matter makes its version grow. A ledger that cannot answer returns an error; it
/// never answers as if it held nothing.
///
/// Cancel safety: a call whose future is dropped may still take effect.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The random name of this ledger, which mandates name.
    fn id(&self) -> &LedgerId;

    /// Records a mandate, before anything is started under it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OtherLedger`] when it names another ledger, [`LedgerError::RunTaken`]
    /// when another mandate has its run.
    async fn register(&self, mandate: &Mandate, signed: &SignedMandate) -> Result<(), LedgerError>;

    /// Adds the matters of an import: the accounts that it will enroll. Adding one again
    /// changes nothing. The import's own matter is done, and is planned no more, once there
    /// is nothing to enroll or the first of them is stored.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn plan(
        &self,
        permit: &Permit<Plan>,
        accounts: &[EnrollmentId],
    ) -> Result<(), LedgerError>;

    /// What the ledger holds of a matter.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn state(&self, matter: &Matter) -> Result<MatterState, LedgerError>;

    /// The mandate that was registered last for an enrollment, import or request and was
    /// not withdrawn since; the last one of all if all of them were.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn latest(&self, about: &str) -> Result<Option<Registered>, LedgerError>;

    /// The mandates for an enrollment, import or request under which something may still be
    /// done, the last one first. There is more than one only if it was requested several times at
    /// once, and at most one of them was started; [`MOST_OPEN`] at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn still_open(&self, about: &str) -> Result<Vec<Registered>, LedgerError>;

    /// Records a decision that was permitted and signed. A rejection refuses the matter at
    /// once and stands from then on.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stale`] when something was written about the matter since it was
    /// judged: it must be judged again.
    async fn record(
        &self,
        permit: &Permit<Decide>,
        signed: &SignedDecision,
    ) -> Result<(), LedgerError>;

    /// Ends a run that has not ended: all its open matters are withdrawn.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn withdraw(&self, run: &Matter) -> Result<(), LedgerError>;

    /// Records that a permitted act is about to be done. With the last code or URI that
    /// may be given out, the matter is done.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stale`] when something was written about the matter since it was
    /// judged: it must be judged again.
    async fn begin(&self, counted: &Counted, now: DateTime<Utc>) -> Result<Begun, LedgerError>;

    /// Records that an act is done, with its result, and what became of the matter
    /// by that. `entry` goes into the journal. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn finish(&self, counted: &Counted, finished: Finished<'_>) -> Result<(), LedgerError>;

    /// Records that one recovery code of an account is given out: the first of `marks`
    /// that was not. None if all of them were. No mark of an account is given out twice, by
    /// whichever process and however often the codes are set; this survives the end of the
    /// machine.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn give_recovery(
        &self,
        account: &EnrollmentId,
        marks: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Given>, LedgerError>;

    /// Writes down that all of these recovery codes of an account are given out, and says of
    /// each whether it is given out by this: of those that were given out before, it is not.
    /// It promises what [`Ledger::give_recovery`] does.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn give_all_recovery(
        &self,
        account: &EnrollmentId,
        marks: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<bool>, LedgerError>;

    /// Which of `marks` of an account were given out, in their order.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn recovery_given(
        &self,
        account: &EnrollmentId,
        marks: &[String],
    ) -> Result<Vec<bool>, LedgerError>;

    /// Adds an entry to the journal.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn note(&self, entry: NewEntry) -> Result<(), LedgerError>;

    /// The entries of the journal after the one with the number `after`, at most `limit`,
    /// in order. No entry is added later below a number that was read.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    async fn journal_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, LedgerError>;
}

/// The outcome of an act.
#[derive(Clone, Debug)]
pub struct Finished<'a> {
    /// The time.
    pub at: DateTime<Utc>,
    /// Its result, if that is kept.
    pub result: Option<&'a str>,
    /// The matter's new status, if it has changed.
    pub status: Option<Status>,
    /// The entry for the journal.
    pub entry: Option<NewEntry>,
    /// The recovery codes that it gives out.
    pub gives: Option<Gives<'a>>,
}

/// The recovery codes that an act gives out, all together.
#[derive(Clone, Copy, Debug)]
pub struct Gives<'a> {
    /// The account.
    pub account: &'a EnrollmentId,
    /// The marks of all of its codes.
    pub marks: &'a [String],
    /// Which of them had been given out when the act was done. If another one was given out
    /// since, finishing it is [`LedgerError::Stale`].
    pub given: &'a [bool],
}
