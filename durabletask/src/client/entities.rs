//! Signalling and looking at entities.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use durabletask_core::{
    EntityId, EntityRef, InputFor, Operation, codec, timestamp_from_wire, timestamp_to_wire,
};
use durabletask_proto as proto;
use futures_util::stream;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::spans::Spanned;

use super::{Client, ClientError, Listing};

/// An entity as the scheduler has it.
///
/// ```
/// use durabletask::{Client, Connection, Entity};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const COUNTER: Entity<u64> = Entity::new("counter");
/// if let Some(found) = client.get_entity(COUNTER.id("clicks").id()).await? {
///     println!("{} clicks, locked by {:?}", found.state::<u64>()?, found.locked_by);
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityState {
    /// Which entity.
    pub id: EntityId,
    /// When its last operations were committed.
    pub last_modified: Option<DateTime<Utc>>,
    /// How many operations and lock requests wait for it.
    pub backlog: u32,
    /// The instance id of the orchestration that holds its lock.
    pub locked_by: Option<String>,
    /// Its state, JSON text; `None` if it has none or it was not asked for.
    pub state_json: Option<String>,
}

impl EntityState {
    /// The state.
    ///
    /// # Errors
    ///
    /// [`ClientError::Payload`] if it is not there or has another type.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, ClientError> {
        codec::decode(self.state_json.as_deref()).map_err(ClientError::Payload)
    }

    fn from_wire(entity: proto::EntityMetadata) -> Result<Self, ClientError> {
        Ok(Self {
            id: entity.instance_id.parse().map_err(
                |error: durabletask_core::InvalidEntityId| ClientError::Payload(error.to_string()),
            )?,
            last_modified: entity.last_modified_time.and_then(timestamp_from_wire),
            backlog: u32::try_from(entity.backlog_queue_size).unwrap_or(0),
            // Some schedulers write an absent text as an empty one.
            locked_by: entity.locked_by.filter(|holder| !holder.is_empty()),
            state_json: entity.serialized_state.filter(|state| !state.is_empty()),
        })
    }
}

/// Which entities to list. All conditions must hold.
///
/// ```
/// use durabletask::client::EntityQuery;
///
/// let counters = EntityQuery::new().id_prefix("@counter@").include_state();
/// assert_eq!(counters.page_size, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityQuery {
    /// With an id that begins so, for example `@counter@`.
    pub id_prefix: Option<String>,
    /// Last changed at or after this instant.
    pub modified_from: Option<DateTime<Utc>>,
    /// Last changed before this instant.
    pub modified_to: Option<DateTime<Utc>>,
    /// Whether states come along.
    pub include_state: bool,
    /// Also entities without a state: locked, or with operations on their way.
    pub include_transient: bool,
    /// How many entities are fetched at a time; 0 for the scheduler's default.
    pub page_size: u32,
}

impl EntityQuery {
    /// All entities, without their states.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only with an id that begins so, for example `@counter@`.
    #[must_use]
    pub fn id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.id_prefix = Some(prefix.into());
        self
    }

    /// Only last changed at or after this instant.
    #[must_use]
    pub fn modified_from(mut self, from: DateTime<Utc>) -> Self {
        self.modified_from = Some(from);
        self
    }

    /// Only last changed before this instant.
    #[must_use]
    pub fn modified_to(mut self, to: DateTime<Utc>) -> Self {
        self.modified_to = Some(to);
        self
    }

    /// With their states.
    #[must_use]
    pub fn include_state(mut self) -> Self {
        self.include_state = true;
        self
    }

    /// Also entities without a state: locked, or with operations on their way.
    #[must_use]
    pub fn include_transient(mut self) -> Self {
        self.include_transient = true;
        self
    }

    /// How many entities are fetched at a time.
    #[must_use]
    pub fn page_size(mut self, size: u32) -> Self {
        self.page_size = size;
        self
    }
}

/// What to clean in [`Client::clean_entity_storage`].
///
/// ```
/// use durabletask::client::EntityCleaning;
///
/// let locks_only = EntityCleaning::new().remove_empty(false);
/// assert!(locks_only.release_orphaned_locks);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityCleaning {
    /// Forget entities that have no state and nothing to do.
    pub remove_empty: bool,
    /// Release locks whose orchestration has ended.
    pub release_orphaned_locks: bool,
}

impl EntityCleaning {
    /// Both.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to forget entities that have no state and nothing to do.
    #[must_use]
    pub fn remove_empty(mut self, remove: bool) -> Self {
        self.remove_empty = remove;
        self
    }

    /// Whether to release locks whose orchestration has ended.
    #[must_use]
    pub fn release_orphaned_locks(mut self, release: bool) -> Self {
        self.release_orphaned_locks = release;
        self
    }
}

impl Default for EntityCleaning {
    /// Both.
    fn default() -> Self {
        Self {
            remove_empty: true,
            release_orphaned_locks: true,
        }
    }
}

/// What a cleaning did. Schedulers that clean by themselves find nothing left to do.
///
/// ```
/// use durabletask::client::EntityCleaning;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let cleaned = client.clean_entity_storage(EntityCleaning::default()).await?;
/// println!("{} entities were removed", cleaned.removed);
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntitiesCleaned {
    /// How many empty entities were removed.
    pub removed: u32,
    /// How many locks were released.
    pub released: u32,
}

impl Client {
    /// Sends an operation to an entity, which need not exist. Once it returns, the
    /// signal is durable; how the operation ends is not reported.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidArgument`] if the id is too long, and others. A lost
    /// answer may hide a success.
    pub async fn signal_entity<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<(), ClientError> {
        self.signal(entity, operation.name(), codec::encode(input), None)
            .await
    }

