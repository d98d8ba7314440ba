//! What is moved: every table of the task hubs, with the columns that both engines have.

use crate::store::engine;
use crate::store::engine::{Params, Row, ValueRef};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Text,
    Blob,
}
use Kind::{Blob, Integer, Text};

/// A table. Its first columns identify a row.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// How many columns identify a row, and say in which order rows are read.
    pub(super) key: usize,
    /// The column with the number of the instance or entity that a row belongs to.
    pub(super) owner: usize,
    /// How many rows are read at once.
    pub(super) page: usize,
}

/// All of them, in the order in which they are copied.
pub(super) const TABLES: [Table; 10] = [
    Table {
        name: "hubs",
        columns: &[("id", Integer), ("name", Text)],
        key: 1,
        owner: 0,
        page: 500,
    },
    Table {
        name: "instances",
        columns: &[
            ("key", Integer),
            ("hub", Integer),
            ("id", Text),
            ("execution_id", Text),
            ("name", Text),
            ("version", Text),
            ("status", Integer),
            ("held", Integer),
            ("next_seq", Integer),
            ("created_us", Integer),
            ("updated_us", Integer),
            ("completed_us", Integer),
            ("scheduled_us", Integer),
            ("custom_status", Text),
            ("parent_key", Integer),
            ("details", Blob),
            ("span", Blob),
            ("terminate_children", Integer),
            ("history_bytes", Integer),
            ("terminated", Blob),
            ("resumes_to", Integer),
            ("status_carried", Integer),
        ],
        key: 1,
        owner: 0,
        page: 500,
    },
    Table {
        name: "payloads",
        columns: &[
            ("instance", Integer),
            ("input", Text),
            ("output", Text),
            ("failure", Blob),
        ],
        key: 1,
        owner: 0,
        page: 50,
    },
    Table {
        name: "history",
        columns: &[("instance", Integer), ("seq", Integer), ("events", Blob)],
        key: 2,
        owner: 0,
        page: 50,
    },
    Table {
        name: "inbox",
        columns: &[("instance", Integer), ("seq", Integer), ("event", Blob)],
        key: 2,
        owner: 0,
        page: 50,
    },
    Table {
        name: "activities",
        columns: &[("id", Integer), ("instance", Integer), ("request", Blob)],
        key: 1,
        owner: 1,
        page: 50,
    },
    Table {
        name: "timers",
        columns: &[
            ("instance", Integer),
            ("id", Integer),
            ("fire_us", Integer),
            ("event", Blob),
        ],
        key: 2,
        owner: 0,
        page: 500,
    },
    Table {
        name: "entities",
        columns: &[
            ("key", Integer),
            ("hub", Integer),
            ("id", Text),
            ("state", Text),
            ("modified_us", Integer),
            ("locked_by", Text),
            ("lock_execution", Text),
            ("lock_section", Text),
        ],
        key: 1,
        owner: 0,
        page: 50,
    },
    Table {
        name: "entity_inbox",
        columns: &[
            ("entity", Integer),
            ("seq", Integer),
            ("is_lock", Integer),
            ("parent", Text),
            ("parent_execution", Text),
            ("event", Blob),
        ],
        key: 2,
        owner: 0,
        page: 50,
    },
    Table {
        name: "tags",
        columns: &[
            ("hub", Integer),
            ("key", Text),
            ("value", Text),
            ("instance", Integer),
        ],
        key: 4,
        owner: 3,
        page: 500,
    },
];

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    pub(super) fn size(&self) -> usize {
        8 + match self {
            Self::Null | Self::Integer(_) => 0,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }
}

impl Params for Vec<Cell> {
    fn each<E>(&self, mut to: impl FnMut(ValueRef<'_>) -> Result<(), E>) -> Result<(), E> {
        self.iter().try_for_each(|cell| {
            to(match cell {
                Cell::Null => ValueRef::Null,
                Cell::Integer(value) => ValueRef::Integer(*value),
                Cell::Text(text) => ValueRef::Text(text),
                Cell::Blob(bytes) => ValueRef::Blob(bytes),
            })
        })
    }
}

impl Table {
    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// Reads a page of it, in the order of what identifies rows; with `after`, behind those values.
    pub(super) fn select(&self, after: bool) -> String {
        let keys: Vec<&str> = self.columns[..self.key]
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let keys = keys.join(", ");
        let past = match after {
            true => {
                let marks: Vec<String> = (1..=self.key).map(|at| format!("?{at}")).collect();
                format!("WHERE ({keys}) > ({}) ", marks.join(", "))
            }
            false => String::new(),
        };
        format!(
            "SELECT {} FROM {} {past}ORDER BY {keys} LIMIT {}",
            self.names(),
            self.name,
            self.page
        )
    }

    pub(super) fn insert(&self) -> String {
        let marks: Vec<String> = (1..=self.columns.len())
            .map(|at| format!("?{at}"))
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.name,
            self.names(),
            marks.join(", ")
        )
    }

    pub(super) fn read(&self, row: &Row<'_>) -> engine::Result<Vec<Cell>> {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, (_, kind))| {
                Ok(match kind {
                    Integer => row
                        .get::<_, Option<i64>>(at)?
                        .map_or(Cell::Null, Cell::Integer),
                    Text => row
                        .get::<_, Option<String>>(at)?
                        .map_or(Cell::Null, Cell::Text),
                    Blob => row
                        .get::<_, Option<Vec<u8>>>(at)?
                        .map_or(Cell::Null, Cell::Blob),
                })
            })
            .collect()
    }

    /// The instance, entity or hub that a row belongs to.
    pub(super) fn owner_of(&self, row: &[Cell]) -> i64 {
        match row.get(self.owner) {
            Some(Cell::Integer(owner)) => *owner,
            _ => 0,
        }
    }
}
