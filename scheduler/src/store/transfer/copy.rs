//! Copies every row, and compares what each instance, entity and hub has in both places.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::MigrateError;
use super::tables::{Cell, TABLES, Table};
use crate::store::engine::{self, Connection, MOST_INDEXED, stored_length};

/// After how many bytes the rows that are on their way are waited for.
const UNDER_WAY: usize = 1024 * 1024;
/// Texts of up to so many bytes fit in any case: each of these may need five there.
const SHORT_ENOUGH: i64 = 520;
/// How many rows are copied or compared between two reports.
const REPORT: u64 = 20_000;

/// A digest of all that belongs to an instance, an entity or a hub, for each of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Digests {
    /// By the kind of owner (hubs have numbers of their own) and its number.
    of: HashMap<(bool, i64), [u8; 32]>,
    pub(super) counts: Vec<(&'static str, u64)>,
}

impl Digests {
    /// Adds a row. Where it stands among its owner's rows does not count: every row says which it is.
    fn add(&mut self, table: &Table, row: &[Cell]) {
        let digest = self
            .of
            .entry((table.name == "hubs", table.owner_of(row)))
            .or_default();
        let mut hash = Sha256::new();
        hash.update(table.name);
        for cell in row {
            // With its kind and length, so that no two rows read the same.
            match cell {
                Cell::Null => hash.update([0]),
                Cell::Integer(value) => {
                    hash.update([1]);
                    hash.update(value.to_le_bytes());
                }
                Cell::Text(text) => {
                    hash.update([2]);
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text);
                }
                Cell::Blob(bytes) => {
                    hash.update([3]);
                    hash.update((bytes.len() as u64).to_le_bytes());
                    hash.update(bytes);
                }
            }
        }
        for (sum, one) in digest.iter_mut().zip(hash.finalize()) {
            *sum ^= one;
        }
    }

    /// Refuses another content: `self` is that of the old place, `new` that of the new one.
    pub(super) fn refuse_other(&self, new: &Self) -> Result<(), MigrateError> {
        for (old, new) in self.counts.iter().zip(&new.counts) {
            if old != new {
                return Err(MigrateError::Differs {
                    what: format!("the rows of {} ({} before, {} now)", old.0, old.1, new.1),
                });
            }
        }
        let other = self
            .of
            .iter()
            .find(|(owner, digest)| new.of.get(*owner) != Some(*digest));
        match other {
            Some(((false, key), _)) => Err(MigrateError::Differs {
                what: format!("what belongs to the instance or entity with the number {key}"),
            }),
            Some(((true, id), _)) => Err(MigrateError::Differs {
                what: format!("the task hub with the number {id}"),
            }),
            None if self.of.len() != new.of.len() => Err(MigrateError::Differs {
                what: format!("{} owners of rows, {} now", self.of.len(), new.of.len()),
            }),
            None => Ok(()),
        }
    }
}

/// Passes on each row of a table, in the order of what identifies it; how many there are.
fn each(
    conn: &Connection,
    table: &Table,
    row: &mut dyn FnMut(Vec<Cell>) -> engine::Result<()>,
) -> engine::Result<u64> {
    let mut count = 0;
    let mut after: Vec<Cell> = Vec::new();
    loop {
        let mut statement = conn.prepare_cached(&table.select(!after.is_empty()))?;
        let mut rows = statement.query(after.clone())?;
        let mut page = 0;
        while let Some(found) = rows.next()? {
            let found = table.read(&found)?;
            after = found[..table.key].to_vec();
            row(found)?;
            page += 1;
        }
        count += page as u64;
        if page < table.page {
            return Ok(count);
        }
    }
}

/// Refuses what PostgreSQL would: a text that it cannot index.
pub(super) fn refuse_long(from: &Connection) -> Result<(), MigrateError> {
    for (what, sql) in [
        (
            "id",
            "SELECT id, '', id FROM instances WHERE length(CAST(id AS BLOB)) > ?1",
        ),
        (
            "name",
            "SELECT name, '', id FROM instances WHERE length(CAST(name AS BLOB)) > ?1",
        ),
        (
            "tag",
            "SELECT t.key, t.value, i.id FROM tags t JOIN instances i ON i.key = t.instance
             WHERE length(CAST(t.key AS BLOB)) + length(CAST(t.value AS BLOB)) > ?1",
        ),
    ] {
        let mut statement = from.prepare_cached(sql)?;
        let found = statement.query_map([SHORT_ENOUGH], |row| {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((stored_length(&key) + stored_length(&value), row.get(2)?))
        })?;
        for one in found {
            let (size, instance) = one?;
            if size > MOST_INDEXED {
                return Err(MigrateError::TooLong {
                    what,
                    instance,
                    size,
                    limit: MOST_INDEXED,
                });
            }
        }
    }
    Ok(())
}

/// Copies all rows: digests of what was read.
pub(super) fn copy(
    from: &Connection,
    to: &Connection,
    told: &mut dyn FnMut(&str),
) -> Result<Digests, MigrateError> {
    let mut digests = Digests::default();
    for table in &TABLES {
        let mut insert = to.prepare_cached(&table.insert())?;
        let (mut waiting, mut done) = (0, 0_u64);
        let count = each(from, table, &mut |row| {
            digests.add(table, &row);
            waiting += row.iter().map(Cell::size).sum::<usize>();
            done += 1;
            if done.is_multiple_of(REPORT) {
                told(&format!("copying {}: {done} rows", table.name));
            }
            if waiting < UNDER_WAY {
                return insert.run(row);
            }
            waiting = 0;
            insert.execute(row).map(drop)
        })?;
        digests.counts.push((table.name, count));
    }
    Ok(digests)
}

/// Digests of what is there.
pub(super) fn digests(
    conn: &Connection,
    told: &mut dyn FnMut(&str),
) -> Result<Digests, MigrateError> {
    let mut digests = Digests::default();
    for table in &TABLES {
        let mut done = 0_u64;
        let count = each(conn, table, &mut |row| {
            digests.add(table, &row);
            done += 1;
            if done.is_multiple_of(REPORT) {
                told(&format!("comparing {}: {done} rows", table.name));
            }
            Ok(())
        })?;
        digests.counts.push((table.name, count));
    }
    Ok(digests)
}

/// What is there of what a scheduler works with: instances and entities.
pub(super) fn found(conn: &Connection) -> engine::Result<Option<String>> {
    for table in ["instances", "entities"] {
        let any = conn
            .prepare_cached(&format!("SELECT 1 FROM {table} LIMIT 1"))?
            .exists(())?;
        if any {
            return Ok(Some(format!("it has {table}")));
        }
    }
    Ok(None)
}

/// Removes all rows.
pub(super) fn clear(conn: &Connection) -> engine::Result<()> {
    if conn.session().is_some() {
        let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        return conn.execute_batch(&format!("TRUNCATE {}", names.join(", ")));
    }
    for table in &TABLES {
        conn.execute(&format!("DELETE FROM {}", table.name), ())?;
    }
    Ok(())
}
