//! Running a batch of operations: `(state, operations) -> (state, results, actions)`.

use std::panic::AssertUnwindSafe;
use std::vec;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::error::{Failure, FailureDetails, panic_text};
use crate::registry::Registry;

use super::batch::{EntityBatch, EntityBatchResult, EntityOperation, OperationOutcome};
use super::context::{EntityAction, EntityContext};
use super::handlers::Session;
use super::id::EntityId;

/// A batch under way, for those who do something around each operation, such as
/// recording a span; [`run_batch`] is for all others.
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
/// use durabletask_core::{EntityBatch, EntityBatchRun, EntityOperation};
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
/// let mut run = EntityBatchRun::new(&registry, batch);
/// let mut names = Vec::new();
/// while let Some(operation) = run.upcoming() {
///     names.push(operation.name.clone());
///     block_on(run.step(Utc::now));
/// }
/// assert_eq!(names, ["add"]);
/// assert_eq!(run.finish().state.as_deref(), Some("7"));
/// ```
pub struct EntityBatchRun {
    id: EntityId,
    operations: vec::IntoIter<EntityOperation>,
    /// `None` if nothing is registered under the entity's name.
    session: Option<Box<dyn Session>>,
    result: EntityBatchResult,
    /// Where in the result's actions those of the latest operation begin.
    latest: usize,
}

impl EntityBatchRun {
    /// Before the first operation of `batch`.
    #[must_use]
    pub fn new(registry: &Registry, batch: EntityBatch) -> Self {
        let count = batch.operations.len();
        Self {
            result: EntityBatchResult {
                state: batch.state.clone(),
                outcomes: Vec::with_capacity(count),
                actions: Vec::new(),
                callers: Vec::with_capacity(count),
            },
            session: registry
                .entity_handler(batch.id.name())
                .map(|handler| handler.begin(batch.id.clone(), batch.state)),
            id: batch.id,
            operations: batch.operations.into_iter(),
            latest: 0,
        }
    }

    /// The entity.
    #[must_use]
    pub fn id(&self) -> &EntityId {
        &self.id
    }

    /// The operation that the next step runs, if any is left.
    #[must_use]
    pub fn upcoming(&self) -> Option<&EntityOperation> {
        self.operations.as_slice().first()
    }

    /// Runs the next operation and yields how it ended; `None` if none was left.
    /// `clock` gives the time, for records only.
    ///
    /// An operation that fails or panics leaves no trace but its failure. If this is
    /// dropped before it is done, the operation counts as never asked for.
    pub async fn step(&mut self, clock: impl Fn() -> DateTime<Utc>) -> Option<&OperationOutcome> {
        let operation = self.operations.next()?;
        let begun = clock();
        let request_id = operation.request_id.clone();
        let context = EntityContext::new(self.id.clone(), operation.name, operation.request_id);
        let result = match &mut self.session {
            None => Err(unknown_entity(self.id.name())),
            Some(session) => {
                let running = session.run(context.clone(), operation.input);
                match AssertUnwindSafe(running).catch_unwind().await {
                    Ok(outcome) => outcome.map_err(Failure::into_details),
                    Err(panic) => Err(FailureDetails::new(
                        "Panic",
                        panic_text(panic.as_ref(), "the entity's operation panicked"),
                    )),
                }
            }
        };
        self.latest = self.result.actions.len();
        if result.is_ok() {
            self.result.actions.extend(context.take_actions());
        }
        self.result.callers.push((request_id, operation.caller));
        self.result.outcomes.push(OperationOutcome {
            result,
            time: (begun, clock()),
        });
        self.result.outcomes.last()
    }

    /// What the latest operation sends out.
    pub fn sent(&mut self) -> &mut [EntityAction] {
        self.result
            .actions
            .get_mut(self.latest..)
            .unwrap_or_default()
    }

    /// What the batch did. Operations that were not run are not in it.
    #[must_use]
    pub fn finish(self) -> EntityBatchResult {
        let mut result = self.result;
        if let Some(session) = self.session {
            result.state = session.into_state();
        }
        result
    }
}

/// Runs the operations of a batch, one after the other. `clock` gives the time, for
/// the record only.
///
/// An operation that fails or panics leaves no trace but its failure. If nothing is
/// registered under the entity's name, every operation fails with `EntityTaskNotFound`
/// and the state stays.
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
/// ```
pub async fn run_batch(
    registry: &Registry,
    batch: EntityBatch,
    clock: impl Fn() -> DateTime<Utc>,
) -> EntityBatchResult {
    let mut run = EntityBatchRun::new(registry, batch);
    while run.step(&clock).await.is_some() {}
    run.finish()
}

fn unknown_entity(name: &str) -> FailureDetails {
    FailureDetails {
        non_retriable: true,
        ..FailureDetails::new(
            "EntityTaskNotFound",
            format!(
                "no entity '{name}' is registered with this worker; register it or start a worker that has it"
            ),
        )
    }
}
