//! What an orchestration decides: the actions that a turn yields.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use durabletask_proto as proto;
use proto::orchestrator_action::OrchestratorActionType;
use proto::send_entity_message_action::EntityMessageType;

use crate::entity::EntityId;
use crate::error::FailureDetails;
use crate::history::{HistoryEvent, TraceContext, timestamp_to_wire};

/// One decision of an orchestration (`OrchestratorAction` on the wire).
///
/// ```
/// use std::sync::Arc;
///
/// use durabletask::testing::HistoryBuilder;
/// use durabletask_core::{ActionKind, Execution};
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const CHARGE: Activity<u32, ()> = Activity::new("charge");
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
///
/// async fn shop(ctx: OrchestrationContext, price: u32) -> Result<(), Failure> {
///     Ok(ctx.call_activity(&CHARGE, &price).await?)
/// }
///
/// let registry = Arc::new(Registry::new().orchestration(&SHOP, shop));
/// let begin = HistoryBuilder::new().orchestrator_started().execution_started("shop", "5");
/// let decided = Execution::new("order-1", None, registry).turn(begin.build()).actions;
/// assert_eq!(decided[0].id, 0);
/// assert!(matches!(&decided[0].kind, ActionKind::ScheduleTask { name, .. } if name == "charge"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OrchestratorAction {
    /// Dense from 0 in program order.
    pub id: i32,
    /// What was decided.
    pub kind: ActionKind,
}

/// What an orchestration decides. Payload strings are JSON text.
///
/// ```
/// use durabletask_core::{ActionKind, OrchestratorAction};
///
/// /// How many steps a turn takes that need a worker.
/// fn calls(actions: &[OrchestratorAction]) -> usize {
///     actions
///         .iter()
///         .filter(|action| matches!(action.kind, ActionKind::ScheduleTask { .. }))
///         .count()
/// }
/// assert_eq!(calls(&[]), 0);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are those of the wire messages of the same names"
)]
pub enum ActionKind {
    /// Call an activity.
    ScheduleTask {
        name: String,
        version: Option<String>,
        input: Option<String>,
        tags: BTreeMap<String, String>,
        trace_context: Option<TraceContext>,
    },
    /// Start a sub-orchestration.
    CreateSubOrchestration {
        instance_id: String,
        name: String,
        version: Option<String>,
        input: Option<String>,
        tags: BTreeMap<String, String>,
        trace_context: Option<TraceContext>,
    },
    /// Wake the orchestration at an instant.
    CreateTimer { fire_at: DateTime<Utc> },
    /// Raise an external event for another instance.
    SendEvent {
        instance_id: String,
        name: String,
        data: Option<String>,
    },
    /// Call an operation of an entity. `parent` is the caller: its instance id and execution id.
    CallEntity {
        entity_id: EntityId,
        request_id: String,
        operation: String,
        input: Option<String>,
        parent: (String, Option<String>),
    },
    /// Send an operation to an entity, not before `at`.
    SignalEntity {
        entity_id: EntityId,
        request_id: String,
        operation: String,
        input: Option<String>,
        at: Option<DateTime<Utc>>,
    },
    /// Lock entities in their order. `parent` is who locks: its instance id and execution id.
    LockEntities {
        critical_section_id: String,
        lock_set: Vec<EntityId>,
        parent: (String, Option<String>),
    },
    /// Release one entity of a critical section that `parent` holds.
    UnlockEntity {
        critical_section_id: String,
        entity_id: EntityId,
        parent: (String, Option<String>),
    },
    /// End this execution; always the last action.
    Complete {
        status: CompletionStatus,
        /// The output, or the next input for continue-as-new.
        result: Option<String>,
        failure: Option<FailureDetails>,
        new_version: Option<String>,
        /// External events for the next execution: name, input, time of arrival.
        carryover: Vec<(String, Option<String>, Option<DateTime<Utc>>)>,
    },
}

/// How an execution ends.
///
/// ```
/// use durabletask_core::CompletionStatus;
/// use durabletask_proto::OrchestrationStatus;
///
/// assert_eq!(
///     OrchestrationStatus::from(CompletionStatus::ContinuedAsNew),
///     OrchestrationStatus::ContinuedAsNew
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionStatus {
    /// The orchestration returned a value.
    Completed,
    /// It could not do its work.
    Failed,
    /// Someone terminated it.
    Terminated,
    /// It restarts with another input and an empty history.
    ContinuedAsNew,
}

