//! What an operation may ask and do besides changing its state.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::codec;
use crate::contract::Orchestration;
use crate::error::Failure;
use crate::history::TraceContext;
use crate::input::InputFor;

use super::contract::Operation;
use super::id::{EntityId, EntityRef};

/// The namespace of ids that follow from an operation's request id.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f0c_4a3d_8d5b_4a51_9d7e_6b52_1c0f_77a4);

/// What an operation sends out. It leaves only if the operation succeeds.
///
/// ```
/// use durabletask_core::EntityAction;
///
/// /// Whom an operation turns to.
/// fn receiver(action: &EntityAction) -> String {
///     match action {
///         EntityAction::Signal { entity_id, .. } => entity_id.to_string(),
///         EntityAction::Start { instance_id, .. } => instance_id.clone(),
///         _ => "someone new".to_owned(),
///     }
/// }
/// # let _ = receiver;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntityAction {
    /// A signal to an entity.
    Signal {
        /// The entity.
        entity_id: EntityId,
        /// The operation's name.
        operation: String,
        /// Its input, JSON text.
        input: Option<String>,
        /// Not before this instant.
        at: Option<DateTime<Utc>>,
        /// The span that causes it, for the entity or instance that it reaches.
        trace_context: Option<TraceContext>,
    },
    /// The start of an orchestration.
    Start {
        /// The new instance's id.
        instance_id: String,
        /// The orchestration's name.
        name: String,
        /// Its version.
        version: Option<String>,
        /// Its input, JSON text.
        input: Option<String>,
        /// Not before this instant.
        at: Option<DateTime<Utc>>,
        /// The span that causes it, for the entity or instance that it reaches.
        trace_context: Option<TraceContext>,
    },
}

/// How an entity starts an orchestration.
///
/// ```
/// use durabletask::entity::EntityStartOptions;
///
/// let options = EntityStartOptions::new().instance_id("report-2026-08");
/// assert_eq!(options.start_at, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityStartOptions {
    /// The new instance's id; `None` for one that follows from the operation, so that
    /// running the operation again starts nothing twice.
    pub instance_id: Option<String>,
    /// Its version; `None` for unversioned.
    pub version: Option<String>,
    /// Starts not before this instant.
    pub start_at: Option<DateTime<Utc>>,
}

impl EntityStartOptions {
    /// Starts at once, under an id that follows from the operation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the new instance's id.
    #[must_use]
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// Sets the new instance's version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Starts not before `at`.
    #[must_use]
    pub fn start_at(mut self, at: DateTime<Utc>) -> Self {
        self.start_at = Some(at);
        self
    }
}

/// The call or signal that an operation answers, and what it may send out.
///
/// Cheap to clone; clones belong to the same operation.
///
/// ```
/// use durabletask::{Entity, EntityContext, Failure, Operation, Orchestration};
///
/// const ALARM: Entity<u32> = Entity::new("alarm");
/// const RING: Operation<u32, (), ()> = Operation::new("ring");
/// const ESCALATE: Orchestration<String, ()> = Orchestration::new("escalate");
///
/// /// Counts the rings; at the third, someone is to look after it.
/// fn ring(rings: &mut u32, ctx: &EntityContext, (): ()) -> Result<(), Failure> {
///     *rings += 1;
///     if *rings == 3 {
///         ctx.start_orchestration(&ESCALATE, &ctx.id().key().to_owned())?;
///     }
///     Ok(())
/// }
///
/// let handlers = durabletask::EntityHandlers::new().operation(&RING, ring);
/// let registry = durabletask::Registry::new().entity(&ALARM, handlers);
/// assert!(registry.duplicates().is_empty());
/// ```
#[derive(Clone)]
pub struct EntityContext {
    inner: Arc<Inner>,
}

struct Inner {
    id: EntityId,
    operation: String,
    request_id: String,
    effects: Mutex<Effects>,
}

#[derive(Debug, Default)]
struct Effects {
    actions: Vec<EntityAction>,
    starts: u32,
    deleted: bool,
}

