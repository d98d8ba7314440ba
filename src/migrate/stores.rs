//! What is moved: five databases of a data folder, each with its tables.

use std::fs::File;
use std::path::{Path, PathBuf};

use countersign_activities::vault::{self, VAULT_DATABASE};
use countersign_database::Transaction;
use countersign_database::tables::{self, Filling, Table, Value};
use countersign_ledger::{LEDGER_DATABASE, transfer as ledger};
use durabletask_sqlite::Database;
use rusqlite::Connection;

use super::MigrateError;
use super::rows;
use crate::access::transfer as access;
use crate::app::ACCESS_DATABASE;
use crate::audit::{AUDIT_DATABASE, transfer as audit};
use crate::verify::{VERIFY_DATABASE, transfer as verify};

/// How many rows are on their way at once.
const PAGE: u32 = 1_000;
/// What SQLite and this program keep beside a database.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-lock"];

/// A database of a data folder.
#[derive(Clone, Copy)]
pub(super) struct Store {
    pub(super) file: &'static str,
    pub(super) tables: &'static [Table],
}

pub(super) const VAULT: Store = Store {
    file: VAULT_DATABASE,
    tables: vault::transfer::TABLES,
};
pub(super) const ACCESS: Store = Store {
    file: ACCESS_DATABASE,
    tables: access::TABLES,
};
pub(super) const VERIFY: Store = Store {
    file: VERIFY_DATABASE,
    tables: verify::TABLES,
};
pub(super) const LEDGER: Store = Store {
    file: LEDGER_DATABASE,
    tables: ledger::TABLES,
};
pub(super) const AUDIT: Store = Store {
    file: AUDIT_DATABASE,
    tables: audit::TABLES,
};

pub(super) const ALL: [Store; 5] = [VAULT, ACCESS, VERIFY, LEDGER, AUDIT];

/// Every table of all of them.
pub(super) fn every_table() -> Vec<Table> {
    ALL.iter().flat_map(|store| store.tables).copied().collect()
}

/// The open databases of one folder, which no other process has open.
pub(super) struct Stores {
    folder: PathBuf,
    open: Vec<(Store, Database)>,
}

impl Stores {
    /// Opens those that are there, and refuses them if another process uses one.
    pub(super) fn open(folder: &Path) -> Result<Self, MigrateError> {
        let mut open = Vec::new();
        for store in ALL {
            let path = folder.join(store.file);
            if !path.is_file() {
                continue;
            }
            let database = Database::open(&path)?;
            let alone = database.is_alone();
            let failed = |source| MigrateError::File {
                action: "lock",
                path: path.clone(),
                source,
            };
            if !alone.map_err(failed)? {
                return Err(MigrateError::FolderInUse(path));
            }
            open.push((store, database));
        }
        Ok(Self {
            folder: folder.to_owned(),
            open,
        })
    }

    /// One of them, if it is there.
    pub(super) fn get(&self, store: Store) -> Option<&Connection> {
        let mut open = self.open.iter();
        let found = open.find(|(it, _)| it.file == store.file);
        found.map(|(_, database)| &**database)
    }

    /// An error of one of them.
    pub(super) fn failed(&self, store: Store) -> impl Fn(rusqlite::Error) -> MigrateError {
        let path = self.folder.join(store.file);
        move |source| MigrateError::Sqlite {
            path: path.clone(),
            source,
        }
    }

    /// Copies all rows into the database.
    pub(super) async fn copy_out(
        &self,
        transaction: &Transaction<'_>,
        told: &mut dyn FnMut(&str),
    ) -> Result<(), MigrateError> {
        for (store, database) in &self.open {
            for table in store.tables {
                let mut filling = Filling::begin(transaction, table).await?;
                let mut after: Option<Vec<Value>> = None;
                let mut count = 0;
                loop {
                    let page = rows::page(database, table, after.as_deref(), PAGE);
                    let page = page.map_err(self.failed(*store))?;
                    for row in &page {
                        filling.put(row).await?;
                    }
                    count += page.len();
                    told(&format!("{count} {}", table.rows));
                    match page.last() {
                        Some(last) => after = Some(table.key_of(last).to_vec()),
                        None => break,
                    }
                }
                filling.end().await?;
            }
        }
        Ok(())
    }

