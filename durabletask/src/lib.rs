#![doc = include_str!("../README.md")]

#[cfg(any(feature = "azure", feature = "azure-blob"))]
pub mod azure;
mod caller;
mod client;
mod connection;
mod credential;
mod payloads;
pub mod schedules;
mod spans;
mod token_file;
pub mod worker;

pub use client::{
    Client, ClientError, EntitiesCleaned, EntityCleaning, EntityQuery, EntityState,
    ExportedInstance, IdReuse, InstanceIdPage, InstanceIdQuery, InstancePage, InstanceQuery,
    InstanceState, Payloads, PurgeFilter, Purged, Recursive, RestartAs, StartRequest, Status,
};
pub use connection::{Authentication, AuthenticationKind, Connection, ConnectionError};
pub use credential::{AccessToken, SCOPE, TokenFailure, TokenProvider};
#[cfg(feature = "cron")]
pub use durabletask_core::cron;
pub use durabletask_core::{
    Activity, ActivityContext, ContinueOptions, CriticalSection, Either, Entity, EntityContext,
    EntityHandlers, EntityId, EntityRef, EntityStartOptions, Event, EventTask, ExecutionStarted,
    Failure, FailureDetails, HistoryEvent, HistoryPayload, InvalidEntityId, LockTask, Next,
    Operation, Orchestration, OrchestrationContext, ParentInstance, Registry, RetryIf, RetryPolicy,
    START_TO_CLOSE_TAG, SubOrchestrationOptions, Task, TaskError, TaskOptions, Timer, TraceContext,
    UnprocessedEvents, join, select, testing, when_all, when_any,
};
pub use payloads::{InMemoryPayloadStore, LargePayloads, PayloadStore, PayloadStoreError};
#[cfg(feature = "opentelemetry-sdk")]
pub use spans::SpanIds;
pub use token_file::TokenFileFault;
pub use worker::{Worker, WorkerBuilder, WorkerError};
