//! Committing a turn: the core's effects become rows.

use std::sync::Arc;

use durabletask_proto::history_event::EventType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::{
    HistoryChunk, HistoryEvent, OrchestrationStatus, OrchestratorAction, OrchestratorResponse,
    SubOrchestrationInstanceFailedEvent, TaskFailureDetails,
};
use durabletask_scheduler_core::{
    ChildStart, Effects, Turn, Waiting, apply_turn, event, failed, is_instance_id, is_terminal,
    suspension_after,
};
use prost::Message;

use super::instances::{Start, micros, timestamp};
use super::writer::Tx;
use super::{After, Header, Note, StoreError};

/// A worker's completion, together with the turn that it got.
#[derive(Clone, Debug)]
pub(crate) struct FinishedTurn {
    pub(crate) key: i64,
    pub(crate) execution_id: String,
    pub(crate) delivered: Vec<HistoryEvent>,
    /// The inbox number of the last event that was delivered and consumed.
    pub(crate) through: i64,
    pub(crate) response: OrchestratorResponse,
    pub(crate) next_execution_id: String,
    /// How large the history may become, in bytes.
    pub(crate) max_history: u64,
}

/// Fails an orchestration whose history would outgrow its limit, unless this turn ends
/// or renews it. The size that the turn adds is an upper estimate.
fn bound_history(size: u64, turn: &mut FinishedTurn) {
    let delivered: usize = turn.delivered.iter().map(Message::encoded_len).sum();
    let added = u64::try_from(delivered + turn.response.encoded_len()).unwrap_or(u64::MAX);
    let last = turn.response.actions.iter().any(|action| {
        matches!(
            action.orchestrator_action_type,
            Some(Action::CompleteOrchestration(_) | Action::RewindOrchestration(_))
        )
    });
    let terminated = turn
        .delivered
        .iter()
        .any(|event| matches!(event.event_type, Some(EventType::ExecutionTerminated(_))));
    if last || terminated || size.saturating_add(added) <= turn.max_history {
        return;
    }
    let details = TaskFailureDetails {
        error_type: "HistoryTooLarge".to_owned(),
        error_message: format!(
            "The orchestration's history has {size} bytes and would exceed the scheduler's limit \
             of {}; continue as new earlier, or move parts of the work to sub-orchestrations.",
            turn.max_history
        ),
        is_non_retriable: true,
        ..TaskFailureDetails::default()
    };
    turn.response.actions = vec![OrchestratorAction {
        id: -1,
        orchestrator_action_type: Some(Action::CompleteOrchestration(failed(details))),
    }];
}

