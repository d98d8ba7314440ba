//! The code behind an entity's operations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Failure;

use super::context::EntityContext;
use super::contract::Operation;
use super::id::EntityId;

type Ran<S> = Pin<Box<dyn Future<Output = Result<(S, String), Failure>> + Send>>;
type Handler<S> = Arc<dyn Fn(S, EntityContext, Option<String>) -> Ran<S> + Send + Sync>;
type Initial<S> = Arc<dyn Fn(&EntityId) -> S + Send + Sync>;

/// The operation that deletes the state, unless an entity has one of that name itself.
const DELETE: &str = "delete";

/// The operations of an entity over its state `S`.
///
/// Each operation is a transaction: if it fails or panics, the state is as before and
/// nothing that it sent out leaves. An operation may run again if its worker is lost.
/// The operation `delete`, which deletes the state, is there without being written.
///
/// ```
/// use durabletask::{Entity, EntityHandlers, Failure, Operation, Registry};
///
/// const ACCOUNT: Entity<i64> = Entity::new("account");
/// const WITHDRAW: Operation<i64, i64, i64> = Operation::new("withdraw");
///
/// let handlers = EntityHandlers::new().operation(&WITHDRAW, |balance: &mut i64, _, amount| {
///     if amount > *balance {
///         return Err(Failure::new("Overdrawn", "there is not enough on it").permanent());
///     }
///     *balance -= amount;
///     Ok(*balance)
/// });
/// let registry = Registry::new().entity(&ACCOUNT, handlers);
/// assert!(registry.duplicates().is_empty());
/// ```
pub struct EntityHandlers<S> {
    initial: Initial<S>,
    operations: BTreeMap<String, Handler<S>>,
    duplicates: Vec<String>,
}

impl<S: Default + Serialize + DeserializeOwned + Send + 'static> Default for EntityHandlers<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Serialize + DeserializeOwned + Send + 'static> EntityHandlers<S> {
    /// No operations yet; an entity without a state starts from the default.
    #[must_use]
    pub fn new() -> Self
    where
        S: Default,
    {
        Self::with_initial_state(|_| S::default())
    }

    /// No operations yet; an entity without a state starts from what `initial` makes.
    #[must_use]
    pub fn with_initial_state(initial: impl Fn(&EntityId) -> S + Send + Sync + 'static) -> Self {
        Self {
            initial: Arc::new(initial),
            operations: BTreeMap::new(),
            duplicates: Vec::new(),
        }
    }

    /// Adds an operation. A second one of the same name is not taken; see
    /// [`Registry::duplicates`](crate::Registry::duplicates).
    #[must_use]
    pub fn operation<I, O, F>(self, operation: &Operation<S, I, O>, handler: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(&mut S, &EntityContext, I) -> Result<O, Failure> + Send + Sync + 'static,
    {
        let name: Arc<str> = operation.name().into();
        let handler = Arc::new(handler);
        self.add(
            operation.name(),
            Arc::new(move |mut state, context, input| {
                let (name, handler) = (Arc::clone(&name), Arc::clone(&handler));
                Box::pin(async move {
                    let input = decode_input(&name, input)?;
                    let output = handler(&mut state, &context, input)?;
                    Ok((state, encode_output(&name, &output)?))
                })
            }),
        )
    }

    /// Adds an operation that awaits something. It gets the state and returns it
    /// with its output. Other operations of the entity wait until it is done.
    #[must_use]
    pub fn async_operation<I, O, F, Fut>(self, operation: &Operation<S, I, O>, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(S, EntityContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(S, O), Failure>> + Send + 'static,
    {
        let name: Arc<str> = operation.name().into();
        let handler = Arc::new(handler);
        self.add(
            operation.name(),
            Arc::new(move |state, context, input| {
                let (name, handler) = (Arc::clone(&name), Arc::clone(&handler));
                Box::pin(async move {
                    let input = decode_input(&name, input)?;
                    let (state, output) = handler(state, context, input).await?;
                    Ok((state, encode_output(&name, &output)?))
                })
            }),
        )
    }

    fn add(mut self, name: &str, handler: Handler<S>) -> Self {
        match self.operations.entry(name.to_lowercase()) {
            Entry::Occupied(_) => self.duplicates.push(name.to_owned()),
            Entry::Vacant(free) => {
                free.insert(handler);
            }
        }
        self
    }
}

impl<S> fmt::Debug for EntityHandlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntityHandlers")
            .field("operations", &self.operations.keys())
            .finish_non_exhaustive()
    }
}

/// An operation under way: yields its output, JSON text.
pub(crate) type RunningOperation<'a> =
    Pin<Box<dyn Future<Output = Result<String, Failure>> + Send + 'a>>;

/// [`EntityHandlers`] of any state.
pub(crate) trait EntityHandler: Send + Sync {
    fn duplicates(&self) -> &[String];
    /// Begins a batch over a state, JSON text.
    fn begin(self: Arc<Self>, id: EntityId, state: Option<String>) -> Box<dyn Session>;
}

/// A batch: the state between operations.
pub(crate) trait Session: Send {
    /// Runs one operation; on success the state is the new one. If the future is
    /// dropped before its end, the operation has not taken place.
    fn run(&mut self, context: EntityContext, input: Option<String>) -> RunningOperation<'_>;
    /// The state, JSON text.
    fn into_state(self: Box<Self>) -> Option<String>;
}

struct Batch<S> {
    handlers: Arc<EntityHandlers<S>>,
    id: EntityId,
    committed: Option<String>,
    /// The committed state as a value, while it is known.
    live: Option<S>,
}

impl<S: Serialize + DeserializeOwned + Send + 'static> EntityHandler for EntityHandlers<S> {
    fn duplicates(&self) -> &[String] {
        &self.duplicates
    }

