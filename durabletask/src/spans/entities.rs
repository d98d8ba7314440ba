//! The spans of entities, with the attributes of DurableTask.Core.

use chrono::{DateTime, Utc};
use durabletask_core::{EntityAction, EntityId, EntityOperation, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};

use super::otel::{Spanned, full_name, text};

const CALL: &str = "call_entity";
const SIGNAL: &str = "signal_entity";

impl Spanned {
    /// A client's signal to `entity`.
    pub(crate) fn entity_signal(
        entity: &EntityId,
        operation: &str,
        at: Option<DateTime<Utc>>,
    ) -> Self {
        Self::start(signal(&entity.to_string(), operation, at, None), None, None)
    }

    /// What `entity` does when it is called, or signalled.
    pub(crate) fn entity_operation(
        entity: &EntityId,
        operation: &EntityOperation,
        is_signal: bool,
    ) -> Self {
        let id = entity.to_string();
        let (kind, how) = if is_signal {
            (SpanKind::Consumer, SIGNAL)
        } else {
            (SpanKind::Server, CALL)
        };
        let mut attributes = attributes(how, &operation.name);
        attributes.push(of_instance(&id));
        let span = SpanBuilder::from_name(name(&id, &operation.name))
            .with_kind(kind)
            .with_attributes(attributes);
        Self::start(span, operation.trace_context.as_ref(), None)
    }

    /// Records what `entity` sends out from within this span, and lets each message
    /// carry its context.
    pub(crate) fn sends(&self, entity: &EntityId, actions: &mut [EntityAction]) {
        let Some(within) = self.context() else {
            return;
        };
        let sender = entity.to_string();
        for action in actions {
            match action {
                EntityAction::Signal {
                    entity_id,
                    operation,
                    at,
                    trace_context,
                    ..
                } => {
                    let span = signal(&entity_id.to_string(), operation, *at, Some(&sender));
                    *trace_context = sent(span, &within);
                }
                EntityAction::Start {
                    instance_id,
                    name,
                    version,
                    at,
                    trace_context,
                    ..
                } => {
                    let span = start(&sender, instance_id, name, version.as_deref(), *at);
                    *trace_context = sent(span, &within);
                }
                _ => {}
            }
        }
    }
}

/// Records what has ended with its beginning; yields its context.
fn sent(span: SpanBuilder, within: &TraceContext) -> Option<TraceContext> {
    Spanned::start(span, Some(within), None).context()
}

/// A call of the entity `id`, as its caller sees it.
pub(super) fn call(id: &str, operation: &str, caller: &str) -> SpanBuilder {
    let mut attributes = attributes(CALL, operation);
    attributes.push(target(id));
    attributes.push(of_instance(caller));
    SpanBuilder::from_name(name(id, operation))
        .with_kind(SpanKind::Client)
        .with_attributes(attributes)
}

/// A signal to the entity `id`, which arrives not before `at`. Clients are no instance
/// that could send it.
pub(super) fn signal(
    id: &str,
    operation: &str,
    at: Option<DateTime<Utc>>,
    sender: Option<&str>,
) -> SpanBuilder {
    let mut attributes = attributes(SIGNAL, operation);
    attributes.push(target(id));
    attributes.extend(sender.map(of_instance));
    attributes.extend(at.map(scheduled));
    SpanBuilder::from_name(name(id, operation))
        .with_kind(SpanKind::Producer)
        .with_attributes(attributes)
}

/// The start of an orchestration by the entity `sender`.
fn start(
    sender: &str,
    instance_id: &str,
    name: &str,
    version: Option<&str>,
    at: Option<DateTime<Utc>>,
) -> SpanBuilder {
    let mut attributes = vec![
        KeyValue::new("durabletask.type", "entity"),
        target(instance_id),
        of_instance(sender),
    ];
    attributes.extend(at.map(scheduled));
    SpanBuilder::from_name(full_name("create_orchestration", name, version))
        .with_kind(SpanKind::Producer)
        .with_attributes(attributes)
}

fn name(id: &str, operation: &str) -> String {
    // What is not an entity's id stays as it is.
    let entity = id.parse::<EntityId>();
    let entity = entity.as_ref().map_or(id, EntityId::name);
    format!("entity:{entity}:{operation}")
}

/// `durabletask.entity.operation` is the JavaScript SDK's addition to Core's attributes.
fn attributes(how: &'static str, operation: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("durabletask.type", "entity"),
        KeyValue::new("durabletask.task.operation", how),
        KeyValue::new("durabletask.entity.operation", operation.to_owned()),
    ]
}

fn of_instance(id: &str) -> KeyValue {
    KeyValue::new("durabletask.task.instance_id", id.to_owned())
}

fn target(id: &str) -> KeyValue {
    KeyValue::new("durabletask.event.target_instance_id", id.to_owned())
}

fn scheduled(at: DateTime<Utc>) -> KeyValue {
    KeyValue::new("durabletask.task.scheduled_time", text(at))
}
