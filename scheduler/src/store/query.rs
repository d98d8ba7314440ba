//! Reading: states, pages of them, history, inboxes.

use super::engine::{Connection, OptionalExtension, Row, Value};
use durabletask_proto::{
    ExecutionStartedEvent, HistoryChunk, HistoryEvent, OrchestrationState, OrchestrationStatus,
    TaskFailureDetails,
};
use prost::Message;
use prost_types::Timestamp;

use super::prefix::{after_prefix, is_rare};
use super::{Header, StoreError};

/// A query's filter; all conditions apply.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateFilter {
    pub(crate) statuses: Vec<i32>,
    pub(crate) created_from_us: Option<i64>,
    /// Exclusive.
    pub(crate) created_to_us: Option<i64>,
    pub(crate) id_prefix: Option<String>,
}

/// A page's start: after the instance with this time of creation and this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) created_us: i64,
    pub(crate) key: i64,
}

/// One page of states; `next` is the cursor of the following page, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) states: Vec<OrchestrationState>,
    pub(crate) next: Option<Place>,
}

/// A part of a history and the number to continue with, if there is more.
#[derive(Clone, Debug)]
pub(crate) struct HistoryPage {
    pub(crate) events: Vec<HistoryEvent>,
    /// How many bytes they have.
    pub(crate) bytes: usize,
    pub(crate) next: Option<i64>,
}

const COLUMNS: &str =
    "SELECT i.key, i.id, i.name, i.version, i.status, i.scheduled_us, i.created_us, i.updated_us,
    i.custom_status, i.execution_id, i.completed_us, i.details, p.failure";

pub(super) fn from_micros(us: i64) -> Timestamp {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos,
    }
}

/// Selects the columns that [`read_state`] reads.
pub(super) fn select(payloads: bool) -> String {
    format!(
        "{} FROM instances i JOIN payloads p ON p.instance = i.key",
        columns(payloads)
    )
}

fn columns(payloads: bool) -> String {
    let extra = if payloads { ", p.input, p.output" } else { "" };
    format!("{COLUMNS}{extra}")
}

pub(super) fn read_state(
    row: &Row<'_>,
    payloads: bool,
) -> super::engine::Result<(i64, OrchestrationState)> {
    let details: Vec<u8> = row.get(11)?;
    let details = ExecutionStartedEvent::decode(&*details).unwrap_or_default();
    let failure: Option<Vec<u8>> = row.get(12)?;
    let state = OrchestrationState {
        instance_id: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        orchestration_status: row.get(4)?,
        scheduled_start_timestamp: row.get::<_, Option<i64>>(5)?.map(from_micros),
        created_timestamp: Some(from_micros(row.get(6)?)),
        last_updated_timestamp: Some(from_micros(row.get(7)?)),
        input: if payloads { row.get(13)? } else { None },
        output: if payloads { row.get(14)? } else { None },
        custom_status: row.get(8)?,
        failure_details: failure.and_then(|bytes| TaskFailureDetails::decode(&*bytes).ok()),
        execution_id: row.get(9)?,
        completed_timestamp: row.get::<_, Option<i64>>(10)?.map(from_micros),
        parent_instance_id: details
            .parent_instance
            .and_then(|p| p.orchestration_instance)
            .map(|i| i.instance_id),
        tags: details.tags,
    };
    Ok((row.get(0)?, state))
}

/// The state of one instance and its key.
pub(crate) fn state(
    conn: &Connection,
    hub: i64,
    id: &str,
    payloads: bool,
) -> Result<Option<(i64, OrchestrationState)>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "{} WHERE i.hub = ?1 AND i.id = ?2",
        select(payloads)
    ))?;
    Ok(statement
        .query_row((hub, id), |row| read_state(row, payloads))
        .optional()?)
}

