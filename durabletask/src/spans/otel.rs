//! Recording with the global tracer provider.

use std::time::{Duration, SystemTime};

use durabletask_core::{TraceContext, timestamp_from_wire, timestamp_to_wire};
use durabletask_proto as proto;
use opentelemetry::trace::{
    FutureExt, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue, global};

use super::steps::{EndedStep, EndedSteps, What};
use super::{EndedOrchestration, entities, ids};

/// The scope, the same as that of the official .NET, Java and JavaScript SDKs.
const SCOPE: &str = "Microsoft.DurableTask";

/// A span under way; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Spanned {
    context: Context,
}

impl Spanned {
    pub(crate) fn create_orchestration(
        name: &str,
        version: Option<&str>,
        instance_id: &str,
        parent: Option<&TraceContext>,
    ) -> Self {
        let span = SpanBuilder::from_name(full_name("create_orchestration", name, version))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes("orchestration", name, version, instance_id));
        Self::start(span, parent, None)
    }

    pub(crate) fn orchestration_event(event: &str, instance_id: &str) -> Self {
        let span = SpanBuilder::from_name(format!("orchestration_event:{event}"))
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("durabletask.type", "event"),
                KeyValue::new("durabletask.task.name", event.to_owned()),
                KeyValue::new(
                    "durabletask.event.target_instance_id",
                    instance_id.to_owned(),
                ),
            ]);
        Self::start(span, None, None)
    }

    pub(crate) fn activity(request: &proto::ActivityRequest) -> Self {
        let version = request.version.as_deref();
        let instance_id = request
            .orchestration_instance
            .as_ref()
            .map_or("", |instance| &instance.instance_id);
        let mut attributes = attributes("activity", &request.name, version, instance_id);
        attributes.push(KeyValue::new(
            "durabletask.task.task_id",
            i64::from(request.task_id),
        ));
        let span = SpanBuilder::from_name(full_name("activity", &request.name, version))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let parent = request.parent_trace_context.clone().map(Into::into);
        Self::start(span, parent.as_ref(), None)
    }

    /// Records an orchestration that has ended, from its first turn until now.
    pub(crate) fn record_orchestration(ended: EndedOrchestration) {
        let version = ended.version.as_deref();
        let mut attributes = attributes("orchestration", &ended.name, version, &ended.instance_id);
        attributes.push(KeyValue::new("durabletask.task.status", ended.status));
        if let Some(execution_id) = ended.execution_id {
            attributes.push(KeyValue::new("durabletask.task.execution_id", execution_id));
        }
        let mut span = SpanBuilder::from_name(full_name("orchestration", &ended.name, version))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        if let Some(began) = ended
            .kept
            .as_ref()
            .and_then(|kept| kept.span_start_time)
            .and_then(instant)
        {
            span = span.with_start_time(began);
        }
        let id = ended.kept.as_ref().and_then(kept_id);
        let spanned = Self::start(span, ended.parent.as_ref(), id);
        if let Some(reason) = &ended.failure {
            spanned.failed(reason);
        }
    }

    /// Records steps of an orchestration that have ended.
    pub(crate) fn record_steps(ended: EndedSteps) {
        for step in &ended.steps {
            Self::record_step(&ended, step);
        }
    }

    fn record_step(ended: &EndedSteps, step: &EndedStep) {
        let mut span = step_span(ended, step);
        let began = step.since.and_then(instant);
        if let Some(began) = began {
            span = span.with_start_time(began);
        }
        let spanned = Self::start(span, Some(&ended.parent), step.span_id);
        if let Some(reason) = &step.failure {
            spanned.failed(reason);
        }
        // By the clock of the beginning; without one, until now.
        if let (Some(began), Some(end)) = (began, step.until.and_then(instant)) {
            spanned.context.span().end_with_timestamp(end.max(began));
        }
    }

    pub(super) fn start(
        span: SpanBuilder,
        parent: Option<&TraceContext>,
        id: Option<SpanId>,
    ) -> Self {
        let current = Context::current();
        let parent = match parent.and_then(span_context) {
            Some(parent) => current.with_remote_span_context(parent),
            None => current.clone(),
        };
        let span = ids::with(id, || {
            span.start_with_context(&global::tracer(SCOPE), &parent)
        });
        Self {
            context: current.with_span(span),
        }
    }

    /// The span's context, for what it causes elsewhere; `None` if nothing is recorded.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        let span = self.context.span();
        let context = span.span_context();
        context.is_valid().then(|| TraceContext {
            parent: format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags().to_u8()
            ),
            state: Some(context.trace_state().header()).filter(|state| !state.is_empty()),
        })
    }

    /// Runs `future` with the span as the present one.
    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        future.with_context(self.context.clone()).await
    }

    pub(crate) fn failed(&self, reason: &str) {
        self.context
            .span()
            .set_status(Status::error(reason.to_owned()));
    }
}

