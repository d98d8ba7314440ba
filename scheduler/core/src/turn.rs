//! One turn of an orchestration: the delivered events and the worker's actions in,
//! effects out. Follows the Durable Task protocol: OrchestratorResponse.

use durabletask_proto::history_event::EventType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::{
    CompleteOrchestrationAction, CreateSubOrchestrationAction, EventRaisedEvent, EventSentEvent,
    ExecutionCompletedEvent, ExecutionStartedEvent, ExecutionTerminatedEvent, HistoryEvent,
    OrchestrationInstance, OrchestrationStatus, OrchestratorResponse, SendEventAction,
    SubOrchestrationInstanceCompletedEvent, SubOrchestrationInstanceCreatedEvent,
    SubOrchestrationInstanceFailedEvent, TaskFailureDetails, TaskScheduledEvent, TimerCreatedEvent,
};
use prost_types::Timestamp;

use crate::effects::{Effects, Message, NextExecution};
use crate::rewind::rewind;
use crate::started::{activity, child_start, timer_set, unsupported};
use crate::{Instance, STARTED_ID, entity, event, event_form, is_terminal, suspension_after};

/// A turn that a worker has finished.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The instance before the turn.
    pub instance: Instance,
    /// The events that the worker got and has consumed, `OrchestratorStarted` first.
    pub delivered: Vec<HistoryEvent>,
    /// What has arrived since, as far as it affects how the instance continues.
    pub waiting: Waiting,
    /// The worker's answer.
    pub response: OrchestratorResponse,
    /// When the turn is committed.
    pub now: Timestamp,
    /// The execution id to use if the orchestration continues as new.
    pub next_execution_id: String,
}

/// Acknowledged commands that no worker has received yet.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// The first termination among them; it includes the children if any of them does.
    pub terminated: Option<HistoryEvent>,
    /// Whether the instance is suspended after all of them; `None` if none changes that.
    pub suspended: Option<bool>,
}

/// Works out the effects of a turn. Total: an action this scheduler cannot carry out
/// fails the orchestration with details that say so, since refusing the completion
/// would only redeliver the same turn.
#[must_use]
pub fn apply_turn(turn: Turn) -> Effects {
    let Turn {
        mut instance,
        delivered,
        waiting,
        response,
        now,
        next_execution_id,
    } = turn;
    instance.status = status_after(instance.status, &delivered, waiting.suspended);
    instance.terminate_children |= delivered
        .iter()
        .chain(&waiting.terminated)
        .any(asks_for_children);
    // A worker repeats the custom status in each turn once its execution has set one.
    if response.custom_status.is_some() || !instance.status_carried {
        instance.custom_status = response.custom_status;
        instance.status_carried = false;
    }
    let given = delivered.len();
    if response.orchestration_trace_context.is_some() {
        instance.span = response.orchestration_trace_context;
    }

    let mut effects = Effects {
        instance,
        history: delivered,
        next: None,
        rewound: None,
        activities: Vec::new(),
        timers: Vec::new(),
        children: Vec::new(),
        messages: Vec::new(),
        entity_messages: Vec::new(),
        ended: false,
        terminate_children: false,
    };
    let mut complete = None;
    for action in response.actions {
        match action.orchestrator_action_type {
            // The protocol puts the completion last; some workers order actions at
            // random, so the first completion wins and everything else is still done.
            Some(Action::CompleteOrchestration(done)) => {
                if complete.is_none() {
                    complete = Some((action.id, done));
                }
            }
            // A rewind is the only action of its turn.
            Some(Action::RewindOrchestration(action)) => {
                match rewind(&mut effects, action.new_history, now, &next_execution_id) {
                    Ok(()) => return effects,
                    Err(failure) => complete = Some((-1, failed(*failure))),
                }
                break;
            }
            Some(other) => {
                if let Err(failure) = act(&mut effects, action.id, other, now) {
                    complete = Some((-1, failed(*failure)));
                    break;
                }
            }
            None => {
                complete = Some((-1, failed(*unsupported("an action without a kind"))));
                break;
            }
        }
    }
    let continues = |done: &CompleteOrchestrationAction| {
        done.orchestration_status == OrchestrationStatus::ContinuedAsNew as i32
    };
    match complete {
        Some((id, done)) if !continues(&done) => {
            finish(&mut effects, id, done, now, next_execution_id);
        }
        // A termination that the worker got and ignored, or that was
        // acknowledged before the instance continued as new, takes the answer's place.
        goes_on => {
            let delivered = effects.history.iter().take(given).find_map(termination);
            let missed = waiting.terminated.filter(|_| goes_on.is_some());
            let missed = missed.filter(|_| delivered.is_none());
            let terminated = delivered.or_else(|| missed.as_ref().and_then(termination));
            if let Some(output) = terminated.map(|terminated| terminated.input.clone()) {
                // The turn's actions are dropped, as by workers that do not ignore it.
                effects.history.truncate(given);
                effects.history.extend(missed);
                terminate(&mut effects, output, now);
            } else if let Some((_, done)) = goes_on {
                continue_as_new(&mut effects, done, now, next_execution_id);
            }
        }
    }
    effects
}