/// The SQL that finds one page of a hub's instances, in order of creation, and its
/// values. Each status has a range of the status index that is in that order already,
/// and SQLite merges the ranges on the fly: a page reads about as many rows as it
/// has, whatever else is in the hub.
/// The few instances whose ids have a rare prefix are all read, and sorted.
fn page_of_keys(
    hub: i64,
    filter: &StateFilter,
    after: Option<Place>,
    limit: usize,
    rare_prefix: bool,
) -> (String, Vec<Value>) {
    let mut statuses: Vec<Option<i32>> = match filter.statuses.is_empty() {
        true => vec![None],
        false => filter.statuses.iter().copied().map(Some).collect(),
    };
    statuses.sort_unstable();
    statuses.dedup();
    // The wire has few statuses; other numbers match nothing, however many are sent.
    statuses.retain(|status| status.is_none_or(|s| OrchestrationStatus::try_from(s).is_ok()));
    let mut parts = Vec::new();
    let mut values = Vec::new();
    for status in statuses {
        let index = match rare_prefix {
            true => "INDEXED BY instances_by_id ",
            false => "",
        };
        let mut sql = format!("SELECT created_us, key FROM instances {index}WHERE hub = ?");
        values.push(Value::from(hub));
        if let Some(status) = status {
            sql.push_str(" AND status = ?");
            values.push(i64::from(status).into());
        }
        if let Some(after) = after {
            sql.push_str(" AND (created_us, key) > (?, ?)");
            values.push(after.created_us.into());
            values.push(after.key.into());
        }
        if let Some(from) = filter.created_from_us {
            sql.push_str(" AND created_us >= ?");
            values.push(from.into());
        }
        if let Some(to) = filter.created_to_us {
            sql.push_str(" AND created_us < ?");
            values.push(to.into());
        }
        if let Some(prefix) = &filter.id_prefix {
            // Byte-wise and case-sensitive, unlike LIKE.
            sql.push_str(" AND substr(id, 1, length(?)) = ?");
            values.push(prefix.clone().into());
            values.push(prefix.clone().into());
            if rare_prefix {
                sql.push_str(" AND id >= ?");
                values.push(prefix.clone().into());
                if let Some(end) = after_prefix(prefix) {
                    sql.push_str(" AND id < ?");
                    values.push(end.into());
                }
            }
        }
        parts.push(sql);
    }
    if parts.is_empty() {
        parts.push("SELECT created_us, key FROM instances WHERE 1 = 0".to_owned());
    }
    values.push(Value::from(
        i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX),
    ));
    let sql = format!(
        "{} ORDER BY created_us, key LIMIT ?",
        parts.join(" UNION ALL ")
    );
    (sql, values)
}

