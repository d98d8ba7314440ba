//! Lists of instances for people: filtered, sorted, a page at a time.
//!
//! Every order follows an index, and a page continues after the last row of the previous
//! one, so the thousandth page costs as much as the first.

use durabletask_proto::OrchestrationState;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::StoreError;
use super::query::{read_state, select};

/// A list's filter; all conditions apply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    pub(crate) statuses: Vec<i32>,
    /// The full name of the orchestration.
    pub(crate) name: Option<String>,
    pub(crate) id_prefix: Option<String>,
    pub(crate) created_from_us: Option<i64>,
    /// Exclusive.
    pub(crate) created_to_us: Option<i64>,
    /// A tag, and optionally its value.
    pub(crate) tag: Option<(String, Option<String>)>,
    /// Only instances with this parent.
    pub(crate) parent: Option<i64>,
}

/// A list's sort order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The time of creation.
    #[default]
    Created,
    /// The instance id, byte by byte.
    Id,
    /// The orchestration's name, then the time of creation.
    Name,
}

/// A page's start: after the row with these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) values: Vec<CursorValue>,
}

/// A value that a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CursorValue {
    Number(i64),
    Text(String),
}

/// One page; `next` is where the following one begins, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) states: Vec<OrchestrationState>,
    pub(crate) next: Option<Cursor>,
}

impl Sort {
    /// The columns that make the order total.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Created => &["i.created_us", "i.key"],
            Self::Id => &["i.id"],
            Self::Name => &["i.name", "i.created_us", "i.key"],
        }
    }
}

