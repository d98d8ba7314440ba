//! The audit log on its way between a data folder and the shared database: the same entries in
//! the same chain, with the same keys.

use countersign_database::Transaction;
use countersign_database::tables::{Column, Table};
use rusqlite::Connection;

use super::chain::ChainKeys;
use super::error::AuditError;
use super::head::Head;
use super::postgres::note_end;
use super::store::{archive_table, end};
use crate::access::ServerKeys;

/// Its tables.
pub(crate) const TABLES: &[Table] = &[
    Table {
        rows: "audit entries",
        shared: "audit_entries",
        folder: "entries",
        columns: &[
            Column::number("sequence"),
            Column::text("event"),
            Column::bytes("hash"),
            Column::text("at").computed(),
            Column::text("action").computed(),
            Column::text("caller").computed(),
            Column::text("subject").computed(),
        ],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "audit archives",
        shared: "audit_archived",
        folder: "archived",
        columns: &[
            Column::number("sequence"),
            Column::bytes("hash"),
            Column::bytes("code"),
        ],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "journals in the audit log",
        shared: "audit_marks",
        folder: "marks",
        columns: &[Column::text("journal"), Column::number("sequence")],
        key: 1,
        numbered: false,
    },
];

/// Makes the table of archives in a folder's audit log, which it has once something was archived.
pub(crate) fn bring_up(folder: &Connection) -> rusqlite::Result<()> {
    folder.execute_batch(archive_table())
}

/// Continues the folder's chain in the database, and returns its end.
pub(crate) async fn end_in_database(
    transaction: &Transaction<'_>,
    folder: &Connection,
    server_keys: &ServerKeys,
) -> Result<Head, AuditError> {
    let end = end(folder, &ChainKeys::of(server_keys))?;
    note_end(transaction, &end).await?;
    Ok(end.head)
}
