//! How activities behave in a [`TestHub`]: how long they take, when they fail, and when the
//! worker that runs them dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::contract::Activity;
use crate::error::Failure;

use super::hub::TestHub;

/// How one activity behaves in a run. Calls are counted from 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Behavior {
    pub(super) takes: Duration,
    pub(super) failures: BTreeMap<u32, Failure>,
    pub(super) lost: BTreeSet<u32>,
    pub(super) silent: BTreeSet<u32>,
    /// How many calls there were.
    pub(super) calls: u32,
}

impl TestHub {
    fn behavior<I, O>(&mut self, activity: &Activity<I, O>) -> &mut Behavior {
        self.behaviors
            .entry(activity.name().to_owned())
            .or_default()
    }

    /// Each call of this activity takes so long on the test clock, so that it can lose
    /// against a timer. One that takes longer than its `start_to_close` fails with
    /// `ActivityTimeout` after that time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use durabletask::serde_json::json;
    /// use durabletask::testing::TestHub;
    /// use durabletask::{Activity, Orchestration, OrchestrationContext, Registry};
    ///
    /// const QUOTE: Activity<(), u32> = Activity::new("quote");
    /// const BUY: Orchestration<(), Option<u32>> = Orchestration::new("buy");
    ///
    /// let registry = Registry::new().orchestration(&BUY, async |ctx: OrchestrationContext, ()| {
    ///     let quoted = ctx.call_activity(&QUOTE, &());
    ///     Ok(ctx.within(Duration::from_secs(10), quoted).await.transpose()?)
    /// });
    /// let hub = TestHub::new(registry).activity_takes(&QUOTE, Duration::from_secs(60));
    /// assert_eq!(hub.run(&BUY, &(), |_, _| Ok(json!(7))).output(), Ok(None));
    /// ```
    #[must_use]
    pub fn activity_takes<I, O>(mut self, activity: &Activity<I, O>, time: Duration) -> Self {
        self.behavior(activity).takes = time;
        self
    }

    /// The calls of this activity with these numbers, counted from 1 over the whole run,
    /// fail with `failure` instead of being answered.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use durabletask::serde_json::json;
    /// use durabletask::testing::TestHub;
    /// use durabletask::{
    ///     Activity, Failure, Orchestration, OrchestrationContext, Registry, RetryPolicy,
    ///     TaskOptions,
    /// };
    ///
    /// const PAY: Activity<(), u32> = Activity::new("pay");
    /// const BUY: Orchestration<(), u32> = Orchestration::new("buy");
    ///
    /// let registry = Registry::new().orchestration(&BUY, async |ctx: OrchestrationContext, ()| {
    ///     let retried = TaskOptions::new().retry(RetryPolicy::new(3, Duration::from_secs(1)));
    ///     Ok(ctx.call_activity_with(&PAY, &(), retried).await?)
    /// });
    /// let hub = TestHub::new(registry).activity_fails(&PAY, [1, 2], Failure::new("Busy", "later"));
    /// let run = hub.run(&BUY, &(), |_, _| Ok(json!(7)));
    /// assert_eq!((run.output(), run.calls.len()), (Ok(7), 3));
    /// ```
    #[must_use]
    pub fn activity_fails<I, O>(
        mut self,
        activity: &Activity<I, O>,
        calls: impl IntoIterator<Item = u32>,
        failure: Failure,
    ) -> Self {
        let failures = calls.into_iter().map(|call| (call, failure.clone()));
        self.behavior(activity).failures.extend(failures);
        self
    }

    /// The worker dies while it runs the calls of this activity with these numbers, counted
    /// from 1 over the whole run, after their effect and before their answer. So they run
    /// twice.
    ///
    /// ```
    /// use durabletask::serde_json::json;
    /// use durabletask::testing::TestHub;
    /// use durabletask::{Activity, Orchestration, OrchestrationContext, Registry};
    ///
    /// const PAY: Activity<(), u32> = Activity::new("pay");
    /// const BUY: Orchestration<(), u32> = Orchestration::new("buy");
    ///
    /// let registry = Registry::new().orchestration(&BUY, async |ctx: OrchestrationContext, ()| {
    ///     Ok(ctx.call_activity(&PAY, &()).await?)
    /// });
    /// let mut paid = 0;
    /// let hub = TestHub::new(registry).worker_dies_in(&PAY, [1]);
    /// let run = hub.run(&BUY, &(), |_, _| {
    ///     paid += 1;
    ///     Ok(json!(paid))
    /// });
    /// assert_eq!(run.output(), Ok(2));
    /// ```
    #[must_use]
    pub fn worker_dies_in<I, O>(
        mut self,
        activity: &Activity<I, O>,
        calls: impl IntoIterator<Item = u32>,
    ) -> Self {
        self.behavior(activity).lost.extend(calls);
        self
    }
    /// The calls of this activity with these numbers, counted from 1 over the whole run,
    /// begin and are never heard of again. With a
    /// [`heartbeat_timeout`](crate::TaskOptions::heartbeat_timeout) they fail with
    /// `HeartbeatTimeout`; without one they never end.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use durabletask::serde_json::json;
    /// use durabletask::testing::TestHub;
    /// use durabletask::{
    ///     Activity, Orchestration, OrchestrationContext, Registry, RetryPolicy, TaskOptions,
    /// };
    ///
    /// const COPY: Activity<(), u32> = Activity::new("copy");
    /// const BACK_UP: Orchestration<(), u32> = Orchestration::new("back-up");
    ///
    /// let registry = Registry::new().orchestration(&BACK_UP, async |ctx: OrchestrationContext, ()| {
    ///     let watched = TaskOptions::new()
    ///         .heartbeat_timeout(Duration::from_secs(30))
    ///         .retry(RetryPolicy::new(2, Duration::from_secs(1)));
    ///     Ok(ctx.call_activity_with(&COPY, &(), watched).await?)
    /// });
    /// let hub = TestHub::new(registry).activity_falls_silent(&COPY, [1]);
    /// let run = hub.run(&BACK_UP, &(), |_, _| Ok(json!(7)));
    /// assert_eq!((run.output(), run.calls.len()), (Ok(7), 2));
    /// ```
    #[must_use]
    pub fn activity_falls_silent<I, O>(
        mut self,
        activity: &Activity<I, O>,
        calls: impl IntoIterator<Item = u32>,
    ) -> Self {
        self.behavior(activity).silent.extend(calls);
        self
    }
}
