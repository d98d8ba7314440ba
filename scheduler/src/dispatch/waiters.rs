//! Calls that wait for an instance to change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

type Key = (i64, String);

/// The callers that wait for each instance. Holds an entry only while one waits.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<Key, Arc<Notify>>>,
}

/// A registration; dropping an instance's last one removes its entry.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiters: Arc<Waiters>,
    key: Key,
    pub(crate) changed: Arc<Notify>,
}

impl Waiters {
    pub(crate) fn register(self: &Arc<Self>, hub: i64, instance_id: &str) -> Waiter {
        let key = (hub, instance_id.to_owned());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::clone(waiting.entry(key.clone()).or_default());
        Waiter {
            waiters: Arc::clone(self),
            key,
            changed,
        }
    }

    /// Wakes all callers that wait for an instance of a task hub.
    pub(crate) fn notify_hub(&self, hub: i64) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, changed) in waiting.iter().filter(|((each, _), _)| *each == hub) {
            changed.notify_waiters();
        }
    }

    /// Wakes all callers.
    pub(crate) fn notify_all(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .values()
            .for_each(|changed| changed.notify_waiters());
    }

    pub(crate) fn notify(&self, hub: i64, instance_id: String) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = waiting.get(&(hub, instance_id)) {
            changed.notify_waiters();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self
            .waiters
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The map's reference and this one are the last two.
        if Arc::strong_count(&self.changed) <= 2 {
            waiting.remove(&self.key);
        }
    }
}
