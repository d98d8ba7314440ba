//! Entities: their ids, their messages, and the effects of a batch of operations.
//!
//! An entity is a state with a queue. Operations run one after the other, in batches
//! that a worker executes; lock requests wait in the same queue and are settled here,
//! without a worker. Follows the Durable Task protocol: EntityBatchResult,
//! SendEntityMessageAction.

use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_action::OperationActionType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::send_entity_message_action::EntityMessageType;
use durabletask_proto::{
    EntityBatchResult, EntityLockGrantedEvent, EntityLockRequestedEvent,
    EntityOperationCalledEvent, EntityOperationCompletedEvent, EntityOperationFailedEvent,
    EntityOperationSignaledEvent, HistoryEvent, SendSignalAction, StartNewOrchestrationAction,
    TaskFailureDetails,
};
use prost_types::Timestamp;

use crate::effects::Message;
use crate::{Instance, event, event_form};

/// The longest entity id, in characters, as for instances.
const MAX_ENTITY_ID: usize = 100;

/// The execution of an orchestration that called an entity or asks for its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its instance id.
    pub instance_id: String,
    /// The id of its execution.
    pub execution_id: String,
}

/// A message to an entity of the same task hub. Entity ids are in canonical form.
#[derive(Clone, Debug, PartialEq)]
pub enum EntityMessage {
    /// An operation to run.
    Operation(Box<OperationMessage>),
    /// A request to lock entities one after the other.
    Lock(LockRequest),
    /// The end of a critical section at one entity.
    Unlock {
        /// The entity.
        entity_id: String,
        /// The critical section; empty means the one that the instance holds.
        critical_section_id: String,
        /// The instance that holds the lock.
        instance_id: String,
    },
}

/// An operation to run on an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationMessage {
    /// The entity.
    pub entity_id: String,
    /// `EntityOperationCalled` with its parent, or `EntityOperationSignaled`.
    pub event: HistoryEvent,
    /// The caller that waits for the answer; none for a signal.
    pub caller: Option<Caller>,
    /// The operation joins the queue no earlier than this.
    pub due: Option<Timestamp>,
}

/// A request to lock the entities of a critical section in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The id that the grant carries.
    pub critical_section_id: String,
    /// The entities, in the order in which they are locked.
    pub lock_set: Vec<String>,
    /// The position of the one that is requested now.
    pub position: usize,
    /// The requesting execution.
    pub caller: Caller,
}

impl LockRequest {
    /// The request as it waits in an entity's queue.
    #[must_use]
    pub fn to_event(&self, now: Timestamp) -> HistoryEvent {
        event(
            -1,
            now,
            EventType::EntityLockRequested(EntityLockRequestedEvent {
                critical_section_id: self.critical_section_id.clone(),
                lock_set: self.lock_set.clone(),
                position: i32::try_from(self.position).unwrap_or(i32::MAX),
                parent_instance_id: Some(self.caller.instance_id.clone()),
            }),
        )
    }

    /// The request that [`LockRequest::to_event`] wrote, if `event` is one.
    #[must_use]
    pub fn from_event(event: HistoryEvent, execution_id: String) -> Option<Self> {
        match event.event_type {
            Some(EventType::EntityLockRequested(request)) => Some(Self {
                critical_section_id: request.critical_section_id,
                lock_set: request.lock_set,
                position: usize::try_from(request.position).ok()?,
                caller: Caller {
                    instance_id: request.parent_instance_id?,
                    execution_id,
                },
            }),
            _ => None,
        }
    }
}

/// The next step once an entity of a lock request is locked.
#[derive(Clone, Debug, PartialEq)]
pub enum Locked {
    /// The next entity is requested.
    Next(LockRequest),
    /// All are locked: the orchestration is notified.
    Granted(Box<Message>),
}

/// The step after the entity at the request's position has been locked.
#[must_use]
pub fn after_lock(mut request: LockRequest, now: Timestamp) -> Locked {
    request.position += 1;
    if request.position < request.lock_set.len() {
        return Locked::Next(request);
    }
    let critical_section_id = request.critical_section_id;
    let granted = match event_form::grant(&critical_section_id) {
        Some(raised) => raised,
        None => EventType::EntityLockGranted(EntityLockGrantedEvent {
            critical_section_id,
        }),
    };
    Locked::Granted(Box::new(Message {
        instance_id: request.caller.instance_id,
        execution_id: Some(request.caller.execution_id),
        event: event(-1, now, granted),
    }))
}

