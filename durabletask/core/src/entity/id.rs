//! Who an entity is.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest entity id on the wire, in characters.
const MAX_LENGTH: usize = 100;

/// An entity's name and key, `@name@key` on the wire.
///
/// The name is kept in lower case, as in every official SDK; the key keeps its case.
///
/// ```
/// use durabletask::entity::EntityId;
///
/// let id = EntityId::new("Counter", "Clicks")?;
/// assert_eq!(id.to_string(), "@counter@Clicks");
/// assert_eq!("@counter@Clicks".parse::<EntityId>()?, id);
/// assert!(EntityId::new("no@sign", "a").is_err());
/// # Ok::<(), durabletask::entity::InvalidEntityId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EntityId {
    name: String,
    key: String,
}

/// A text that is not an entity id.
///
/// ```
/// use durabletask::entity::EntityId;
///
/// let error = "counter".parse::<EntityId>().unwrap_err();
/// assert!(error.to_string().contains("@name@key"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an entity id: expected @name@key with a non-empty name without '@', at most 100 characters in all"
)]
pub struct InvalidEntityId(String);

impl EntityId {
    /// The entity `name` with the key `key`.
    ///
    /// # Errors
    ///
    /// [`InvalidEntityId`] if the name is empty or has an `@`, or if `@name@key` has
    /// more than 100 characters.
    pub fn new(name: &str, key: &str) -> Result<Self, InvalidEntityId> {
        let id = Self::unchecked(name, key);
        id.check()?;
        Ok(id)
    }

    /// An id whose name is known to be one.
    pub(crate) fn unchecked(name: &str, key: &str) -> Self {
        Self {
            name: name.to_lowercase(),
            key: key.to_owned(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidEntityId> {
        let length = self.name.chars().count() + self.key.chars().count() + 2;
        if self.name.is_empty() || self.name.contains('@') || length > MAX_LENGTH {
            return Err(InvalidEntityId(self.to_string()));
        }
        Ok(())
    }

    /// The entity's name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entity's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same id with the type of the entity's state, which the caller vouches for.
    #[must_use]
    pub fn of<S>(self) -> EntityRef<S> {
        EntityRef::new(self)
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}@{}", self.name, self.key)
    }
}

impl FromStr for EntityId {
    type Err = InvalidEntityId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('@')
            .and_then(|rest| rest.split_once('@'))
            .ok_or_else(|| InvalidEntityId(text.to_owned()))
            .and_then(|(name, key)| Self::new(name, key))
    }
}

impl From<EntityId> for String {
    fn from(id: EntityId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for EntityId {
    type Error = InvalidEntityId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// An entity's id with the type of its state; made by [`Entity::id`](crate::Entity::id).
///
/// ```
/// use durabletask::entity::EntityRef;
/// use durabletask::Entity;
///
/// const COUNTER: Entity<u32> = Entity::new("Counter");
///
/// let clicks: EntityRef<u32> = COUNTER.id("clicks");
/// assert_eq!(clicks.id().to_string(), "@counter@clicks");
/// ```
pub struct EntityRef<S> {
    id: EntityId,
    state: PhantomData<fn() -> S>,
}

impl<S> EntityRef<S> {
    pub(crate) fn new(id: EntityId) -> Self {
        Self {
            id,
            state: PhantomData,
        }
    }

    /// The id without the type.
    #[must_use]
    pub fn id(&self) -> &EntityId {
        &self.id
    }
}

// Written by hand because derives would demand the bounds of the state type.
impl<S> Clone for EntityRef<S> {
    fn clone(&self) -> Self {
        Self::new(self.id.clone())
    }
}

impl<S> fmt::Debug for EntityRef<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntityRef").field(&self.id).finish()
    }
}

impl<S> Deref for EntityRef<S> {
    type Target = EntityId;

    fn deref(&self) -> &EntityId {
        &self.id
    }
}

impl<S> From<EntityRef<S>> for EntityId {
    fn from(entity: EntityRef<S>) -> Self {
        entity.id
    }
}

impl<S> From<&EntityRef<S>> for EntityId {
    fn from(entity: &EntityRef<S>) -> Self {
        entity.id.clone()
    }
}

impl From<&EntityId> for EntityId {
    fn from(id: &EntityId) -> Self {
        id.clone()
    }
}
