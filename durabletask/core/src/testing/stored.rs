//! Checking today's code against the history of an instance that ran before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::error::FailureDetails;
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload, ParentInstance};
use crate::registry::Registry;
use crate::replay::Execution;

/// How deep a chain of stored causes is read.
const MAX_CAUSES: usize = 32;

/// Where today's code leaves the path of a stored history.
///
/// ```
/// use durabletask::testing::{StoredHistoryError, replay_json};
/// use durabletask::{Failure, Orchestration, OrchestrationContext, Registry};
///
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
///
/// let today = || {
///     Registry::new().orchestration(&SHOP, async |_: OrchestrationContext, _: u32| {
///         Ok::<_, Failure>(())
///     })
/// };
/// let history = r#"[
///     {"eventId": -1, "orchestratorStarted": {}},
///     {"eventId": -1, "executionStarted": {"name": "shop", "input": "5"}},
///     {"eventId": 0, "timerCreated": {}}
/// ]"#;
/// let Err(StoredHistoryError::Diverges(divergence)) = replay_json(today(), "a", history) else {
///     panic!("it set no timer");
/// };
/// assert_eq!(divergence.position, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// The position in the history at which it shows, counted from 0; the length
    /// of the history if it shows at its end.
    pub position: usize,
    /// The event at that position.
    pub event: Option<HistoryEvent>,
    /// What was recorded, what the code does instead, and the usual causes.
    pub details: FailureDetails,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at event {} of the history", self.position)?;
        if self.event.is_none() {
            f.write_str(" (its end)")?;
        }
        write!(f, ": {}", self.details.message)
    }
}

/// Why a stored history does not replay.
///
/// ```
/// use durabletask::testing::{StoredHistoryError, replay_json};
/// use durabletask::{Failure, Orchestration, OrchestrationContext, Registry};
///
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
///
/// let today = || {
///     Registry::new().orchestration(&SHOP, async |_: OrchestrationContext, _: u32| {
///         Ok::<_, Failure>(())
///     })
/// };
/// let error = replay_json(today(), "a", "[{}]").unwrap_err();
/// assert!(matches!(error, StoredHistoryError::Unreadable(_)), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredHistoryError {
    /// It cannot be read.
    #[error("the stored history cannot be read: {0}")]
    Unreadable(String),
    /// Today's code does something else.
    #[error("today's code diverges {0}")]
    Diverges(Box<Divergence>),
}

/// Replays a stored history: `Ok` if the code still does what was recorded.
///
/// ```
/// use durabletask::testing::{HistoryBuilder, replay_history};
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const CHARGE: Activity<u32, ()> = Activity::new("charge");
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
///
/// async fn shop(ctx: OrchestrationContext, price: u32) -> Result<(), Failure> {
///     Ok(ctx.call_activity(&CHARGE, &price).await?)
/// }
///
/// let registry = Registry::new().orchestration(&SHOP, shop);
/// let history = HistoryBuilder::new()
///     .orchestrator_started()
///     .execution_started("shop", "5")
///     .task_scheduled(0, "charge")
///     .build();
/// assert_eq!(replay_history(registry, "order-1", &history), Ok(()));
/// ```
///
/// # Errors
///
/// The failure with which the execution would end, for example a `NonDeterminismError`.
pub fn replay_history(
    registry: Registry,
    instance_id: &str,
    history: &[HistoryEvent],
) -> Result<(), FailureDetails> {
    check(registry, instance_id, history).map_err(|divergence| divergence.details)
}