    /// Copies all rows of the database into these, which are empty.
    pub(super) async fn copy_in(
        &self,
        transaction: &Transaction<'_>,
        told: &mut dyn FnMut(&str),
    ) -> Result<(), MigrateError> {
        for (store, database) in &self.open {
            let failed = self.failed(*store);
            let writing = database.unchecked_transaction().map_err(&failed)?;
            for table in store.tables {
                let mut after: Option<Vec<Value>> = None;
                let mut count = 0;
                loop {
                    let page = tables::page(transaction, table, after.as_deref(), PAGE).await?;
                    rows::put(&writing, table, &page).map_err(&failed)?;
                    count += page.len();
                    told(&format!("{count} {}", table.rows));
                    match page.last() {
                        Some(last) => after = Some(table.key_of(last).to_vec()),
                        None => break,
                    }
                }
            }
            writing.commit().map_err(&failed)?;
        }
        Ok(())
    }

    /// Compares every row of these with the database; how many there are of each table.
    pub(super) async fn compare(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<Counts, MigrateError> {
        let mut counts = Vec::new();
        for store in ALL {
            let here = self.get(store);
            for table in store.tables {
                let mut after: Option<Vec<Value>> = None;
                let mut count = 0;
                loop {
                    let there = tables::page(transaction, table, after.as_deref(), PAGE).await?;
                    let here = match here {
                        Some(here) => rows::page(here, table, after.as_deref(), PAGE)
                            .map_err(self.failed(store))?,
                        None => Vec::new(),
                    };
                    if here != there {
                        return Err(MigrateError::Differs { rows: table.rows });
                    }
                    count += here.len() as u64;
                    match here.last() {
                        Some(last) => after = Some(table.key_of(last).to_vec()),
                        None => break,
                    }
                }
                counts.push((table.rows, count));
            }
        }
        Ok(counts)
    }
}

/// How many rows there are of what.
pub(super) type Counts = Vec<(&'static str, u64)>;

/// How many rows the database has of what.
pub(super) async fn count(transaction: &Transaction<'_>) -> Result<Counts, MigrateError> {
    let mut counts = Vec::new();
    for table in every_table() {
        counts.push((table.rows, tables::count(transaction, table.shared).await?));
    }
    Ok(counts)
}

/// Moves what belongs to a database's file, if anything is there, from one folder to another.
pub(super) fn move_files(name: &str, from: &Path, to: &Path) -> Result<(), MigrateError> {
    for end in BESIDE {
        let name = format!("{name}{end}");
        let (old, new) = (from.join(&name), to.join(&name));
        match std::fs::rename(&old, &new) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(MigrateError::File {
                    action: "move",
                    path: old,
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Flushes a file or folder to the disk.
pub(super) fn flush(path: &Path) -> Result<(), MigrateError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| MigrateError::File {
            action: "flush",
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use countersign_database::testing::Postgres;

    use super::*;

    /// What a folder has no equal of: told in the documentation, or written apart.
    const APART: [&str; 9] = [
        "access_login_codes",
        "audit_end",
        "installation_keys",
        "installation_move",
        "ledger_journal_end",
        "migrations",
        // None while an installation is moved.
        "vault_former_keys",
        "vault_keys",
        "verify_wrong",
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn every_table_and_every_column_is_moved_or_known_not_to_be() {
        let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
            return;
        };
        let name = tokio::task::block_in_place(|| server.make());
        let url = server.database_named(&name);
        countersign_database::Database::open(url, None, 2)
            .await
            .unwrap();
        let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns
                   WHERE table_schema = 'countersign' AND column_name <> 'single'";
        let there = tokio::task::block_in_place(|| server.psql(&name, sql).unwrap());
        let there: BTreeSet<&str> = there.split_whitespace().collect();
        let tables = every_table();
        let moved: BTreeSet<String> = tables
            .iter()
            .flat_map(|table| table.columns.iter().map(|it| (table.shared, it.name)))
            .map(|(table, column)| format!("{table}.{column}"))
            .collect();
        let missing: Vec<&str> = there
            .into_iter()
            .filter(|column| !moved.contains(*column))
            .filter(|column| !APART.contains(&column.split('.').next().unwrap_or_default()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
