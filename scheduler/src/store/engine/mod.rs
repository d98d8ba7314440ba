//! The engines under the statements: SQLite, in a file or in memory, and PostgreSQL.
//!
//! The verbs of [`super`] say everything in one SQL, in SQLite's form, with the few words that
//! PostgreSQL lacks replaced when a statement is prepared ([`postgres`]). The calls have the shape of
//! `rusqlite`'s, and on SQLite they are no more than that.
//!
//! Two promises differ from a plain connection:
//!
//! - [`Statement::run`] may answer before the statement has been carried out; then its error is that of a
//!   later call in the same transaction, at the latest of the commit. [`Statement::execute`] waits, and
//!   says how many rows it has changed.
//! - Text holds any characters, also those that an engine refuses (U+0000 in PostgreSQL).

mod dialect;
mod error;
mod postgres;
mod value;

use std::path::Path;

use durabletask_sqlite::Database;
use rusqlite::CachedStatement;

pub(crate) use error::OptionalExtension;
pub use error::{StorageError, StorageProblem};
pub(crate) use postgres::{MOST_INDEXED, Session, Term, not_owner, stored_length};
pub(crate) use value::{Column, Index, Params, Value, ValueRef};

pub(crate) type Result<T> = std::result::Result<T, StorageError>;

/// A connection to the storage.
pub(crate) enum Connection {
    /// A database in memory, or a reader of a file.
    Plain(rusqlite::Connection),
    /// The writer of a file, which is marked as in use while this exists.
    File(Database),
    /// A session of PostgreSQL.
    Postgres(Box<Session>),
}

/// A statement, prepared once for each connection.
pub(crate) enum Statement<'c> {
    Sqlite(CachedStatement<'c>),
    Postgres(postgres::Statement<'c>),
}

/// A row of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

/// An answer, row by row.
pub(crate) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(Box<postgres::Rows<'s>>),
}

/// An answer whose rows are read by a function.
pub(crate) struct MappedRows<'s, F> {
    rows: Rows<'s>,
    read: F,
}

/// A moment that several statements read, until it is dropped.
pub(crate) struct Moment<'c>(#[allow(dead_code)] Option<rusqlite::Transaction<'c>>);

impl Connection {
    /// The connection to SQLite, if it is one.
    pub(crate) fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match self {
            Self::Plain(connection) => Some(connection),
            Self::File(database) => Some(database),
            Self::Postgres(_) => None,
        }
    }

    pub(crate) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Plain(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            Self::File(database) => Statement::Sqlite(database.prepare_cached(sql)?),
            Self::Postgres(session) => Statement::Postgres(session.prepare(sql)?),
        })
    }

    /// Runs a statement that is rarely needed; how many rows it has changed.
    pub(crate) fn execute(&self, sql: &str, values: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(values)
    }

    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare_cached(sql)?.query_row(values, read)
    }

    /// Reads, from one moment if the storage is PostgreSQL: one of the term `fence`, in which this node
    /// owns the task hubs.
    pub(crate) fn reading<T, E: From<StorageError>>(
        &self,
        fence: Option<i64>,
        work: &mut dyn FnMut(&Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        match (self, fence) {
            (Self::Postgres(session), Some(fence)) => session.read(fence, || work(self)),
            _ => work(self),
        }
    }

    /// The session, if it is one of PostgreSQL.
    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Self::Postgres(session) => Some(session),
            Self::Plain(_) | Self::File(_) => None,
        }
    }

    /// Runs statements that are separated by semicolons.
    pub(crate) fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Plain(connection) => Ok(connection.execute_batch(sql)?),
            Self::File(database) => Ok(database.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) fn begin(&self) -> Result<()> {
        match self {
            Self::Postgres(session) => session.begin(),
            sqlite => sqlite.prepare_cached("BEGIN IMMEDIATE")?.run(()),
        }
    }

    /// Ends it: what was written is on disk once this returns.
    pub(crate) fn commit(&self) -> Result<()> {
        match self {
            Self::Postgres(session) => session.commit(),
            sqlite => sqlite.prepare_cached("COMMIT")?.run(()),
        }
    }

    /// Ends it without a change.
    pub(crate) fn roll_back(&self) {
        let done = match self {
            Self::Postgres(session) => session.roll_back(),
            sqlite => sqlite.execute_batch("ROLLBACK"),
        };
        // After some errors the engine has already rolled back; then this fails.
        if let Err(error) = done {
            tracing::debug!(%error, "nothing was left to roll back");
        }
    }

    /// Lets the following statements read one moment, unless they do that already: within a
    /// transaction, and in every session of PostgreSQL that reads.
    pub(crate) fn moment(&self) -> Result<Moment<'_>> {
        Ok(Moment(match self.sqlite() {
            Some(sqlite) if sqlite.is_autocommit() => Some(sqlite.unchecked_transaction()?),
            _ => None,
        }))
    }

    /// Makes a write without an effect.
    pub(crate) fn touch(&self) -> Result<()> {
        // A transaction of PostgreSQL writes in any case.
        let Some(sqlite) = self.sqlite() else {
            return Ok(());
        };
        let version: i64 = sqlite.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(sqlite.pragma_update(None, "user_version", version)?)
    }

    /// Gives up to `pages` unused pages of a file back, except `spare` pages; how many. PostgreSQL does
    /// that by itself.
    pub(crate) fn shrink(&self, pages: u32, spare: u32) -> Result<u32> {
        match self.sqlite() {
            Some(sqlite) => Ok(durabletask_sqlite::shrink(sqlite, pages, spare)?),
            None => Ok(0),
        }
    }
}

