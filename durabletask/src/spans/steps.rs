//! The steps of an orchestration as its own worker sees them: calls, timers and
//! events it sends, from the decision to the end.

use std::collections::HashMap;

use durabletask_core::{ExecutionStarted, TraceContext};
use durabletask_proto as proto;
use opentelemetry::trace::SpanId;
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Action;
use proto::send_entity_message_action::EntityMessageType as Message;

use super::ids;
use super::otel::{kept_id, span_context};

/// The steps of an execution that are under way, and those that ended in the
/// present turn.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    open: HashMap<Key, OpenStep>,
    ended: Vec<EndedStep>,
    /// When the present turn began, by the clock of the scheduler.
    turn_began: Option<prost_types::Timestamp>,
}

/// What is to be recorded once the scheduler has taken a turn.
#[derive(Debug)]
pub(crate) struct EndedSteps {
    pub(super) instance_id: String,
    pub(super) execution_id: Option<String>,
    /// The name of the orchestration whose steps these are.
    pub(super) caller: String,
    /// The span of that orchestration, or the one that started it.
    pub(super) parent: TraceContext,
    pub(super) steps: Vec<EndedStep>,
}

/// By what the end of a step names its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The event's id.
    Task(i32),
    /// The request's id: calls of entities.
    Request(String),
}

#[derive(Debug)]
struct OpenStep {
    what: What,
    since: Option<prost_types::Timestamp>,
    /// The context that travelled with the call.
    context: Option<TraceContext>,
}

/// A step that has ended.
#[derive(Debug)]
pub(super) struct EndedStep {
    /// The task's id, if it is one.
    pub(super) id: Option<i32>,
    pub(super) what: What,
    pub(super) since: Option<prost_types::Timestamp>,
    pub(super) until: Option<prost_types::Timestamp>,
    /// The id under which the callee knows it.
    pub(super) span_id: Option<SpanId>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
}

#[derive(Debug)]
pub(super) enum What {
    Activity {
        name: String,
        version: Option<String>,
    },
    SubOrchestration {
        name: String,
        version: Option<String>,
    },
    Timer {
        fire_at: Option<prost_types::Timestamp>,
    },
    SentEvent {
        name: String,
        target: String,
    },
    EntityCall {
        /// The entity's id, as text.
        entity: String,
        operation: String,
    },
    EntitySignal {
        /// The entity's id, as text.
        entity: String,
        operation: String,
        at: Option<prost_types::Timestamp>,
    },
}

impl Steps {
    /// Learns from events of earlier turns; what ended in those was recorded then.
    pub(crate) fn past(&mut self, events: &[proto::HistoryEvent]) {
        for event in events {
            if let Some((key, step)) = step_of(event) {
                self.open.insert(key, step);
            } else if let Some((key, _)) = end_of(event) {
                self.open.remove(&key);
            }
        }
    }

    /// Learns from the events of the present turn.
    pub(crate) fn happened(&mut self, events: &[proto::HistoryEvent]) {
        for event in events {
            if let Some(EventType::OrchestratorStarted(_)) = event.event_type {
                self.turn_began = event.timestamp;
            }
            // A repeated end finds its step gone.
            if let Some((key, failure)) = end_of(event)
                && let Some(step) = self.open.remove(&key)
            {
                self.ended.push(EndedStep {
                    id: match key {
                        Key::Task(id) => Some(id),
                        Key::Request(_) => None,
                    },
                    what: step.what,
                    since: step.since,
                    until: event.timestamp,
                    span_id: step.context.as_ref().and_then(span_id),
                    failure,
                });
            }
        }
    }

