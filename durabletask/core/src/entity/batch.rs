//! A batch of operations and what it did, in this crate's words and on the wire.

use chrono::{DateTime, Utc};
use durabletask_proto as proto;
use proto::history_event::EventType;
use proto::operation_action::OperationActionType;
use proto::operation_result::ResultType;

use crate::error::FailureDetails;
use crate::history::{TraceContext, timestamp_to_wire};

use super::context::EntityAction;
use super::id::EntityId;

/// Operations for one entity, in order, with the state that they start from.
///
/// ```
/// use durabletask_core::EntityBatch;
/// use durabletask::entity::EntityId;
///
/// let batch = EntityBatch {
///     id: EntityId::new("counter", "clicks")?,
///     state: Some("3".to_owned()),
///     operations: Vec::new(),
/// };
/// assert_eq!(batch.id.to_string(), "@counter@clicks");
/// # Ok::<(), durabletask::entity::InvalidEntityId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityBatch {
    /// The entity.
    pub id: EntityId,
    /// Its state, JSON text; `None` if it has none.
    pub state: Option<String>,
    /// What it is asked to do.
    pub operations: Vec<EntityOperation>,
}

/// A call or signal of an entity.
///
/// ```
/// use durabletask_core::{EntityCaller, EntityOperation};
///
/// let call = EntityOperation {
///     name: "add".to_owned(),
///     request_id: "r1".to_owned(),
///     input: Some("4".to_owned()),
///     caller: Some(EntityCaller {
///         instance_id: "order-1".to_owned(),
///         execution_id: None,
///     }),
///     trace_context: None,
/// };
/// let signal = EntityOperation { caller: None, ..call };
/// assert_eq!(signal.name, "add");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityOperation {
    /// The operation's name.
    pub name: String,
    /// The id of the call or signal.
    pub request_id: String,
    /// The input, JSON text.
    pub input: Option<String>,
    /// The caller that waits for the answer, if the work item names it; none for a signal.
    pub caller: Option<EntityCaller>,
    /// The span that caused it, if the work item names it.
    pub trace_context: Option<TraceContext>,
}

/// The orchestration that called an entity.
///
/// ```
/// use durabletask_core::EntityCaller;
///
/// let caller = EntityCaller {
///     instance_id: "order-1".to_owned(),
///     execution_id: Some("e1".to_owned()),
/// };
/// assert_eq!(caller.instance_id, "order-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityCaller {
    /// Its instance id.
    pub instance_id: String,
    /// The id of its execution.
    pub execution_id: Option<String>,
}

/// What a batch did.
///
/// ```
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
/// #             return output;
/// #         }
/// #     }
/// # }
/// use chrono::Utc;
/// use durabletask_core::{EntityBatch, EntityOperation, run_batch};
/// use durabletask::{Entity, EntityHandlers, Operation, Registry};
///
/// const COUNTER: Entity<i64> = Entity::new("counter");
/// const ADD: Operation<i64, i64, i64> = Operation::new("add");
///
/// let handlers = EntityHandlers::new().operation(&ADD, |sum, _, n| {
///     *sum += n;
///     Ok(*sum)
/// });
/// let registry = Registry::new().entity(&COUNTER, handlers);
/// let batch = EntityBatch {
///     id: COUNTER.id("clicks").into(),
///     state: Some("3".to_owned()),
///     operations: vec![EntityOperation {
///         name: "add".to_owned(),
///         request_id: "r1".to_owned(),
///         input: Some("4".to_owned()),
///         caller: None,
///         trace_context: None,
///     }],
/// };
/// let result = block_on(run_batch(&registry, batch, Utc::now));
/// assert_eq!(result.state.as_deref(), Some("7"));
/// assert!(result.actions.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityBatchResult {
    /// The state after the last operation, JSON text; `None` if it has none.
    pub state: Option<String>,
    /// One for each operation, in order.
    pub outcomes: Vec<OperationOutcome>,
    /// What the operations that succeeded sent out, in order.
    pub actions: Vec<EntityAction>,
    /// The request id and the caller of each operation.
    pub(super) callers: Vec<(String, Option<EntityCaller>)>,
}

/// How an operation ended.
///
/// ```
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
/// #             return output;
/// #         }
/// #     }
/// # }
/// use chrono::Utc;
/// use durabletask_core::{EntityBatch, EntityOperation, run_batch};
/// use durabletask::{Entity, EntityHandlers, Operation, Registry};
///
/// const COUNTER: Entity<i64> = Entity::new("counter");
/// const ADD: Operation<i64, i64, i64> = Operation::new("add");
///
/// let handlers = EntityHandlers::new().operation(&ADD, |sum, _, n| {
///     *sum += n;
///     Ok(*sum)
/// });
/// let registry = Registry::new().entity(&COUNTER, handlers);
/// let batch = EntityBatch {
///     id: COUNTER.id("clicks").into(),
///     state: Some("3".to_owned()),
///     operations: vec![EntityOperation {
///         name: "add".to_owned(),
///         request_id: "r1".to_owned(),
///         input: Some("4".to_owned()),
///         caller: None,
///         trace_context: None,
///     }],
/// };
/// let result = block_on(run_batch(&registry, batch, Utc::now));
/// assert_eq!(result.outcomes[0].result, Ok("7".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationOutcome {
    /// The output, JSON text, or why there is none.
    pub result: Result<String, FailureDetails>,
    /// When it began and ended.
    pub time: (DateTime<Utc>, DateTime<Utc>),
}

