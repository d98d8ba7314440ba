//! Messages to entities in the form of events, as DurableTask.Core writes them and .NET
//! workers send them that are not set up for the managed service: `op` and `release`
//! events with JSON to an entity's id. They are equivalent to `SendEntityMessageAction`s,
//! but their senders wait for an event named after the request.

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    EntityOperationCalledEvent, EntityOperationSignaledEvent, EventRaisedEvent, SendEventAction,
    TaskFailureDetails,
};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use crate::entity::{
    Caller, EntityMessage, LockRequest, OperationMessage, canonical_entity_id, failed_call,
    invalid_id,
};
use crate::{Instance, Message, event};

/// The mark in a stored call's otherwise empty target if its caller waits for
/// an event. It is removed before a worker gets the call.
pub(crate) const MARK: &str = "event";
/// The prefix of the id of a critical section whose orchestration waits for an event.
const SECTION_MARK: &str = "event:";
/// The result of a lock request, by which senders recognize it.
const LOCKED: &str = "Lock Acquisition Completed";

/// The effects of an event to an entity.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) messages: Vec<EntityMessage>,
    pub(crate) answers: Vec<Message>,
}

/// Reads an event to an entity; `None` if it is not one of the entity's requests.
///
/// # Errors
/// Why a request cannot be read.
pub(crate) fn read(
    instance: &Instance,
    send: &SendEventAction,
    now: Timestamp,
) -> Option<Result<Read, String>> {
    let due = match send.name.as_str() {
        "op" | "release" => None,
        name => Some(name.strip_prefix("op@")?),
    };
    let target = send.instance.as_ref()?.instance_id.as_str();
    Some(request(instance, target, send, due, now).map_err(|what| {
        format!(
            "an event for the entity {target:?} that {what}; a .NET worker that calls entities \
             must be configured with ConfigureForAzureManaged (or UseDurableTaskScheduler)"
        )
    }))
}

fn request(
    instance: &Instance,
    target: &str,
    send: &SendEventAction,
    due: Option<&str>,
    now: Timestamp,
) -> Result<Read, String> {
    let body = body(send.data.as_deref().unwrap_or_default())?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let id = text("id").ok_or("names no request")?;
    let caller = Caller {
        instance_id: instance.instance_id.clone(),
        execution_id: instance.execution_id.clone(),
    };
    let entity_id = canonical_entity_id(target);
    let mut read = Read::default();
    if send.name == "release" {
        read.messages
            .extend(entity_id.map(|entity_id| EntityMessage::Unlock {
                entity_id,
                critical_section_id: format!("{SECTION_MARK}{id}"),
                instance_id: caller.instance_id,
            }));
        return Ok(read);
    }
    let due = match due {
        None => None,
        Some(text) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| "has an unreadable time")?,
        ),
    };
    let Some(operation) = text("op") else {
        read.messages.push(EntityMessage::Lock(LockRequest {
            critical_section_id: format!("{SECTION_MARK}{id}"),
            lock_set: lock_set(&body)?,
            position: 0,
            caller,
        }));
        return Ok(read);
    };
    let input = text("input");
    let is_signal = body.get("signal") == Some(&Value::Bool(true));
    let event_type = if is_signal {
        EventType::EntityOperationSignaled(EntityOperationSignaledEvent {
            request_id: id,
            operation,
            scheduled_time: due,
            input,
            target_instance_id: None,
        })
    } else {
        let call = EntityOperationCalledEvent {
            request_id: id,
            operation,
            scheduled_time: due,
            input,
            parent_instance_id: Some(caller.instance_id.clone()),
            parent_execution_id: Some(caller.execution_id.clone()),
            target_instance_id: Some(MARK.to_owned()),
        };
        if entity_id.is_none() {
            read.answers
                .push(failed_call(call, invalid_id(target), now));
            return Ok(read);
        }
        EventType::EntityOperationCalled(call)
    };
    // Nobody waits for a signal, so one to an invalid entity is only recorded.
    read.messages.extend(entity_id.map(|entity_id| {
        EntityMessage::Operation(Box::new(OperationMessage {
            entity_id,
            event: event(-1, now, event_type),
            caller: (!is_signal).then_some(caller),
            due,
        }))
    }));
    Ok(read)
}

/// The request in an event's data, which may have been encoded as text twice.
fn body(data: &str) -> Result<Map<String, Value>, String> {
    let wrong = || "is not a JSON object".to_owned();
    let value = match serde_json::from_str(data).map_err(|_| wrong())? {
        Value::String(inner) => serde_json::from_str(&inner).map_err(|_| wrong())?,
        value => value,
    };
    match value {
        Value::Object(body) => Ok(body),
        _ => Err(wrong()),
    }
}

/// The entities of a lock request, in the order that all requests follow.
fn lock_set(body: &Map<String, Value>) -> Result<Vec<String>, String> {
    let listed = body
        .get("lockset")
        .and_then(Value::as_array)
        .ok_or("names neither an operation nor entities to lock")?;
    let mut ids = Vec::with_capacity(listed.len());
    for entity in listed {
        let part = |lower: &str, upper: &str| {
            let value = entity.get(lower).or_else(|| entity.get(upper));
            value.and_then(Value::as_str)
        };
        let id = match (entity.as_str(), part("name", "Name"), part("key", "Key")) {
            (Some(id), ..) => id.to_owned(),
            (None, Some(name), Some(key)) => format!("@{name}@{key}"),
            _ => return Err("names an entity in an unreadable way".to_owned()),
        };
        ids.push(canonical_entity_id(&id).ok_or_else(|| invalid_id(&id).error_message)?);
    }
    ids.sort_unstable();
    ids.dedup();
    match ids.is_empty() {
        true => Err("asks for the locks of no entities".to_owned()),
        false => Ok(ids),
    }
}

/// The answer to a call whose caller waits for an event.
pub(crate) fn answer(
    request_id: String,
    outcome: Result<Option<String>, TaskFailureDetails>,
) -> EventType {
    let body = match outcome {
        Ok(result) => json!({"result": result}),
        Err(details) => json!({
            "result": details.error_message,
            "exceptionType": details.error_type,
            "failureDetails": failure(&details),
        }),
    };
    EventType::EventRaised(EventRaisedEvent {
        name: request_id,
        input: Some(body.to_string()),
    })
}

/// The grant of a lock as an event, if its orchestration waits for one.
pub(crate) fn grant(critical_section_id: &str) -> Option<EventType> {
    let id = critical_section_id.strip_prefix(SECTION_MARK)?;
    Some(answer(id.to_owned(), Ok(Some(LOCKED.to_owned()))))
}

fn failure(details: &TaskFailureDetails) -> Value {
    json!({
        "ErrorType": details.error_type,
        "ErrorMessage": details.error_message,
        "StackTrace": details.stack_trace,
        "InnerFailure": details.inner_failure.as_deref().map(failure),
        "IsNonRetriable": details.is_non_retriable,
    })
}
