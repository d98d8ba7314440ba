//! Spans for OpenTelemetry, with the names, kinds and attributes of the official
//! SDKs. Without the feature `opentelemetry` nothing is recorded.
//!
//! | Span | Kind | When |
//! | ---- | ---- | ---- |
//! | `create_orchestration:<name>[@(<version>)]` | producer | a client starts an instance |
//! | `orchestration_event:<event>` | producer | a client raises an event |
//! | `orchestration:<name>[@(<version>)]` | server | an orchestration has ended |
//! | `activity:<name>[@(<version>)]` | server | an activity runs |
//!
//! The context of the first travels with the start and through the history, so
//! that all of an instance is one trace. An id once made cannot be given to a
//! span that is recorded later, therefore an instance's spans are siblings.

#[cfg(not(feature = "opentelemetry"))]
mod off;
#[cfg(feature = "opentelemetry")]
mod otel;

use durabletask_core::TraceContext;

#[cfg(not(feature = "opentelemetry"))]
pub(crate) use off::{Spanned, begin_orchestration};
#[cfg(feature = "opentelemetry")]
pub(crate) use otel::{Spanned, begin_orchestration};

/// What the span of an orchestration tells that has ended.
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
    /// When the first turn began, as the scheduler kept it.
    pub(crate) began: Option<prost_types::Timestamp>,
    /// The name of the status.
    pub(crate) status: &'static str,
    /// Why it failed, if it did.
    pub(crate) failure: Option<String>,
}
