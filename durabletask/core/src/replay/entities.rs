//! Entities in an orchestration: calls, signals and critical sections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, Utc};

use crate::action::ActionKind;
use crate::codec;
use crate::contract::{Feed, Orchestration};
use crate::entity::{
    EntityId, EntityRef, FEED_APPEND, FEED_DELETE, FeedAppend, FeedLog, Operation, feed_entity,
};
use crate::error::TaskError;
use crate::host::value_text;
use crate::input::InputFor;

use super::context::{OrchestrationContext, unwritable};
use super::operations::{Outcome, Step};
use super::state::{Shared, State};
use super::tasks::Task;

/// What awaits an answer of an entity, and the critical section.
#[derive(Debug, Default)]
pub(crate) struct EntityCalls {
    /// Calls under way by request id: the operation and the entity.
    requests: HashMap<String, (i32, EntityId)>,
    section: Option<Section>,
    /// Sections that were asked for and given up before they were granted.
    abandoned: BTreeMap<String, (Vec<EntityId>, Parent)>,
}

/// Instance id and execution id of who calls or locks.
type Parent = (String, Option<String>);

#[derive(Debug)]
struct Section {
    id: String,
    /// The operation that waits for the grant.
    operation: i32,
    /// Sorted, without repetitions.
    entities: Vec<EntityId>,
    parent: Parent,
    granted: bool,
    /// The entities with a call under way.
    busy: BTreeSet<EntityId>,
}

impl EntityCalls {
    /// Why a call of `entity` is not allowed now, if it is not; otherwise notes it.
    fn begin_call(&mut self, entity: &EntityId) -> Result<(), String> {
        let Some(section) = self.section.as_mut().filter(|section| section.granted) else {
            return Ok(());
        };
        if !section.entities.contains(entity) {
            return Err(format!(
                "in a critical section only the locked entities can be called, and {entity} is not one of them; name it when locking"
            ));
        }
        if !section.busy.insert(entity.clone()) {
            return Err(format!(
                "in a critical section an entity can be called once at a time, and a call of {entity} is under way; await it first"
            ));
        }
        Ok(())
    }

    fn check_signal(&self, entity: &EntityId) -> Result<(), String> {
        match &self.section {
            Some(section) if section.granted && section.entities.contains(entity) => Err(format!(
                "in a critical section the locked entities can be called, not signalled, and {entity} is one of them"
            )),
            _ => Ok(()),
        }
    }