/// Lets the scheduler keep when the execution's first turn began, and the id of
/// its span.
pub(crate) fn begin_execution(kept: &mut Option<proto::OrchestrationTraceContext>) {
    let kept = kept.get_or_insert_default();
    if kept.span_start_time.is_none() {
        kept.span_start_time = Some(timestamp_to_wire(chrono::Utc::now()));
    }
    if ids::are_kept() && kept.span_id.is_none() {
        kept.span_id = Some(ids::fresh().to_string());
    }
}

/// Gives the next execution of the instance a span of its own.
pub(crate) fn end_execution(kept: &mut Option<proto::OrchestrationTraceContext>) {
    *kept = Some(proto::OrchestrationTraceContext::default());
}

/// The id of an execution's span, if it was made and can be kept.
pub(super) fn kept_id(kept: &proto::OrchestrationTraceContext) -> Option<SpanId> {
    let id = kept.span_id.as_deref().filter(|_| ids::are_kept())?;
    SpanId::from_hex(id)
        .ok()
        .filter(|id| *id != SpanId::INVALID)
}

fn step_span(ended: &EndedSteps, step: &EndedStep) -> SpanBuilder {
    let instance_id = &ended.instance_id;
    let task_id = step
        .id
        .map(|id| KeyValue::new("durabletask.task.task_id", i64::from(id)));
    match &step.what {
        What::Activity { name, version } => {
            let version = version.as_deref();
            let mut attributes = attributes("activity", name, version, instance_id);
            attributes.extend(task_id);
            SpanBuilder::from_name(full_name("activity", name, version))
                .with_kind(SpanKind::Client)
                .with_attributes(attributes)
        }
        What::SubOrchestration { name, version } => {
            let version = version.as_deref();
            let mut attributes = attributes("orchestration", name, version, instance_id);
            attributes.extend(task_id);
            SpanBuilder::from_name(full_name("orchestration", name, version))
                .with_kind(SpanKind::Client)
                .with_attributes(attributes)
        }
        What::Timer { fire_at } => {
            let mut attributes = attributes("timer", &ended.caller, None, instance_id);
            attributes.extend(task_id);
            if let Some(at) = fire_at.and_then(timestamp_from_wire) {
                attributes.push(KeyValue::new("durabletask.fire_at", text(at)));
            }
            SpanBuilder::from_name(format!("orchestration:{}:timer", ended.caller))
                .with_kind(SpanKind::Internal)
                .with_attributes(attributes)
        }
        What::SentEvent { name, target } => {
            let mut attributes = attributes("event", name, None, instance_id);
            attributes.push(KeyValue::new(
                "durabletask.event.target_instance_id",
                target.clone(),
            ));
            if let Some(execution_id) = &ended.execution_id {
                attributes.push(KeyValue::new(
                    "durabletask.task.execution_id",
                    execution_id.clone(),
                ));
            }
            SpanBuilder::from_name(format!("orchestration_event:{name}"))
                .with_kind(SpanKind::Producer)
                .with_attributes(attributes)
        }
        What::EntityCall { entity, operation } => entities::call(entity, operation, instance_id),
        What::EntitySignal {
            entity,
            operation,
            at,
        } => {
            let at = at.and_then(timestamp_from_wire);
            entities::signal(entity, operation, at, Some(instance_id))
        }
    }
}

/// An instant as the official .NET SDK writes it.
pub(super) fn text(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

pub(super) fn full_name(what: &str, name: &str, version: Option<&str>) -> String {
    match version.filter(|version| !version.is_empty()) {
        Some(version) => format!("{what}:{name}@({version})"),
        None => format!("{what}:{name}"),
    }
}

fn attributes(
    what: &'static str,
    name: &str,
    version: Option<&str>,
    instance_id: &str,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("durabletask.type", what),
        KeyValue::new("durabletask.task.name", name.to_owned()),
        KeyValue::new("durabletask.task.instance_id", instance_id.to_owned()),
    ];
    if let Some(version) = version.filter(|version| !version.is_empty()) {
        attributes.push(KeyValue::new(
            "durabletask.task.version",
            version.to_owned(),
        ));
    }
    attributes
}

/// Reads a W3C `traceparent`: version, trace id, span id and flags.
pub(super) fn span_context(context: &TraceContext) -> Option<SpanContext> {
    let mut parts = context.parent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || trace.len() != 32 || span.len() != 16 {
        return None;
    }
    let state = context
        .state
        .as_deref()
        .and_then(|state| state.parse::<TraceState>().ok())
        .unwrap_or_default();
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        state,
    );
    context.is_valid().then_some(context)
}

fn instant(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(timestamp.seconds).ok()?;
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}
