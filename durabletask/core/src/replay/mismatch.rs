//! Explaining a divergence between the recorded history and what the code does.

use crate::action::{ActionKind, OrchestratorAction};
use crate::error::FailureDetails;

/// The error type of a divergence.
pub(crate) const NON_DETERMINISM: &str = "NonDeterminismError";

const CAUSES: &str = "The usual causes: changed orchestration code was deployed while instances \
    were running (give the new code a new name or version, or let them finish first); the code \
    reads the wall clock, random numbers or the environment (use the context's clock and uuids, \
    or an activity); or it iterates over a hash map (use a sorted map)";

/// A step as the history records it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recorded<'a> {
    Activity(&'a str),
    SubOrchestration(&'a str),
    Timer,
    SentEvent(&'a str, &'a str),
    EntityCall(&'a str, &'a str),
    EntitySignal(&'a str, &'a str),
    Lock,
    Unlock(&'a str),
}

impl Recorded<'_> {
    /// Whether `action` is the same step. Inputs, versions and instants are not
    /// compared, because changing them is safe.
    pub(crate) fn matches(&self, action: &ActionKind) -> bool {
        match (self, action) {
            (Self::Activity(recorded), ActionKind::ScheduleTask { name, .. }) => recorded == name,
            (Self::SubOrchestration(recorded), ActionKind::CreateSubOrchestration { name, .. }) => {
                recorded == name
            }
            (Self::Timer, ActionKind::CreateTimer { .. }) => true,
            (
                Self::SentEvent(recorded, target),
                ActionKind::SendEvent {
                    name, instance_id, ..
                },
            ) => recorded.eq_ignore_ascii_case(name) && target == instance_id,
            (
                Self::EntityCall(recorded, target),
                ActionKind::CallEntity {
                    operation,
                    entity_id,
                    ..
                },
            )
            | (
                Self::EntitySignal(recorded, target),
                ActionKind::SignalEntity {
                    operation,
                    entity_id,
                    ..
                },
            ) => {
                recorded.eq_ignore_ascii_case(operation)
                    && target.eq_ignore_ascii_case(&entity_id.to_string())
            }
            (Self::Lock, ActionKind::LockEntities { .. }) => true,
            (Self::Unlock(target), ActionKind::UnlockEntity { entity_id, .. }) => {
                target.eq_ignore_ascii_case(&entity_id.to_string())
            }
            _ => false,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Activity(name) => format!("a call of the activity '{name}'"),
            Self::SubOrchestration(name) => format!("the sub-orchestration '{name}'"),
            Self::Timer => "a timer".to_owned(),
            Self::SentEvent(name, target) => {
                format!("sending the event '{name}' to the instance '{target}'")
            }
            Self::EntityCall(operation, target) => {
                format!("a call of the operation '{operation}' of the entity '{target}'")
            }
            Self::EntitySignal(operation, target) => {
                format!("the signal '{operation}' to the entity '{target}'")
            }
            Self::Lock => "a request to lock entities".to_owned(),
            Self::Unlock(target) => format!("unlocking the entity '{target}'"),
        }
    }
}

/// The history records `recorded` as step `id`, and the code did something else, or nothing.
pub(crate) fn differs(
    id: i32,
    recorded: Recorded<'_>,
    attempted: Option<&ActionKind>,
) -> FailureDetails {
    let attempted = attempted.map_or_else(
        || "does not take that step".to_owned(),
        |action| format!("attempts {}", describe(action)),
    );
    failure(format!(
        "the history records {} as step #{id}, but the code {attempted}",
        recorded.describe()
    ))
}

/// The code took a step that a turn in the past did not.
pub(crate) fn unrecorded(action: &OrchestratorAction) -> FailureDetails {
    failure(format!(
        "the history records no step #{}, but on replay the code attempts {}",
        action.id,
        describe(&action.kind)
    ))
}

/// The code ended where the history continues.
pub(crate) fn ended_early(id: i32) -> FailureDetails {
    failure(format!(
        "the history continues, but on replay the code ends the orchestration as step #{id}"
    ))
}

/// Two executions over the same history took these steps, and they are not the same.
pub(crate) fn between_runs(
    first: Option<&OrchestratorAction>,
    second: Option<&OrchestratorAction>,
) -> FailureDetails {
    let step = first.or(second).map_or(0, |action| action.id);
    let told = |action: Option<&OrchestratorAction>| {
        action.map_or_else(
            || "does not take that step".to_owned(),
            |action| format!("attempts {}", describe(&action.kind)),
        )
    };
    failure(format!(
        "at step #{step} the code {}, but when its history is replayed it {}; what differs may also \
         be an input, a custom status or an output",
        told(first),
        told(second)
    ))
}

fn describe(action: &ActionKind) -> String {
    match action {
        ActionKind::ScheduleTask { name, .. } => Recorded::Activity(name).describe(),
        ActionKind::CreateSubOrchestration { name, .. } => {
            Recorded::SubOrchestration(name).describe()
        }
        ActionKind::CreateTimer { .. } => Recorded::Timer.describe(),
        ActionKind::SendEvent {
            name, instance_id, ..
        } => Recorded::SentEvent(name, instance_id).describe(),
        ActionKind::CallEntity {
            operation,
            entity_id,
            ..
        } => Recorded::EntityCall(operation, &entity_id.to_string()).describe(),
        ActionKind::SignalEntity {
            operation,
            entity_id,
            ..
        } => Recorded::EntitySignal(operation, &entity_id.to_string()).describe(),
        ActionKind::LockEntities { .. } => Recorded::Lock.describe(),
        ActionKind::UnlockEntity { entity_id, .. } => {
            Recorded::Unlock(&entity_id.to_string()).describe()
        }
        ActionKind::Complete { .. } => "to end the orchestration".to_owned(),
    }
}

fn failure(what: String) -> FailureDetails {
    FailureDetails {
        non_retriable: true,
        ..FailureDetails::new(
            NON_DETERMINISM,
            format!("The orchestration is not deterministic: {what}. {CAUSES}."),
        )
    }
}
