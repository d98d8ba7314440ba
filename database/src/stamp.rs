//! Stamps: numbers that increase when something of a topic may have been changed, by anyone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::changes::{Change, Changes, Subscription};

/// A number that increases whenever something of a topic may have been changed, as announced with
/// [`announce`](crate::announce). What was read under a stamp may be cached while it stays the same.
/// Clones share one instance.
#[derive(Clone)]
pub struct Stamp {
    counter: Arc<AtomicU64>,
    followed: Arc<Followed>,
}

impl Stamp {
    pub(crate) fn of(followed: Arc<Followed>, topic: &'static str) -> Self {
        let counter = Arc::clone(followed.stamps.lock().entry(topic).or_default());
        Self { counter, followed }
    }

    /// The number of this moment; none when it is not proven that everything committed until
    /// a second ago was received. What was read after it was taken may be remembered for as long
    /// as it stays the same.
    #[must_use]
    pub fn now(&self) -> Option<u64> {
        let number = self.counter.load(Ordering::SeqCst);
        // Looked at after the number: a connection that is lost in between is noticed.
        self.followed.changes.is_live().then_some(number)
    }

    /// Another number from now on, for what this process has changed itself.
    pub fn touch(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits until changes are received, which takes a moment after the start.
    pub async fn until_live(&self) {
        self.followed.changes.until_live().await;
    }
}

/// The changes as one connection of a process receives them, for everyone in it.
pub(crate) struct Followed {
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) changes: Changes,
}

/// The numbers of all topics.
#[derive(Default)]
pub(crate) struct Stamps(Mutex<HashMap<&'static str, Arc<AtomicU64>>>);

impl Stamps {
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Arc<AtomicU64>>> {
        // A map that a panic leaves whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription for Stamps {
    fn changed(&self, change: &Change) {
        if let Some(counter) = self.lock().get(change.topic.as_str()) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn lost(&self) {
        for counter in self.lock().values() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}