impl EntityContext {
    pub(crate) fn new(id: EntityId, operation: String, request_id: String) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                operation,
                request_id,
                effects: Mutex::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Effects> {
        self.inner
            .effects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// This entity's id.
    #[must_use]
    pub fn id(&self) -> &EntityId {
        &self.inner.id
    }

    /// The operation's name, as the caller wrote it.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.inner.operation
    }

    /// The id of this call or signal. It is the same if the operation runs again.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.inner.request_id
    }

    /// Signals an entity (or this one) once this operation has succeeded.
    ///
    /// # Errors
    ///
    /// If the id is too long or `input` cannot be written as JSON.
    pub fn signal_entity<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<(), Failure> {
        self.signal(entity, operation.name(), codec::encode(input), None)
    }

    /// Like [`signal_entity`](Self::signal_entity), delivered not before `at`.
    ///
    /// # Errors
    ///
    /// If the id is too long or `input` cannot be written as JSON.
    pub fn signal_entity_at<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
        at: DateTime<Utc>,
    ) -> Result<(), Failure> {
        self.signal(entity, operation.name(), codec::encode(input), Some(at))
    }

    fn signal(
        &self,
        entity_id: &EntityId,
        operation: &str,
        input: Result<String, String>,
        at: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        entity_id.check()?;
        let input = input.map_err(payload_failure)?;
        self.lock().actions.push(EntityAction::Signal {
            entity_id: entity_id.clone(),
            operation: operation.to_owned(),
            input: Some(input),
            at,
            trace_context: None,
        });
        Ok(())
    }

    /// Starts an orchestration once this operation has succeeded; yields its instance id.
    ///
    /// # Errors
    ///
    /// If `input` cannot be written as JSON.
    pub fn start_orchestration<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<String, Failure> {
        self.start_orchestration_with(orchestration, input, EntityStartOptions::default())
    }

    /// Starts an orchestration with an instance id, a version or a time.
    ///
    /// # Errors
    ///
    /// If `input` cannot be written as JSON.
    pub fn start_orchestration_with<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        options: EntityStartOptions,
    ) -> Result<String, Failure> {
        let input = codec::encode(input).map_err(payload_failure)?;
        Ok(self.start_orchestration_json(orchestration.name(), Some(input), options))
    }

    /// Starts the orchestration of this name, with an input that is JSON text already:
    /// for entities that keep what they are to start. Yields its instance id.
    pub fn start_orchestration_json(
        &self,
        name: &str,
        input: Option<String>,
        options: EntityStartOptions,
    ) -> String {
        let mut effects = self.lock();
        let instance_id = options.instance_id.unwrap_or_else(|| {
            let origin = format!(
                "{}_{}_{}",
                self.inner.id, self.inner.request_id, effects.starts
            );
            Uuid::new_v5(&NAMESPACE, origin.as_bytes())
                .simple()
                .to_string()
        });
        effects.starts = effects.starts.saturating_add(1);
        effects.actions.push(EntityAction::Start {
            instance_id: instance_id.clone(),
            name: name.to_owned(),
            version: options.version,
            input,
            at: options.start_at,
            trace_context: None,
        });
        instance_id
    }

    /// Deletes this entity's state once this operation has succeeded. The next
    /// operation starts from the initial state.
    pub fn delete_state(&self) {
        self.lock().deleted = true;
    }

    pub(crate) fn deletes_state(&self) -> bool {
        self.lock().deleted
    }

    /// What was sent out.
    pub(crate) fn take_actions(&self) -> Vec<EntityAction> {
        std::mem::take(&mut self.lock().actions)
    }
}

impl fmt::Debug for EntityContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntityContext")
            .field("id", &self.inner.id)
            .field("operation", &self.inner.operation)
            .finish_non_exhaustive()
    }
}

fn payload_failure(reason: String) -> Failure {
    Failure::new("PayloadMismatch", reason).permanent()
}