/// Replays a stored history in JSON, as [`parse_history`] reads it.
///
/// ```
/// use durabletask::testing::replay_json;
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const CHARGE: Activity<u32, ()> = Activity::new("charge");
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
///
/// async fn shop(ctx: OrchestrationContext, price: u32) -> Result<(), Failure> {
///     Ok(ctx.call_activity(&CHARGE, &price).await?)
/// }
///
/// let history = r#"[
///     {"eventId": -1, "timestamp": "2026-01-02T03:04:05Z", "orchestratorStarted": {}},
///     {"eventId": -1, "executionStarted": {"name": "shop", "input": "5"}},
///     {"eventId": 0, "taskScheduled": {"name": "reserve"}}
/// ]"#;
/// let registry = Registry::new().orchestration(&SHOP, shop);
/// let error = replay_json(registry, "order-1", history).unwrap_err().to_string();
/// assert!(error.contains("at event 2"), "{error}");
/// assert!(error.contains("a call of the activity 'reserve'"), "{error}");
/// assert!(error.contains("a call of the activity 'charge'"), "{error}");
/// ```
///
/// # Errors
///
/// [`StoredHistoryError`] with the place and the cause.
pub fn replay_json(
    registry: Registry,
    instance_id: &str,
    json: &str,
) -> Result<(), StoredHistoryError> {
    let history = parse_history(json)?;
    check(registry, instance_id, &history).map_err(StoredHistoryError::Diverges)
}

fn check(
    registry: Registry,
    instance_id: &str,
    history: &[HistoryEvent],
) -> Result<(), Box<Divergence>> {
    let mut execution = Execution::new(instance_id, None, Arc::new(registry));
    for event in history {
        execution.learn(event);
    }
    for (position, event) in history.iter().enumerate() {
        execution.replay([event.clone()]);
        execution.replay_turn();
        if let Some(details) = execution.aborted() {
            return Err(Box::new(Divergence {
                position,
                event: Some(event.clone()),
                details,
            }));
        }
    }
    execution.turn(Vec::new());
    match execution.aborted() {
        Some(details) => Err(Box::new(Divergence {
            position: history.len(),
            event: None,
            details,
        })),
        None => Ok(()),
    }
}

/// Reads a history from JSON: an array of events, or an object that holds one as
/// `events` or `history`.
///
/// Each event may be in this crate's own form (as `serde` writes
/// [`HistoryEvent`]), in the protobuf JSON form of the protocol
/// (`{"eventId": 0, "taskScheduled": {"name": "greet"}}`), or flat with the kind
/// as text (`{"eventType": "TaskScheduled", "eventId": 0, "name": "greet"}`), as
/// the tools of the official SDKs write it. Names of keys are compared without
/// regard to case.
///
/// ```
/// use durabletask::testing::parse_history;
///
/// let history = parse_history(r#"{"events": [{"eventType": "TimerFired", "timerId": 3}]}"#)?;
/// assert_eq!(history.len(), 1);
/// # Ok::<(), durabletask::testing::StoredHistoryError>(())
/// ```
///
/// # Errors
///
/// [`StoredHistoryError::Unreadable`] with the position of the event at fault.
pub fn parse_history(json: &str) -> Result<Vec<HistoryEvent>, StoredHistoryError> {
    let unreadable = |reason: String| StoredHistoryError::Unreadable(reason);
    let value: Value = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
    let events = match value {
        Value::Array(events) => events,
        Value::Object(object) => {
            let object = Fields::new(object);
            match object.get(&["events", "history", "historyevents"]) {
                Some(Value::Array(events)) => events.clone(),
                _ => return Err(unreadable("there is no array of events in it".to_owned())),
            }
        }
        _ => return Err(unreadable("it is not an array of events".to_owned())),
    };
    events
        .into_iter()
        .enumerate()
        .map(|(position, event)| {
            parse_event(event).map_err(|reason| unreadable(format!("event {position} {reason}")))
        })
        .collect()
}

fn parse_event(event: Value) -> Result<HistoryEvent, String> {
    let Value::Object(object) = event else {
        return Err("is not an object".to_owned());
    };
    if object.contains_key("payload") {
        return serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string());
    }
    let outer = Fields::new(object);
    let event_id = outer.integer(&["eventid", "id"]).unwrap_or(-1);
    let timestamp = outer.instant(&["timestamp"]);
    let named = outer.text(&["eventtype", "type", "kind"]);
    let (kind, fields) = match named {
        Some(kind) => (kind, outer),
        None => outer
            .nested_kind()
            .ok_or_else(|| "names no kind of event".to_owned())?,
    };
    Ok(HistoryEvent {
        event_id,
        timestamp,
        payload: payload(&kind, &fields, event_id),
    })
}