/// Writes what is in a file's log into the file, by a connection of its own.
pub(crate) fn write_back(file: &Path) -> Result<()> {
    let connection = rusqlite::Connection::open(file)?;
    durabletask_sqlite::keep_log(&connection)?;
    Ok(durabletask_sqlite::write_back(&connection)?)
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &impl Params) -> Result<()> {
    let mut number = 0;
    values.each(|value| {
        number += 1;
        statement.raw_bind_parameter(number, value)
    })?;
    let expected = statement.parameter_count();
    match number == expected {
        true => Ok(()),
        false => Err(rusqlite::Error::InvalidParameterCount(number, expected).into()),
    }
}

impl Statement<'_> {
    /// Runs it; its error may be reported later.
    pub(crate) fn run(&mut self, values: impl Params) -> Result<()> {
        match self {
            Self::Sqlite(statement) => {
                bind(statement, &values)?;
                statement.raw_execute()?;
                Ok(())
            }
            Self::Postgres(statement) => statement.send(&values),
        }
    }

    /// Runs it; how many rows it has changed.
    pub(crate) fn execute(&mut self, values: impl Params) -> Result<usize> {
        match self {
            Self::Sqlite(statement) => {
                bind(statement, &values)?;
                Ok(statement.raw_execute()?)
            }
            Self::Postgres(statement) => statement.execute(&values),
        }
    }

    pub(crate) fn query(&mut self, values: impl Params) -> Result<Rows<'_>> {
        Ok(match self {
            Self::Sqlite(statement) => {
                bind(statement, &values)?;
                Rows::Sqlite(statement.raw_query())
            }
            Self::Postgres(statement) => Rows::Postgres(Box::new(statement.query(&values)?)),
        })
    }

    /// The first row; [`StorageProblem::NoRow`] without one.
    pub(crate) fn query_row<T>(
        &mut self,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.query(values)?.next()? {
            Some(row) => read(&row),
            None => Err(rusqlite::Error::QueryReturnedNoRows.into()),
        }
    }

    pub(crate) fn query_map<T, F>(
        &mut self,
        values: impl Params,
        read: F,
    ) -> Result<MappedRows<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        let rows = self.query(values)?;
        Ok(MappedRows { rows, read })
    }

    /// Whether it finds a row.
    pub(crate) fn exists(&mut self, values: impl Params) -> Result<bool> {
        Ok(self.query(values)?.next()?.is_some())
    }
}

impl Rows<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>> {
        Ok(match self {
            Self::Sqlite(rows) => rows.next()?.map(Row::Sqlite),
            Self::Postgres(rows) => rows.next()?.map(Row::Postgres),
        })
    }
}

impl<T, F> Iterator for MappedRows<'_, F>
where
    F: FnMut(&Row<'_>) -> Result<T>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.rows.next() {
            Ok(row) => row.map(|row| (self.read)(&row)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Row<'_> {
    /// What a column holds.
    pub(crate) fn get<I: Index, T: Column>(&self, column: I) -> Result<T> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => postgres::read(row, column),
        }
    }
}
