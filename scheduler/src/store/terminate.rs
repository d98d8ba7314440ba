//! Ending instances as TERMINATED without a worker's turn.

use durabletask_proto::history_event::EventType;
use durabletask_proto::orchestrator_action::OrchestratorActionType;
use durabletask_proto::{
    CompleteOrchestrationAction, ExecutionTerminatedEvent, HistoryEvent, OrchestrationStatus,
    OrchestratorAction, OrchestratorResponse, OrchestratorStartedEvent,
};
use durabletask_scheduler_core::{Turn, Waiting, apply_turn, event, is_terminal, travels_alone};
use prost::Message;

use super::instances::timestamp;
use super::rows::Slim;
use super::writer::Tx;
use super::{Note, StoreError};

impl Tx<'_> {
    /// Ends each of the instances at once, with `reason` as its output, and returns the
    /// ids of those that it does not end: missing and finished ones, and those that hold an
    /// entity's lock, because their workers must release it.
    pub(crate) fn terminate_now(
        &mut self,
        hub: i64,
        ids: &[String],
        reason: Option<&String>,
    ) -> Result<Vec<String>, StoreError> {
        let mut left = Vec::new();
        for id in ids {
            match self.slim_by_id(hub, id)? {
                Some(slim) if !is_terminal(slim.status) && !self.holds_locks(hub, id)? => {
                    let terminated = EventType::ExecutionTerminated(ExecutionTerminatedEvent {
                        input: reason.cloned(),
                        recurse: false,
                    });
                    let terminated = event(-1, timestamp(self.now), terminated);
                    self.end_now(slim, terminated)?;
                }
                Some(_) | None => left.push(id.clone()),
            }
        }
        Ok(left)
    }

    /// Terminates a live instance: at once where its present execution has not begun, or is
    /// still to be rewound, since perhaps no worker ever takes it, and otherwise with a worker's turn.
    pub(super) fn tell_to_end(
        &mut self,
        slim: Slim,
        terminated: HistoryEvent,
    ) -> Result<(), StoreError> {
        if !slim.header.has_history || self.is_to_be_rewound(slim.header.key)? {
            return self.end_now(slim, terminated);
        }
        let key = slim.header.key;
        let known: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT terminated FROM instances WHERE key = ?1")?
            .query_row([key], |row| row.get(0))?;
        // The first one counts, but the children end if any of them requests that.
        let mut kept = match known {
            Some(bytes) => HistoryEvent::decode(&*bytes)?,
            None => terminated.clone(),
        };
        if let (
            Some(EventType::ExecutionTerminated(kept)),
            Some(EventType::ExecutionTerminated(terminated)),
        ) = (&mut kept.event_type, &terminated.event_type)
        {
            kept.recurse |= terminated.recurse;
        }
        self.conn
            .prepare_cached("UPDATE instances SET terminated = ?2 WHERE key = ?1")?
            .run((key, kept.encode_to_vec()))?;
        self.deliver(slim, vec![terminated])
    }

    fn is_to_be_rewound(&self, key: i64) -> Result<bool, StoreError> {
        let next = super::query::inbox(self.conn, key, 1)?;
        Ok(next.first().is_some_and(|(_, event)| travels_alone(event)))
    }

    /// Ends a live instance as TERMINATED in place of its next turn, without a worker. A
    /// turn at a worker is taken back.
    pub(super) fn end_now(
        &mut self,
        slim: Slim,
        terminated: HistoryEvent,
    ) -> Result<(), StoreError> {
        let key = slim.header.key;
        let Some(full) = self.full(key)? else {
            return Ok(());
        };
        self.notes.push(Note::TurnRevoked { key });
        let now = timestamp(self.now);
        let before = full.instance.status;
        let result = match &terminated.event_type {
            Some(EventType::ExecutionTerminated(terminated)) => terminated.input.clone(),
            _ => None,
        };
        let complete = CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Terminated as i32,
            result,
            ..CompleteOrchestrationAction::default()
        };
        let mut delivered = vec![event(
            -1,
            now,
            EventType::OrchestratorStarted(OrchestratorStartedEvent {}),
        )];
        delivered.extend(
            super::query::inbox(self.conn, key, usize::MAX)?
                .into_iter()
                .map(|(_, event)| event),
        );
        delivered.push(terminated);
        let custom_status = full.instance.custom_status.clone();
        let effects = apply_turn(Turn {
            instance: full.instance,
            delivered,
            waiting: Waiting::default(),
            response: OrchestratorResponse {
                actions: vec![OrchestratorAction {
                    id: 0,
                    orchestrator_action_type: Some(OrchestratorActionType::CompleteOrchestration(
                        complete,
                    )),
                }],
                custom_status,
                ..OrchestratorResponse::default()
            },
            now,
            next_execution_id: String::new(),
        });
        self.apply(key, full.hub, full.next_seq, before, i64::MAX, effects)
    }

    /// Terminates the children of instances that were terminated recursively, for their
    /// parent's reason. A child that ends at once adds its own children, which are processed
    /// here, however deep they are.
    pub(super) fn terminate_children(&mut self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.parents.taken, true) {
            return Ok(());
        }
        while let Some((parent, reason)) = self.parents.waiting.pop() {
            let children: Vec<i64> = self
                .conn
                .prepare_cached("SELECT key FROM instances WHERE parent_key = ?1 ORDER BY key")?
                .query_map([parent], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for child in children {
                let Some(slim) = self.slim_by_key(child)? else {
                    continue;
                };
                let terminated = EventType::ExecutionTerminated(ExecutionTerminatedEvent {
                    input: reason.clone(),
                    recurse: true,
                });
                let event = event(-1, timestamp(self.now), terminated);
                self.send_to(slim, None, event)?;
            }
        }
        self.parents.taken = false;
        Ok(())
    }
}