/// Whether an id has the form of an entity's: it starts with `@`.
#[must_use]
pub fn is_entity_id(id: &str) -> bool {
    id.starts_with('@')
}

/// The canonical form of an entity id: `@name@key` with the name in lower case, as
/// every SDK writes it. `None` if it is not an entity id: no name, no second `@`, or
/// more than 100 characters.
#[must_use]
pub fn canonical_entity_id(id: &str) -> Option<String> {
    let (name, key) = id.strip_prefix('@')?.split_once('@')?;
    if name.is_empty() || id.chars().count() > MAX_ENTITY_ID {
        return None;
    }
    Some(format!("@{}@{key}", name.to_lowercase()))
}

/// The name in an entity id, for filters; empty if there is none.
#[must_use]
pub fn entity_name(id: &str) -> &str {
    id.strip_prefix('@')
        .and_then(|rest| rest.split_once('@'))
        .map_or("", |(name, _)| name)
}

/// The effects of an orchestration's message to an entity.
pub(crate) struct Sent {
    /// The event for the history.
    pub(crate) recorded: EventType,
    pub(crate) messages: Vec<EntityMessage>,
    /// Answers that need no entity: a call of an impossible entity, an empty lock set.
    pub(crate) answers: Vec<Message>,
}

/// Reads a `sendEntityMessage` action.
///
/// # Errors
/// Why a message cannot be carried out or answered.
pub(crate) fn send(
    instance: &Instance,
    message: Option<EntityMessageType>,
    now: Timestamp,
) -> Result<Sent, String> {
    let caller = Caller {
        instance_id: instance.instance_id.clone(),
        execution_id: instance.execution_id.clone(),
    };
    let mut sent = Sent {
        recorded: EventType::EntityLockGranted(EntityLockGrantedEvent::default()),
        messages: Vec::new(),
        answers: Vec::new(),
    };
    match message {
        Some(EntityMessageType::EntityOperationCalled(mut call)) => {
            let target = call.target_instance_id.clone().unwrap_or_default();
            // Messages name the parent, the history names the target.
            call.parent_instance_id = None;
            call.parent_execution_id = None;
            sent.recorded = EventType::EntityOperationCalled(call.clone());
            match canonical_entity_id(&target) {
                Some(entity_id) => {
                    call.target_instance_id = None;
                    call.parent_instance_id = Some(caller.instance_id.clone());
                    call.parent_execution_id = Some(caller.execution_id.clone());
                    let due = call.scheduled_time;
                    sent.messages
                        .push(EntityMessage::Operation(Box::new(OperationMessage {
                            entity_id,
                            event: event(-1, now, EventType::EntityOperationCalled(call)),
                            caller: Some(caller),
                            due,
                        })));
                }
                None => sent.answers.push(reply(
                    &caller,
                    call.request_id,
                    Err(invalid_id(&target)),
                    now,
                )),
            }
        }
        Some(EntityMessageType::EntityOperationSignaled(mut signal)) => {
            let target = signal.target_instance_id.clone().unwrap_or_default();
            sent.recorded = EventType::EntityOperationSignaled(signal.clone());
            // Nobody waits for a signal, so one to an invalid entity is only recorded.
            if let Some(entity_id) = canonical_entity_id(&target) {
                signal.target_instance_id = None;
                let due = signal.scheduled_time;
                sent.messages
                    .push(EntityMessage::Operation(Box::new(OperationMessage {
                        entity_id,
                        event: event(-1, now, EventType::EntityOperationSignaled(signal)),
                        caller: None,
                        due,
                    })));
            }
        }
        Some(EntityMessageType::EntityLockRequested(mut request)) => {
            request.parent_instance_id = None;
            sent.recorded = EventType::EntityLockRequested(request.clone());
            let mut lock_set = request
                .lock_set
                .iter()
                .map(|id| canonical_entity_id(id).ok_or_else(|| invalid_id(id).error_message))
                .collect::<Result<Vec<_>, _>>()?;
            if request.position == 0 {
                // SDKs sort by different rules; one order for all keeps orchestrations of
                // different workers from locking each other out.
                lock_set.sort_unstable();
                lock_set.dedup();
            }
            let request = LockRequest {
                critical_section_id: request.critical_section_id,
                position: usize::try_from(request.position).unwrap_or(usize::MAX),
                lock_set,
                caller,
            };
            if request.lock_set.is_empty() {
                if let Locked::Granted(grant) = after_lock(
                    LockRequest {
                        position: 0,
                        ..request
                    },
                    now,
                ) {
                    sent.answers.push(*grant);
                }
            } else if request.position < request.lock_set.len() {
                sent.messages.push(EntityMessage::Lock(request));
            } else {
                return Err("a lock request whose position lies outside its lock set".to_owned());
            }
        }
        Some(EntityMessageType::EntityUnlockSent(mut unlock)) => {
            unlock.parent_instance_id = None;
            sent.recorded = EventType::EntityUnlockSent(unlock.clone());
            let target = unlock.target_instance_id.unwrap_or_default();
            if let Some(entity_id) = canonical_entity_id(&target) {
                sent.messages.push(EntityMessage::Unlock {
                    entity_id,
                    critical_section_id: unlock.critical_section_id,
                    instance_id: caller.instance_id,
                });
            }
        }
        None => return Err("a message to an entity without a kind".to_owned()),
    }
    Ok(sent)
}

