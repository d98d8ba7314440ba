//! Histories written by hand.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::FailureDetails;
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload};

use super::epoch;

/// Writes a history by hand, with timestamps from a clock that is moved by hand.
///
/// ```
/// use durabletask::testing::HistoryBuilder;
///
/// let history = HistoryBuilder::new()
///     .orchestrator_started()
///     .execution_started("welcome", "\"Ada\"")
///     .task_scheduled(0, "greet")
///     .build();
/// assert_eq!(history.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct HistoryBuilder {
    clock: DateTime<Utc>,
    events: Vec<HistoryEvent>,
}

impl Default for HistoryBuilder {
    fn default() -> Self {
        Self {
            clock: epoch(),
            events: Vec::new(),
        }
    }
}

impl HistoryBuilder {
    /// An empty history at [`epoch`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    #[must_use]
    pub fn advance(mut self, by: Duration) -> Self {
        self.clock += TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        self
    }

    /// Any event; `event_id` is -1 unless it records an action.
    #[must_use]
    pub fn event(mut self, event_id: i32, payload: HistoryPayload) -> Self {
        self.events
            .push(HistoryEvent::new(event_id, self.clock, payload));
        self
    }

    /// A turn begins.
    #[must_use]
    pub fn orchestrator_started(self) -> Self {
        self.event(-1, HistoryPayload::OrchestratorStarted)
    }

    /// The execution begins with JSON text as its input.
    #[must_use]
    pub fn execution_started(self, name: &str, input: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::ExecutionStarted(Box::new(ExecutionStarted {
                name: name.to_owned(),
                input: Some(input.to_owned()),
                ..ExecutionStarted::default()
            })),
        )
    }

    /// Action `id` called an activity.
    #[must_use]
    pub fn task_scheduled(self, id: i32, name: &str) -> Self {
        self.event(
            id,
            HistoryPayload::TaskScheduled {
                name: name.to_owned(),
                version: None,
                input: None,
            },
        )
    }

    /// The activity call `id` yielded JSON text.
    #[must_use]
    pub fn task_completed(self, id: i32, result: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::TaskCompleted {
                task_id: id,
                result: Some(result.to_owned()),
            },
        )
    }

    /// The activity call `id` failed.
    #[must_use]
    pub fn task_failed(self, id: i32, failure: FailureDetails) -> Self {
        self.event(
            -1,
            HistoryPayload::TaskFailed {
                task_id: id,
                failure,
            },
        )
    }

    /// Action `id` started a sub-orchestration.
    #[must_use]
    pub fn sub_orchestration_created(self, id: i32, name: &str, instance_id: &str) -> Self {
        self.event(
            id,
            HistoryPayload::SubOrchestrationCreated {
                name: name.to_owned(),
                instance_id: instance_id.to_owned(),
                version: None,
                input: None,
            },
        )
    }

    /// The sub-orchestration `id` yielded JSON text.
    #[must_use]
    pub fn sub_orchestration_completed(self, id: i32, result: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::SubOrchestrationCompleted {
                task_id: id,
                result: Some(result.to_owned()),
            },
        )
    }

    /// Action `id` set a timer.
    #[must_use]
    pub fn timer_created(self, id: i32) -> Self {
        self.event(id, HistoryPayload::TimerCreated { fire_at: None })
    }

    /// The timer `id` is due.
    #[must_use]
    pub fn timer_fired(self, id: i32) -> Self {
        self.event(-1, HistoryPayload::TimerFired { timer_id: id })
    }

    /// An external event arrived with JSON text.
    #[must_use]
    pub fn event_raised(self, name: &str, input: &str) -> Self {
        self.event(
            -1,
            HistoryPayload::EventRaised {
                name: name.to_owned(),
                input: Some(input.to_owned()),
            },
        )
    }

    /// The history so far.
    #[must_use]
    pub fn build(self) -> Vec<HistoryEvent> {
        self.events
    }
}
