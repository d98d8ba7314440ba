//! Nothing is recorded.

use durabletask_core::TraceContext;
use durabletask_proto as proto;

use super::EndedOrchestration;

/// A span that is not there.
#[derive(Debug)]
pub(crate) struct Spanned;

impl Spanned {
    pub(crate) fn create_orchestration(
        _name: &str,
        _version: Option<&str>,
        _instance_id: &str,
        _parent: Option<&TraceContext>,
    ) -> Self {
        Self
    }

    pub(crate) fn orchestration_event(_event: &str, _instance_id: &str) -> Self {
        Self
    }

    pub(crate) fn activity(_request: &proto::ActivityRequest) -> Self {
        Self
    }

    pub(crate) fn record_orchestration(_ended: EndedOrchestration) {}

    pub(crate) fn context(&self) -> Option<TraceContext> {
        None
    }

    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        future.await
    }

    pub(crate) fn failed(&self, _reason: &str) {}
}

pub(crate) fn begin_orchestration(_kept: &mut Option<proto::OrchestrationTraceContext>) {}