pub(crate) fn invalid_id(id: &str) -> TaskFailureDetails {
    TaskFailureDetails {
        error_type: "InvalidEntityId".to_owned(),
        error_message: format!(
            "{id:?} is not an entity id: an entity id is @name@key, with at most {MAX_ENTITY_ID} characters."
        ),
        is_non_retriable: true,
        ..TaskFailureDetails::default()
    }
}

/// A batch of operations that a worker has executed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The state before; `None` if the entity had none.
    pub state: Option<String>,
    /// The operations that the worker got, in order.
    pub operations: Vec<HistoryEvent>,
    /// The worker's answer.
    pub result: EntityBatchResult,
    /// When the batch is committed.
    pub now: Timestamp,
}

/// Everything that a batch changes.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchEffects {
    /// How many operations, from the first, are done; the others run again.
    pub done: usize,
    /// The state after; `None` deletes it.
    pub state: Option<String>,
    /// Answers to callers, in order.
    pub replies: Vec<Message>,
    /// Signals to other entities (or this one), in order; their request ids are left
    /// for the shell to fill in.
    pub signals: Vec<OperationMessage>,
    /// Orchestrations to start, in order.
    pub starts: Vec<StartNewOrchestrationAction>,
}

/// How many of a batch's operations, from the first, have a result: those that
/// it reports, or all if it failed as a whole.
#[must_use]
pub fn operations_done(result: &EntityBatchResult, given: usize) -> usize {
    match result.failure_details {
        Some(_) => given,
        None => result.results.len().min(given),
    }
}

/// Works out the effects of a batch. Total: a batch that failed as a whole fails each
/// operation that has no result, and then leaves the state as it was unless some
/// operations have results.
#[must_use]
pub fn apply_batch(batch: Batch) -> BatchEffects {
    let Batch {
        state,
        operations,
        result,
        now,
    } = batch;
    let done = operations_done(&result, operations.len());
    let reported = result.results.len();
    let whole = result.failure_details;
    let mut effects = BatchEffects {
        done,
        state,
        replies: Vec::new(),
        signals: Vec::new(),
        starts: Vec::new(),
    };
    let results = result
        .results
        .into_iter()
        .map(|result| result.result_type)
        .chain(std::iter::repeat(None));
    for (operation, result) in operations.into_iter().take(done).zip(results) {
        let Some(EventType::EntityOperationCalled(call)) = operation.event_type else {
            continue;
        };
        let outcome = match result {
            Some(ResultType::Success(success)) => Ok(success.result),
            Some(ResultType::Failure(failure)) => {
                Err(failure.failure_details.unwrap_or_else(no_details))
            }
            None => Err(whole.clone().unwrap_or_else(no_details)),
        };
        effects.replies.push(answer(call, outcome, now));
    }
    if reported == 0 {
        // Nothing ran, so nothing can have changed.
        return effects;
    }
    // Some workers write "no state" as an empty text.
    effects.state = result.entity_state.filter(|state| !state.is_empty());
    for action in result.actions {
        match action.operation_action_type {
            Some(OperationActionType::SendSignal(signal)) => {
                effects.signals.extend(signal_message(signal, now));
            }
            Some(OperationActionType::StartNewOrchestration(start)) => effects.starts.push(start),
            None => {}
        }
    }
    effects
}