    /// Like [`signal_entity`](Self::signal_entity), delivered not before `at`.
    ///
    /// # Errors
    ///
    /// As for [`signal_entity`](Self::signal_entity).
    pub async fn signal_entity_at<S, I, O>(
        &self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &(impl InputFor<I> + ?Sized),
        at: DateTime<Utc>,
    ) -> Result<(), ClientError> {
        self.signal(entity, operation.name(), codec::encode(input), Some(at))
            .await
    }

    async fn signal(
        &self,
        entity_id: &EntityId,
        operation: &str,
        input: Result<String, String>,
        at: Option<DateTime<Utc>>,
    ) -> Result<(), ClientError> {
        let instance_id = entity_id.to_string();
        let span = Spanned::entity_signal(entity_id, operation, at);
        let mut request = proto::SignalEntityRequest {
            instance_id: instance_id.clone(),
            name: operation.to_owned(),
            input: Some(input.map_err(ClientError::Payload)?),
            request_id: Uuid::new_v4().to_string(),
            scheduled_time: at.map(timestamp_to_wire),
            parent_trace_context: span.context().map(Into::into),
            request_time: Some(timestamp_to_wire(Utc::now())),
        };
        self.store_payloads(&instance_id, &mut request).await?;
        self.service()
            .signal_entity(request)
            .await
            .map_err(|status| ClientError::from_status(&status, Some(&instance_id)))
            .inspect_err(|error| span.failed(&error.to_string()))?;
        Ok(())
    }

    /// The entity with its state, or `None` if it has none.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the scheduler cannot answer.
    pub async fn get_entity(
        &self,
        entity: impl Into<EntityId>,
    ) -> Result<Option<EntityState>, ClientError> {
        let instance_id = entity.into().to_string();
        let request = proto::GetEntityRequest {
            instance_id: instance_id.clone(),
            include_state: true,
        };
        let response = self
            .read(Some(&instance_id), async |mut service| {
                service.get_entity(request.clone()).await
            })
            .await?
            .into_inner();
        match response.entity.filter(|_| response.exists) {
            Some(mut entity) => {
                self.fetch_payloads(&mut entity).await?;
                EntityState::from_wire(entity).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The state of an entity, or `None` if it has none.
    ///
    /// # Errors
    ///
    /// [`ClientError::Payload`] if the state has another type, and others.
    pub async fn get_entity_state<S: DeserializeOwned>(
        &self,
        entity: &EntityRef<S>,
    ) -> Result<Option<S>, ClientError> {
        self.get_entity(entity)
            .await?
            .filter(|entity| entity.state_json.is_some())
            .map(|entity| entity.state())
            .transpose()
    }

    /// All entities that match `query`, fetched page by page as they are taken. The
    /// list ends with the first error.
    pub fn list_entities(&self, query: EntityQuery) -> Listing<EntityState> {
        let pages = Pages {
            client: self.clone(),
            query,
            ready: VecDeque::new(),
            token: None,
            ended: false,
        };
        Listing::new(stream::unfold(pages, |mut pages| async move {
            let item = pages.next().await?;
            pages.ended |= item.is_err();
            Some((item, pages))
        }))
    }

    /// Removes what entities leave behind, over all pages.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; what was cleaned before it stays cleaned.
    pub async fn clean_entity_storage(
        &self,
        cleaning: EntityCleaning,
    ) -> Result<EntitiesCleaned, ClientError> {
        let mut cleaned = EntitiesCleaned::default();
        let mut token = None;
        loop {
            let response = self
                .service()
                .clean_entity_storage(proto::CleanEntityStorageRequest {
                    continuation_token: token.clone(),
                    remove_empty_entities: cleaning.remove_empty,
                    release_orphaned_locks: cleaning.release_orphaned_locks,
                })
                .await
                .map_err(|status| ClientError::from_status(&status, None))?
                .into_inner();
            let count = |count: i32| u32::try_from(count).unwrap_or(0);
            cleaned.removed += count(response.empty_entities_removed);
            cleaned.released += count(response.orphaned_locks_released);
            let next = last_page(response.continuation_token);
            // A repeated token would make it endless.
            if next.is_none() || next == token {
                return Ok(cleaned);
            }
            token = next;
        }
    }
}

struct Pages {
    client: Client,
    query: EntityQuery,
    ready: VecDeque<proto::EntityMetadata>,
    token: Option<String>,
    ended: bool,
}

impl Pages {
    async fn next(&mut self) -> Option<Result<EntityState, ClientError>> {
        loop {
            if let Some(entity) = self.ready.pop_front() {
                return Some(EntityState::from_wire(entity));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fetch().await {
                return Some(Err(error));
            }
        }
    }

    async fn fetch(&mut self) -> Result<(), ClientError> {
        let query = &self.query;
        let request = proto::QueryEntitiesRequest {
            query: Some(proto::EntityQuery {
                instance_id_starts_with: query.id_prefix.clone(),
                last_modified_from: query.modified_from.map(timestamp_to_wire),
                last_modified_to: query.modified_to.map(timestamp_to_wire),
                include_state: query.include_state,
                include_transient: query.include_transient,
                page_size: i32::try_from(query.page_size).ok().filter(|size| *size > 0),
                continuation_token: self.token.clone(),
            }),
        };
        let mut response = self
            .client
            .read(None, async |mut service| {
                service.query_entities(request.clone()).await
            })
            .await?
            .into_inner();
        let next = last_page(response.continuation_token);
        // A repeated token would make the listing endless.
        self.ended = next.is_none() || next == self.token;
        self.token = next;
        self.client.fetch_payloads(&mut response.entities).await?;
        self.ready = response.entities.into();
        Ok(())
    }
}

/// Some schedulers end with an empty token, some with "0".
fn last_page(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.is_empty() && token != "0")
}
