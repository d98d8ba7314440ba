//! Typed names of entities and their operations.

use std::fmt;
use std::marker::PhantomData;

use super::id::{EntityId, EntityRef};

/// An entity's name with the type of its state, which travels as JSON.
///
/// Names are compared without regard to case.
///
/// ```
/// use durabletask_core::Entity;
///
/// const ACCOUNT: Entity<i64> = Entity::new("account");
/// assert_eq!(ACCOUNT.id("ada").to_string(), "@account@ada");
/// ```
pub struct Entity<S> {
    name: &'static str,
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
    /// const WRONG: durabletask_core::Entity<u32> = durabletask_core::Entity::new("a@b");
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
            name,
            state: PhantomData,
        }
    }

    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The entity with the key `key`. The id has at most 100 characters; whoever is
    /// given a longer one refuses it.
    #[must_use]
    pub fn id(&self, key: &str) -> EntityRef<S> {
        EntityRef::new(EntityId::unchecked(self.name, key))
    }
}

/// An operation's name with the types of the entity's state, its input and its output.
///
/// Names are compared without regard to case.
///
/// ```
/// use durabletask_core::Operation;
///
/// /// Takes an amount from an account; yields what is left.
/// const WITHDRAW: Operation<i64, u32, i64> = Operation::new("withdraw");
/// assert_eq!(WITHDRAW.name(), "withdraw");
/// ```
pub struct Operation<S, I, O> {
    name: &'static str,
    types: PhantomData<fn(S, I) -> O>,
}

impl<S, I, O> Operation<S, I, O> {
    /// Ties `name` to the types.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

// Written by hand because derives would demand the bounds of the payload types.
impl<S> Clone for Entity<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Entity<S> {}

impl<S> fmt::Debug for Entity<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entity").field(&self.name).finish()
    }
}

impl<S, I, O> Clone for Operation<S, I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, I, O> Copy for Operation<S, I, O> {}

impl<S, I, O> fmt::Debug for Operation<S, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.name).finish()
    }
}
