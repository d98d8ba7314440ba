//! The tables that a data folder and the shared database have in common, and their rows on the
//! way from one to the other. The adapters say which tables those are; here is how rows of the
//! shared database are read and written in bulk.

use std::error::Error;
use std::pin::Pin;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_util::bytes::BytesMut;

use crate::DatabaseError;

/// A table that a data folder and the shared database have in common.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What its rows are, for people.
    pub rows: &'static str,
    /// Its name in the shared database.
    pub shared: &'static str,
    /// Its name in the folder's database.
    pub folder: &'static str,
    /// Its columns. The first ones identify a row.
    pub columns: &'static [Column],
    /// How many of them do.
    pub key: usize,
    /// Whether the shared database numbers new rows by the first column.
    pub numbered: bool,
}

/// A column, with the same name in both.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub kind: Kind,
    /// Whether the folder's database computes it from others.
    pub computed: bool,
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// Yes or no; 1 or 0 in the folder.
    Flag,
    /// Seconds since 1970; RFC 3339 in the folder.
    Moment,
    /// Several texts; a JSON list in the folder.
    Names,
}

impl Column {
    /// A whole number.
    #[must_use]
    pub const fn number(name: &'static str) -> Self {
        Self::of(name, Kind::Number)
    }

    /// Text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self::of(name, Kind::Text)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(name: &'static str) -> Self {
        Self::of(name, Kind::Bytes)
    }

    /// A column with this content.
    #[must_use]
    pub const fn of(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            computed: false,
        }
    }

    /// The same, which the folder's database computes.
    #[must_use]
    pub const fn computed(self) -> Self {
        Self {
            computed: true,
            ..self
        }
    }
}

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number, or a moment.
    Number(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    Names(Vec<String>),
}

impl Kind {
    fn of_column(self) -> Type {
        match self {
            Self::Number | Self::Moment => Type::INT8,
            Self::Text => Type::TEXT,
            Self::Bytes => Type::BYTEA,
            Self::Flag => Type::BOOL,
            Self::Names => Type::TEXT_ARRAY,
        }
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(value) => value.to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::Bytes(value) => value.to_sql(kind, out),
            Self::Flag(value) => value.to_sql(kind, out),
            Self::Names(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [
            Type::INT8,
            Type::TEXT,
            Type::BYTEA,
            Type::BOOL,
            Type::TEXT_ARRAY,
        ]
        .contains(kind)
    }

    to_sql_checked!();
}

impl Table {
    /// The columns' names, as a list in a statement.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        names.join(", ")
    }

    /// What of a row identifies it.
    #[must_use]
    pub fn key_of<'r>(&self, row: &'r [Value]) -> &'r [Value] {
        &row[..self.key.min(row.len())]
    }

    /// Text is ordered by bytes, as in the folder.
    fn in_order(&self) -> String {
        let names: Vec<String> = self.columns[..self.key]
            .iter()
            .map(|column| match column.kind {
                Kind::Text => format!("{} COLLATE \"C\"", column.name),
                _ => column.name.to_owned(),
            })
            .collect();
        names.join(", ")
    }
}

/// The next rows of a table in the shared database, in the order of what identifies them.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn page(
    transaction: &Transaction<'_>,
    table: &Table,
    after: Option<&[Value]>,
    limit: u32,
) -> Result<Vec<Vec<Value>>, DatabaseError> {
    let order = table.in_order();
    let after = after.unwrap_or_default();
    let past = match after.is_empty() {
        true => String::new(),
        false => {
            let marks: Vec<String> = (1..=after.len()).map(|at| format!("${at}")).collect();
            format!("WHERE ({order}) > ({})", marks.join(", "))
        }
    };
    let (names, shared) = (table.names(), table.shared);
    let sql = format!("SELECT {names} FROM {shared} {past} ORDER BY {order} LIMIT {limit}");
    let values: Vec<&(dyn ToSql + Sync)> = after.iter().map(|it| it as _).collect();
    let rows = transaction.query(&sql, &values).await?;
    rows.iter()
        .map(|row| {
            let columns = table.columns.iter().enumerate();
            columns
                .map(|(at, column)| value(row, at, column.kind))
                .collect()
        })
        .collect()
}

