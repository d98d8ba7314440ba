//! Restarting an instance: the same orchestration from the beginning.

use durabletask_proto::{ExecutionStartedEvent, OrchestrationInstance};
use durabletask_scheduler_core::is_terminal;

use super::StoreError;
use super::instances::Start;
use super::writer::Tx;

impl Tx<'_> {
    /// Starts the orchestration of `id` again as `target`, with its name, version,
    /// input and tags. Under its own id it must have ended, and is replaced.
    ///
    /// A child's restart has no parent, as in the hosted service and the SDKs that
    /// restart themselves: the parent has its answer already.
    pub(crate) fn restart(
        &mut self,
        hub: i64,
        id: &str,
        target: &str,
        execution_id: &str,
    ) -> Result<(), StoreError> {
        self.check_hub(hub)?;
        let slim = self
            .slim_by_id(hub, id)?
            .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        if target == id && !is_terminal(slim.status) {
            return Err(StoreError::InvalidState(format!(
                "the instance {id:?} has not finished; terminate it first, or restart it with a new instance id"
            )));
        }
        let key = slim.header.key;
        let Some(full) = self.full(key)? else {
            return Err(StoreError::NotFound(id.to_owned()));
        };
        // Read before a replacement removes the row.
        let input = self.input(key)?;
        self.start(&Start {
            hub,
            started: ExecutionStartedEvent {
                name: full.instance.name,
                version: full.instance.version,
                input,
                orchestration_instance: Some(OrchestrationInstance {
                    instance_id: target.to_owned(),
                    execution_id: Some(execution_id.to_owned()),
                }),
                tags: full.instance.tags,
                ..ExecutionStartedEvent::default()
            },
            policy: None,
            parent_key: None,
        })
    }

    /// The input of an instance's current execution.
    pub(super) fn input(&self, key: i64) -> Result<Option<String>, StoreError> {
        Ok(self
            .conn
            .prepare_cached("SELECT input FROM payloads WHERE instance = ?1")?
            .query_row([key], |row| row.get(0))?)
    }
}