/// Where the first instances are that a filter selects, in order of creation, after `after`.
pub(super) fn places(
    conn: &Connection,
    hub: i64,
    filter: &StateFilter,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Place>, StoreError> {
    let (sql, values) = page_of_keys(hub, filter, after, limit.saturating_sub(1), false);
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(values, |row| {
        Ok(Place {
            created_us: row.get(0)?,
            key: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One page of a hub's instances in order of creation, after the cursor `after`: up to this many
/// and this many bytes, but at least one.
pub(crate) fn query(
    conn: &Connection,
    hub: i64,
    filter: &StateFilter,
    after: Option<Place>,
    (limit, max_bytes): (usize, usize),
    payloads: bool,
) -> Result<Page, StoreError> {
    let rare_prefix = match &filter.id_prefix {
        Some(prefix) => is_rare(conn, hub, prefix)?,
        None => false,
    };
    let (keys, values) = page_of_keys(hub, filter, after, limit, rare_prefix);
    // One statement, so that the states are those that the filter saw.
    let sql = format!(
        "{}, w.created_us AS place FROM ({keys}) w CROSS JOIN instances i ON i.key = w.key
         CROSS JOIN payloads p ON p.instance = i.key ORDER BY w.created_us, w.key",
        columns(payloads)
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(values, |row| {
        let (key, state) = read_state(row, payloads)?;
        let created_us = row.get("place")?;
        Ok((Place { created_us, key }, state))
    })?;
    let mut states = Vec::new();
    let (mut size, mut last) = (0_usize, None);
    for row in rows {
        let (place, state) = row?;
        size = size.saturating_add(state.encoded_len());
        if states.len() >= limit || (size > max_bytes && !states.is_empty()) {
            return Ok(Page { states, next: last });
        }
        states.push(state);
        last = Some(place);
    }
    Ok(Page { states, next: None })
}

/// History from turn `from` on, whole turns, up to about `max_bytes`.
pub(crate) fn history_page(
    conn: &Connection,
    key: i64,
    from: i64,
    max_bytes: usize,
) -> Result<HistoryPage, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, events FROM history WHERE instance = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query((key, from))?;
    let mut events = Vec::new();
    let mut size = 0;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        if size > 0 && size + bytes.len() > max_bytes {
            return Ok(HistoryPage {
                events,
                bytes: size,
                next: Some(row.get(0)?),
            });
        }
        size += bytes.len();
        events.extend(HistoryChunk::decode(&*bytes)?.events);
    }
    Ok(HistoryPage {
        events,
        bytes: size,
        next: None,
    })
}

/// How many bytes an instance's history has.
pub(crate) fn history_bytes(conn: &Connection, key: i64) -> Result<usize, StoreError> {
    let bytes: Option<i64> = conn
        .prepare_cached("SELECT history_bytes FROM instances WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(usize::try_from(bytes.unwrap_or(0)).unwrap_or(0))
}

/// The first events of an inbox, with their numbers.
pub(crate) fn inbox(
    conn: &Connection,
    key: i64,
    limit: usize,
) -> Result<Vec<(i64, HistoryEvent)>, StoreError> {
    inbox_start(conn, key, limit, usize::MAX)
}

/// An instance whose events are waiting in the store.
#[derive(Debug)]
pub(crate) struct WaitingTurn {
    pub(crate) header: Header,
    /// The first events.
    pub(crate) events: Vec<(i64, HistoryEvent)>,
    /// The number of the last one.
    pub(crate) last_seq: i64,
}

/// An instance with the first of its waiting events, up to this many and this many bytes, but at
/// least one; `None` if it is gone or has none.
pub(crate) fn waiting_turn(
    conn: &Connection,
    key: i64,
    limit: usize,
    max_bytes: usize,
) -> Result<Option<WaitingTurn>, StoreError> {
    // At one moment, or a commit in between would show only in a part of it. A database in
    // memory is read in the writer's transaction.
    let _moment = conn.moment()?;
    let Some(header) = super::rows::header(conn, key)? else {
        return Ok(None);
    };
    let events = inbox_start(conn, key, limit, max_bytes)?;
    let last_seq: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM inbox WHERE instance = ?1")?
        .query_row([key], |row| row.get(0))?;
    Ok(last_seq.map(|last_seq| WaitingTurn {
        header,
        events,
        last_seq,
    }))
}

/// The first events, up to this many bytes, but at least one.
fn inbox_start(
    conn: &Connection,
    key: i64,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<(i64, HistoryEvent)>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT seq, event FROM inbox WHERE instance = ?1 ORDER BY seq LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((key, limit))?;
    let mut events = Vec::new();
    let mut size = 0_usize;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        size = size.saturating_add(bytes.len());
        if size > max_bytes && !events.is_empty() {
            break;
        }
        events.push((row.get(0)?, HistoryEvent::decode(&*bytes)?));
    }
    Ok(events)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_page_walks_an_index_and_sorts_nothing() {
        let conn = super::super::schema::open_memory().unwrap();
        let filter = |statuses: &[i32]| StateFilter {
            statuses: statuses.to_vec(),
            created_from_us: Some(1),
            ..StateFilter::default()
        };
        let place = Place {
            created_us: 5,
            key: 5,
        };
        for (filter, index) in [
            (filter(&[1, 3]), "instances_by_status"),
            (filter(&[]), "instances_by_created"),
        ] {
            for after in [None, Some(place)] {
                let (sql, values) = page_of_keys(1, &filter, after, 100, false);
                let plan = super::super::explain(&conn, &sql, values);
                assert!(plan.contains(index), "{plan}");
                assert!(
                    !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
                    "{plan}"
                );
            }
        }
    }
}