impl Tx<'_> {
    /// Commits a turn, or refuses it if its instance or execution was removed.
    pub(crate) fn complete_turn(&mut self, mut turn: FinishedTurn) -> Result<(), StoreError> {
        let full = self.full(turn.key)?.ok_or(StoreError::WorkItemGone)?;
        if full.instance.execution_id != turn.execution_id || is_terminal(full.instance.status) {
            return Err(StoreError::WorkItemGone);
        }
        let before = full.instance.status;
        bound_history(full.history_bytes, &mut turn);
        // A turn without suspension or resumption keeps the status.
        let suspended = match suspension_after(&turn.delivered) {
            Some(_) => self.suspension_waiting(turn.key, turn.through)?,
            None => None,
        };
        let effects = apply_turn(Turn {
            instance: full.instance,
            delivered: turn.delivered,
            waiting: Waiting {
                terminated: full.terminated,
                suspended,
            },
            response: turn.response,
            now: timestamp(self.now),
            next_execution_id: turn.next_execution_id,
        });
        self.apply(
            turn.key,
            full.hub,
            full.next_seq,
            before,
            turn.through,
            effects,
        )
    }

    /// Makes effects durable. `through` is the last inbox number that the turn consumed.
    pub(crate) fn apply(
        &mut self,
        key: i64,
        hub: i64,
        next_seq: i64,
        before: OrchestrationStatus,
        through: i64,
        mut effects: Effects,
    ) -> Result<(), StoreError> {
        let now_us = micros(&timestamp(self.now));
        let history = std::mem::take(&mut effects.history);
        let instance = &effects.instance;

        // What was consumed moves from the inbox into the history.
        self.conn
            .prepare_cached("DELETE FROM inbox WHERE instance = ?1 AND seq <= ?2")?
            .run((key, through))?;
        let appended = !history.is_empty();
        let mut grows_by = 0;
        if appended {
            let chunk = HistoryChunk { events: history };
            let bytes = chunk.encode_to_vec();
            grows_by = bytes.len();
            self.conn
                .prepare_cached("INSERT INTO history (instance, seq, events) VALUES (?1, ?2, ?3)")?
                .run((key, next_seq, bytes))?;
        }
        let anew = effects.next.is_some() || effects.rewound.is_some();
        let next_seq = match (&effects.next, &effects.rewound) {
            (Some(_), _) => 0,
            (None, Some(rewound)) => {
                grows_by = rewound.history.iter().map(Message::encoded_len).sum();
                self.replace_history(key, &rewound.history)?
            }
            (None, None) => next_seq + i64::from(appended),
        };

        // The instance's own row: its present state. A replaced history counts
        // from zero, any other grows.
        self.conn
            .prepare_cached(
                "UPDATE instances SET execution_id = ?2, version = ?3, status = ?4, held = 0, next_seq = ?5,
                     updated_us = ?6, completed_us = ?7, custom_status = ?8, span = ?9, terminate_children = ?10,
                     history_bytes = ?11 + CASE WHEN ?12 = 1 THEN 0 ELSE history_bytes END, resumes_to = NULL,
                     terminated = CASE WHEN ?13 = 1 THEN NULL ELSE terminated END, status_carried = ?14
                 WHERE key = ?1",
            )?
            .run((
                key,
                &instance.execution_id,
                &instance.version,
                instance.status as i32,
                next_seq,
                now_us,
                effects.ended.then_some(now_us),
                &instance.custom_status,
                instance.span.as_ref().map(Message::encode_to_vec),
                instance.terminate_children,
                i64::try_from(grows_by).unwrap_or(i64::MAX),
                anew,
                effects.ended,
                instance.status_carried,
            ))?;

        self.counts
            .moved(hub, before as i32, instance.status as i32);

        // The report, which dispatch reads once all of this is committed.
        let header = Arc::new(Header {
            hub,
            key,
            instance_id: instance.instance_id.clone(),
            execution_id: instance.execution_id.clone(),
            name: instance.name.clone(),
            version: instance.version.clone(),
            has_history: next_seq > 0,
            turns: next_seq,
            span: instance.span.clone(),
        });
        let after = match (effects.ended, &effects.next, &effects.rewound) {
            (true, _, _) => After::Ended,
            (false, Some(_), _) => After::Anew,
            (false, None, Some(_)) => After::Rewound,
            (false, None, None) => After::GoesOn,
        };
        self.notes.push(Note::TurnApplied {
            key,
            through,
            header: Arc::clone(&header),
            after,
        });
        if before != instance.status {
            self.changed(hub, &instance.instance_id);
        }

        self.fan_out(&header, after, effects)
    }

    /// A turn's effects outside its instance's history and row: to its inbox, timers and
    /// payloads, and to other instances and entities.
    fn fan_out(
        &mut self,
        header: &Arc<Header>,
        after: After,
        effects: Effects,
    ) -> Result<(), StoreError> {
        let (hub, key, instance) = (header.hub, header.key, &effects.instance);
        if let Some(next) = effects.next {
            let paused = instance.status == OrchestrationStatus::Suspended;
            self.begin_execution(header, next.inbox, paused)?;
        }
        if effects.ended {
            self.conn
                .prepare_cached(
                    "UPDATE payloads SET output = ?2, failure = ?3 WHERE instance = ?1",
                )?
                .run((
                    key,
                    &instance.output,
                    instance.failure.as_ref().map(Message::encode_to_vec),
                ))?;
            self.conn
                .prepare_cached("DELETE FROM inbox WHERE instance = ?1")?
                .run([key])?;
            self.conn
                .prepare_cached("DELETE FROM timers WHERE instance = ?1")?
                .run([key])?;
        } else {
            for timer in effects.timers {
                self.set_timer(key, micros(&timer.fire_at), Some(&timer.event))?;
            }
        }
        for request in effects.activities {
            self.schedule_activity(header, request)?;
        }
        for child in effects.children {
            self.start_child(header, child)?;
        }
        for message in effects.messages {
            self.send(hub, message)?;
        }
        self.entity_messages(hub, effects.entity_messages)?;
        if after != After::GoesOn {
            // A worker that ended without unlocking must not leave entities locked.
            self.release_locks(hub, &header.instance_id)?;
        }
        if let Some(rewound) = effects.rewound {
            self.go_on_rewound(header, rewound)?;
        }
        if effects.terminate_children {
            let reason = instance.output.clone();
            self.parents.waiting.push((key, reason));
            self.terminate_children()?;
        }
        Ok(())
    }

    /// Starts a child. An id that is invalid, or that a live instance has, is
    /// reported to the parent as the child's failure.
    pub(super) fn start_child(
        &mut self,
        parent: &Header,
        child: ChildStart,
    ) -> Result<(), StoreError> {
        let id = child.instance_id.clone();
        let valid = is_instance_id(&id);
        let existing = self.slim_by_id(parent.hub, &id)?;
        let problem = if !valid {
            Some((
                "InvalidInstanceId",
                "is not a valid instance id: 1 to 100 characters, not starting with '@'",
            ))
        } else if existing.is_some_and(|slim| !is_terminal(slim.status)) {
            Some((
                "OrchestrationAlreadyExists",
                "is the id of an instance that is still running",
            ))
        } else {
            None
        };
        if let Some((error_type, why)) = problem {
            let failed = SubOrchestrationInstanceFailedEvent {
                task_scheduled_id: child.task_id,
                failure_details: Some(TaskFailureDetails {
                    error_type: error_type.to_owned(),
                    error_message: format!("The sub-orchestration was not started: {id:?} {why}."),
                    is_non_retriable: true,
                    ..TaskFailureDetails::default()
                }),
            };
            return self.send(
                parent.hub,
                durabletask_scheduler_core::Message {
                    instance_id: parent.instance_id.clone(),
                    execution_id: Some(parent.execution_id.clone()),
                    event: event(
                        -1,
                        timestamp(self.now),
                        EventType::SubOrchestrationInstanceFailed(failed),
                    ),
                },
            );
        }
        let mut started = child.started;
        if let Some(identity) = &mut started.orchestration_instance {
            identity.execution_id = Some(uuid::Uuid::new_v4().simple().to_string());
        }
        self.start(&Start {
            hub: parent.hub,
            started,
            policy: None,
            parent_key: Some(parent.key),
        })
    }
}
