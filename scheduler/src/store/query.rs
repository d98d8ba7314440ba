//! Reading: states, pages of them, history, inboxes.

use durabletask_proto::{
    ExecutionStartedEvent, HistoryChunk, HistoryEvent, OrchestrationState, TaskFailureDetails,
};
use prost::Message;
use prost_types::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use super::StoreError;

/// Which instances a query wants; all conditions hold at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateFilter {
    pub(crate) statuses: Vec<i32>,
    pub(crate) created_from_us: Option<i64>,
    /// Exclusive.
    pub(crate) created_to_us: Option<i64>,
    pub(crate) id_prefix: Option<String>,
}

/// One page of states; `next` is the cursor of the following page, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) states: Vec<OrchestrationState>,
    pub(crate) next: Option<i64>,
}

/// A stretch of history and the number to go on with, if there is more.
#[derive(Clone, Debug)]
pub(crate) struct HistoryPage {
    pub(crate) events: Vec<HistoryEvent>,
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

pub(super) fn select(payloads: bool) -> String {
    let extra = if payloads { ", p.input, p.output" } else { "" };
    format!("{COLUMNS}{extra} FROM instances i JOIN payloads p ON p.instance = i.key")
}

pub(super) fn read_state(
    row: &Row<'_>,
    payloads: bool,
) -> rusqlite::Result<(i64, OrchestrationState)> {
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

/// One page of a hub's instances in order of creation, after the cursor `after`.
pub(crate) fn query(
    conn: &Connection,
    hub: i64,
    filter: &StateFilter,
    after: Option<i64>,
    limit: usize,
    payloads: bool,
) -> Result<Page, StoreError> {
    let mut sql = format!("{} WHERE i.hub = ? AND i.key > ?", select(payloads));
    let mut values = vec![Value::from(hub), Value::from(after.unwrap_or(0))];
    if !filter.statuses.is_empty() {
        let marks = vec!["?"; filter.statuses.len()].join(", ");
        sql.push_str(&format!(" AND i.status IN ({marks})"));
        values.extend(
            filter
                .statuses
                .iter()
                .map(|status| Value::from(i64::from(*status))),
        );
    }
    if let Some(from) = filter.created_from_us {
        sql.push_str(" AND i.created_us >= ?");
        values.push(from.into());
    }
    if let Some(to) = filter.created_to_us {
        sql.push_str(" AND i.created_us < ?");
        values.push(to.into());
    }
    if let Some(prefix) = &filter.id_prefix {
        // Byte-wise and case-sensitive, unlike LIKE.
        sql.push_str(" AND substr(i.id, 1, length(?)) = ?");
        values.push(prefix.clone().into());
        values.push(prefix.clone().into());
    }
    sql.push_str(" ORDER BY i.key LIMIT ?");
    values.push(Value::from(
        i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX),
    ));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement
        .query_map(rusqlite::params_from_iter(values), |row| {
            read_state(row, payloads)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more {
        rows.last().map(|(key, _)| *key)
    } else {
        None
    };
    Ok(Page {
        states: rows.into_iter().map(|(_, state)| state).collect(),
        next,
    })
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
                next: Some(row.get(0)?),
            });
        }
        size += bytes.len();
        events.extend(HistoryChunk::decode(&*bytes)?.events);
    }
    Ok(HistoryPage { events, next: None })
}

/// The first events of an inbox, with their numbers.
pub(crate) fn inbox(
    conn: &Connection,
    key: i64,
    limit: usize,
) -> Result<Vec<(i64, HistoryEvent)>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT seq, event FROM inbox WHERE instance = ?1 ORDER BY seq LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((key, limit))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        events.push((row.get(0)?, HistoryEvent::decode(&*bytes)?));
    }
    Ok(events)
}
