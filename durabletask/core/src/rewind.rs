//! Taking a failed execution back to before its failure.
//!
//! A scheduler that accepted a rewind sends the worker the whole history and an
//! `ExecutionRewound` event; the worker answers with the history as it is to
//! stand from then on. What is missing from it is decided again by replaying it.

use std::collections::BTreeSet;

use durabletask_proto as proto;
use proto::history_event::EventType;

use crate::activity::{ORIGIN_TAG, origin_of, remember_origin};

/// Whether a work item asks for a rewind: the past has ended, and the new
/// events say to continue.
///
/// ```
/// use durabletask_proto as proto;
/// use proto::history_event::EventType;
///
/// let event = |event_type| proto::HistoryEvent {
///     event_id: -1,
///     timestamp: None,
///     event_type: Some(event_type),
/// };
/// let past = vec![event(EventType::ExecutionCompleted(Default::default()))];
/// let new = vec![event(EventType::ExecutionRewound(Default::default()))];
/// assert!(durabletask_core::is_rewind(&past, &new));
/// assert!(!durabletask_core::is_rewind(&[], &new));
/// ```
#[must_use]
pub fn is_rewind(past: &[proto::HistoryEvent], new: &[proto::HistoryEvent]) -> bool {
    asks_for_rewind(new)
        && past
            .iter()
            .any(|event| matches!(event.event_type, Some(EventType::ExecutionCompleted(_))))
}

fn asks_for_rewind(events: &[proto::HistoryEvent]) -> bool {
    events
        .iter()
        .any(|event| matches!(event.event_type, Some(EventType::ExecutionRewound(_))))
}

/// The history of the rewound execution: `past` without its end and without the
/// failures that led to it, then `new`. The execution is known as
/// `execution_id` from then on.
///
/// Results of activities, sub-orchestrations and entities stay. Calls that failed
/// go, and so do activities and timers that were still open, so that the code makes
/// them again; sub-orchestrations that failed stay as created, because the scheduler
/// rewinds them in their turn, and so do open calls to entities, because an entity
/// may have the call already. A failure that the code survived (it was retried,
/// or caught, and steps followed) stays, because the steps after it depend on it.
///
/// ```
/// use durabletask_proto as proto;
/// use proto::history_event::EventType;
///
/// let event = |event_type| proto::HistoryEvent {
///     event_id: -1,
///     timestamp: None,
///     event_type: Some(event_type),
/// };
/// let past = vec![event(EventType::ExecutionCompleted(Default::default()))];
/// let new = vec![event(EventType::ExecutionRewound(Default::default()))];
/// let history = durabletask_core::rewound_history(past, new.clone(), "e2");
/// assert_eq!(history, new);
/// ```
#[must_use]
pub fn rewound_history(
    past: Vec<proto::HistoryEvent>,
    new: Vec<proto::HistoryEvent>,
    execution_id: &str,
) -> Vec<proto::HistoryEvent> {
    let parent_execution_id = new.iter().find_map(|event| match &event.event_type {
        Some(EventType::ExecutionRewound(rewound)) => rewound.parent_execution_id.clone(),
        _ => None,
    });
    let undone = Undone::of(&past);
    past.into_iter()
        .enumerate()
        .filter(|(index, event)| undone.keeps(*index, event))
        .map(|(_, event)| event)
        .chain(new)
        .map(|mut event| {
            if let Some(EventType::ExecutionStarted(started)) = &mut event.event_type {
                let instance = started.orchestration_instance.get_or_insert_default();
                // Calls that are made again keep their keys, so their first id stays known.
                if let Some(before) = instance.execution_id.replace(execution_id.to_owned()) {
                    let remembered = started.tags.get(ORIGIN_TAG);
                    let first = remembered.and_then(|it| origin_of(it, &before));
                    let text = remember_origin(first.unwrap_or(&before), execution_id);
                    started.tags.insert(ORIGIN_TAG.to_owned(), text);
                }
                if let (Some(parent), Some(id)) =
                    (&mut started.parent_instance, &parent_execution_id)
                {
                    parent
                        .orchestration_instance
                        .get_or_insert_default()
                        .execution_id = Some(id.clone());
                }
            }
            event
        })
        .collect()
}

/// What a rewind takes out of a history.
struct Undone {
    /// From which event on failures are taken out.
    failures_from: usize,
    /// Activities and timers that lose their records.
    steps: BTreeSet<i32>,
    /// Calls to entities, by their request ids, that lose theirs.
    requests: BTreeSet<String>,
}

impl Undone {
    fn of(past: &[proto::HistoryEvent]) -> Self {
        // A failure that steps followed is one that the code lived with.
        let after_last_step = past
            .iter()
            .rposition(|event| is_step(event.event_type.as_ref()))
            .map_or(0, |last| last + 1);
        let is_failure =
            |event: &proto::HistoryEvent| event.event_type.as_ref().is_some_and(is_failure);
        // If every failure was followed by steps, of a branch that went on, any may be the cause.
        let failures_from = if past.iter().skip(after_last_step).any(is_failure) {
            after_last_step
        } else {
            0
        };
        let mut open = BTreeSet::new();
        let mut failed = BTreeSet::new();
        let mut requests = BTreeSet::new();
        for (index, event) in past.iter().enumerate() {
            match &event.event_type {
                Some(EventType::TaskScheduled(_) | EventType::TimerCreated(_)) => {
                    open.insert(event.event_id);
                }
                Some(EventType::TaskCompleted(completed)) => {
                    open.remove(&completed.task_scheduled_id);
                }
                Some(EventType::TimerFired(fired)) => {
                    open.remove(&fired.timer_id);
                }
                Some(EventType::TaskFailed(task)) => {
                    open.remove(&task.task_scheduled_id);
                    if index >= failures_from {
                        failed.insert(task.task_scheduled_id);
                    }
                }
                Some(EventType::EntityOperationFailed(operation)) if index >= failures_from => {
                    requests.insert(operation.request_id.clone());
                }
                _ => {}
            }
        }
        open.append(&mut failed);
        Self {
            failures_from,
            steps: open,
            requests,
        }
    }

    fn keeps(&self, index: usize, event: &proto::HistoryEvent) -> bool {
        match &event.event_type {
            Some(EventType::ExecutionCompleted(_)) => false,
            Some(kind) if is_failure(kind) => index < self.failures_from,
            Some(EventType::TaskScheduled(_) | EventType::TimerCreated(_)) => {
                !self.steps.contains(&event.event_id)
            }
            Some(EventType::EntityOperationCalled(call)) => {
                !self.requests.contains(&call.request_id)
            }
            _ => true,
        }
    }
}

/// Whether the event records a failed call of the code.
fn is_failure(kind: &EventType) -> bool {
    matches!(
        kind,
        EventType::TaskFailed(_)
            | EventType::SubOrchestrationInstanceFailed(_)
            | EventType::EntityOperationFailed(_)
    )
}

/// Whether the event records something that the code did.
fn is_step(kind: Option<&EventType>) -> bool {
    matches!(
        kind,
        Some(
            EventType::TaskScheduled(_)
                | EventType::TimerCreated(_)
                | EventType::SubOrchestrationInstanceCreated(_)
                | EventType::EventSent(_)
                | EventType::EntityOperationCalled(_)
                | EventType::EntityOperationSignaled(_)
                | EventType::EntityLockRequested(_)
                | EventType::EntityUnlockSent(_)
        )
    )
}