/// Ends an instance as TERMINATED in place of what its worker decided.
fn terminate(effects: &mut Effects, output: Option<String>, now: Timestamp) {
    effects.activities.clear();
    effects.timers.clear();
    effects.children.clear();
    effects.messages.clear();
    effects.entity_messages.clear();
    let done = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Terminated as i32,
        result: output,
        ..CompleteOrchestrationAction::default()
    };
    finish(effects, -1, done, now, String::new());
}

/// A child with this tag was started fire-and-forget, as in DurableTask.Core.
pub(crate) const FIRE_AND_FORGET: &str = "FireAndForget";

/// The message that tells a parent how its child ended; `None` for an instance without
/// a parent, one that has not ended, or one that its parent doesn't wait for. A terminated child is reported as failed, with
/// generated details, because the protocol has no other answer.
#[must_use]
pub fn parent_message(instance: &Instance, now: Timestamp) -> Option<Message> {
    if !is_terminal(instance.status) || instance.tags.contains_key(FIRE_AND_FORGET) {
        return None;
    }
    let parent = instance.parent.as_ref()?;
    let target = parent.orchestration_instance.as_ref()?;
    let task_scheduled_id = parent.task_scheduled_id;
    let event_type = if instance.status == OrchestrationStatus::Completed {
        EventType::SubOrchestrationInstanceCompleted(SubOrchestrationInstanceCompletedEvent {
            task_scheduled_id,
            result: instance.output.clone(),
        })
    } else {
        let details = instance
            .failure
            .clone()
            .unwrap_or_else(|| TaskFailureDetails {
                error_type: "OrchestrationTerminated".to_owned(),
                error_message: format!(
                    "The sub-orchestration {} was terminated.",
                    instance.instance_id
                ),
                is_non_retriable: true,
                ..TaskFailureDetails::default()
            });
        EventType::SubOrchestrationInstanceFailed(SubOrchestrationInstanceFailedEvent {
            task_scheduled_id,
            failure_details: Some(details),
        })
    };
    Some(Message {
        instance_id: target.instance_id.clone(),
        execution_id: target.execution_id.clone(),
        event: event(-1, now, event_type),
    })
}

/// The status after a batch of delivered events, before the worker's actions. It follows
/// what has been acknowledged, whether a worker has received it or not.
fn status_after(
    before: OrchestrationStatus,
    delivered: &[HistoryEvent],
    waiting: Option<bool>,
) -> OrchestrationStatus {
    let suspended = waiting
        .or_else(|| suspension_after(delivered))
        .unwrap_or(before == OrchestrationStatus::Suspended);
    if suspended {
        OrchestrationStatus::Suspended
    } else {
        OrchestrationStatus::Running
    }
}

fn termination(event: &HistoryEvent) -> Option<&ExecutionTerminatedEvent> {
    match &event.event_type {
        Some(EventType::ExecutionTerminated(terminated)) => Some(terminated),
        _ => None,
    }
}

fn asks_for_children(event: &HistoryEvent) -> bool {
    termination(event).is_some_and(|terminated| terminated.recurse)
}

/// Carries out one action that is not the completion.
fn act(
    effects: &mut Effects,
    id: i32,
    action: Action,
    now: Timestamp,
) -> Result<(), Box<TaskFailureDetails>> {
    match action {
        Action::ScheduleTask(task) => {
            let scheduled = TaskScheduledEvent {
                name: task.name,
                version: task.version,
                input: task.input,
                parent_trace_context: task.parent_trace_context,
                tags: task.tags,
            };
            effects
                .activities
                .push(activity(&effects.instance, id, &scheduled));
            effects
                .history
                .push(event(id, now, EventType::TaskScheduled(scheduled)));
        }
        Action::CreateSubOrchestration(child) => start_child(effects, id, child, now),
        Action::CreateTimer(timer) => {
            let created = TimerCreatedEvent {
                fire_at: timer.fire_at,
            };
            effects.timers.push(timer_set(id, &created, now));
            effects
                .history
                .push(event(id, now, EventType::TimerCreated(created)));
        }
        Action::SendEvent(send) => {
            let for_entity = match event_form::read(&effects.instance, &send, now) {
                Some(read) if entity::is_entity_id(target_of(&send)) => {
                    Some(read.map_err(|what| unsupported(&what))?)
                }
                _ => None,
            };
            let target = send.instance.unwrap_or_default();
            let raised = EventRaisedEvent {
                name: send.name.clone(),
                input: send.data.clone(),
            };
            let sent = EventSentEvent {
                instance_id: target.instance_id.clone(),
                name: send.name,
                input: send.data,
            };
            effects
                .history
                .push(event(id, now, EventType::EventSent(sent)));
            if let Some(read) = for_entity {
                effects.messages.extend(read.answers);
                effects.entity_messages.extend(read.messages);
                return Ok(());
            }
            effects.messages.push(Message {
                instance_id: target.instance_id,
                // An event to an instance reaches the execution that is current when it arrives.
                execution_id: None,
                event: event(-1, now, EventType::EventRaised(raised)),
            });
        }
        Action::TerminateOrchestration(terminate) => {
            let terminated = ExecutionTerminatedEvent {
                input: terminate.reason,
                recurse: terminate.recurse,
            };
            effects.messages.push(Message {
                instance_id: terminate.instance_id,
                execution_id: None,
                event: event(-1, now, EventType::ExecutionTerminated(terminated)),
            });
        }
        Action::SendEntityMessage(message) => {
            let sent = entity::send(&effects.instance, message.entity_message_type, now)
                .map_err(|what| unsupported(&what))?;
            effects.history.push(event(id, now, sent.recorded));
            effects.messages.extend(sent.answers);
            effects.entity_messages.extend(sent.messages);
        }
        // Both were removed before.
        Action::RewindOrchestration(_) | Action::CompleteOrchestration(_) => {}
    }
    Ok(())
}

