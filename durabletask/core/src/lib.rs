//! The replay core of the durabletask SDK: past and new events in, actions out.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or draws a random
//! number: the same history gives the same actions, always. The worker of the
//! `durabletask` crate feeds it; orchestration authors need
//! [`OrchestrationContext`], the contracts and the combinators only.

mod action;
mod activity;
mod cancellation;
pub mod codec;
mod contract;
#[cfg(feature = "cron")]
pub mod cron;
mod entity;
mod error;
mod heartbeat;
mod history;
mod host;
mod input;
mod outcome;
mod registry;
mod replay;
mod retry;
mod rewind;
pub mod testing;
mod version;

pub use action::{ActionKind, CompletionStatus, OrchestratorAction};
pub use activity::{ActivityContext, START_TO_CLOSE_TAG};
pub use cancellation::{Cancellation, Cancelled};
pub use contract::{Activity, Event, Feed, Orchestration, Query, Update};
pub use entity::{
    Entity, EntityAction, EntityBatch, EntityBatchResult, EntityBatchRun, EntityCaller,
    EntityContext, EntityHandlers, EntityId, EntityOperation, EntityRef, EntityStartOptions,
    FEED_APPEND, FEED_DELETE, FEED_READ, FeedAppend, FeedLog, FeedPage, InvalidEntityId, Operation,
    OperationOutcome, feed_entity, register_feeds, run_batch,
};
pub use error::{Failure, FailureDetails, TaskError};
pub use heartbeat::{HEARTBEAT_EVENT, HeartbeatError, HeartbeatMessage, heartbeat_timeout};
pub use history::{
    ExecutionStarted, HistoryEvent, HistoryPayload, ParentInstance, TraceContext,
    timestamp_from_wire, timestamp_to_wire,
};
pub use host::{ActivityHost, NoHost, PublishError};
pub use input::InputFor;
pub use outcome::{ContinueAsNew, Ended, Outcome, UnprocessedEvents};
pub use registry::{Next, Registry, RunningActivity};
pub use replay::{
    CriticalSection, Either, EventTask, Execution, FanOut, LockTask, OrchestrationContext,
    QueryError, Saga, SagaError, Settled, SubOrchestrationOptions, Task, TaskOptions, Timer,
    TurnResult, UPDATE_ANSWER, UpdateAnswer, UpdateMessage, UpdateReply, UpdateTask, WhenAll,
    WhenAny, fan_out, join, select, when_all, when_all_settled, when_any,
};
pub use retry::{RetryIf, RetryPolicy};
pub use rewind::{is_rewind, rewound_history};
pub use version::compare_versions;
