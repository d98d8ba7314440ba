//! Replaying an orchestration: `(past events, new events) -> actions`.

mod combinators;
mod context;
mod entities;
mod executor;
mod inbox;
mod mismatch;
mod operations;
mod state;
mod tasks;

pub use combinators::{Either, WhenAll, WhenAny, join, select, when_all, when_any};
pub use context::{
    ContinueOptions, OrchestrationContext, START_TO_CLOSE_TAG, SubOrchestrationOptions,
    TaskOptions, UnprocessedEvents,
};
pub use entities::{CriticalSection, LockTask};
pub use executor::{Execution, TurnResult};
pub use tasks::{EventTask, Task, Timer};
