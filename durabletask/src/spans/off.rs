//! Nothing is recorded.

use chrono::{DateTime, Utc};
use durabletask_core::{EntityAction, EntityId, EntityOperation, ExecutionStarted, TraceContext};
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

    pub(crate) fn entity_signal(
        _entity: &EntityId,
        _operation: &str,
        _at: Option<DateTime<Utc>>,
    ) -> Self {
        Self
    }

    pub(crate) fn entity_operation(
        _entity: &EntityId,
        _operation: &EntityOperation,
        _is_signal: bool,
    ) -> Self {
        Self
    }

    pub(crate) fn sends(&self, _entity: &EntityId, _actions: &mut [EntityAction]) {}

    pub(crate) fn record_orchestration(_ended: EndedOrchestration) {}

    pub(crate) fn record_steps(_ended: EndedSteps) {}

    pub(crate) fn context(&self) -> Option<TraceContext> {
        None
    }

    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        future.await
    }

    pub(crate) fn failed(&self, _reason: &str) {}
}

pub(crate) fn begin_execution(_kept: &mut Option<proto::OrchestrationTraceContext>) {}

pub(crate) fn end_execution(_kept: &mut Option<proto::OrchestrationTraceContext>) {}

/// The steps of an execution, of which nobody asks.
#[derive(Debug, Default)]
pub(crate) struct Steps {}

/// What nobody records.
#[derive(Debug)]
pub(crate) struct EndedSteps;

impl Steps {
    pub(crate) fn past(&mut self, _events: &[proto::HistoryEvent]) {}

    pub(crate) fn happened(&mut self, _events: &[proto::HistoryEvent]) {}

    pub(crate) fn decided<'a>(
        &mut self,
        _actions: impl IntoIterator<Item = &'a proto::OrchestratorAction>,
    ) {
    }

    pub(crate) fn give_ids(&self, _actions: &mut [proto::OrchestratorAction]) {}

    pub(crate) fn take_ended(
        &mut self,
        _instance_id: &str,
        _execution_id: Option<&str>,
        _caller: Option<&ExecutionStarted>,
        _kept: Option<&proto::OrchestrationTraceContext>,
    ) -> Option<EndedSteps> {
        None
    }
}
