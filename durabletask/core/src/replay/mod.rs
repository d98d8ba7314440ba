//! Replaying an orchestration: `(past events, new events) -> actions`.

mod combinators;
mod context;
mod entities;
mod executor;
mod fan_out;
mod heartbeats;
mod inbox;
mod lineage;
mod messages;
pub(crate) mod mismatch;
mod operations;
mod options;
mod patches;
mod queries;
mod saga;
mod state;
mod tasks;
mod updates;
mod watching;

pub use combinators::{
    Either, WhenAll, WhenAny, join, select, when_all, when_all_settled, when_any,
};
pub use context::OrchestrationContext;
pub use entities::{CriticalSection, LockTask};
pub use executor::{Execution, TurnResult};
pub use fan_out::{FanOut, Settled, fan_out};
pub use messages::{UPDATE_ANSWER, UpdateAnswer, UpdateMessage};
pub use options::{SubOrchestrationOptions, TaskOptions};
pub use queries::QueryError;
pub use saga::{Saga, SagaError};
pub use tasks::{EventTask, Task, Timer};
pub use updates::{UpdateReply, UpdateTask};
