//! The ledger on its way between a data folder and the shared database.

use std::path::Path;

use countersign_database::tables::{Column, Table};
use countersign_database::{Transaction, execute, one};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::sqlite::LEDGER_DATABASE;
use crate::{LedgerError, schema};

/// Its tables, each after those that it refers to.
pub const TABLES: &[Table] = &[
    Table {
        rows: "ledger",
        shared: "ledger",
        folder: "ledger",
        columns: &[Column::text("id")],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "mandates",
        shared: "ledger_mandates",
        folder: "mandates",
        columns: &[
            Column::number("number"),
            Column::text("run"),
            Column::text("id"),
            Column::text("token"),
            Column::text("digest"),
            Column::number("registered_at"),
        ],
        key: 1,
        numbered: true,
    },
    Table {
        rows: "matters",
        shared: "ledger_matters",
        folder: "matters",
        columns: &[
            Column::number("number"),
            Column::text("run"),
            Column::text("about"),
            Column::text("status"),
            Column::number("version"),
        ],
        key: 1,
        numbered: true,
    },
    Table {
        rows: "decisions",
        shared: "ledger_decisions",
        folder: "decisions",
        columns: &[
            Column::number("number"),
            Column::number("matter"),
            Column::text("nonce"),
            Column::text("token"),
        ],
        key: 1,
        numbered: true,
    },
    Table {
        rows: "uses",
        shared: "ledger_uses",
        folder: "uses",
        columns: &[
            Column::number("number"),
            Column::number("matter"),
            Column::text("deed"),
            Column::text("name"),
            Column::number("begun_at"),
            Column::number("done_at"),
            Column::text("result"),
        ],
        key: 1,
        numbered: true,
    },
    Table {
        rows: "recovery codes given out",
        shared: "ledger_recovery_given",
        folder: "recovery_given",
        columns: &[
            Column::text("account"),
            Column::text("mark"),
            Column::number("given_at"),
        ],
        key: 2,
        numbered: false,
    },
    Table {
        rows: "journal entries",
        shared: "ledger_journal",
        folder: "journal",
        columns: &[
            Column::number("seq"),
            Column::number("at"),
            Column::text("about"),
            Column::text("account"),
            Column::text("action"),
            Column::text("outcome"),
            Column::text("reason"),
        ],
        key: 1,
        numbered: false,
    },
];

/// Makes the ledger's tables in `folder`, or brings those of an earlier release up to date. A new
/// ledger has no id yet. Blocks.
///
/// # Errors
///
/// [`LedgerError`].
pub fn bring_up(folder: &Path) -> Result<(), LedgerError> {
    let path = folder.join(LEDGER_DATABASE);
    durabletask_sqlite::create_private(&path).map_err(|source| LedgerError::Io {
        path: path.clone(),
        source,
    })?;
    schema::open(&path).map(drop)
}

/// Continues a folder's journal in the shared database.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn end_in_database(
    transaction: &Transaction<'_>,
    folder: &Connection,
) -> Result<(), LedgerError> {
    let end: Option<i64> = folder
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'journal'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let sql = "UPDATE ledger_journal_end SET seq = $1";
    execute(transaction, sql, &[&end.unwrap_or(0)]).await?;
    Ok(())
}

/// Continues the shared database's journal in a folder.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn end_in_folder(
    transaction: &Transaction<'_>,
    folder: &Connection,
) -> Result<(), LedgerError> {
    let row = one(transaction, "SELECT seq FROM ledger_journal_end", &[]).await?;
    let end: i64 = row.ok_or(LedgerError::Malformed)?.try_get(0)?;
    folder.execute("DELETE FROM sqlite_sequence WHERE name = 'journal'", [])?;
    folder.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('journal', ?1)",
        params![end],
    )?;
    Ok(())
}