    fn begin(self: Arc<Self>, id: EntityId, state: Option<String>) -> Box<dyn Session> {
        Box::new(Batch {
            handlers: self,
            id,
            // Some schedulers write "no state" as an empty text.
            committed: state.filter(|state| !state.is_empty()),
            live: None,
        })
    }
}

impl<S: Serialize + DeserializeOwned + Send + 'static> Batch<S> {
    fn state(&mut self) -> Result<S, Failure> {
        if let Some(live) = self.live.take() {
            return Ok(live);
        }
        match &self.committed {
            None => Ok((self.handlers.initial)(&self.id)),
            Some(text) => codec::decode(Some(text)).map_err(|reason| {
                Failure::new(
                    "PayloadMismatch",
                    format!("the state of the entity '{}': {reason}", self.id.name()),
                )
                .permanent()
            }),
        }
    }
}

impl<S: Serialize + DeserializeOwned + Send + 'static> Session for Batch<S> {
    fn run(&mut self, context: EntityContext, input: Option<String>) -> RunningOperation<'_> {
        Box::pin(async move {
            let name = context.operation().to_lowercase();
            let Some(handler) = self.handlers.operations.get(&name).cloned() else {
                if name == DELETE {
                    self.committed = None;
                    self.live = None;
                    return Ok("null".to_owned());
                }
                return Err(Failure::new(
                    "EntityOperationNotFound",
                    format!(
                        "the entity '{}' has no operation '{}'; register it or call another",
                        self.id.name(),
                        context.operation()
                    ),
                )
                .permanent());
            };
            let state = self.state()?;
            let (state, output) = handler(state, context.clone(), input).await?;
            if context.deletes_state() {
                self.committed = None;
                return Ok(output);
            }
            self.committed = Some(codec::encode(&state).map_err(|reason| {
                Failure::new(
                    "PayloadMismatch",
                    format!("the state of the entity '{}': {reason}", self.id.name()),
                )
                .permanent()
            })?);
            self.live = Some(state);
            Ok(output)
        })
    }

    fn into_state(self: Box<Self>) -> Option<String> {
        self.committed
    }
}

fn decode_input<I: DeserializeOwned>(operation: &str, input: Option<String>) -> Result<I, Failure> {
    codec::decode(input.as_deref()).map_err(|reason| {
        Failure::new(
            "PayloadMismatch",
            format!("the input of the operation '{operation}': {reason}"),
        )
        .permanent()
    })
}

fn encode_output<O: Serialize>(operation: &str, output: &O) -> Result<String, Failure> {
    codec::encode(output).map_err(|reason| {
        Failure::new(
            "PayloadMismatch",
            format!("the output of the operation '{operation}': {reason}"),
        )
        .permanent()
    })
}