impl From<CompletionStatus> for proto::OrchestrationStatus {
    fn from(status: CompletionStatus) -> Self {
        match status {
            CompletionStatus::Completed => Self::Completed,
            CompletionStatus::Failed => Self::Failed,
            CompletionStatus::Terminated => Self::Terminated,
            CompletionStatus::ContinuedAsNew => Self::ContinuedAsNew,
        }
    }
}

impl From<OrchestratorAction> for proto::OrchestratorAction {
    fn from(action: OrchestratorAction) -> Self {
        let kind = match action.kind {
            ActionKind::ScheduleTask {
                name,
                version,
                input,
                tags,
                trace_context,
            } => OrchestratorActionType::ScheduleTask(proto::ScheduleTaskAction {
                name,
                version,
                input,
                tags: tags.into_iter().collect(),
                parent_trace_context: trace_context.map(Into::into),
            }),
            ActionKind::CreateSubOrchestration {
                instance_id,
                name,
                version,
                input,
                tags,
                trace_context,
            } => OrchestratorActionType::CreateSubOrchestration(
                proto::CreateSubOrchestrationAction {
                    instance_id,
                    name,
                    version,
                    input,
                    tags: tags.into_iter().collect(),
                    parent_trace_context: trace_context.map(Into::into),
                },
            ),
            ActionKind::CreateTimer { fire_at } => {
                OrchestratorActionType::CreateTimer(proto::CreateTimerAction {
                    fire_at: Some(timestamp_to_wire(fire_at)),
                })
            }
            ActionKind::SendEvent {
                instance_id,
                name,
                data,
            } => OrchestratorActionType::SendEvent(proto::SendEventAction {
                instance: Some(proto::OrchestrationInstance {
                    instance_id,
                    execution_id: None,
                }),
                name,
                data,
            }),
            ActionKind::CallEntity {
                entity_id,
                request_id,
                operation,
                input,
                parent: (parent_instance_id, parent_execution_id),
            } => entity_message(EntityMessageType::EntityOperationCalled(
                proto::EntityOperationCalledEvent {
                    request_id,
                    operation,
                    scheduled_time: None,
                    input,
                    parent_instance_id: Some(parent_instance_id),
                    parent_execution_id,
                    target_instance_id: Some(entity_id.to_string()),
                },
            )),
            ActionKind::SignalEntity {
                entity_id,
                request_id,
                operation,
                input,
                at,
            } => entity_message(EntityMessageType::EntityOperationSignaled(
                proto::EntityOperationSignaledEvent {
                    request_id,
                    operation,
                    scheduled_time: at.map(timestamp_to_wire),
                    input,
                    target_instance_id: Some(entity_id.to_string()),
                },
            )),
            ActionKind::LockEntities {
                critical_section_id,
                lock_set,
                parent: (parent_instance_id, _),
            } => entity_message(EntityMessageType::EntityLockRequested(
                proto::EntityLockRequestedEvent {
                    critical_section_id,
                    lock_set: lock_set.iter().map(ToString::to_string).collect(),
                    position: 0,
                    parent_instance_id: Some(parent_instance_id),
                },
            )),
            ActionKind::UnlockEntity {
                critical_section_id,
                entity_id,
                parent: (parent_instance_id, _),
            } => entity_message(EntityMessageType::EntityUnlockSent(
                proto::EntityUnlockSentEvent {
                    critical_section_id,
                    parent_instance_id: Some(parent_instance_id),
                    target_instance_id: Some(entity_id.to_string()),
                },
            )),
            ActionKind::Complete {
                status,
                result,
                failure,
                new_version,
                carryover,
            } => {
                OrchestratorActionType::CompleteOrchestration(proto::CompleteOrchestrationAction {
                    orchestration_status: proto::OrchestrationStatus::from(status) as i32,
                    result,
                    new_version,
                    carryover_events: carryover
                        .into_iter()
                        .map(|(name, input, at)| HistoryEvent::raised_to_wire(name, input, at))
                        .collect(),
                    failure_details: failure.map(Into::into),
                    ..Default::default()
                })
            }
        };
        Self {
            id: action.id,
            orchestrator_action_type: Some(kind),
        }
    }
}

fn entity_message(message: EntityMessageType) -> OrchestratorActionType {
    OrchestratorActionType::SendEntityMessage(proto::SendEntityMessageAction {
        entity_message_type: Some(message),
    })
}
