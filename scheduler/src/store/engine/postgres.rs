//! A session of PostgreSQL, used by one thread, which also drives its connection.
//!
//! Every transaction proves first that its node still owns the task hubs (see `migrations/`), and the
//! server refuses all of it otherwise. A statement whose answer nobody needs is sent without waiting:
//! the server carries statements out in order, and what fails fails the whole transaction.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use countersign_database::{Database, DatabaseError};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Runtime;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, RowStream};
use tokio_util::bytes::BytesMut;

use super::dialect::translate;
use super::{Index, Params, Result, StorageError, StorageProblem, ValueRef};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(6);
/// How many statements a session keeps prepared.
const PREPARED: usize = 512;
/// After how many statements without an answer they are put on the way, and after how many they are
/// waited for.
const PUSHED: usize = 16;
const SENT: usize = 1024;
/// The error that the schema's functions raise for a node that does not own the task hubs.
const NOT_OWNER: &str = "DT001";
/// Escapes U+0000, which the server accepts in no text, and itself.
const ESCAPE: char = '\u{10fffe}';

/// A session of a process that stands still keeps its locks no longer than this.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = '2s'";
const PROVE_WRITE: &str = "SELECT prove(?1, ?2)";
const PROVE_READ: &str = "SELECT prove_reading(?1)";

type Sent = Pin<Box<dyn Future<Output = std::result::Result<u64, Error>> + Send>>;

/// A term in which this node owns the task hubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// Each owner's is higher than that of all before.
    pub(crate) fence: i64,
    /// The number of the last transaction that is on disk.
    pub(crate) number: i64,
}