fn target_of(send: &SendEventAction) -> &str {
    send.instance
        .as_ref()
        .map_or("", |target| &target.instance_id)
}

fn start_child(
    effects: &mut Effects,
    id: i32,
    child: CreateSubOrchestrationAction,
    now: Timestamp,
) {
    let parent = &effects.instance;
    let instance_id = if child.instance_id.is_empty() {
        format!("{}:{id:04x}", parent.execution_id)
    } else {
        child.instance_id
    };
    let created = SubOrchestrationInstanceCreatedEvent {
        instance_id,
        name: child.name,
        version: child.version,
        input: child.input,
        parent_trace_context: child.parent_trace_context,
        tags: child.tags,
    };
    effects.children.push(child_start(parent, id, &created));
    effects.history.push(event(
        id,
        now,
        EventType::SubOrchestrationInstanceCreated(created),
    ));
}

fn finish(
    effects: &mut Effects,
    id: i32,
    done: CompleteOrchestrationAction,
    now: Timestamp,
    next_execution_id: String,
) {
    use OrchestrationStatus as S;
    match S::try_from(done.orchestration_status) {
        Ok(S::ContinuedAsNew) => continue_as_new(effects, done, now, next_execution_id),
        Ok(status @ (S::Completed | S::Failed | S::Terminated | S::Canceled)) => {
            effects.instance.status = status;
            effects.instance.output = done.result.clone();
            effects.instance.failure = done.failure_details.clone();
            let completed = ExecutionCompletedEvent {
                orchestration_status: done.orchestration_status,
                result: done.result,
                failure_details: done.failure_details,
            };
            effects
                .history
                .push(event(id, now, EventType::ExecutionCompleted(completed)));
            effects.ended = true;
            effects.terminate_children =
                status == S::Terminated && effects.instance.terminate_children;
            effects
                .messages
                .extend(parent_message(&effects.instance, now));
        }
        Ok(S::Running | S::Pending | S::Suspended) | Err(_) => {
            let status = done.orchestration_status;
            let wrong = unsupported(&format!(
                "a completion with the status {status}, which is not final"
            ));
            finish(effects, id, failed(*wrong), now, next_execution_id);
        }
    }
}

fn continue_as_new(
    effects: &mut Effects,
    done: CompleteOrchestrationAction,
    now: Timestamp,
    next_execution_id: String,
) {
    let old = &effects.instance;
    let version = done.new_version.or_else(|| old.version.clone());
    let started = ExecutionStartedEvent {
        name: old.name.clone(),
        version: version.clone(),
        input: done.result,
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: old.instance_id.clone(),
            execution_id: Some(next_execution_id.clone()),
        }),
        parent_instance: old.parent.clone(),
        parent_trace_context: old.parent_trace.clone(),
        tags: old.tags.clone(),
        ..ExecutionStartedEvent::default()
    };
    let mut inbox = vec![event(STARTED_ID, now, EventType::ExecutionStarted(started))];
    inbox.extend(done.carryover_events);
    let (to_self, to_others) = std::mem::take(&mut effects.messages)
        .into_iter()
        .partition(|m| m.instance_id == old.instance_id);
    let to_self: Vec<Message> = to_self;
    inbox.extend(to_self.into_iter().map(|message| message.event));
    if suspension_after(&effects.history) == Some(true) {
        // What the worker got with its last event is removed with the instance.
        let suspended = effects
            .history
            .iter()
            .rfind(|event| matches!(event.event_type, Some(EventType::ExecutionSuspended(_))));
        inbox.extend(suspended.cloned());
    }
    effects.messages = to_others;
    effects.history.clear();
    effects.timers.clear();
    effects.instance.execution_id = next_execution_id;
    effects.instance.version = version;
    effects.instance.status_carried = effects.instance.custom_status.is_some();
    effects.next = Some(NextExecution { inbox });
}

/// The completion of an orchestration that has failed.
#[must_use]
pub fn failed(details: TaskFailureDetails) -> CompleteOrchestrationAction {
    CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(details),
        ..CompleteOrchestrationAction::default()
    }
}
