//! The table of durable operations that an orchestration has under way.
//!
//! An operation is what one future in user code represents: one activity or
//! sub-orchestration with all its attempts, or one timer with all its chunks.

use std::collections::HashMap;
use std::task::Waker;

use chrono::{DateTime, Utc};

use crate::action::ActionKind;
use crate::activity::{ATTEMPT_TAG, IDEMPOTENCY_TAG};
use crate::error::FailureDetails;
use crate::retry::RetryPolicy;

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Completed(Option<String>),
    Failed(Box<FailureDetails>),
    Fired,
}

/// What the current step of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Activity,
    SubOrchestration,
    /// A call of an entity, or a request for locks.
    Entity,
    /// A timer that ends at the operation's `until`.
    Timer,
}

/// The attempts of an operation with a retry policy.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) policy: RetryPolicy,
    pub(crate) failed: u32,
    pub(crate) started: DateTime<Utc>,
    /// The call, to be made again.
    pub(crate) call: ActionKind,
    /// Whether the id of the sub-orchestration follows from the id of the task.
    pub(crate) derives_instance_id: bool,
    /// The key that all attempts of an activity share.
    pub(crate) key: Option<String>,
}

impl Attempts {
    /// The call as the next attempt makes it.
    pub(crate) fn next_call(&self) -> ActionKind {
        let mut call = self.call.clone();
        if let ActionKind::ScheduleTask { tags, .. } = &mut call {
            let attempt = self.failed.saturating_add(1);
            tags.insert(ATTEMPT_TAG.to_owned(), attempt.to_string());
            if let Some(key) = &self.key {
                tags.insert(IDEMPOTENCY_TAG.to_owned(), key.clone());
            }
        }
        call
    }
}

#[derive(Debug)]
pub(crate) struct Operation {
    /// The task or timer whose completion is awaited now.
    pub(crate) current: i32,
    pub(crate) step: Step,
    /// When the timer of this step finally ends; a chunk may end earlier.
    pub(crate) until: Option<DateTime<Utc>>,
    /// When the current chunk ends.
    pub(crate) chunk_until: Option<DateTime<Utc>>,
    pub(crate) attempts: Option<Box<Attempts>>,
    slot: Slot,
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Done(Outcome),
    /// The future was dropped; the operation continues unobserved.
    Detached,
}

/// What happens when a future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detached {
    /// The timer of this step need not fire.
    Timer(i32),
    /// The code waited for the activity of this step and does no longer.
    AwaitedActivity(i32),
}

/// All operations by the id of their first step.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    operations: HashMap<i32, Operation>,
    /// From the id of a later step to that of the operation's first.
    later_steps: HashMap<i32, i32>,
    /// How many operations hold a waker, that is, have been looked at and are pending.
    awaited: usize,
}

impl Operations {
    pub(crate) fn insert(
        &mut self,
        id: i32,
        step: Step,
        until: Option<DateTime<Utc>>,
        chunk_until: Option<DateTime<Utc>>,
        attempts: Option<Box<Attempts>>,
    ) {
        self.operations.insert(
            id,
            Operation {
                current: id,
                step,
                until,
                chunk_until,
                attempts,
                slot: Slot::Waiting(None),
            },
        );
    }

    /// The operation whose current step is `step_id`, with its own id.
    pub(crate) fn by_step(&mut self, step_id: i32) -> Option<(i32, &mut Operation)> {
        let id = self.later_steps.get(&step_id).copied().unwrap_or(step_id);
        let operation = self.operations.get_mut(&id)?;
        // A finished operation stays until its future looks; it awaits nothing any more.
        (operation.current == step_id && !matches!(operation.slot, Slot::Done(_)))
            .then_some((id, operation))
    }

    /// The step of an operation that is awaited now.
    pub(crate) fn current_step(&self, id: i32) -> Option<i32> {
        Some(self.operations.get(&id)?.current)
    }

    /// Moves an operation on to its next step.
    pub(crate) fn advance(&mut self, id: i32, next_step: i32) {
        if let Some(operation) = self.operations.get_mut(&id) {
            self.later_steps.remove(&operation.current);
            operation.current = next_step;
            self.later_steps.insert(next_step, id);
        }
    }

    /// Ends an operation; yields whom to wake.
    pub(crate) fn finish(&mut self, id: i32, outcome: Outcome) -> Option<Waker> {
        let operation = self.operations.get_mut(&id)?;
        self.later_steps.remove(&operation.current);
        match std::mem::replace(&mut operation.slot, Slot::Done(outcome)) {
            Slot::Waiting(waker) => {
                self.awaited -= usize::from(waker.is_some());
                waker
            }
            Slot::Done(_) => None,
            Slot::Detached => {
                self.operations.remove(&id);
                None
            }
        }
    }

    /// The operation's outcome, if it has ended; otherwise remembers whom to wake.
    pub(crate) fn poll(&mut self, id: i32, waker: &Waker) -> Option<Outcome> {
        let operation = self.operations.get_mut(&id)?;
        match &mut operation.slot {
            Slot::Waiting(Some(known)) => known.clone_from(waker),
            Slot::Waiting(none) => {
                *none = Some(waker.clone());
                self.awaited += 1;
            }
            Slot::Done(_) => {
                if let Some(Operation {
                    slot: Slot::Done(outcome),
                    ..
                }) = self.operations.remove(&id)
                {
                    return Some(outcome);
                }
            }
            Slot::Detached => {}
        }
        None
    }

    /// The future was dropped: a call continues unobserved, a timer is removed.
    pub(crate) fn detach(&mut self, id: i32) -> Option<Detached> {
        let operation = self.operations.get_mut(&id)?;
        let is_pure_timer = operation.step == Step::Timer && operation.attempts.is_none();
        let before = std::mem::replace(&mut operation.slot, Slot::Detached);
        let was_awaited = matches!(before, Slot::Waiting(Some(_)));
        self.awaited -= usize::from(was_awaited);
        if matches!(before, Slot::Done(_)) {
            self.operations.remove(&id);
            return None;
        }
        if is_pure_timer {
            let current = operation.current;
            self.operations.remove(&id);
            self.later_steps.remove(&current);
            return Some(Detached::Timer(current));
        }
        (was_awaited && operation.step == Step::Activity)
            .then_some(Detached::AwaitedActivity(operation.current))
    }

    /// Whether some pending operation would wake the user's code.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited > 0
    }
}

/// Gives a sub-orchestration the instance id that follows from its call.
pub(super) fn set_derived_instance_id(call: &mut ActionKind, prefix: &str, id: i32) {
    if let ActionKind::CreateSubOrchestration { instance_id, .. } = call {
        *instance_id = format!("{prefix}:{id:04x}");
    }
}

/// The same for the next attempt of the call.
pub(super) fn rederive_instance_id(call: &mut ActionKind, id: i32) {
    if let ActionKind::CreateSubOrchestration { instance_id, .. } = call {
        let prefix = instance_id
            .rsplit_once(':')
            .map_or(instance_id.as_str(), |(prefix, _)| prefix);
        *instance_id = format!("{prefix}:{id:04x}");
    }
}
