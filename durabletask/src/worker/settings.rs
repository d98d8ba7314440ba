//! Settings of a worker that most workers leave as they are.

use std::time::Duration;

use durabletask_core::{Activity, Entity, Orchestration};

use crate::payloads::LargePayloads;

use super::WorkerBuilder;
use super::chunks::OversizedTurns;
use super::divergence::OnDivergence;
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
    /// let worker = Worker::builder(&connection).max_concurrent_activity(&SEND_MAIL, 2);
    /// # let _ = worker;
    /// # Ok::<(), durabletask::connection::ConnectionError>(())
    /// ```
    pub fn max_concurrent_activity<I, O>(
        mut self,
        activity: &Activity<I, O>,
        limit: usize,
    ) -> Self {
        self.options.calls.set(activity.name(), limit);
        self
    }

    /// At most `limit` turns (at least 1) of this orchestration run at once in this
    /// worker, whatever their instances. Turns that wait for that count as in flight.
    /// Instances that wait for something have no turn, so this bounds computing, not
    /// how many instances there are.
    ///
    /// ```
    /// use durabletask::{Connection, Orchestration, Worker};
    ///
    /// const REPORT: Orchestration<u32, String> = Orchestration::new("report");
    ///
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let worker = Worker::builder(&connection).max_concurrent_orchestration(&REPORT, 4);
    /// # let _ = worker;
    /// # Ok::<(), durabletask::connection::ConnectionError>(())
    /// ```
    pub fn max_concurrent_orchestration<I, O>(
        mut self,
        orchestration: &Orchestration<I, O>,
        limit: usize,
    ) -> Self {
        self.options.turns.set(orchestration.name(), limit);
        self
    }

    /// At most `limit` batches of operations (at least 1) of entities of this name run
    /// at once in this worker, whatever their keys. Batches that wait for that count
    /// as in flight. One entity never has more than one batch at a time.
    ///
    /// ```
    /// use durabletask::{Connection, Entity, Worker};
    ///
    /// const ACCOUNT: Entity<i64> = Entity::new("account");
    ///
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let worker = Worker::builder(&connection).max_concurrent_entity(&ACCOUNT, 8);
    /// # let _ = worker;
    /// # Ok::<(), durabletask::connection::ConnectionError>(())
    /// ```
    pub fn max_concurrent_entity<S>(mut self, entity: &Entity<S>, limit: usize) -> Self {
        // Names of entities are compared, and sent, in lower case.
        self.options
            .batches
            .set(&entity.name().to_lowercase(), limit);
        self
    }

    /// What to do with an orchestration whose code diverges from what its history records
    /// ([`OnDivergence::Fail`] by default).
    pub fn on_divergence(mut self, policy: OnDivergence) -> Self {
        self.options.on_divergence = policy;
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

    /// Whether results go to the scheduler as messages on one stream, if it offers that
    /// (true by default). Otherwise, and with schedulers that do not, each is a call.
    ///
    /// ```
    /// use durabletask::{Connection, Worker};
    ///
    /// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    /// let worker = Worker::builder(&connection).completion_stream(false).build()?;
    /// # let _ = worker;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn completion_stream(mut self, wanted: bool) -> Self {
        self.options.completion_stream = wanted;
        self
    }

    /// How long an activity that has asked for
    /// [`ActivityContext::cancelled`](crate::ActivityContext::cancelled) may take to end by
    /// itself once it is asked to (5 seconds by default).
    pub fn cancellation_grace(mut self, grace: Duration) -> Self {
        self.options.cancellation_grace = grace;
        self
    }
}
