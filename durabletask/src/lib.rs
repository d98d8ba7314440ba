#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "azure", feature = "azure-blob"))]
pub mod azure;
mod caller;
pub mod client;
pub mod connection;
mod credential;
mod dialer;
pub mod guides;
pub mod limits;
pub mod payloads;
pub mod schedules;
mod spans;
mod token_file;
pub mod worker;

/// Entities: their ids, and what orchestrations do with them.
pub mod entity {
    pub use durabletask_core::{
        CriticalSection, Entity, EntityContext, EntityHandlers, EntityId, EntityRef,
        EntityStartOptions, InvalidEntityId, LockTask, Operation,
    };
}

/// What orchestrations call, await and end with.
pub mod orchestration {
    pub use durabletask_core::{
        ContinueAsNew, EventTask, FanOut, InputFor, Outcome, SagaError, Settled,
        SubOrchestrationOptions, Task, Timer, UnprocessedEvents, UpdateReply, UpdateTask, WhenAll,
        WhenAny,
    };
}

/// What activities learn of their calls.
pub mod activity {
    pub use durabletask_core::{ActivityContext, Cancelled, HeartbeatError, PublishError};
}

/// Trying again.
pub mod retry {
    pub use durabletask_core::{RetryIf, RetryPolicy};
}

/// Code around every handler; see [`Registry::activity_middleware`] and
/// [`Registry::orchestration_middleware`].
pub mod middleware {
    pub use durabletask_core::{Ended, Next};
}

/// What the scheduler records of an instance.
pub mod history {
    pub use durabletask_core::{
        ExecutionStarted, HistoryEvent, HistoryPayload, ParentInstance, TraceContext,
    };
}

/// Spans.
#[cfg(feature = "opentelemetry-sdk")]
pub mod telemetry {
    pub use crate::spans::SpanIds;
}

pub use client::{Client, ClientError};
pub use connection::Connection;
#[cfg(feature = "cron")]
pub use durabletask_core::cron;
pub use durabletask_core::{
    Activity, ActivityContext, Either, Entity, EntityContext, EntityHandlers, Event, Failure,
    FailureDetails, Feed, Operation, Orchestration, OrchestrationContext, Outcome, Query, Registry,
    RetryPolicy, Saga, TaskError, TaskOptions, Update, compare_versions, fan_out, join, select,
    testing, when_all, when_all_settled, when_any,
};
#[cfg(feature = "macros")]
pub use durabletask_macros::{activity, orchestration};
pub use worker::Worker;

// Their types are part of this crate's, so that users need not find the right versions.
#[doc(no_inline)]
pub use {chrono, serde_json, uuid};
