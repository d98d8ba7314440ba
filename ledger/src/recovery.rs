//! Recovery codes that were given out: each once, whatever happened to the vault and the
//! task hub. The codes themselves are in the vault; here they are identified by marks, which are
//! meaningless without the key.

use chrono::{DateTime, Utc};
use countersign_enrollment::ids::EnrollmentId;
use rusqlite::{Connection, params};

use crate::{Gives, LedgerError};

/// The table, which ledgers of earlier releases get when they are opened.
pub(crate) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS recovery_given (
        account TEXT NOT NULL,
        mark TEXT NOT NULL,
        given_at INTEGER NOT NULL,
        PRIMARY KEY (account, mark)
    ) WITHOUT ROWID;
";

/// A recovery code that may be given out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its position among the given ones, from 0.
    pub index: usize,
    /// How many of them are left.
    pub left: usize,
}

/// Which of these were given out.
pub(crate) fn given(
    connection: &Connection,
    account: &EnrollmentId,
    marks: &[String],
) -> Result<Vec<bool>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM recovery_given WHERE account = ?1 AND mark = ?2")?;
    let mut given = Vec::with_capacity(marks.len());
    for mark in marks {
        given.push(statement.exists(params![account.as_str(), mark])?);
    }
    Ok(given)
}

/// Records that the first of these that was not given out is given out now.
pub(crate) fn give(
    connection: &Connection,
    account: &EnrollmentId,
    marks: &[String],
    now: DateTime<Utc>,
) -> Result<Option<Given>, LedgerError> {
    let given = given(connection, account, marks)?;
    let mut left = given
        .iter()
        .zip(marks)
        .enumerate()
        .filter(|(_, (given, _))| !**given);
    let Some((index, (_, mark))) = left.next() else {
        return Ok(None);
    };
    connection
        .prepare_cached("INSERT INTO recovery_given (account, mark, given_at) VALUES (?1, ?2, ?3)")?
        .execute(params![account.as_str(), mark, now.timestamp_millis()])?;
    Ok(Some(Given {
        index,
        left: left.count(),
    }))
}

/// Writes down that all of these are given out now, and says which of them were not before.
pub(crate) fn give_all(
    connection: &Connection,
    account: &EnrollmentId,
    marks: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<bool>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO recovery_given (account, mark, given_at) VALUES (?1, ?2, ?3)",
    )?;
    let mut new = Vec::with_capacity(marks.len());
    for mark in marks {
        let added = statement.execute(params![account.as_str(), mark, now.timestamp_millis()])?;
        new.push(added > 0);
    }
    Ok(new)
}

/// What an act gives out, as the ledger's thread has it.
#[derive(Clone)]
pub(crate) struct Giving {
    pub(crate) account: EnrollmentId,
    pub(crate) marks: Vec<String>,
    given: Vec<bool>,
}

impl Giving {
    pub(crate) fn of(gives: Gives<'_>) -> Self {
        Self {
            account: gives.account.clone(),
            marks: gives.marks.to_vec(),
            given: gives.given.to_vec(),
        }
    }

    /// That of all of them the same are given out now as when the act was done.
    pub(crate) fn check(&self, given: &[bool]) -> Result<(), LedgerError> {
        match given == self.given {
            true => Ok(()),
            false => Err(LedgerError::Stale),
        }
    }

    /// Writes them down as given out, if the same were given out when the act was done.
    pub(crate) fn give(
        &self,
        connection: &Connection,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        self.check(&given(connection, &self.account, &self.marks)?)?;
        give_all(connection, &self.account, &self.marks, now).map(drop)
    }
}
