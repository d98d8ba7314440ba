//! Rows of the databases in a data folder, read and written in bulk.

use chrono::DateTime;
use countersign_database::tables::{Column, Kind, Table, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};

/// What cannot be read or written.
type Failure = rusqlite::Error;

/// The next rows of a table, in the order of what identifies them.
pub(super) fn page(
    connection: &Connection,
    table: &Table,
    after: Option<&[Value]>,
    limit: u32,
) -> Result<Vec<Vec<Value>>, Failure> {
    let key: Vec<&str> = table.columns[..table.key]
        .iter()
        .map(|it| it.name)
        .collect();
    let key = key.join(", ");
    let after = after.unwrap_or_default();
    let past = match after.is_empty() {
        true => String::new(),
        false => format!("WHERE ({key}) > ({})", marks(after.len())),
    };
    let (names, folder) = (table.names(), table.folder);
    let sql = format!("SELECT {names} FROM {folder} {past} ORDER BY {key} LIMIT {limit}");
    let mut statement = connection.prepare_cached(&sql)?;
    let values = after.iter().map(Plain);
    let rows = statement.query_map(params_from_iter(values), |row| read(row, table.columns))?;
    rows.collect()
}

/// Adds rows to a table, whose computed columns are left out.
pub(super) fn put(
    connection: &Connection,
    table: &Table,
    rows: &[Vec<Value>],
) -> Result<(), Failure> {
    let kept = || {
        table
            .columns
            .iter()
            .enumerate()
            .filter(|(_, it)| !it.computed)
    };
    let names: Vec<&str> = kept().map(|(_, column)| column.name).collect();
    let (folder, marks) = (table.folder, marks(names.len()));
    let sql = format!(
        "INSERT INTO {folder} ({}) VALUES ({marks})",
        names.join(", ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for row in rows {
        let values = kept().map(|(at, column)| written(column.kind, &row[at]));
        statement.execute(params_from_iter(values))?;
    }
    Ok(())
}

/// `?, ?, ?`
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn read(row: &Row<'_>, columns: &[Column]) -> Result<Vec<Value>, Failure> {
    let each = columns.iter().enumerate();
    each.map(|(at, column)| match row.get_ref(at)? {
        ValueRef::Null => Ok(Value::Null),
        _ => one(row, at, column.kind),
    })
    .collect()
}

fn one(row: &Row<'_>, at: usize, kind: Kind) -> Result<Value, Failure> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error)
    };
    Ok(match kind {
        Kind::Number => Value::Number(row.get(at)?),
        Kind::Text => Value::Text(row.get(at)?),
        Kind::Bytes => Value::Bytes(row.get(at)?),
        Kind::Flag => Value::Flag(row.get(at)?),
        Kind::Moment => {
            let text: String = row.get(at)?;
            let moment = DateTime::parse_from_rfc3339(&text).map_err(|it| wrong(it.into()))?;
            Value::Number(moment.timestamp())
        }
        Kind::Names => {
            let text: String = row.get(at)?;
            Value::Names(serde_json::from_str(&text).map_err(|it| wrong(it.into()))?)
        }
    })
}

/// A value as a column of the folder has it.
fn written(kind: Kind, value: &Value) -> Box<dyn ToSql> {
    match (kind, value) {
        (Kind::Moment, Value::Number(seconds)) => {
            let moment = DateTime::from_timestamp(*seconds, 0).unwrap_or_default();
            Box::new(moment.to_rfc3339())
        }
        (_, Value::Names(names)) => Box::new(serde_json::Value::from(names.clone()).to_string()),
        (_, Value::Null) => Box::new(rusqlite::types::Null),
        (_, Value::Number(number)) => Box::new(*number),
        (_, Value::Text(text)) => Box::new(text.clone()),
        (_, Value::Bytes(bytes)) => Box::new(bytes.clone()),
        (_, Value::Flag(flag)) => Box::new(*flag),
    }
}

/// A value of a key, which is a number, text or bytes.
struct Plain<'v>(&'v Value);

impl ToSql for Plain<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Null | Value::Flag(_) | Value::Names(_) => ValueRef::Null,
        }))
    }
}