/// Lists a page of a hub's instances, without payloads.
pub(crate) fn browse(
    conn: &Connection,
    hub: i64,
    narrow: &Narrow,
    (sort, descending): (Sort, bool),
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listed, StoreError> {
    let direction = if descending { "DESC" } else { "ASC" };
    let order: Vec<String> = sort
        .columns()
        .iter()
        .map(|column| format!("{column} {direction}"))
        .collect();
    let order = order.join(", ");
    // Each status has its own range of the index, in order: the page is within the first
    // rows of all ranges.
    let by_status = narrow.statuses.len() > 1 && index(narrow, sort) == BY_CREATION;
    let stretches: Vec<Narrow> = match by_status {
        true => narrow
            .statuses
            .iter()
            .map(|status| Narrow {
                statuses: vec![*status],
                ..narrow.clone()
            })
            .collect(),
        false => vec![narrow.clone()],
    };
    let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut values = Vec::new();
    let mut keys = Vec::new();
    for stretch in &stretches {
        let mut conditions = vec!["i.hub = ?".to_owned()];
        values.push(Value::from(hub));
        conditions_of(hub, stretch, &mut conditions, &mut values);
        beyond(sort, descending, after, &mut conditions, &mut values);
        values.push(Value::from(most));
        keys.push(format!(
            "SELECT key FROM (SELECT i.key FROM instances i {} WHERE {} ORDER BY {order} LIMIT ?)",
            index(stretch, sort),
            conditions.join(" AND "),
        ));
    }
    values.push(Value::from(most));
    // The page is found on the small rows and their index; only its rows are then joined
    // with payloads, which hold the failure.
    let sql = format!(
        "{} WHERE i.key IN ({}) ORDER BY {order} LIMIT ?",
        select(false),
        keys.join(" UNION ALL "),
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement
        .query_map(rusqlite::params_from_iter(values), |row| {
            let (key, state) = read_state(row, false)?;
            Ok((key, row.get::<_, i64>("created_us")?, state))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(key, created, state)| Cursor {
            values: match sort {
                Sort::Created => vec![CursorValue::Number(*created), CursorValue::Number(*key)],
                Sort::Id => vec![CursorValue::Text(state.instance_id.clone())],
                Sort::Name => vec![
                    CursorValue::Text(state.name.clone()),
                    CursorValue::Number(*created),
                    CursorValue::Number(*key),
                ],
            },
        });
    Ok(Listed {
        states: rows.into_iter().map(|(.., state)| state).collect(),
        next,
    })
}

/// Only what comes after the previous page.
fn beyond(
    sort: Sort,
    descending: bool,
    after: Option<&Cursor>,
    conditions: &mut Vec<String>,
    values: &mut Vec<Value>,
) {
    let columns = sort.columns();
    let Some(after) = after.filter(|after| after.values.len() == columns.len()) else {
        return;
    };
    let marks = vec!["?"; columns.len()].join(", ");
    let than = if descending { "<" } else { ">" };
    conditions.push(format!("({}) {than} ({marks})", columns.join(", ")));
    values.extend(after.values.iter().map(|value| match value {
        CursorValue::Number(number) => Value::from(*number),
        CursorValue::Text(text) => Value::from(text.clone()),
    }));
}

/// All instances of a hub in order of creation.
const BY_CREATION: &str = "INDEXED BY instances_by_created";

/// The index that a list uses. SQLite has no statistics here and would guess.
fn index(narrow: &Narrow, sort: Sort) -> &'static str {
    if narrow.parent.is_some() {
        return "INDEXED BY instances_by_parent";
    }
    if narrow.tag.is_some() {
        // The rows come by their keys, from the tags.
        return "NOT INDEXED";
    }
    match sort {
        Sort::Id => "INDEXED BY instances_by_id",
        Sort::Name => "INDEXED BY instances_by_name",
        Sort::Created if narrow.id_prefix.is_some() => "INDEXED BY instances_by_id",
        Sort::Created if narrow.statuses.len() == 1 => "INDEXED BY instances_by_status",
        Sort::Created if narrow.name.is_some() => "INDEXED BY instances_by_name",
        Sort::Created => BY_CREATION,
    }
}

fn conditions_of(hub: i64, narrow: &Narrow, conditions: &mut Vec<String>, values: &mut Vec<Value>) {
    match narrow.statuses.as_slice() {
        [] => {}
        [only] => {
            conditions.push("i.status = ?".to_owned());
            values.push(i64::from(*only).into());
        }
        several => {
            let marks = vec!["?"; several.len()].join(", ");
            conditions.push(format!("i.status IN ({marks})"));
            values.extend(several.iter().map(|status| Value::from(i64::from(*status))));
        }
    }
    if let Some(name) = &narrow.name {
        conditions.push("i.name = ?".to_owned());
        values.push(name.clone().into());
    }
    if let Some(prefix) = &narrow.id_prefix {
        conditions.push("i.id >= ?".to_owned());
        values.push(prefix.clone().into());
        if let Some(end) = after_prefix(prefix) {
            conditions.push("i.id < ?".to_owned());
            values.push(end.into());
        }
    }
    if let Some(from) = narrow.created_from_us {
        conditions.push("i.created_us >= ?".to_owned());
        values.push(from.into());
    }
    if let Some(to) = narrow.created_to_us {
        conditions.push("i.created_us < ?".to_owned());
        values.push(to.into());
    }
    if let Some((key, value)) = &narrow.tag {
        let and = if value.is_some() {
            " AND value = ?"
        } else {
            ""
        };
        conditions.push(format!(
            "i.key IN (SELECT instance FROM tags WHERE hub = ? AND key = ?{and})"
        ));
        values.push(hub.into());
        values.push(key.clone().into());
        values.extend(value.clone().map(Value::from));
    }
    if let Some(parent) = narrow.parent {
        conditions.push("i.parent_key = ?".to_owned());
        values.push(parent.into());
    }
}

/// The first text after all texts that begin with `prefix`, if there is one.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The step over the surrogates is the only gap among the characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The names of a hub's orchestrations, the first `limit` in order. Jumps from name to
/// name in the index, so it takes as many steps as there are names.
pub(crate) fn names(conn: &Connection, hub: i64, limit: usize) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name FROM instances INDEXED BY instances_by_name
         WHERE hub = ?1 AND name > ?2 ORDER BY name LIMIT 1",
    )?;
    let mut first = conn.prepare_cached(
        "SELECT name FROM instances INDEXED BY instances_by_name WHERE hub = ?1 ORDER BY name LIMIT 1",
    )?;
    let mut names: Vec<String> = Vec::new();
    while names.len() < limit {
        let mut rows = match names.last() {
            Some(last) => statement.query((hub, last))?,
            None => first.query([hub])?,
        };
        let Some(row) = rows.next()? else { break };
        let name = row.get(0)?;
        drop(rows);
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