fn value(row: &Row, at: usize, kind: Kind) -> Result<Value, DatabaseError> {
    fn get<'r, T: FromSql<'r>>(
        row: &'r Row,
        at: usize,
        of: impl Fn(T) -> Value,
    ) -> Result<Value, DatabaseError> {
        let found: Option<T> = row.try_get(at)?;
        Ok(found.map_or(Value::Null, of))
    }
    match kind {
        Kind::Number | Kind::Moment => get(row, at, Value::Number),
        Kind::Text => get(row, at, Value::Text),
        Kind::Bytes => get(row, at, Value::Bytes),
        Kind::Flag => get(row, at, Value::Flag),
        Kind::Names => get(row, at, Value::Names),
    }
}

/// How many rows a table in the shared database has.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn count(transaction: &Transaction<'_>, table: &str) -> Result<u64, DatabaseError> {
    let row = transaction
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await?;
    let count: i64 = row.try_get(0)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Every table that an installation may have rows in.
async fn every(transaction: &Transaction<'_>) -> Result<Vec<String>, DatabaseError> {
    let rows = transaction
        .query(
            "SELECT relname::text FROM pg_catalog.pg_class
             WHERE relnamespace = to_regnamespace('countersign') AND relkind = 'r'
               AND relname NOT IN ('migrations', 'ledger_journal_end')
             ORDER BY relname",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A table that has rows, if any has: the database is in use.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn used(transaction: &Transaction<'_>) -> Result<Option<String>, DatabaseError> {
    for table in every(transaction).await? {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        if transaction.query_one(&sql, &[]).await?.try_get(0)? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Removes all rows of an installation that did not arrive.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn clear(transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
    let every = every(transaction).await?.join(", ");
    // The audit log takes no removal otherwise.
    let sql = format!(
        "ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_stay;
         TRUNCATE {every} RESTART IDENTITY;
         ALTER TABLE audit_entries ENABLE TRIGGER audit_entries_stay;"
    );
    Ok(transaction.batch_execute(&sql).await?)
}

/// Keeps others from changing these tables until the transaction ends. It has to be the first
/// thing that the transaction does, so that it sees all that was committed until then.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn lock(transaction: &Transaction<'_>, tables: &[Table]) -> Result<(), DatabaseError> {
    let names: Vec<&str> = tables.iter().map(|table| table.shared).collect();
    let sql = format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        names.join(", ")
    );
    Ok(transaction.batch_execute(&sql).await?)
}

/// Rows on their way into an empty table of the shared database.
pub struct Filling<'t> {
    transaction: &'t Transaction<'t>,
    table: &'static Table,
    writer: Pin<Box<BinaryCopyInWriter>>,
}

impl<'t> Filling<'t> {
    /// Begins to fill a table. Until [`Filling::end`] nothing else can be done in the transaction.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn begin(
        transaction: &'t Transaction<'t>,
        table: &'static Table,
    ) -> Result<Self, DatabaseError> {
        let (names, shared) = (table.names(), table.shared);
        let sql = format!("COPY {shared} ({names}) FROM STDIN BINARY");
        let sink = transaction.copy_in(&sql).await?;
        let kinds: Vec<Type> = table.columns.iter().map(|it| it.kind.of_column()).collect();
        Ok(Self {
            transaction,
            table,
            writer: Box::pin(BinaryCopyInWriter::new(sink, &kinds)),
        })
    }

    /// Adds a row with a value for each column.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn put(&mut self, row: &[Value]) -> Result<(), DatabaseError> {
        let values: Vec<&(dyn ToSql + Sync)> = row.iter().map(|it| it as _).collect();
        Ok(self.writer.as_mut().write(&values).await?)
    }

    /// Ends it; how many rows there are now. New ones are numbered after them.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn end(mut self) -> Result<u64, DatabaseError> {
        let rows = self.writer.as_mut().finish().await?;
        if self.table.numbered && rows > 0 {
            let (table, column) = (self.table.shared, self.table.columns[0].name);
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))
                 FROM {table}"
            );
            self.transaction.query_one(&sql, &[]).await?;
        }
        Ok(rows)
    }
}
