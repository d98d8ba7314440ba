//! Spans for OpenTelemetry, with the names, kinds and attributes of the official
//! SDKs. Without the feature `opentelemetry` nothing is recorded.
//!
//! | Span | Kind | When |
//! | ---- | ---- | ---- |
//! | `create_orchestration:<name>[@(<version>)]` | producer | a client starts an instance |
//! | `orchestration_event:<event>` | producer | a client raises an event |
//! | `orchestration:<name>[@(<version>)]` | server | an orchestration has ended |
//! | `activity:<name>[@(<version>)]` | server | an activity runs |
//! | `activity:<name>[@(<version>)]` | client | a call of an activity has ended, for its caller |
//! | `orchestration:<name>[@(<version>)]` | client | a sub-orchestration has ended, for its caller |
//! | `orchestration:<caller>:timer` | internal | a timer has fired |
//! | `orchestration_event:<event>` | producer | an orchestration sends an event |
//! | `entity:<name>:<operation>` | server | an entity runs an operation that was called |
//! | `entity:<name>:<operation>` | consumer | an entity runs an operation that was signalled |
//! | `entity:<name>:<operation>` | client | a call of an entity has ended, for its caller |
//! | `entity:<name>:<operation>` | producer | a client, an orchestration or an entity signals |
//! | `create_orchestration:<name>[@(<version>)]` | producer | an entity starts an orchestration |
//!
//! The context of the first travels with the start and through the history, so
//! that all of an instance is one trace. With `SpanIds` it is a tree; otherwise
//! the spans of an instance are siblings, all below the one that started it.
//!
//! What an orchestration does is recorded when the scheduler has taken the turn,
//! from the turn's new events and decisions alone: neither a replay nor a turn
//! that is redelivered records anything twice.
//!
//! The newer form of an entity's work items has no room for a context, so what an
//! entity runs begins a trace of its own there; in the older form it belongs to the
//! trace of who asked for it.

#[cfg(feature = "opentelemetry")]
mod entities;
#[cfg(feature = "opentelemetry")]
mod ids;
#[cfg(not(feature = "opentelemetry"))]
mod off;
#[cfg(feature = "opentelemetry")]
mod otel;
#[cfg(feature = "opentelemetry")]
mod steps;

use durabletask_core::TraceContext;
use durabletask_proto as proto;

#[cfg(feature = "opentelemetry-sdk")]
pub use ids::SpanIds;
#[cfg(not(feature = "opentelemetry"))]
pub(crate) use off::{EndedSteps, Spanned, Steps, begin_execution, end_execution};
#[cfg(feature = "opentelemetry")]
pub(crate) use otel::{Spanned, begin_execution, end_execution};
#[cfg(feature = "opentelemetry")]
pub(crate) use steps::{EndedSteps, Steps};

/// The attributes of a finished orchestration's span.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "opentelemetry"),
    allow(dead_code, reason = "read by the feature only")
)]
pub(crate) struct EndedOrchestration {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) instance_id: String,
    pub(crate) execution_id: Option<String>,
    pub(crate) parent: Option<TraceContext>,
    /// When the first turn began and under which id, as the scheduler kept it.
    pub(crate) kept: Option<proto::OrchestrationTraceContext>,
    /// The name of the status.
    pub(crate) status: &'static str,
    /// Why it failed, if it did.
    pub(crate) failure: Option<String>,
}
