//! Live executions between their turns, so that a turn costs what is new.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use durabletask_core::{Execution, HistoryEvent, TurnResult};
use durabletask_proto as proto;
use lru::LruCache;

use crate::spans::Steps;

/// An execution with the spans of its steps.
pub(super) struct Live {
    pub(super) execution: Execution,
    pub(super) steps: Steps,
}

impl Live {
    pub(super) fn new(execution: Execution) -> Self {
        Self {
            execution,
            steps: Steps::default(),
        }
    }

    /// Replays committed events; see [`Execution::replay`].
    pub(super) fn replay(&mut self, past: Vec<proto::HistoryEvent>) {
        self.steps.past(&past);
        self.execution
            .replay(past.into_iter().map(HistoryEvent::from));
    }

    /// Runs one turn; see [`Execution::turn`].
    pub(super) fn turn(&mut self, new: Vec<proto::HistoryEvent>) -> TurnResult {
        self.steps.happened(&new);
        self.execution.turn(new.into_iter().map(HistoryEvent::from))
    }
}

/// Executions by instance id; the one that was used longest ago makes room.
pub(super) struct ExecutionCache {
    entries: Option<Mutex<LruCache<String, Entry>>>,
}

struct Entry {
    /// The completion token of the execution's latest turn.
    token: String,
    live: Live,
}

impl ExecutionCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: NonZeroUsize::new(capacity)
                .map(|capacity| Mutex::new(LruCache::new(capacity))),
        }
    }

    /// Takes out the instance's execution if it has lived exactly through the
    /// turn that `continues_from` completed. Any other state of the instance is
    /// of no use any more and is forgotten.
    pub(super) fn take(
        &self,
        instance_id: &str,
        execution_id: Option<&str>,
        continues_from: Option<&str>,
    ) -> Option<Live> {
        let entry = self.lock()?.pop(instance_id)?;
        let is_same_execution = match (execution_id, entry.live.execution.execution_id()) {
            (Some(asked), Some(held)) => asked == held,
            _ => true,
        };
        (continues_from == Some(entry.token.as_str()) && is_same_execution).then_some(entry.live)
    }

    /// Keeps an execution whose turn is being completed under `token`.
    pub(super) fn put(&self, token: String, live: Live) {
        let instance_id = live.execution.instance_id().to_owned();
        let evicted = self
            .lock()
            .and_then(|mut entries| entries.push(instance_id, Entry { token, live }));
        // Dropped here, outside the lock: it runs destructors of user code.
        drop(evicted);
    }

    /// Forgets the execution if its latest turn is the one of `token`: the
    /// scheduler did not take that turn.
    pub(super) fn forget(&self, instance_id: &str, token: &str) {
        let forgotten = self.lock().and_then(|mut entries| {
            let is_that_turn = entries
                .peek(instance_id)
                .is_some_and(|entry| entry.token == token);
            is_that_turn.then(|| entries.pop(instance_id)).flatten()
        });
        drop(forgotten);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.entries.is_some()
    }

    fn lock(&self) -> Option<MutexGuard<'_, LruCache<String, Entry>>> {
        let entries = self.entries.as_ref()?;
        Some(entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
