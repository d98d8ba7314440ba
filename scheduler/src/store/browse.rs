//! Lists of instances for people: filtered, sorted, a page at a time.
//!
//! Every order follows an index, and a page continues after the last row of the previous
//! one, so the thousandth page costs as much as the first.

use super::engine::{Connection, Value};
use durabletask_proto::OrchestrationState;

use super::StoreError;
use super::prefix::{after_prefix, is_rare};
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
    let order: Vec<String> = match by_tag(narrow, sort) {
        // Instances are numbered in the order in which they are created.
        true => vec![format!("i.key {direction}")],
        false => sort
            .columns()
            .iter()
            .map(|column| format!("{column} {direction}"))
            .collect(),
    };
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
    let walked = match by_status {
        true => None,
        false => walk(conn, hub, narrow, (sort, descending), &order, after, limit)?,
    };
    if let Some(walked) = &walked {
        keys.push(vec!["?"; walked.len()].join(", "));
        values.extend(walked.iter().map(|key| Value::from(*key)));
    }
    for stretch in stretches.iter().filter(|_| walked.is_none()) {
        let mut conditions = vec!["i.hub = ?".to_owned()];
        values.push(Value::from(hub));
        conditions_of(hub, stretch, sort, &mut conditions, &mut values);
        let tagged = by_tag(stretch, sort);
        beyond(
            sort,
            descending,
            after,
            tagged,
            &mut conditions,
            &mut values,
        );
        values.push(Value::from(most));
        let from = match (&stretch.tag, tagged) {
            (Some((_, Some(_))), true) => {
                "tags t CROSS JOIN instances i ON i.key = t.instance".to_owned()
            }
            (Some((_, None)), true) => {
                "tags t INDEXED BY tags_by_key CROSS JOIN instances i ON i.key = t.instance"
                    .to_owned()
            }
            _ => format!("instances i {}", index(stretch, sort)),
        };
        let order = match tagged {
            true => format!("t.instance {direction}"),
            false => order.clone(),
        };
        keys.push(format!(
            "SELECT key FROM (SELECT i.key FROM {from} WHERE {} ORDER BY {order} LIMIT ?) AS page",
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
        .query_map(values, |row| {
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

/// Whether a list follows the tags, which are in order of creation for each value of each key.
fn by_tag(narrow: &Narrow, sort: Sort) -> bool {
    narrow.tag.is_some() && narrow.parent.is_none() && sort == Sort::Created
}

/// The page's instances, and one more if there is one, for a prefix that many ids have: in order of
/// creation they are soon found among the others. `None` where that does not pay.
fn walk(
    conn: &Connection,
    hub: i64,
    narrow: &Narrow,
    (sort, descending): (Sort, bool),
    order: &str,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Option<Vec<i64>>, StoreError> {
    let Some(prefix) = narrow
        .id_prefix
        .as_ref()
        .filter(|_| sort == Sort::Created && narrow.tag.is_none() && narrow.parent.is_none())
    else {
        return Ok(None);
    };
    if is_rare(conn, hub, prefix)? {
        return Ok(None);
    }
    let wide = Narrow {
        id_prefix: None,
        ..narrow.clone()
    };
    let mut conditions = vec!["i.hub = ?".to_owned()];
    let mut values = vec![Value::from(hub)];
    conditions_of(hub, &wide, sort, &mut conditions, &mut values);
    beyond(sort, descending, after, false, &mut conditions, &mut values);
    values.push(Value::from(WALKED));
    let mut statement = conn.prepare_cached(&format!(
        "SELECT i.key, i.id FROM instances i {} WHERE {} ORDER BY {order} LIMIT ?",
        index(&wide, sort),
        conditions.join(" AND "),
    ))?;
    let mut rows = statement.query(values)?;
    let mut keys = Vec::new();
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if row.get::<_, String>(1)?.starts_with(prefix) {
            keys.push(row.get(0)?);
            if keys.len() > limit {
                return Ok(Some(keys));
            }
        }
    }
    // The end of the list, or too many others in between.
    Ok((seen < WALKED).then_some(keys))
}

/// How many instances are looked at for a page of those whose ids have a prefix.
const WALKED: i64 = 10_000;

/// Only what comes after the previous page.
fn beyond(
    sort: Sort,
    descending: bool,
    after: Option<&Cursor>,
    tagged: bool,
    conditions: &mut Vec<String>,
    values: &mut Vec<Value>,
) {
    let columns = sort.columns();
    let Some(after) = after.filter(|after| after.values.len() == columns.len()) else {
        return;
    };
    let than = if descending { "<" } else { ">" };
    if tagged {
        conditions.push(format!("t.instance {than} ?"));
        values.extend(after.values.last().map(value));
        return;
    }
    let marks = vec!["?"; columns.len()].join(", ");
    conditions.push(format!("({}) {than} ({marks})", columns.join(", ")));
    values.extend(after.values.iter().map(value));
}

fn value(value: &CursorValue) -> Value {
    match value {
        CursorValue::Number(number) => Value::from(*number),
        CursorValue::Text(text) => Value::from(text.clone()),
    }
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

fn conditions_of(
    hub: i64,
    narrow: &Narrow,
    sort: Sort,
    conditions: &mut Vec<String>,
    values: &mut Vec<Value>,
) {
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
        conditions.push(match by_tag(narrow, sort) {
            true => format!("t.hub = ? AND t.key = ?{}", and.replace("value", "t.value")),
            false => format!("i.key IN (SELECT instance FROM tags WHERE hub = ? AND key = ?{and})"),
        });
        values.push(hub.into());
        values.push(key.clone().into());
        values.extend(value.clone().map(Value::from));
    }
    if let Some(parent) = narrow.parent {
        conditions.push("i.parent_key = ?".to_owned());
        values.push(parent.into());
    }
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 12,000 instances: each has the tag `of`, every fourth an id with the prefix `even-`, the
    /// first 3,000 one with `old-`, and ten one with `few-`.
    fn filled() -> Connection {
        let conn = super::super::schema::open_memory().unwrap();
        conn.execute_batch(
            "BEGIN;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO instances (key, hub, id, execution_id, name, status, held, next_seq,
                 created_us, updated_us, details, terminate_children)
             SELECT i, 1, CASE WHEN i % 1200 = 7 THEN 'few-' WHEN i % 4 = 0 THEN 'even-'
                 WHEN i <= 4500 THEN 'old-' ELSE 'odd-' END || i,
                 'e', 'Hello', i % 2, 0, 0, i * 10, 0, x'', 0 FROM n;
             INSERT INTO payloads (instance) SELECT key FROM instances;
             INSERT INTO tags SELECT 1, 'of', key % 3, key FROM instances;
             COMMIT;",
        )
        .unwrap();
        conn
    }

    /// All ids of a list, read page by page.
    fn all(conn: &Connection, narrow: &Narrow, descending: bool, limit: usize) -> Vec<String> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let order = (Sort::Created, descending);
            let page = browse(conn, 1, narrow, order, after.as_ref(), limit).unwrap();
            assert!(page.states.len() <= limit);
            ids.extend(page.states.into_iter().map(|state| state.instance_id));
            match page.next {
                Some(next) => after = Some(next),
                None => return ids,
            }
        }
    }

    #[test]
    fn whatever_finds_a_page_the_list_is_the_same() {
        let conn = filled();
        let rows: Vec<(String, i32, i64)> = conn
            .prepare_cached("SELECT id, status, key FROM instances ORDER BY created_us, key")
            .unwrap()
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let prefixes = ["", "even-", "old-", "few-", "none-"];
        for prefix in prefixes.map(|prefix| Some(prefix).filter(|prefix| !prefix.is_empty())) {
            for tag in [None, Some(None), Some(Some("2"))] {
                for statuses in [vec![], vec![1], vec![0, 1]] {
                    let mut expected: Vec<String> = rows
                        .iter()
                        .filter(|(id, status, key)| {
                            prefix.is_none_or(|prefix| id.starts_with(prefix))
                                && (statuses.is_empty() || statuses.contains(status))
                                && (tag != Some(Some("2")) || key % 3 == 2)
                        })
                        .map(|(id, ..)| id.clone())
                        .collect();
                    let narrow = Narrow {
                        id_prefix: prefix.map(str::to_owned),
                        tag: tag.map(|value| ("of".to_owned(), value.map(str::to_owned))),
                        statuses: statuses.clone(),
                        ..Narrow::default()
                    };
                    let limit = (expected.len() / 3).max(50);
                    assert_eq!(all(&conn, &narrow, false, limit), expected, "{narrow:?}");
                    expected.reverse();
                    assert_eq!(all(&conn, &narrow, true, limit), expected, "{narrow:?}");
                }
            }
        }
    }
}
