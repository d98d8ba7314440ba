//! The effects of a turn, as data.

use durabletask_proto::{ActivityRequest, ExecutionStartedEvent, HistoryEvent};
use prost_types::Timestamp;

use crate::{EntityMessage, Instance};

/// Everything that one committed turn changes. The shell applies all of it in one
/// transaction, or none of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effects {
    /// The instance after the turn.
    pub instance: Instance,
    /// What the turn adds to the history, in order. Empty if a new execution begins.
    pub history: Vec<HistoryEvent>,
    /// The next execution, at continue-as-new.
    pub next: Option<NextExecution>,
    /// The history that replaces all of the instance's, at a rewind; `history` is empty then.
    pub rewound: Option<Rewound>,
    /// Activities to run.
    pub activities: Vec<ActivityRequest>,
    /// Timers to set.
    pub timers: Vec<TimerSet>,
    /// Children to start.
    pub children: Vec<ChildStart>,
    /// Messages to instances, this one included, in order.
    pub messages: Vec<Message>,
    /// Messages to entities, in order.
    pub entity_messages: Vec<EntityMessage>,
    /// Whether the turn ended the instance.
    pub ended: bool,
    /// Whether all children that are still running must be terminated.
    pub terminate_children: bool,
}

/// A fresh execution of the same instance: the old history is dropped, its timers too.
#[derive(Clone, Debug, PartialEq)]
pub struct NextExecution {
    /// The new inbox, ahead of whatever arrived during the turn: the start, carried-over
    /// events, events the turn sent to itself.
    pub inbox: Vec<HistoryEvent>,
}

/// The result of a rewind: the same start, without what failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewound {
    /// The new history as a whole.
    pub history: Vec<HistoryEvent>,
    /// The children that the history started without an answer yet. Those that failed
    /// are rewound too; those that were removed are started again.
    pub children: Vec<ChildStart>,
    /// Calls and lock requests to entities without an answer in the history, in order.
    /// A call that still waits at its entity is answered to this execution; any other is
    /// sent again.
    pub entity_messages: Vec<EntityMessage>,
    /// Answers to those of them that need no entity.
    pub answers: Vec<Message>,
    /// The reason that the caller gave for the rewind.
    pub reason: Option<String>,
}

/// A timer to set.
#[derive(Clone, Debug, PartialEq)]
pub struct TimerSet {
    /// When it is due.
    pub fire_at: Timestamp,
    /// The `TimerFired` event it then delivers.
    pub event: HistoryEvent,
}

/// A sub-orchestration to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildStart {
    /// The child's instance id.
    pub instance_id: String,
    /// The id of the parent's action, for the answer.
    pub task_id: i32,
    /// Its first event; the execution id in it is left for the shell to fill in.
    pub started: ExecutionStartedEvent,
}

/// A message to an instance of the same task hub.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The target's instance id.
    pub instance_id: String,
    /// The only execution it may reach; `None` means the current one.
    pub execution_id: Option<String>,
    /// The event to deliver.
    pub event: HistoryEvent,
}