    /// Learns what the present turn decided.
    pub(crate) fn decided<'a>(
        &mut self,
        actions: impl IntoIterator<Item = &'a proto::OrchestratorAction>,
    ) {
        for action in actions {
            let key = Key::Task(action.id);
            let (key, what, context) = match &action.orchestrator_action_type {
                Some(Action::ScheduleTask(call)) => (
                    key,
                    What::Activity {
                        name: call.name.clone(),
                        version: call.version.clone(),
                    },
                    &call.parent_trace_context,
                ),
                Some(Action::CreateSubOrchestration(call)) => (
                    key,
                    What::SubOrchestration {
                        name: call.name.clone(),
                        version: call.version.clone(),
                    },
                    &call.parent_trace_context,
                ),
                Some(Action::CreateTimer(timer)) => (
                    key,
                    What::Timer {
                        fire_at: timer.fire_at,
                    },
                    &None,
                ),
                Some(Action::SendEvent(event)) => {
                    self.ended.push(sent_event(event));
                    continue;
                }
                Some(Action::SendEntityMessage(message)) => match &message.entity_message_type {
                    Some(Message::EntityOperationCalled(call)) => {
                        let (key, what) = entity_call(call);
                        (key, what, &None)
                    }
                    Some(Message::EntityOperationSignaled(signal)) => {
                        self.ended.push(entity_signal(signal));
                        continue;
                    }
                    _ => continue,
                },
                _ => continue,
            };
            let step = OpenStep {
                what,
                since: self.turn_began,
                context: context.clone().map(Into::into),
            };
            self.open.insert(key, step);
        }
    }

    /// Gives every call of the present turn the id that its span will have.
    pub(crate) fn give_ids(&self, actions: &mut [proto::OrchestratorAction]) {
        if !ids::are_kept() {
            return;
        }
        for action in actions {
            let context = match &mut action.orchestrator_action_type {
                Some(Action::ScheduleTask(call)) => &mut call.parent_trace_context,
                Some(Action::CreateSubOrchestration(call)) => &mut call.parent_trace_context,
                _ => continue,
            };
            if let Some(given) = context
                .clone()
                .and_then(|context| ids::within(&context.into(), ids::fresh()))
            {
                *context = Some(given.into());
            }
        }
    }

    /// What ended in the present turn, if anything did and the instance is traced.
    pub(crate) fn take_ended(
        &mut self,
        instance_id: &str,
        execution_id: Option<&str>,
        caller: Option<&ExecutionStarted>,
        kept: Option<&proto::OrchestrationTraceContext>,
    ) -> Option<EndedSteps> {
        let mut steps = std::mem::take(&mut self.ended);
        let caller = caller?;
        let started_by = caller.trace_context.clone()?;
        // Workers that keep no ids pass on that of the start, which is in use.
        let in_use = span_id(&started_by);
        for step in &mut steps {
            step.span_id = step.span_id.filter(|id| Some(*id) != in_use);
        }
        let parent = kept
            .and_then(kept_id)
            .and_then(|id| ids::within(&started_by, id))
            .unwrap_or(started_by);
        (!steps.is_empty()).then(|| EndedSteps {
            instance_id: instance_id.to_owned(),
            execution_id: execution_id.map(str::to_owned),
            caller: caller.name.clone(),
            parent,
            steps,
        })
    }
}

fn span_id(context: &TraceContext) -> Option<SpanId> {
    span_context(context).map(|context| context.span_id())
}

/// An event sent to another instance.
fn sent_event(event: &proto::SendEventAction) -> EndedStep {
    let target = event.instance.as_ref();
    sent(What::SentEvent {
        name: event.name.clone(),
        target: target.map_or_else(String::new, |target| target.instance_id.clone()),
    })
}

fn entity_call(call: &proto::EntityOperationCalledEvent) -> (Key, What) {
    let what = What::EntityCall {
        entity: call.target_instance_id.clone().unwrap_or_default(),
        operation: call.operation.clone(),
    };
    (Key::Request(call.request_id.clone()), what)
}

fn entity_signal(signal: &proto::EntityOperationSignaledEvent) -> EndedStep {
    sent(What::EntitySignal {
        entity: signal.target_instance_id.clone().unwrap_or_default(),
        operation: signal.operation.clone(),
        at: signal.scheduled_time,
    })
}

/// A step without an answer: it ends when it is sent.
fn sent(what: What) -> EndedStep {
    EndedStep {
        id: None,
        what,
        since: None,
        until: None,
        span_id: None,
        failure: None,
    }
}

/// The step whose beginning the event records.
fn step_of(event: &proto::HistoryEvent) -> Option<(Key, OpenStep)> {
    let mut key = Key::Task(event.event_id);
    let (what, context) = match event.event_type.as_ref()? {
        EventType::TaskScheduled(call) => (
            What::Activity {
                name: call.name.clone(),
                version: call.version.clone(),
            },
            &call.parent_trace_context,
        ),
        EventType::SubOrchestrationInstanceCreated(call) => (
            What::SubOrchestration {
                name: call.name.clone(),
                version: call.version.clone(),
            },
            &call.parent_trace_context,
        ),
        EventType::TimerCreated(timer) => (
            What::Timer {
                fire_at: timer.fire_at,
            },
            &None,
        ),
        EventType::EntityOperationCalled(call) => {
            let (request, what) = entity_call(call);
            key = request;
            (what, &None)
        }
        _ => return None,
    };
    let step = OpenStep {
        what,
        since: event.timestamp,
        context: context.clone().map(Into::into),
    };
    Some((key, step))
}

/// The step whose end the event records, and why that failed, if it did.
fn end_of(event: &proto::HistoryEvent) -> Option<(Key, Option<String>)> {
    let reason = |details: &Option<proto::TaskFailureDetails>| {
        details
            .as_ref()
            .map_or_else(String::new, |details| details.error_message.clone())
    };
    let (key, failure) = match event.event_type.as_ref()? {
        EventType::TaskCompleted(end) => (Key::Task(end.task_scheduled_id), None),
        EventType::TaskFailed(end) => (
            Key::Task(end.task_scheduled_id),
            Some(reason(&end.failure_details)),
        ),
        EventType::SubOrchestrationInstanceCompleted(end) => {
            (Key::Task(end.task_scheduled_id), None)
        }
        EventType::SubOrchestrationInstanceFailed(end) => (
            Key::Task(end.task_scheduled_id),
            Some(reason(&end.failure_details)),
        ),
        EventType::TimerFired(end) => (Key::Task(end.timer_id), None),
        EventType::EntityOperationCompleted(end) => (Key::Request(end.request_id.clone()), None),
        EventType::EntityOperationFailed(end) => (
            Key::Request(end.request_id.clone()),
            Some(reason(&end.failure_details)),
        ),
        _ => return None,
    };
    Some((key, failure))
}