/// A connection with a runtime that only its own calls drive.
pub(crate) struct Session {
    database: Database,
    client: RefCell<Option<Arc<Client>>>,
    prepared: RefCell<HashMap<String, tokio_postgres::Statement>>,
    sent: RefCell<Vec<Sent>>,
    term: Cell<Option<Term>>,
    /// Whether a transaction was begun and not ended.
    open: Cell<bool>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Perhaps by an asynchronous task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session {
    /// One that connects when it is first used.
    pub(crate) fn new(database: Database) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            database,
            client: RefCell::default(),
            prepared: RefCell::default(),
            sent: RefCell::default(),
            term: Cell::default(),
            open: Cell::default(),
            runtime: Some(runtime),
        })
    }

    /// Waits for an answer of the server.
    fn wait<T, E>(&self, answer: impl Future<Output = std::result::Result<T, E>>) -> Result<T>
    where
        E: Into<Failed>,
    {
        let Some(runtime) = &self.runtime else {
            return Err(DatabaseError::Lost.into());
        };
        let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        match answered {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => {
                self.disconnect();
                Err(DatabaseError::Late(PATIENCE).into())
            }
        }
    }

    fn failed(&self, error: impl Into<Failed>) -> StorageError {
        let Failed { error, lost } = error.into();
        if lost {
            self.disconnect();
        }
        error
    }

    fn disconnect(&self) {
        self.client.take();
        self.prepared.take();
        self.sent.take();
        self.open.set(false);
    }

    /// Whether the connection was lost in the last transaction.
    pub(crate) fn is_lost(&self) -> bool {
        self.client.borrow().is_none()
    }

    fn client(&self) -> Result<Arc<Client>> {
        if let Some(client) = &*self.client.borrow() {
            return Ok(Arc::clone(client));
        }
        let connecting = async {
            let client = self.database.link().await?;
            client.batch_execute(SETTINGS).await?;
            Ok::<_, DatabaseError>(client)
        };
        let client = Arc::new(self.wait(connecting)?);
        self.client.replace(Some(Arc::clone(&client)));
        Ok(client)
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        let known = self.prepared.borrow().get(sql).cloned();
        let client = self.client()?;
        let statement = match known {
            Some(statement) => statement,
            None => {
                let text = translate(sql);
                let statement = self
                    .wait(client.prepare(&text))
                    .map_err(|error| self.first(error))?;
                let mut prepared = self.prepared.borrow_mut();
                if prepared.len() >= PREPARED {
                    prepared.clear();
                }
                prepared.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        Ok(Statement {
            session: self,
            client,
            statement,
        })
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        let client = self.client()?;
        self.wait(client.batch_execute(sql))
            .map_err(|error| self.first(error))
    }

    /// The term in which it writes.
    pub(crate) fn term(&self) -> Option<Term> {
        self.term.get()
    }

    /// Lets it write in a term from now on, or no more.
    pub(crate) fn set_term(&self, term: Option<Term>) {
        self.term.set(term);
    }

    pub(super) fn begin(&self) -> Result<()> {
        let Some(Term { fence, number }) = self.term.get() else {
            return Err(not_owner("this node does not own the task hubs"));
        };
        self.begin_with("BEGIN")?;
        self.prepare(PROVE_WRITE)?.send(&(fence, number + 1))
    }

    /// Reads one moment, which is one of the term `fence`.
    pub(crate) fn read<T, E: From<StorageError>>(
        &self,
        fence: i64,
        mut work: impl FnMut() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut again = !self.is_lost();
        loop {
            let begun = self
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .and_then(|()| self.prepare(PROVE_READ)?.send(&[fence]));
            let done = match begun {
                Ok(()) => work().and_then(|value| {
                    self.commit()?;
                    Ok(value)
                }),
                Err(error) => Err(error.into()),
            };
            // A connection that was lost while nobody used it is noticed by its next use.
            if done.is_err() && self.is_lost() && std::mem::take(&mut again) {
                continue;
            }
            if done.is_err() && !self.is_lost() {
                // The error that matters is the first one.
                let _ = self.roll_back();
            }
            return done;
        }
    }

    fn begin_with(&self, begin: &'static str) -> Result<()> {
        if self.open.get() {
            // The last reading that used it has panicked.
            self.roll_back()?;
        }
        let client = self.client()?;
        self.sent.take();
        self.open.set(true);
        self.send(Box::pin(async move {
            client.batch_execute(begin).await.map(|()| 0)
        }))
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.end()?;
        if let Some(Term { fence, number }) = self.term.get() {
            let number = number + 1;
            self.term.set(Some(Term { fence, number }));
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let client = self.client()?;
        self.send(Box::pin(async move {
            client.batch_execute("COMMIT").await.map(|()| 0)
        }))?;
        // An error ends the transaction too, by rolling it back.
        self.open.set(false);
        self.settle()
    }

    pub(super) fn roll_back(&self) -> Result<()> {
        self.sent.take();
        self.open.set(false);
        match self.is_lost() {
            true => Ok(()),
            false => self.batch("ROLLBACK"),
        }
    }

    /// Sends a statement, whose answer is waited for later.
    fn send(&self, mut statement: Sent) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        match statement.as_mut().poll(&mut context) {
            Poll::Ready(Ok(_)) => return Ok(()),
            Poll::Ready(Err(error)) => return Err(self.failed(error)),
            Poll::Pending => {}
        }
        let mut sent = self.sent.borrow_mut();
        sent.push(statement);
        let count = sent.len();
        drop(sent);
        if count >= SENT {
            return self.settle();
        }
        if count.is_multiple_of(PUSHED) {
            self.wait(async {
                tokio::task::yield_now().await;
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }

    /// Waits for everything that was sent: the first error.
    fn settle(&self) -> Result<()> {
        let sent = self.sent.take();
        self.wait(async {
            let mut first = Ok(());
            for statement in sent {
                let answer = statement.await.map(drop);
                first = first.and(answer);
            }
            first
        })
    }

    /// What has really gone wrong: once a statement has failed, all later ones of its transaction do.
    fn first(&self, error: StorageError) -> StorageError {
        match self.settle() {
            Err(first) => first,
            Ok(()) => error,
        }
    }
}

pub(crate) fn not_owner(what: impl Into<String>) -> StorageError {
    StorageError::new(StorageProblem::NotOwner, what.into())
}

/// What went wrong, and whether the connection is of no use any more.
struct Failed {
    error: StorageError,
    lost: bool,
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self {
            error: error.into(),
            lost: true,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // Also a value that cannot be sent or read.
            let lost = error.is_closed()
                || error
                    .source()
                    .is_none_or(|cause| cause.is::<std::io::Error>());
            let error = match lost {
                true => DatabaseError::from(error).into(),
                false => StorageError::new(StorageProblem::Other, error),
            };
            return Self { error, lost };
        };
        let code = said.code().clone();
        let lost = matches!(
            said.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        ) || code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
        if code.code() == NOT_OWNER {
            return Self {
                error: not_owner(said.message()),
                lost,
            };
        }
        let error = match DatabaseError::from(error) {
            // Not for lack of a database: the statement is at fault.
            DatabaseError::Unavailable(error) if !lost && !is_trouble(code.code()) => {
                StorageError::new(StorageProblem::Other, DatabaseError::Unavailable(error))
            }
            error => error.into(),
        };
        Self { error, lost }
    }
}

/// Classes of errors that say that the database is in trouble: connections, resources, operators,
/// the system.
fn is_trouble(code: &str) -> bool {
    ["08", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// A prepared statement.
pub(crate) struct Statement<'c> {
    session: &'c Session,
    client: Arc<Client>,
    statement: tokio_postgres::Statement,
}

impl<'c> Statement<'c> {
    pub(super) fn send(&self, values: &impl Params) -> Result<()> {
        let values = owned(values);
        let (client, statement) = (Arc::clone(&self.client), self.statement.clone());
        self.session.send(Box::pin(async move {
            client.execute_raw(&statement, values).await
        }))
    }

    pub(super) fn execute(&self, values: &impl Params) -> Result<usize> {
        let changed = self
            .session
            .wait(self.client.execute_raw(&self.statement, owned(values)))
            .map_err(|error| self.session.first(error))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, values: &impl Params) -> Result<Rows<'c>> {
        let stream = self
            .session
            .wait(self.client.query_raw(&self.statement, owned(values)))
            .map_err(|error| self.session.first(error))?;
        Ok(Rows {
            session: self.session,
            stream: Box::pin(stream),
            row: None,
        })
    }
}

/// An answer as it arrives.
pub(crate) struct Rows<'c> {
    session: &'c Session,
    stream: Pin<Box<RowStream>>,
    row: Option<tokio_postgres::Row>,
}

impl Rows<'_> {
    pub(super) fn next(&mut self) -> Result<Option<&tokio_postgres::Row>> {
        let next = match self.stream.next().now_or_never() {
            Some(arrived) => arrived
                .transpose()
                .map_err(|error| self.session.failed(error))?,
            None => {
                let stream = &mut self.stream;
                self.session
                    .wait(async { stream.next().await.transpose() })?
            }
        };
        self.row = next;
        Ok(self.row.as_ref())
    }
}

/// A value on its way to the server, in the type that it asks for.
#[derive(Debug)]
enum Owned {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

fn owned(values: &impl Params) -> Vec<Owned> {
    let mut all = Vec::new();
    let passed = values.each(|value| {
        all.push(match value {
            ValueRef::Null => Owned::Null,
            ValueRef::Integer(value) => Owned::Integer(value),
            ValueRef::Text(value) => Owned::Text(escaped(value)),
            ValueRef::Blob(value) => Owned::Blob(value.to_owned()),
        });
        Ok::<_, std::convert::Infallible>(())
    });
    match passed {
        Ok(()) => all,
        Err(never) => match never {},
    }
}

type Wrong = Box<dyn StdError + Sync + Send>;

impl ToSql for Owned {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Wrong> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) => match *kind {
                Type::INT8 => value.to_sql(kind, out),
                Type::INT4 => i32::try_from(*value)?.to_sql(kind, out),
                Type::BOOL => (*value != 0).to_sql(kind, out),
                _ => Err(format!("a number cannot be sent as {kind}").into()),
            },
            Self::Text(value) => value.to_sql(kind, out),
            Self::Blob(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value that can be read from the server's form.
pub(crate) trait Decoded: Sized {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong>;
}

fn there<'a>(kind: &Type, bytes: Option<&'a [u8]>) -> std::result::Result<&'a [u8], Wrong> {
    bytes.ok_or_else(|| format!("a {kind} is missing").into())
}

impl Decoded for i64 {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        let bytes = there(kind, bytes)?;
        match *kind {
            Type::INT8 => Self::from_sql(kind, bytes),
            Type::INT4 => Ok(i32::from_sql(kind, bytes)?.into()),
            Type::BOOL => Ok(bool::from_sql(kind, bytes)?.into()),
            _ => Err(format!("a {kind} is not a number").into()),
        }
    }
}

