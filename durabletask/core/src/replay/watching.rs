//! Watching over the silence of activities.
//!
//! The first heartbeat of an attempt starts a durable timer. If it fires without another
//! heartbeat since, the attempt has failed; otherwise the next timer is started. All of it
//! follows from the history, so every replay comes to the same end.

use std::task::Waker;
use std::time::Duration;

use crate::codec;
use crate::heartbeat::{HeartbeatMessage, heartbeat_timeout};

use super::heartbeats::{Watch, later};
use super::operations::{Outcome, Step};
use super::state::State;

impl State {
    /// Watches over the activity call `id`, which may be silent for `limit`.
    pub(super) fn watch(&mut self, id: i32, limit: Duration) {
        self.watches.watches.insert(
            id,
            Watch {
                limit,
                heard: None,
                timer: None,
            },
        );
    }

    /// A heartbeat arrived.
    pub(super) fn beat(&mut self, input: Option<&str>) {
        let message: HeartbeatMessage = match codec::decode(input) {
            Ok(message) => message,
            Err(reason) => {
                tracing::warn!(reason, "ignoring an event that is not a heartbeat");
                return;
            }
        };
        if self.completion.is_some() || !self.watches.is_ours(message.execution_id.as_deref()) {
            return;
        }
        let id = match self.operations.by_step(message.task_id) {
            Some((id, operation)) if operation.step == Step::Activity => id,
            // An attempt that was given up does not know it yet.
            _ => return,
        };
        let clock = self.clock;
        let Some(watch) = self.watches.watches.get_mut(&id) else {
            return;
        };
        watch.heard = Some(clock);
        if watch.timer.is_none() {
            self.start_watching(id);
        }
    }

    /// Starts the timer that fires if `id` is silent from when it was last heard of.
    fn start_watching(&mut self, id: i32) {
        let Some(watch) = self.watches.watches.get(&id) else {
            return;
        };
        let until = later(watch.heard.unwrap_or(self.clock), watch.limit);
        let timer = self.take_id();
        self.push_timer(timer, until);
        self.watches.timers.insert(timer, id);
        if let Some(watch) = self.watches.watches.get_mut(&id) {
            watch.timer = Some(timer);
        }
    }

    /// A timer fired; yields whether it was one of those here.
    pub(super) fn watch_fired(&mut self, timer: i32, wake: &mut Vec<Waker>) -> bool {
        let Some(id) = self.watches.timers.remove(&timer) else {
            return false;
        };
        let clock = self.clock;
        let Some(watch) = self.watches.watches.get_mut(&id) else {
            return true;
        };
        // An attempt before may have left its timer behind.
        if watch.timer != Some(timer) || self.completion.is_some() {
            return true;
        }
        watch.timer = None;
        let limit = watch.limit;
        if watch.heard.is_some_and(|heard| clock < later(heard, limit)) {
            self.start_watching(id);
        } else if let Some(step) = self.operations.current_step(id) {
            // It may still run, for nobody.
            self.given_up.push(step);
            let failed = Outcome::Failed(Box::new(heartbeat_timeout(limit)));
            self.complete(step, Step::Activity, failed, wake);
        }
        true
    }

    /// The present attempt of the activity call that `step_id` belongs to has ended.
    pub(super) fn end_attempt(&mut self, step_id: i32) {
        let Some((id, _)) = self.operations.by_step(step_id) else {
            return;
        };
        let Some(watch) = self.watches.watches.get_mut(&id) else {
            return;
        };
        watch.heard = None;
        if let Some(timer) = watch.timer.take() {
            self.withdraw(timer);
        }
    }
}