fn payload(kind: &str, fields: &Fields, event_id: i32) -> HistoryPayload {
    let name = || fields.text(&["name"]).unwrap_or_default();
    let instance_id = || fields.text(&["instanceid"]).unwrap_or_default();
    let input = || fields.payload(&["input", "data"]);
    let result = || fields.payload(&["result", "output"]);
    let task_id = || {
        fields
            .integer(&["taskscheduledid", "taskid"])
            .unwrap_or(event_id)
    };
    let key = kind.to_lowercase();
    match key.strip_suffix("event").unwrap_or(&key) {
        "orchestratorstarted" => HistoryPayload::OrchestratorStarted,
        "orchestratorcompleted" => HistoryPayload::OrchestratorCompleted,
        "executionstarted" => HistoryPayload::ExecutionStarted(Box::new(ExecutionStarted {
            name: name(),
            version: fields.text(&["version"]),
            input: input(),
            execution_id: fields
                .object(&["orchestrationinstance"])
                .and_then(|instance| instance.text(&["executionid"])),
            parent: fields.object(&["parentinstance"]).map(|parent| {
                let instance = parent.object(&["orchestrationinstance"]);
                ParentInstance {
                    name: parent.text(&["name"]),
                    instance_id: instance
                        .and_then(|instance| instance.text(&["instanceid"]))
                        .unwrap_or_default(),
                    task_id: parent
                        .integer(&["taskscheduledid", "taskscheduleid"])
                        .unwrap_or(0),
                }
            }),
            trace_context: None,
            tags: fields.texts(&["tags"]),
        })),
        "executioncompleted" | "executionfailed" => HistoryPayload::ExecutionCompleted {
            status: fields.integer(&["orchestrationstatus"]).unwrap_or(1),
            result: result(),
            failure: fields.failure(),
        },
        "executionterminated" => HistoryPayload::ExecutionTerminated { output: input() },
        "executionsuspended" => HistoryPayload::ExecutionSuspended {
            reason: fields.text(&["input", "reason"]),
        },
        "executionresumed" => HistoryPayload::ExecutionResumed {
            reason: fields.text(&["input", "reason"]),
        },
        "executionrewound" => HistoryPayload::ExecutionRewound {
            reason: fields.text(&["reason"]),
        },
        "taskscheduled" => HistoryPayload::TaskScheduled {
            name: name(),
            version: fields.text(&["version"]),
            input: input(),
        },
        "taskcompleted" => HistoryPayload::TaskCompleted {
            task_id: task_id(),
            result: result(),
        },
        "taskfailed" => HistoryPayload::TaskFailed {
            task_id: task_id(),
            failure: fields.failure().unwrap_or_else(unknown_failure),
        },
        "suborchestrationinstancecreated" | "suborchestrationcreated" => {
            HistoryPayload::SubOrchestrationCreated {
                name: name(),
                instance_id: instance_id(),
                version: fields.text(&["version"]),
                input: input(),
            }
        }
        "suborchestrationinstancecompleted" | "suborchestrationcompleted" => {
            HistoryPayload::SubOrchestrationCompleted {
                task_id: task_id(),
                result: result(),
            }
        }
        "suborchestrationinstancefailed" | "suborchestrationfailed" => {
            HistoryPayload::SubOrchestrationFailed {
                task_id: task_id(),
                failure: fields.failure().unwrap_or_else(unknown_failure),
            }
        }
        "timercreated" => HistoryPayload::TimerCreated {
            fire_at: fields.instant(&["fireat"]),
        },
        "timerfired" => HistoryPayload::TimerFired {
            timer_id: fields.integer(&["timerid"]).unwrap_or(event_id),
        },
        "eventsent" => HistoryPayload::EventSent {
            name: name(),
            instance_id: instance_id(),
            input: input(),
        },
        "eventraised" => HistoryPayload::EventRaised {
            name: name(),
            input: input(),
        },
        "entityoperationcalled" => HistoryPayload::EntityOperationCalled {
            operation: fields.text(&["operation"]).unwrap_or_default(),
            entity_id: fields.text(&["targetinstanceid"]).unwrap_or_default(),
        },
        "entityoperationsignaled" => HistoryPayload::EntityOperationSignaled {
            operation: fields.text(&["operation"]).unwrap_or_default(),
            entity_id: fields.text(&["targetinstanceid"]).unwrap_or_default(),
        },
        "entityoperationcompleted" => HistoryPayload::EntityOperationCompleted {
            request_id: fields.text(&["requestid"]).unwrap_or_default(),
            output: result(),
        },
        "entityoperationfailed" => HistoryPayload::EntityOperationFailed {
            request_id: fields.text(&["requestid"]).unwrap_or_default(),
            failure: fields.failure().unwrap_or_else(unknown_failure),
        },
        "entitylockrequested" => HistoryPayload::EntityLockRequested {
            critical_section_id: fields.text(&["criticalsectionid"]).unwrap_or_default(),
        },
        "entitylockgranted" => HistoryPayload::EntityLockGranted {
            critical_section_id: fields.text(&["criticalsectionid"]).unwrap_or_default(),
        },
        "entityunlocksent" => HistoryPayload::EntityUnlockSent {
            entity_id: fields.text(&["targetinstanceid"]).unwrap_or_default(),
        },
        _ => HistoryPayload::Other {
            name: kind.to_owned(),
        },
    }
}

