//! Instance rows to values and back.

use std::sync::Arc;

use super::engine::{Connection, OptionalExtension, Row};
use durabletask_proto::{ExecutionStartedEvent, HistoryEvent, OrchestrationStatus};
use durabletask_scheduler_core::Instance;
use prost::Message;

use super::writer::Tx;
use super::{Header, Note, StoreError};

/// The columns of an instance that delivering a message needs.
pub(crate) struct Slim {
    pub(crate) header: Header,
    pub(crate) status: OrchestrationStatus,
    pub(crate) held: bool,
}

impl Slim {
    /// Whether it is kept from workers: it is suspended, and none of them has a history
    /// of its present execution, so no worker needs to know yet.
    pub(crate) fn is_paused(&self) -> bool {
        is_paused(self.status, self.header.has_history)
    }
}

pub(super) fn is_paused(status: OrchestrationStatus, has_history: bool) -> bool {
    status == OrchestrationStatus::Suspended && !has_history
}

/// All columns of an instance except its payloads.
pub(crate) struct Full {
    pub(crate) hub: i64,
    pub(crate) next_seq: i64,
    pub(crate) history_bytes: u64,
    pub(crate) instance: Instance,
    /// The termination that was acknowledged and has not ended it yet.
    pub(crate) terminated: Option<HistoryEvent>,
}

const SLIM: &str =
    "SELECT key, hub, id, execution_id, name, version, status, held, next_seq, span FROM instances";

pub(crate) fn status(value: i32) -> OrchestrationStatus {
    // Only this program writes the column; an unknown number reads as the zero value.
    OrchestrationStatus::try_from(value).unwrap_or(OrchestrationStatus::Running)
}

fn slim(row: &Row<'_>) -> super::engine::Result<Slim> {
    let span: Option<Vec<u8>> = row.get(9)?;
    Ok(Slim {
        header: Header {
            key: row.get(0)?,
            hub: row.get(1)?,
            instance_id: row.get(2)?,
            execution_id: row.get(3)?,
            name: row.get(4)?,
            version: row.get(5)?,
            has_history: row.get::<_, i64>(8)? > 0,
            turns: row.get(8)?,
            span: span.and_then(|bytes| Message::decode(&*bytes).ok()),
        },
        status: status(row.get(6)?),
        held: row.get(7)?,
    })
}

/// What dispatch needs to know of an instance.
pub(super) fn header(conn: &Connection, key: i64) -> Result<Option<Header>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SLIM} WHERE key = ?1"))?;
    let found = select.query_row([key], slim).optional()?;
    Ok(found.map(|slim| slim.header))
}

impl Tx<'_> {
    pub(crate) fn slim_by_id(&self, hub: i64, id: &str) -> Result<Option<Slim>, StoreError> {
        let mut select = self
            .conn
            .prepare_cached(&format!("{SLIM} WHERE hub = ?1 AND id = ?2"))?;
        Ok(select.query_row((hub, id), slim).optional()?)
    }

    pub(crate) fn slim_by_key(&self, key: i64) -> Result<Option<Slim>, StoreError> {
        let mut select = self
            .conn
            .prepare_cached(&format!("{SLIM} WHERE key = ?1"))?;
        Ok(select.query_row([key], slim).optional()?)
    }

    pub(crate) fn full(&self, key: i64) -> Result<Option<Full>, StoreError> {
        let mut select = self.conn.prepare_cached(
            "SELECT hub, next_seq, id, execution_id, name, version, status, custom_status, details, span,
                    terminate_children, history_bytes, terminated, status_carried
             FROM instances WHERE key = ?1",
        )?;
        let found = select
            .query_row([key], |row| {
                let details: Vec<u8> = row.get(8)?;
                let span: Option<Vec<u8>> = row.get(9)?;
                let terminated: Option<Vec<u8>> = row.get(12)?;
                let full = Full {
                    hub: row.get(0)?,
                    next_seq: row.get(1)?,
                    history_bytes: u64::try_from(row.get::<_, i64>(11)?).unwrap_or(0),
                    instance: Instance {
                        instance_id: row.get(2)?,
                        execution_id: row.get(3)?,
                        name: row.get(4)?,
                        version: row.get(5)?,
                        status: status(row.get(6)?),
                        custom_status: row.get(7)?,
                        status_carried: row.get(13)?,
                        tags: Default::default(),
                        parent: None,
                        parent_trace: None,
                        span: span.and_then(|bytes| Message::decode(&*bytes).ok()),
                        terminate_children: row.get(10)?,
                        output: None,
                        failure: None,
                    },
                    terminated: None,
                };
                Ok((full, details, terminated))
            })
            .optional()?;
        let Some((mut full, details, terminated)) = found else {
            return Ok(None);
        };
        full.terminated = terminated
            .map(|bytes| HistoryEvent::decode(&*bytes))
            .transpose()?;
        let details = ExecutionStartedEvent::decode(&*details)?;
        full.instance.tags = details.tags;
        full.instance.parent = details.parent_instance;
        full.instance.parent_trace = details.parent_trace_context;
        Ok(Some(full))
    }

    /// Delivers to a live instance: durable now, passed to dispatch after the commit.
    pub(crate) fn deliver(
        &mut self,
        to: Slim,
        events: Vec<HistoryEvent>,
    ) -> Result<(), StoreError> {
        let pushed = self.push_inbox(to.header.key, events)?;
        let paused = to.is_paused();
        if !to.held {
            // Events that arrive together are delivered together.
            if let Some(Note::Events {
                header,
                events,
                replace: false,
                paused: known,
            }) = self.notes.last_mut()
                && **header == to.header
            {
                events.extend(pushed);
                *known = paused;
                return Ok(());
            }
            self.notes.push(Note::Events {
                header: Arc::new(to.header),
                events: pushed,
                replace: false,
                paused,
            });
        }
        Ok(())
    }

    pub(crate) fn changed(&mut self, hub: i64, instance_id: &str) {
        self.notes.push(Note::Changed {
            hub,
            instance_id: instance_id.to_owned(),
        });
    }
}
