//! Reading entities: one, pages of them, the next batch.

use super::engine::{Connection, OptionalExtension, Row, Value};
use durabletask_proto::{EntityMetadata, HistoryEvent};
use prost::Message;

use super::query::from_micros;
use super::{EntityBatch, EntityHeader, StoreError};

/// The most operations of a batch, and about how many bytes of them.
const BATCH_OPERATIONS: usize = 500;
const BATCH_BYTES: usize = 1024 * 1024;

/// A query's filter; all conditions apply.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntityFilter {
    pub(crate) id_prefix: Option<String>,
    pub(crate) modified_from_us: Option<i64>,
    /// Exclusive.
    pub(crate) modified_to_us: Option<i64>,
    /// Also entities without a state: locked, or with pending operations.
    pub(crate) transient: bool,
}

/// One page of a hub's entities; `next` is the cursor of the following one.
#[derive(Clone, Debug)]
pub(crate) struct EntitySweep {
    pub(crate) entities: Vec<EntityMetadata>,
    pub(crate) next: Option<i64>,
}

const COLUMNS: &str = "SELECT e.key, e.id, e.modified_us, e.locked_by,
    (SELECT count(*) FROM entity_inbox b WHERE b.entity = e.key)";

fn select(states: bool) -> String {
    let state = if states { ", e.state" } else { "" };
    format!("{COLUMNS}{state} FROM entities e")
}

fn read(row: &Row<'_>, states: bool) -> super::engine::Result<(i64, EntityMetadata)> {
    let metadata = EntityMetadata {
        instance_id: row.get(1)?,
        last_modified_time: Some(from_micros(row.get(2)?)),
        backlog_queue_size: row.get(4)?,
        locked_by: row.get(3)?,
        serialized_state: if states { row.get(5)? } else { None },
    };
    Ok((row.get(0)?, metadata))
}

/// An entity that has a state.
pub(crate) fn entity(
    conn: &Connection,
    hub: i64,
    id: &str,
    state: bool,
) -> Result<Option<EntityMetadata>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "{} WHERE e.hub = ?1 AND e.id = ?2 AND e.state IS NOT NULL",
        select(state)
    ))?;
    let found = statement
        .query_row((hub, id), |row| read(row, state))
        .optional()?;
    Ok(found.map(|(_, metadata)| metadata))
}

/// One page of a hub's entities in order of creation, after the cursor `after`.
pub(crate) fn entities(
    conn: &Connection,
    hub: i64,
    filter: &EntityFilter,
    after: Option<i64>,
    (limit, max_bytes): (usize, usize),
    states: bool,
) -> Result<EntitySweep, StoreError> {
    let mut sql = format!("{} WHERE e.hub = ? AND e.key > ?", select(states));
    let mut values = vec![Value::from(hub), Value::from(after.unwrap_or(0))];
    if !filter.transient {
        sql.push_str(" AND e.state IS NOT NULL");
    }
    if let Some(from) = filter.modified_from_us {
        sql.push_str(" AND e.modified_us >= ?");
        values.push(from.into());
    }
    if let Some(to) = filter.modified_to_us {
        sql.push_str(" AND e.modified_us < ?");
        values.push(to.into());
    }
    if let Some(prefix) = &filter.id_prefix {
        sql.push_str(" AND substr(e.id, 1, length(?)) = ?");
        values.push(prefix.clone().into());
        values.push(prefix.clone().into());
    }
    sql.push_str(" ORDER BY e.key LIMIT ?");
    values.push(Value::from(
        i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX),
    ));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(values, |row| read(row, states))?;
    let mut entities = Vec::new();
    let (mut size, mut last) = (0_usize, None);
    for row in rows {
        let (key, metadata) = row?;
        size = size.saturating_add(metadata.encoded_len());
        if entities.len() >= limit || (size > max_bytes && !entities.is_empty()) {
            return Ok(EntitySweep {
                entities,
                next: last,
            });
        }
        entities.push(metadata);
        last = Some(key);
    }
    Ok(EntitySweep {
        entities,
        next: None,
    })
}

/// What an entity's number belongs to.
pub(crate) fn entity_header(
    conn: &Connection,
    key: i64,
) -> Result<Option<EntityHeader>, StoreError> {
    let found = conn
        .prepare_cached("SELECT hub, id FROM entities WHERE key = ?1")?
        .query_row([key], |row| {
            Ok(EntityHeader {
                hub: row.get(0)?,
                key,
                id: row.get(1)?,
            })
        });
    Ok(found.optional()?)
}

/// The operations that can run now, from the head of the queue; while an orchestration
/// has the lock, only those it called. No more than fit into `room` bytes together with the state,
/// but at least the first one.
pub(crate) fn entity_batch(
    conn: &Connection,
    key: i64,
    room: usize,
) -> Result<Option<EntityBatch>, StoreError> {
    let found: Option<(Option<String>, Option<String>)> = conn
        .prepare_cached("SELECT state, locked_by FROM entities WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, locked_by)) = found else {
        return Ok(None);
    };
    let mut statement = conn.prepare_cached(
        "SELECT seq, is_lock, event FROM entity_inbox
         WHERE entity = ?1 AND (CAST(?2 AS TEXT) IS NULL OR (parent = ?2 AND is_lock = 0)) ORDER BY seq LIMIT ?3",
    )?;
    let limit = i64::try_from(BATCH_OPERATIONS).unwrap_or(i64::MAX);
    let mut rows = statement.query((key, &locked_by, limit))?;
    let mut operations = Vec::new();
    let mut size = 0;
    let state_bytes = state.as_ref().map_or(0, String::len);
    let most = room.saturating_sub(state_bytes).min(BATCH_BYTES);
    while let Some(row) = rows.next()? {
        let is_lock: bool = row.get(1)?;
        let bytes: Vec<u8> = row.get(2)?;
        if is_lock || (size > 0 && size + bytes.len() > most) {
            break;
        }
        size += bytes.len();
        operations.push((row.get(0)?, HistoryEvent::decode(&*bytes)?));
    }
    Ok((!operations.is_empty()).then_some(EntityBatch { state, operations }))
}