fn unknown_failure() -> FailureDetails {
    FailureDetails::new(
        "UnknownFailure",
        "the stored history has no details of this failure",
    )
}

/// The fields of an object by their names in lower case.
#[derive(Debug, Default)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn new(object: Map<String, Value>) -> Self {
        Self(
            object
                .into_iter()
                .map(|(name, value)| (name.to_lowercase().replace('_', ""), value))
                .collect(),
        )
    }

    fn get(&self, names: &[&str]) -> Option<&Value> {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .filter(|value| !value.is_null())
            .map(|value| match value {
                // A wrapper message that was written as an object.
                Value::Object(object) if object.len() == 1 => object.get("value").unwrap_or(value),
                _ => value,
            })
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        self.get(names)?.as_str().map(str::to_owned)
    }

    /// A payload: JSON text, or JSON that some tool has unpacked.
    fn payload(&self, names: &[&str]) -> Option<String> {
        self.get(names).map(|value| match value {
            Value::String(text) => text.clone(),
            unpacked => unpacked.to_string(),
        })
    }

    fn integer(&self, names: &[&str]) -> Option<i32> {
        let value = self.get(names)?;
        i32::try_from(value.as_i64()?).ok()
    }

    fn instant(&self, names: &[&str]) -> Option<DateTime<Utc>> {
        let text = self.text(names)?;
        DateTime::parse_from_rfc3339(&text)
            .ok()
            .map(|instant| instant.to_utc())
    }

    fn object(&self, names: &[&str]) -> Option<Self> {
        match names.iter().find_map(|name| self.0.get(*name))? {
            Value::Object(object) => Some(Self::new(object.clone())),
            _ => None,
        }
    }

    fn texts(&self, names: &[&str]) -> BTreeMap<String, String> {
        match names.iter().find_map(|name| self.0.get(*name)) {
            Some(Value::Object(object)) => object
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    fn failure(&self) -> Option<FailureDetails> {
        self.object(&["failuredetails", "failure"])?
            .as_failure(MAX_CAUSES)
    }

    fn as_failure(&self, remaining: usize) -> Option<FailureDetails> {
        if remaining == 0 {
            return None;
        }
        Some(FailureDetails {
            error_type: self.text(&["errortype"]).unwrap_or_default(),
            message: self.text(&["errormessage", "message"]).unwrap_or_default(),
            stack_trace: self.text(&["stacktrace"]),
            non_retriable: matches!(
                self.get(&["isnonretriable", "nonretriable"]),
                Some(Value::Bool(true))
            ),
            inner: self
                .object(&["innerfailure", "inner"])
                .and_then(|inner| inner.as_failure(remaining - 1))
                .map(Box::new),
            retry_after: None,
        })
    }

    /// The kind and fields of an event whose kind is the name of a field.
    fn nested_kind(&self) -> Option<(String, Self)> {
        self.0.iter().find_map(|(name, value)| match value {
            Value::Object(object) => Some((name.clone(), Self::new(object.clone()))),
            _ => None,
        })
    }
}
