//! Typed names of entities and their operations.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use super::id::{EntityId, EntityRef, InvalidEntityId};

/// An entity's name with the type of its state, which travels as JSON.
///
/// Names are compared without regard to case.
///
/// ```
/// use durabletask::Entity;
///
/// const ACCOUNT: Entity<i64> = Entity::new("account");
/// assert_eq!(ACCOUNT.id("ada").to_string(), "@account@ada");
/// ```
pub struct Entity<S> {
    name: Cow<'static, str>,
    state: PhantomData<fn() -> S>,
}

impl<S> Entity<S> {
    /// Ties `name` to the state's type.
    ///
    /// # Panics
    ///
    /// If the name is empty or has an `@`. For a constant that is an error of the
    /// compiler:
    ///
    /// ```compile_fail
    /// const WRONG: durabletask::Entity<u32> = durabletask::Entity::new("a@b");
    /// println!("{}", WRONG.name());
    /// ```
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "an entity's name must not be empty");
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at] != b'@', "an entity's name must not have an '@'");
            at += 1;
        }
        Self {
            name: Cow::Borrowed(name),
            state: PhantomData,
        }
    }

    /// Ties a name that is known at run time only to the state's type.
    ///
    /// # Errors
    ///
    /// [`InvalidEntityId`] if the name is empty, has an `@` or is too long.
    pub fn named(name: impl Into<String>) -> Result<Self, InvalidEntityId> {
        let name = name.into();
        EntityId::new(&name, "")?;
        Ok(Self {
            name: Cow::Owned(name),
            state: PhantomData,
        })
    }

    /// The name as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entity with the key `key`. The id has at most 100 characters; a longer one is
    /// refused where it is used.
    #[must_use]
    pub fn id(&self, key: &str) -> EntityRef<S> {
        EntityRef::new(EntityId::unchecked(&self.name, key))
    }
}

/// An operation's name with the types of the entity's state, its input and its output.
///
/// Names are compared without regard to case.
///
/// ```
/// use durabletask::Operation;
///
/// /// Takes an amount from an account; yields what is left.
/// const WITHDRAW: Operation<i64, u32, i64> = Operation::new("withdraw");
/// assert_eq!(WITHDRAW.name(), "withdraw");
/// ```
pub struct Operation<S, I, O> {
    name: Cow<'static, str>,
    types: PhantomData<fn(S, I) -> O>,
}

impl<S, I, O> Operation<S, I, O> {
    /// Ties `name` to the types.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            types: PhantomData,
        }
    }

    /// Ties a name that is known at run time only to the types.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            types: PhantomData,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Cow<'static, str> {
        self.name.clone()
    }
}

// Written by hand because derives would demand the bounds of the payload types.
impl<S> Clone for Entity<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            state: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Entity<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entity").field(&self.name).finish()
    }
}

impl<S, I, O> Clone for Operation<S, I, O> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            types: PhantomData,
        }
    }
}

impl<S, I, O> fmt::Debug for Operation<S, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.name).finish()
    }
}
