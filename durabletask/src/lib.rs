#![doc = include_str!("../README.md")]

mod client;
mod connection;
pub mod worker;

pub use client::{
    Client, ClientError, IdReuse, InstancePage, InstanceQuery, InstanceState, Payloads,
    PurgeFilter, Purged, Recursive, StartRequest, Status,
};
pub use connection::{Authentication, AuthenticationKind, Connection, ConnectionError};
pub use durabletask_core::{
    Activity, ActivityContext, ContinueOptions, Either, Event, EventTask, Failure, FailureDetails,
    Orchestration, OrchestrationContext, ParentInstance, Registry, RetryPolicy,
    SubOrchestrationOptions, Task, TaskError, TaskOptions, Timer, TraceContext, UnprocessedEvents,
    select, testing, when_all, when_any,
};
pub use worker::{Worker, WorkerBuilder, WorkerError};
