//! Settings of a worker that most workers leave as they are.

use std::sync::Arc;

use durabletask_core::Activity;
use tokio::sync::Semaphore;

use crate::payloads::LargePayloads;

use super::WorkerBuilder;
use super::chunks::OversizedTurns;
use super::filters::WorkItemFilters;
use super::running::CancelActivities;
use super::versioning::Versioning;

impl WorkerBuilder {
    /// Which work items to ask for ([`WorkItemFilters::All`] by default).
    pub fn work_item_filters(mut self, filters: WorkItemFilters) -> Self {
        self.options.filters = filters;
        self
    }

    /// The worker's version and which orchestrations match it (any by default).
    pub fn versioning(mut self, versioning: Versioning) -> Self {
        self.options.versioning = Some(versioning);
        self
    }

    /// At most `limit` calls (at least 1) of this activity run at once in this
    /// worker. Calls that wait for their turn count as in flight.
    ///
    /// ```
    /// use durabletask::{Activity, Connection, Worker};
    ///
    /// const SEND_MAIL: Activity<String, ()> = Activity::new("send-mail");
    ///
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let worker = Worker::builder(&connection).max_concurrent_calls(&SEND_MAIL, 2);
    /// # let _ = worker;
    /// # Ok::<(), durabletask::ConnectionError>(())
    /// ```
    pub fn max_concurrent_calls<I, O>(mut self, activity: &Activity<I, O>, limit: usize) -> Self {
        self.options.calls.insert(
            activity.name().to_owned(),
            Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))),
        );
        self
    }

    /// What to do with a turn whose decisions do not fit into one message
    /// ([`OversizedTurns::Fail`] by default).
    pub fn oversized_turns(mut self, oversized: OversizedTurns) -> Self {
        self.options.oversized = oversized;
        self
    }

    /// Puts large payloads into a store and reads them from there.
    pub fn large_payloads(mut self, payloads: LargePayloads) -> Self {
        self.options.payloads = Some(payloads);
        self
    }

    /// When to end an activity before it is done
    /// ([`CancelActivities::WhenTerminated`] by default).
    pub fn cancel_activities(mut self, when: CancelActivities) -> Self {
        self.options.cancel_activities = when;
        self
    }
}
