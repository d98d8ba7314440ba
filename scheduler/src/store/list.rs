//! Finished instances by the time of their completion.

use super::engine::{Connection, OptionalExtension, Value};

use super::StoreError;

/// A list's cursor: after this instance, by completion time and then id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListCursor {
    pub(crate) completed_us: i64,
    pub(crate) id: String,
}

/// A list's filter; all conditions apply.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFilter {
    /// Empty for any.
    pub(crate) statuses: Vec<i32>,
    pub(crate) completed_from_us: Option<i64>,
    /// Exclusive.
    pub(crate) completed_to_us: Option<i64>,
    pub(crate) after: Option<ListCursor>,
    pub(crate) limit: usize,
}

fn page(hub: i64, filter: &ListFilter) -> (String, Vec<Value>) {
    let mut sql =
        "SELECT id, completed_us FROM instances WHERE hub = ? AND completed_us IS NOT NULL"
            .to_owned();
    let mut values = vec![Value::from(hub)];
    if let Some(from) = filter.completed_from_us {
        sql.push_str(" AND completed_us >= ?");
        values.push(from.into());
    }
    if let Some(to) = filter.completed_to_us {
        sql.push_str(" AND completed_us < ?");
        values.push(to.into());
    }
    if let Some(after) = &filter.after {
        sql.push_str(" AND (completed_us, id) > (?, ?)");
        values.push(after.completed_us.into());
        values.push(after.id.clone().into());
    }
    if !filter.statuses.is_empty() {
        let marks = vec!["?"; filter.statuses.len()].join(", ");
        // The plus avoids the status index: the order is that of completion.
        sql.push_str(&format!(" AND +status IN ({marks})"));
        values.extend(
            filter
                .statuses
                .iter()
                .map(|status| Value::from(i64::from(*status))),
        );
    }
    sql.push_str(" ORDER BY completed_us, id LIMIT ?");
    values.push(Value::from(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    (sql, values)
}

/// The ids of one page, and where the next one continues. A page that has ids always has a cursor,
/// even the last one: .NET's export of histories stops only at an empty page, and
/// takes a missing cursor for the beginning.
pub(crate) fn list(
    conn: &Connection,
    hub: i64,
    filter: &ListFilter,
) -> Result<(Vec<String>, Option<ListCursor>), StoreError> {
    let (sql, values) = page(hub, filter);
    let found = conn
        .prepare_cached(&sql)?
        .query_map(values, |row| {
            Ok(ListCursor {
                id: row.get(0)?,
                completed_us: row.get(1)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let next = found.last().cloned();
    Ok((found.into_iter().map(|entry| entry.id).collect(), next))
}

/// The place of a finished instance in the list.
pub(crate) fn completion_of(
    conn: &Connection,
    hub: i64,
    id: &str,
) -> Result<Option<ListCursor>, StoreError> {
    let completed_us = conn
        .prepare_cached("SELECT completed_us FROM instances WHERE hub = ? AND id = ?")?
        .query_row((hub, id), |row| row.get::<_, Option<i64>>(0))
        .optional()?
        .flatten();
    Ok(completed_us.map(|completed_us| ListCursor {
        completed_us,
        id: id.to_owned(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_page_walks_the_index_of_completions() {
        let conn = super::super::schema::open_memory().unwrap();
        let filter = ListFilter {
            statuses: vec![1, 3],
            completed_from_us: Some(1),
            completed_to_us: Some(9),
            after: Some(ListCursor {
                completed_us: 4,
                id: "a".to_owned(),
            }),
            limit: 10,
        };
        for filter in [filter, ListFilter::default()] {
            let (sql, values) = page(1, &filter);
            let plan = super::super::explain(&conn, &sql, values);
            assert!(plan.contains("instances_by_completion"), "{plan}");
            assert!(
                !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
                "{plan}"
            );
        }
    }
}
