//! Rewinding: a failed instance continues from a history without its failures. Follows
//! the Durable Task protocol: `ExecutionRewound` asks a worker, whose
//! `RewindOrchestrationAction` brings the new history.

use std::collections::BTreeMap;

use durabletask_proto::history_event::EventType;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::{HistoryEvent, OrchestrationStatus, TaskFailureDetails};
use prost_types::Timestamp;

use crate::effects::{ChildStart, Effects, Rewound, TimerSet};
use crate::entity;
use crate::started::{activity, child_start, identity, timer_set, unsupported};

/// Turns the effects of a turn into those of a rewind. What the new history started and
/// has no answer for is started again, because the end of the failed execution dropped it.
///
/// # Errors
/// If no rewind was requested in this turn, or the history has no beginning.
pub(crate) fn rewind(
    effects: &mut Effects,
    mut history: Vec<HistoryEvent>,
    now: Timestamp,
    next_execution_id: &str,
) -> Result<(), Box<TaskFailureDetails>> {
    let Some(reason) = effects
        .history
        .iter()
        .find_map(|event| match &event.event_type {
            Some(EventType::ExecutionRewound(rewound)) => Some(rewound.reason.clone()),
            _ => None,
        })
    else {
        return Err(unsupported("a rewind that was not requested"));
    };
    let Some(started) = history
        .iter_mut()
        .find_map(|event| match &mut event.event_type {
            Some(EventType::ExecutionStarted(started)) => Some(started),
            _ => None,
        })
    else {
        return Err(unsupported("a rewind to a history without a start"));
    };
    let instance = &mut effects.instance;
    // The worker names the new execution; it must differ from the failed one, whose
    // late messages must not reach it.
    let named = started
        .orchestration_instance
        .take()
        .and_then(|identity| identity.execution_id)
        .filter(|id| !id.is_empty() && *id != instance.execution_id);
    instance.execution_id = named.unwrap_or_else(|| next_execution_id.to_owned());
    // A suspension that came since the request stands.
    if instance.status != OrchestrationStatus::Suspended {
        instance.status = OrchestrationStatus::Running;
    }
    instance.output = None;
    instance.failure = None;
    instance.terminate_children = false;
    started.orchestration_instance = Some(identity(instance));
    started.parent_instance.clone_from(&instance.parent);

    let mut activities = BTreeMap::new();
    let mut timers: BTreeMap<i32, TimerSet> = BTreeMap::new();
    let mut children: BTreeMap<i32, ChildStart> = BTreeMap::new();
    let mut questions = Questions::default();
    for event in &history {
        let id = event.event_id;
        match &event.event_type {
            Some(EventType::TaskScheduled(task)) => {
                activities.insert(id, activity(instance, id, task));
            }
            Some(EventType::TaskCompleted(done)) => {
                activities.remove(&done.task_scheduled_id);
            }
            Some(EventType::TaskFailed(failed)) => {
                activities.remove(&failed.task_scheduled_id);
            }
            Some(EventType::TimerCreated(timer)) => {
                timers.insert(id, timer_set(id, timer, now));
            }
            Some(EventType::TimerFired(fired)) => {
                timers.remove(&fired.timer_id);
            }
            Some(EventType::SubOrchestrationInstanceCreated(child)) => {
                children.insert(id, child_start(instance, id, child));
            }
            Some(EventType::SubOrchestrationInstanceCompleted(done)) => {
                children.remove(&done.task_scheduled_id);
            }
            Some(EventType::SubOrchestrationInstanceFailed(failed)) => {
                children.remove(&failed.task_scheduled_id);
            }
            Some(other) => questions.note(other),
            None => {}
        }
    }
    let (mut entity_messages, mut answers) = (Vec::new(), Vec::new());
    for question in questions.open {
        let sent =
            entity::send(instance, Some(question), now).map_err(|what| unsupported(&what))?;
        entity_messages.extend(sent.messages);
        answers.extend(sent.answers);
    }
    effects.history.clear();
    effects.activities = activities.into_values().collect();
    effects.timers = timers.into_values().collect();
    effects.children.clear();
    effects.messages.clear();
    effects.entity_messages.clear();
    effects.rewound = Some(Rewound {
        history,
        children: children.into_values().collect(),
        entity_messages,
        answers,
        reason,
    });
    Ok(())
}

/// An execution's requests to entities without an answer, in order. A history identifies both
/// by ids that the worker created.
#[derive(Default)]
pub(crate) struct Questions {
    pub(crate) open: Vec<EntityMessageType>,
}

impl Questions {
    pub(crate) fn note(&mut self, event: &EventType) {
        match event {
            EventType::EntityOperationCalled(call) => self
                .open
                .push(EntityMessageType::EntityOperationCalled(call.clone())),
            EventType::EntityOperationCompleted(done) => self.answered(&done.request_id),
            EventType::EntityOperationFailed(failed) => self.answered(&failed.request_id),
            EventType::EntityLockRequested(request) => self
                .open
                .push(EntityMessageType::EntityLockRequested(request.clone())),
            EventType::EntityLockGranted(granted) => self.answered(&granted.critical_section_id),
            _ => {}
        }
    }

    fn answered(&mut self, id: &str) {
        self.open.retain(|question| match question {
            EntityMessageType::EntityOperationCalled(call) => call.request_id != id,
            EntityMessageType::EntityLockRequested(request) => request.critical_section_id != id,
            _ => true,
        });
    }
}