impl EntityBatch {
    /// Reads an entity work item (`EntityRequest` on the wire, the newer form).
    ///
    /// # Errors
    ///
    /// A sentence, if the work item is for no entity or holds no operation.
    pub fn from_request(request: proto::EntityRequest) -> Result<Self, String> {
        let operations = request
            .operation_requests
            .into_iter()
            .map(|event| match event.event_type {
                Some(EventType::EntityOperationCalled(call)) => Ok(EntityOperation {
                    name: call.operation,
                    request_id: call.request_id,
                    input: call.input,
                    caller: call.parent_instance_id.map(|instance_id| EntityCaller {
                        instance_id,
                        execution_id: call.parent_execution_id,
                    }),
                    trace_context: None,
                }),
                Some(EventType::EntityOperationSignaled(signal)) => Ok(EntityOperation {
                    name: signal.operation,
                    request_id: signal.request_id,
                    input: signal.input,
                    caller: None,
                    trace_context: None,
                }),
                _ => Err("the entity's work item holds an event that is no operation".to_owned()),
            })
            .collect::<Result<_, _>>()?;
        Self::read(&request.instance_id, request.entity_state, operations)
    }

    /// Reads an entity work item in its older form (`EntityBatchRequest` on the wire).
    ///
    /// # Errors
    ///
    /// A sentence, if the work item is for no entity.
    pub fn from_batch_request(request: proto::EntityBatchRequest) -> Result<Self, String> {
        let operations = request
            .operations
            .into_iter()
            .map(|operation| EntityOperation {
                name: operation.operation,
                request_id: operation.request_id,
                input: operation.input,
                caller: None,
                trace_context: operation.trace_context.map(Into::into),
            })
            .collect();
        Self::read(&request.instance_id, request.entity_state, operations)
    }

    fn read(
        id: &str,
        state: Option<String>,
        operations: Vec<EntityOperation>,
    ) -> Result<Self, String> {
        Ok(Self {
            id: id
                .parse()
                .map_err(|error: super::InvalidEntityId| error.to_string())?,
            // Some schedulers write "no state" as an empty text.
            state: state.filter(|state| !state.is_empty()),
            operations,
        })
    }
}

impl EntityBatchResult {
    /// The answer on the wire. `with_infos` adds where each answer goes, which the
    /// newer form of the work item asks for.
    #[must_use]
    pub fn into_wire(self, completion_token: String, with_infos: bool) -> proto::EntityBatchResult {
        let results = self
            .outcomes
            .into_iter()
            .map(|outcome| proto::OperationResult {
                result_type: Some(outcome_to_wire(outcome)),
            })
            .collect();
        let actions = self
            .actions
            .into_iter()
            .zip(0..)
            .map(|(action, id)| proto::OperationAction {
                id,
                operation_action_type: Some(action_to_wire(action)),
            })
            .collect();
        let operation_infos = if with_infos {
            self.callers
                .into_iter()
                .map(|(request_id, caller)| proto::OperationInfo {
                    request_id,
                    response_destination: caller.map(|caller| proto::OrchestrationInstance {
                        instance_id: caller.instance_id,
                        execution_id: caller.execution_id,
                    }),
                })
                .collect()
        } else {
            Vec::new()
        };
        proto::EntityBatchResult {
            results,
            actions,
            entity_state: self.state,
            failure_details: None,
            completion_token,
            operation_infos,
            requires_state: false,
        }
    }
}

fn outcome_to_wire(outcome: OperationOutcome) -> ResultType {
    let (start, end) = outcome.time;
    let (start_time_utc, end_time_utc) =
        (Some(timestamp_to_wire(start)), Some(timestamp_to_wire(end)));
    match outcome.result {
        Ok(result) => ResultType::Success(proto::OperationResultSuccess {
            result: Some(result),
            start_time_utc,
            end_time_utc,
        }),
        Err(details) => ResultType::Failure(proto::OperationResultFailure {
            failure_details: Some(details.into()),
            start_time_utc,
            end_time_utc,
        }),
    }
}

fn action_to_wire(action: EntityAction) -> OperationActionType {
    match action {
        EntityAction::Signal {
            entity_id,
            operation,
            input,
            at,
            trace_context,
        } => OperationActionType::SendSignal(proto::SendSignalAction {
            instance_id: entity_id.to_string(),
            name: operation,
            input,
            scheduled_time: at.map(timestamp_to_wire),
            parent_trace_context: trace_context.map(Into::into),
            ..proto::SendSignalAction::default()
        }),
        EntityAction::Start {
            instance_id,
            name,
            version,
            input,
            at,
            trace_context,
        } => OperationActionType::StartNewOrchestration(proto::StartNewOrchestrationAction {
            instance_id,
            name,
            version,
            input,
            scheduled_time: at.map(timestamp_to_wire),
            parent_trace_context: trace_context.map(Into::into),
            ..proto::StartNewOrchestrationAction::default()
        }),
    }
}
