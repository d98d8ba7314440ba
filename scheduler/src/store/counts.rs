//! How many instances each task hub has of each status, without counting them each time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::engine::Connection;

/// A hub's number and a status number.
type Class = (i64, i32);

/// The counts as of the last commit: counted once at start, then kept by the writer.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Class, i64>>);

/// What a transaction adds to the counts, and takes from them.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<(Class, i64)>);

impl Changes {
    fn add(&mut self, class: Class, number: i64) {
        match self.0.iter_mut().find(|(each, _)| *each == class) {
            Some((_, sum)) => *sum += number,
            None => self.0.push((class, number)),
        }
    }

    /// An instance has a status that it did not have, or is new.
    pub(super) fn plus(&mut self, hub: i64, status: i32) {
        self.add((hub, status), 1);
    }

    /// An instance has no longer a status that it had, or is gone.
    pub(super) fn minus(&mut self, hub: i64, status: i32) {
        self.add((hub, status), -1);
    }

    /// An instance's status has changed.
    pub(super) fn moved(&mut self, hub: i64, from: i32, to: i32) {
        if from != to {
            self.minus(hub, from);
            self.plus(hub, to);
        }
    }
}

impl Counts {
    /// Counts what is there. Reads only an index.
    pub(super) fn load(conn: &Connection) -> super::engine::Result<Self> {
        let mut statement = conn.prepare_cached(
            "SELECT hub, status, count(*) FROM instances INDEXED BY instances_by_status
             GROUP BY hub, status",
        )?;
        let rows = statement.query_map((), |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        Ok(Self(Mutex::new(rows.collect::<Result<_, _>>()?)))
    }

    /// Starts again from other counts.
    pub(super) fn replace(&self, other: Self) {
        let other = other.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Applies what a committed transaction has changed.
    pub(super) fn apply(&self, changes: Changes) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (class, number) in changes.0 {
            let count = counts.entry(class).or_default();
            *count += number;
            if *count == 0 {
                counts.remove(&class);
            }
        }
    }

    /// Hub, status number and count, in order.
    pub(crate) fn all(&self) -> Vec<(i64, i32, i64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((hub, status), count)| (*hub, *status, *count))
            .collect()
    }
}