    fn check_child(&self) -> Result<(), String> {
        match &self.section {
            Some(section) if section.granted => Err(
                "a critical section must not wait for a sub-orchestration; release the locks first"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// An entity has answered: the operation that waited for it.
    pub(crate) fn answered(&mut self, request_id: &str) -> Option<i32> {
        let (operation, entity) = self.requests.remove(request_id)?;
        if let Some(section) = &mut self.section {
            section.busy.remove(&entity);
        }
        Some(operation)
    }
}

impl State {
    /// The locks of a critical section are held.
    pub(crate) fn lock_granted(&mut self, section_id: &str, wake: &mut Vec<Waker>) {
        if let Some((entities, parent)) = self.entities.abandoned.remove(section_id) {
            self.push_unlocks(section_id, entities, &parent);
            return;
        }
        if let Some(section) = self
            .entities
            .section
            .as_mut()
            .filter(|section| section.id == section_id && !section.granted)
        {
            section.granted = true;
            let operation = section.operation;
            wake.extend(self.operations.finish(operation, Outcome::Completed(None)));
        }
    }

    /// Leaves the critical section, if it is this one: releases what is locked, or
    /// gives up the request.
    fn leave_section(&mut self, section_id: &str) {
        let Some(section) = self.entities.section.take_if(|s| s.id == section_id) else {
            return;
        };
        self.operations.detach(section.operation);
        if section.granted {
            self.push_unlocks(&section.id, section.entities, &section.parent);
        } else {
            // A request that the scheduler has continues; its grant is answered at once.
            if !self.withdraw(section.operation) {
                self.entities
                    .abandoned
                    .insert(section.id, (section.entities, section.parent));
            }
        }
    }

    /// At the end of the execution nothing stays locked. A request that is not granted
    /// yet may have got some of its entities already.
    pub(crate) fn release_all(&mut self) {
        if let Some(section) = self.entities.section.take() {
            self.push_unlocks(&section.id, section.entities, &section.parent);
        }
        for (section_id, (entities, parent)) in std::mem::take(&mut self.entities.abandoned) {
            self.push_unlocks(&section_id, entities, &parent);
        }
    }

    fn push_unlocks(&mut self, section_id: &str, entities: Vec<EntityId>, parent: &Parent) {
        for entity_id in entities {
            let id = self.take_id();
            self.push_action(
                id,
                ActionKind::UnlockEntity {
                    critical_section_id: section_id.to_owned(),
                    entity_id,
                    parent: parent.clone(),
                },
            );
        }
    }
}

impl OrchestrationContext {
    /// Calls an operation of an entity and waits for its answer.
    ///
    /// It ends with [`TaskError::Failed`] if the operation failed; the entity is then
    /// as it was. In a critical section only the locked entities can be called, each
    /// once at a time.
    pub fn call_entity<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Task<O> {
        let name = operation.shared_name();
        let input = match codec::encode(input) {
            Ok(input) => input,
            Err(reason) => return Task::refused(name, reason),
        };
        let shared = self.shared();
        let mut state = shared.call();
        let allowed = entity
            .id()
            .check()
            .map_err(|error| error.to_string())
            .and_then(|()| state.entities.begin_call(entity));
        if let Err(reason) = allowed {
            drop(state);
            return Task::not_allowed(name, reason);
        }
        let request_id = state.new_uuid(&shared.instance_id).to_string();
        let id = state.start_step(
            ActionKind::CallEntity {
                entity_id: entity.id().clone(),
                request_id: request_id.clone(),
                operation: name.to_string(),
                input: Some(input),
                parent: self.identity(),
            },
            Step::Entity,
        );
        state
            .entities
            .requests
            .insert(request_id, (id, entity.id().clone()));
        drop(state);
        Task::scheduled(Arc::clone(shared), id, name)
    }

    /// Sends an operation to an entity without waiting.
    ///
    /// # Errors
    ///
    /// If the id is too long, `input` cannot be written as JSON, or the entity is
    /// locked by the present critical section: call it then.
    pub fn signal_entity<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<(), TaskError> {
        self.signal(entity, operation.name(), codec::encode(input), None)
    }

    /// Like [`signal_entity`](Self::signal_entity), delivered not before `at`.
    ///
    /// # Errors
    ///
    /// As for [`signal_entity`](Self::signal_entity).
    pub fn signal_entity_at<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
        at: DateTime<Utc>,
    ) -> Result<(), TaskError> {
        self.signal(entity, operation.name(), codec::encode(input), Some(at))
    }

    /// Adds a value to the feed of this instance, for clients that follow it with
    /// `Client::follow`.
    ///
    /// ```
    /// use durabletask::{Activity, Failure, Feed, OrchestrationContext};
    ///
    /// const COPY: Activity<String, u64> = Activity::new("copy");
    /// const COPIED: Feed<(String, u64)> = Feed::new("copied");
    ///
    /// async fn copy_all(ctx: OrchestrationContext, files: Vec<String>) -> Result<(), Failure> {
    ///     for file in files {
    ///         let bytes = ctx.call_activity(&COPY, &file).await?;
    ///         ctx.publish(&COPIED, &(file, bytes))?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = copy_all;
    /// ```
    ///
    /// # Errors
    ///
    /// If `value` cannot be written as JSON, or has more than 64 KiB as JSON text.
    pub fn publish<T>(
        &self,
        feed: &Feed<T>,
        value: &(impl InputFor<T> + ?Sized),
    ) -> Result<(), TaskError> {
        let value = value_text(value).map_err(|reason| unwritable(feed.name(), reason))?;
        let append = FeedAppend {
            // The history keeps it from being published twice.
            producer: None,
            number: 0,
            value,
        };
        let entity = self.feed(feed.name());
        self.signal_entity(&entity, &FEED_APPEND, &append)
    }

    /// Removes what this instance has published in a feed, not before `at`, so that clients
    /// have time to read the last of it. A feed is kept until it is removed, also when its
    /// instance is purged.
    ///
    /// ```
    /// use durabletask::{Failure, Feed, OrchestrationContext, chrono::TimeDelta};
    ///
    /// const COPIED: Feed<String> = Feed::new("copied");
    ///
    /// async fn copy_all(ctx: OrchestrationContext, files: Vec<String>) -> Result<(), Failure> {
    ///     for file in files {
    ///         ctx.publish(&COPIED, &file)?;
    ///     }
    ///     ctx.delete_feed_at(&COPIED, ctx.current_utc() + TimeDelta::hours(1))?;
    ///     Ok(())
    /// }
    /// # let _ = copy_all;
    /// ```
    ///
    /// # Errors
    ///
    /// As those of [`signal_entity_at`](Self::signal_entity_at).
    pub fn delete_feed_at<T>(&self, feed: &Feed<T>, at: DateTime<Utc>) -> Result<(), TaskError> {
        let entity = self.feed(feed.name());
        self.signal_entity_at(&entity, &FEED_DELETE, &(), at)
    }

    /// The entity of a feed: in turns that a fork has from another instance, that one's.
    fn feed(&self, name: &str) -> EntityRef<FeedLog> {
        let shared = self.shared();
        let state = shared.lock();
        feed_entity(state.lineage.id(&shared.instance_id), name)
    }

    fn signal(
        &self,
        entity_id: &EntityId,
        operation: &str,
        input: Result<String, String>,
        at: Option<DateTime<Utc>>,
    ) -> Result<(), TaskError> {
        let refused = |reason: String| TaskError::NotAllowed {
            name: operation.to_owned(),
            reason,
        };
        entity_id
            .check()
            .map_err(|error| refused(error.to_string()))?;
        let input = input.map_err(|reason| unwritable(operation, reason))?;
        let shared = self.shared();
        let mut state = shared.call();
        state.entities.check_signal(entity_id).map_err(refused)?;
        let request_id = state.new_uuid(&shared.instance_id).to_string();
        let id = state.take_id();
        state.push_action(
            id,
            ActionKind::SignalEntity {
                entity_id: entity_id.clone(),
                request_id,
                operation: operation.to_owned(),
                input: Some(input),
                at,
            },
        );
        Ok(())
    }

    /// Locks entities, all of them or none, and yields the critical section once they
    /// are locked. Until it is released no one else's operation runs on them.
    ///
    /// The entities are locked in one order everywhere, so orchestrations cannot lock
    /// each other out. Dropping the future gives the request up.
    ///
    /// ```
    /// use durabletask::{Entity, Failure, Operation, OrchestrationContext};
    ///
    /// const ACCOUNT: Entity<i64> = Entity::new("account");
    /// const DEPOSIT: Operation<i64, i64, ()> = Operation::new("deposit");
    ///
    /// async fn transfer(ctx: OrchestrationContext, amount: i64) -> Result<(), Failure> {
    ///     let (from, to) = (ACCOUNT.id("a"), ACCOUNT.id("b"));
    ///     let section = ctx.lock_entities([&from, &to]).await?;
    ///     ctx.call_entity(&from, &DEPOSIT, &-amount).await?;
    ///     ctx.call_entity(&to, &DEPOSIT, &amount).await?;
    ///     section.release();
    ///     Ok(())
    /// }
    /// ```
    pub fn lock_entities<T: Into<EntityId>>(
        &self,
        entities: impl IntoIterator<Item = T>,
    ) -> LockTask {
        let entities: BTreeSet<EntityId> = entities.into_iter().map(Into::into).collect();
        // The order on the wire is that of the texts.
        let mut entities: Vec<EntityId> = entities.into_iter().collect();
        entities.sort_by_key(ToString::to_string);
        let refusal = if entities.is_empty() {
            Some("there is no entity to lock".to_owned())
        } else {
            entities
                .iter()
                .find_map(|id| id.check().err().map(|error| error.to_string()))
        };
        let shared = self.shared();
        let mut state = shared.call();
        let refusal =
            refusal.or_else(|| {
                state.entities.section.is_some().then(|| {
                    "critical sections do not nest; release the present one first".to_owned()
                })
            });
        if let Some(reason) = refusal {
            return LockTask {
                inner: LockInner::Refused(Some(reason)),
            };
        }
        let section_id = state.new_uuid(&shared.instance_id).to_string();
        let operation = state.start_step(
            ActionKind::LockEntities {
                critical_section_id: section_id.clone(),
                lock_set: entities.clone(),
                parent: self.identity(),
            },
            Step::Entity,
        );
        state.entities.section = Some(Section {
            id: section_id.clone(),
            operation,
            entities,
            parent: self.identity(),
            granted: false,
            busy: BTreeSet::new(),
        });
        drop(state);
        LockTask {
            inner: LockInner::Waiting {
                operation,
                section: Some(CriticalSection {
                    shared: Arc::clone(shared),
                    id: section_id,
                }),
            },
        }
    }

    /// Whether the orchestration is in a critical section.
    #[must_use]
    pub fn is_in_critical_section(&self) -> bool {
        let state = self.shared().lock();
        state.entities.section.as_ref().is_some_and(|s| s.granted)
    }

    /// Refuses a sub-orchestration in a critical section.
    pub(super) fn check_child<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
    ) -> Result<(), Task<O>> {
        let allowed = self.shared().lock().entities.check_child();
        allowed.map_err(|reason| Task::not_allowed(orchestration.shared_name(), reason))
    }
}

/// Waiting for the locks of a critical section; made by
/// [`OrchestrationContext::lock_entities`].
///
/// Dropping it gives the request up; locks that are granted later are released at once.
///
/// ```
/// use durabletask::entity::LockTask;
/// use durabletask::{Entity, Failure, OrchestrationContext};
///
/// const ACCOUNT: Entity<i64> = Entity::new("account");
///
/// async fn alone(ctx: &OrchestrationContext) -> Result<(), Failure> {
///     let asked: LockTask = ctx.lock_entities([ACCOUNT.id("ada"), ACCOUNT.id("bob")]);
///     let section = asked.await?;
///     section.release();
///     Ok(())
/// }
/// # let _ = alone;
/// ```
#[must_use = "the locks are asked for already; await it to know when they are held"]
pub struct LockTask {
    inner: LockInner,
}

enum LockInner {
    Waiting {
        operation: i32,
        /// Leaves the section when it is dropped.
        section: Option<CriticalSection>,
    },
    Refused(Option<String>),
}

impl Future for LockTask {
    type Output = Result<CriticalSection, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            LockInner::Waiting { operation, section } => {
                let Some(waiting) = section.as_ref() else {
                    return Poll::Pending;
                };
                let outcome = waiting
                    .shared
                    .lock()
                    .operations
                    .poll(*operation, context.waker());
                match (outcome, section.take()) {
                    (Some(_), Some(held)) => Poll::Ready(Ok(held)),
                    (_, still) => {
                        *section = still;
                        Poll::Pending
                    }
                }
            }
            LockInner::Refused(reason) => match reason.take() {
                Some(reason) => Poll::Ready(Err(TaskError::NotAllowed {
                    name: "lock_entities".to_owned(),
                    reason,
                })),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for LockTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockTask").finish_non_exhaustive()
    }
}

/// Entities locked by this orchestration. Dropping it releases them, and so does the
/// end of the orchestration, however it ends.
///
/// ```
/// use durabletask::{Entity, Failure, Operation, OrchestrationContext};
///
/// const ACCOUNT: Entity<i64> = Entity::new("account");
/// const ADD: Operation<i64, i64, i64> = Operation::new("add");
///
/// /// Nobody sees one account without the other.
/// async fn transfer(ctx: OrchestrationContext, amount: i64) -> Result<(), Failure> {
///     let (from, to) = (ACCOUNT.id("ada"), ACCOUNT.id("bob"));
///     let section = ctx.lock_entities([&from, &to]).await?;
///     ctx.call_entity(&from, &ADD, &-amount).await?;
///     ctx.call_entity(&to, &ADD, &amount).await?;
///     section.release();
///     Ok(())
/// }
/// # let _ = transfer;
/// ```
#[must_use = "dropping it releases the locks"]
pub struct CriticalSection {
    shared: Arc<Shared>,
    id: String,
}

impl CriticalSection {
    /// Releases the locks.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for CriticalSection {
    fn drop(&mut self) {
        self.shared.lock().leave_section(&self.id);
    }
}

impl fmt::Debug for CriticalSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CriticalSection")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
