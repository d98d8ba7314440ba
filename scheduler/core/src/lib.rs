//! The instance core of the scheduler: what happened to an instance in, effects out.
//!
//! Nothing here reads a clock, draws a random number or touches storage: the same
//! arguments always give the same effects. The shell passes in the time and fresh
//! execution ids, and makes the effects durable in one transaction. The messages of
//! the wire protocol are the vocabulary, because they are what is stored.

mod batch;
mod effects;
mod entity;
mod event_form;
mod fork;
mod instance;
mod reuse;
mod rewind;
mod started;
mod turn;

pub use batch::{ends_turn, travels_alone};
pub use effects::{ChildStart, Effects, Message, NextExecution, Rewound, TimerSet};
pub use entity::{
    Batch, BatchEffects, Caller, EntityMessage, LockRequest, Locked, OperationMessage, after_lock,
    apply_batch, canonical_entity_id, entity_name, failed_call, is_entity_id, operations_done,
    without_mark,
};
pub use fork::{Fork, ForkRefusal, Forked, fork};
pub use instance::{
    Delivery, DropReason, Instance, MAX_INSTANCE_ID, STARTED_ID, accept, event, is_instance_id,
    is_terminal, survives_continue_as_new, suspension_after,
};
pub use reuse::{Reuse, ReuseRefusal, check_policy, decide};
pub use turn::{Turn, Waiting, apply_turn, failed, parent_message};
