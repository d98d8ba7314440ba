//! Moves an installation from its data folder into the shared database, and back. Nothing of it
//! runs meanwhile.
//!
//! One of the two places counts at every moment, whatever ends the process:
//!
//! ```text
//! into the database                          out of it
//! 1  copy all rows, mark it as arriving      copy all rows into a folder beside
//! 2  compare every row and every code        compare every row and every code
//! 3  the folder notes the database           the database is marked as left
//! 4  put the folder's files away,            put the files into their place,
//!    take the mark away                      the folder notes its own ledger
//! ```
//!
//! Until step 3 the old place counts, and running it again starts over. From then on the new one
//! does, and running it again finishes step 4; nothing else starts before that.

mod error;
mod into_database;
mod into_folder;
mod moment;
mod rows;
mod stores;

use countersign_activities::vault::KeyFile;
use countersign_database::Transaction;

pub use error::MigrateError;
pub(crate) use into_database::{refuse_used, to_database};
pub(crate) use into_folder::to_folder;
pub(crate) use moment::Moment;

use crate::access::ServerKeys;
use crate::audit::{Action, ChainCheck, Event, FieldChange, Head};
use crate::keys::KeyStorage;
use crate::ledger::moved;

/// Where the installation's keys are.
pub(crate) struct KeyPlaces {
    /// Those of its parts.
    pub(crate) place: KeyStorage,
    /// That of its own vault.
    pub(crate) vault: KeyFile,
}

impl KeyPlaces {
    async fn server_keys(&self) -> Result<ServerKeys, MigrateError> {
        let keys = self.place.server_keys().await?;
        keys.ok_or(MigrateError::NoServerKey)
    }
}

/// What was moved.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    /// How many rows of what.
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// The end of the audit log, which says so.
    pub(crate) head: Head,
    /// Whether an earlier, interrupted migration had copied everything.
    pub(crate) finished: bool,
    /// The folder with the databases that do not count any more.
    pub(crate) put_away: Option<std::path::PathBuf>,
}

/// What records it.
fn event(by: &str, from: &str, to: &str, counts: &[(&'static str, u64)]) -> Event {
    let accounts = counts.iter().find(|(rows, _)| *rows == "accounts");
    let accounts = accounts.map_or(0, |(_, count)| *count).to_string();
    Event::new(Action::Migrate, by, chrono::Utc::now())
        .to("installation")
        .changing(vec![
            FieldChange::new("place", Some(from), Some(to)),
            FieldChange::new("accounts", None, Some(&accounts)),
        ])
}

/// The end of an audit log that is intact.
fn intact(verdict: ChainCheck) -> Result<Head, MigrateError> {
    match verdict {
        ChainCheck::Intact(head) => Ok(head),
        ChainCheck::Broken { sequence } => Err(MigrateError::AuditBroken(sequence)),
        ChainCheck::Incomplete(loss) => Err(MigrateError::AuditIncomplete(loss)),
    }
}

/// The id of the ledger in a database; none if it has none.
async fn ledger_in(transaction: &Transaction<'_>) -> Result<Option<String>, MigrateError> {
    let row = countersign_database::one(transaction, "SELECT id FROM ledger", &[]).await?;
    let id = row.map(|row| row.try_get(0)).transpose();
    Ok(id.map_err(countersign_database::DatabaseError::from)?)
}

/// What is marked in a database, if it holds the ledger with the id `noted`.
async fn mark_of(
    transaction: &Transaction<'_>,
    noted: &str,
) -> Result<Option<moved::Move>, MigrateError> {
    match ledger_in(transaction).await? {
        Some(found) if found == noted => Ok(moved::marked(transaction).await?),
        _ => Ok(None),
    }
}