impl Decoded for i32 {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        Ok(Self::try_from(i64::decoded(kind, bytes)?)?)
    }
}

impl Decoded for bool {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        Ok(i64::decoded(kind, bytes)? != 0)
    }
}

impl Decoded for String {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        if !<Self as FromSql<'_>>::accepts(kind) {
            return Err(format!("a {kind} is not text").into());
        }
        Ok(unescaped(Self::from_sql(kind, there(kind, bytes)?)?))
    }
}

impl Decoded for Vec<u8> {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        match *kind {
            Type::BYTEA => Ok(there(kind, bytes)?.to_owned()),
            _ => Err(format!("a {kind} is not bytes").into()),
        }
    }
}

impl<T: Decoded> Decoded for Option<T> {
    fn decoded(kind: &Type, bytes: Option<&[u8]>) -> std::result::Result<Self, Wrong> {
        match bytes {
            Some(_) => T::decoded(kind, bytes).map(Some),
            None => Ok(None),
        }
    }
}

struct Field<T>(T);

impl<'a, T: Decoded> FromSql<'a> for Field<T> {
    fn from_sql(kind: &Type, bytes: &'a [u8]) -> std::result::Result<Self, Wrong> {
        T::decoded(kind, Some(bytes)).map(Self)
    }

    fn from_sql_null(kind: &Type) -> std::result::Result<Self, Wrong> {
        T::decoded(kind, None).map(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(super) fn read<I: Index, T: Decoded>(row: &tokio_postgres::Row, column: I) -> Result<T> {
    match row.try_get::<_, Field<T>>(column) {
        Ok(Field(value)) => Ok(value),
        Err(error) => Err(StorageError::new(StorageProblem::Other, error)),
    }
}

/// The most bytes of text that a row may have in an index: the server refuses rows of more than about
/// 2,700.
pub(crate) const MOST_INDEXED: usize = 2600;

/// How many bytes a text has there.
pub(crate) fn stored_length(text: &str) -> usize {
    let more = text.chars().map(|c| match c {
        '\0' => 4,
        ESCAPE => 1,
        _ => 0,
    });
    text.len() + more.sum::<usize>()
}

fn escaped(text: &str) -> String {
    if !text.contains(['\0', ESCAPE]) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.extend([ESCAPE, '0']),
            ESCAPE => out.extend([ESCAPE, '1']),
            other => out.push(other),
        }
    }
    out
}

fn unescaped(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            ESCAPE if chars.next() == Some('0') => '\0',
            other => other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_and_none_holds_what_the_server_refuses() {
        for text in [
            "",
            "plain",
            "a\0b\0",
            "\u{10fffe}",
            "\u{10fffe}0\0\u{10fffe}1",
        ] {
            let sent = escaped(text);
            assert!(!sent.contains('\0'));
            assert_eq!(stored_length(text), sent.len());
            assert_eq!(unescaped(sent), text);
        }
    }
}