fn signal_message(signal: SendSignalAction, now: Timestamp) -> Option<OperationMessage> {
    let entity_id = canonical_entity_id(&signal.instance_id)?;
    let signaled = EntityOperationSignaledEvent {
        request_id: String::new(),
        operation: signal.name,
        scheduled_time: signal.scheduled_time,
        input: signal.input,
        target_instance_id: None,
    };
    Some(OperationMessage {
        entity_id,
        event: event(-1, now, EventType::EntityOperationSignaled(signaled)),
        caller: None,
        due: signal.scheduled_time,
    })
}

/// The answer to a call that cannot be carried out.
#[must_use]
pub fn failed_call(
    call: EntityOperationCalledEvent,
    details: TaskFailureDetails,
    now: Timestamp,
) -> Message {
    answer(call, Err(details), now)
}

/// A call in the form for workers.
#[must_use]
pub fn without_mark(mut operation: HistoryEvent) -> HistoryEvent {
    if let Some(EventType::EntityOperationCalled(call)) = &mut operation.event_type {
        call.target_instance_id = None;
    }
    operation
}

/// The answer to a stored call, in the form that its caller waits for.
fn answer(
    call: EntityOperationCalledEvent,
    outcome: Result<Option<String>, TaskFailureDetails>,
    now: Timestamp,
) -> Message {
    let caller = Caller {
        instance_id: call.parent_instance_id.unwrap_or_default(),
        execution_id: call.parent_execution_id.unwrap_or_default(),
    };
    if call.target_instance_id.as_deref() == Some(event_form::MARK) {
        let answered = event_form::answer(call.request_id, outcome);
        return to_caller(&caller, answered, now);
    }
    reply(&caller, call.request_id, outcome, now)
}

fn to_caller(caller: &Caller, event_type: EventType, now: Timestamp) -> Message {
    Message {
        instance_id: caller.instance_id.clone(),
        // An empty id stands for a caller that did not name its execution.
        execution_id: Some(caller.execution_id.clone()).filter(|id| !id.is_empty()),
        event: event(-1, now, event_type),
    }
}

/// The answer to a caller.
fn reply(
    caller: &Caller,
    request_id: String,
    outcome: Result<Option<String>, TaskFailureDetails>,
    now: Timestamp,
) -> Message {
    let event_type = match outcome {
        Ok(output) => EventType::EntityOperationCompleted(EntityOperationCompletedEvent {
            request_id,
            output,
        }),
        Err(details) => EventType::EntityOperationFailed(EntityOperationFailedEvent {
            request_id,
            failure_details: Some(details),
        }),
    };
    to_caller(caller, event_type, now)
}

fn no_details() -> TaskFailureDetails {
    TaskFailureDetails {
        error_type: "EntityOperationFailed".to_owned(),
        error_message: "The entity's worker reported a failure without details.".to_owned(),
        ..TaskFailureDetails::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_canonical_form() {
        assert_eq!(
            canonical_entity_id("@Counter@Key@1").as_deref(),
            Some("@counter@Key@1")
        );
        assert_eq!(
            canonical_entity_id("@counter@").as_deref(),
            Some("@counter@")
        );
        for wrong in ["counter@a", "@counter", "@@a", "", "@"] {
            assert_eq!(canonical_entity_id(wrong), None, "{wrong}");
        }
        assert_eq!(canonical_entity_id(&format!("@c@{}", "x".repeat(97))), {
            Some(format!("@c@{}", "x".repeat(97)))
        });
        assert_eq!(canonical_entity_id(&format!("@c@{}", "x".repeat(98))), None);
        assert_eq!(entity_name("@counter@a"), "counter");
    }
}
