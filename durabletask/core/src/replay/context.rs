//! What an orchestration may ask and do.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::action::ActionKind;
use crate::activity::START_TO_CLOSE_TAG;
use crate::codec;
use crate::contract::{Activity, Event, Orchestration, Query};
use crate::error::{Failure, TaskError};
use crate::heartbeat::HEARTBEAT_TIMEOUT_TAG;
use crate::history::{ExecutionStarted, ParentInstance, TraceContext};
use crate::input::InputFor;
use crate::version::compare_versions;

use super::combinators::{Either, select};
use super::options::{SubOrchestrationOptions, TaskOptions};
use super::queries;
use super::state::Shared;
use super::tasks::{EventTask, Task, Timer};

/// An orchestration's only window on the world: everything it learns and does
/// goes through here, so that a replay sees the same.
///
/// Tasks are scheduled when they are called, in program order; the returned
/// future only waits. Cheap to clone.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{Activity, Failure, OrchestrationContext};
///
/// const REMIND: Activity<String, ()> = Activity::new("remind");
///
/// async fn tomorrow(ctx: OrchestrationContext, whom: String) -> Result<(), Failure> {
///     ctx.set_custom_status("waiting")?;
///     ctx.create_timer(Duration::from_secs(24 * 3600)).await;
///     Ok(ctx.call_activity(&REMIND, &whom).await?)
/// }
/// # let _ = tomorrow;
/// ```
#[derive(Clone)]
pub struct OrchestrationContext {
    shared: Arc<Shared>,
}

impl OrchestrationContext {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// This execution, as whom entities see it.
    pub(super) fn identity(&self) -> (String, Option<String>) {
        (self.instance_id().to_owned(), self.execution_id())
    }

    fn started(&self) -> Option<&ExecutionStarted> {
        self.shared.started.get().map(Box::as_ref)
    }

    /// The id of this instance.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.shared.instance_id
    }

    /// The id of this execution of the instance, if the scheduler sends it.
    #[must_use]
    pub fn execution_id(&self) -> Option<String> {
        self.shared.execution_id().map(str::to_owned)
    }

    /// This orchestration's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.started().map_or("", |started| &started.name)
    }

    /// This instance's version; `None` or empty if unversioned.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.started()
            .and_then(|started| started.version.as_deref())
    }

    /// Whether this instance's version is `version` or a newer one, as
    /// [`compare_versions`](crate::compare_versions) defines. An unversioned instance is older
    /// than every version.
    #[must_use]
    pub fn version_at_least(&self, version: &str) -> bool {
        compare_versions(self.version().unwrap_or_default(), version).is_ge()
    }

    /// Whether this execution takes the changed path of the code that `id` names: `true`
    /// for executions that come here for the first time, `false` for those that have passed
    /// here already with older code. The answer is recorded, so it stays the same.
    ///
    /// ```
    /// use durabletask::{Activity, Failure, OrchestrationContext};
    ///
    /// const PACK: Activity<String, ()> = Activity::new("pack");
    /// const INSURE: Activity<String, ()> = Activity::new("insure");
    ///
    /// async fn deliver(ctx: OrchestrationContext, parcel: String) -> Result<(), Failure> {
    ///     // Parcels that are packed already continue as they began.
    ///     if ctx.patched("insure-first") {
    ///         ctx.call_activity(&INSURE, &parcel).await?;
    ///     }
    ///     Ok(ctx.call_activity(&PACK, &parcel).await?)
    /// }
    /// # let _ = deliver;
    /// ```
    ///
    /// On the wire the record is an event that the instance sends to itself, so it works
    /// with every backend. It costs one short turn.
    #[must_use]
    pub fn patched(&self, id: &str) -> bool {
        self.shared.call().patched(id, &self.shared.instance_id)
    }

    /// Keeps executions replaying that took the path of [`patched`](Self::patched)`(id)`,
    /// once no execution is left that did not: write it where `patched` stood, and remove it
    /// when those have ended too.
    pub fn deprecate_patch(&self, id: &str) {
        self.shared
            .call()
            .deprecate_patch(id, &self.shared.instance_id);
    }

    /// The orchestration that started this one, if any.
    #[must_use]
    pub fn parent(&self) -> Option<&ParentInstance> {
        self.started().and_then(|started| started.parent.as_ref())
    }

    /// This instance's tags.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.started().map_or(&NONE, |started| &started.tags)
    }

    /// The replay clock: when the present turn began. It stands still within a turn.
    #[must_use]
    pub fn current_utc(&self) -> DateTime<Utc> {
        self.shared.call().clock
    }

    /// A uuid that is the same on every replay: version 5 over the instance id,
    /// the replay clock and a counter, as in the official SDKs.
    #[must_use]
    pub fn new_uuid(&self) -> Uuid {
        self.shared.call().new_uuid(&self.shared.instance_id)
    }

    /// Whether the code runs over steps that are recorded already. Use it for
    /// diagnostics only, never for decisions.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.shared.call().replaying
    }

    /// Sets the status that operators see. It stays until it is set again or the
    /// orchestration continues as new: each execution sets its own.
    ///
    /// # Errors
    ///
    /// If `status` cannot be written as JSON.
    pub fn set_custom_status<T: Serialize + ?Sized>(&self, status: &T) -> Result<(), TaskError> {
        let text =
            codec::encode(status).map_err(|reason| unwritable("the custom status", reason))?;
        self.shared.call().custom_status = Some(text);
        Ok(())
    }

    /// From now on, answers this query with `answer`, also once the execution has ended.
    /// A second handler replaces the first.
    ///
    /// Clients ask with `Client::query`. A worker answers by replaying what the history
    /// records, so `answer` sees the state as of the latest turn, and nothing that it does
    /// lasts. Say what you answer before the first `await`. It is not a step of the
    /// orchestration: queries can be added to code that runs.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// use durabletask::{Activity, Failure, OrchestrationContext, Query};
    ///
    /// const COPY: Activity<u32, ()> = Activity::new("copy");
    /// const COPIED: Query<(), u32> = Query::new("copied");
    ///
    /// async fn copy_all(ctx: OrchestrationContext, files: u32) -> Result<(), Failure> {
    ///     let copied = Arc::new(AtomicU32::new(0));
    ///     let so_far = Arc::clone(&copied);
    ///     ctx.answer_query(&COPIED, move |()| Ok(so_far.load(Ordering::Relaxed)));
    ///     for file in 0..files {
    ///         ctx.call_activity(&COPY, &file).await?;
    ///         copied.fetch_add(1, Ordering::Relaxed);
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = copy_all;
    /// ```
    pub fn answer_query<I, O, F>(&self, query: &Query<I, O>, answer: F)
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Fn(I) -> Result<O, Failure> + Send + Sync + 'static,
    {
        let handler = queries::handler(answer);
        let name = query.shared_name();
        let replaced = self.shared.call().queries.insert(name, handler);
        // Outside of the lock: what it holds may ask the context on its way out.
        drop(replaced);
    }

    /// Calls an activity once.
    pub fn call_activity<I, O>(
        &self,
        activity: &Activity<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Task<O> {
        self.call_activity_with(activity, input, TaskOptions::default())
    }

    /// Calls an activity with a retry policy, a version or tags.
    pub fn call_activity_with<I, O>(
        &self,
        activity: &Activity<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        options: TaskOptions,
    ) -> Task<O> {
        let name = activity.shared_name();
        let input = match codec::encode(input) {
            Ok(input) => input,
            Err(reason) => return Task::refused(name, reason),
        };
        let mut tags = options.tags;
        if let Some(limit) = options.start_to_close {
            tags.insert(
                START_TO_CLOSE_TAG.to_owned(),
                limit.as_millis().max(1).to_string(),
            );
        }
        if let Some(limit) = options.heartbeat_timeout {
            tags.insert(
                HEARTBEAT_TIMEOUT_TAG.to_owned(),
                limit.as_millis().max(1).to_string(),
            );
        }
        let call = ActionKind::ScheduleTask {
            name: name.to_string(),
            version: options
                .version
                .or_else(|| self.version().map(str::to_owned)),
            input: Some(input),
            tags,
            trace_context: self.trace_context(),
        };
        let mut state = self.shared.call();
        let id = state.start_call(&self.shared, call, options.retry, None);
        if let Some(limit) = options.heartbeat_timeout {
            state.watch(id, limit);
        }
        drop(state);
        Task::scheduled(Arc::clone(&self.shared), id, name)
    }

    /// Starts a sub-orchestration once. In a critical section that is not allowed.
    pub fn call_sub_orchestration<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Task<O> {
        self.call_sub_orchestration_with(orchestration, input, SubOrchestrationOptions::default())
    }

    /// Starts a sub-orchestration with an instance id, a version, a retry policy or tags.
    pub fn call_sub_orchestration_with<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        options: SubOrchestrationOptions,
    ) -> Task<O> {
        let name = orchestration.shared_name();
        if let Err(refused) = self.check_child(orchestration) {
            return refused;
        }
        let input = match codec::encode(input) {
            Ok(input) => input,
            Err(reason) => return Task::refused(name, reason),
        };
        let prefix = match &options.instance_id {
            Some(_) => None,
            None => Some(self.shared.execution_id().unwrap_or(self.instance_id())),
        };
        let call = ActionKind::CreateSubOrchestration {
            instance_id: options.instance_id.unwrap_or_default(),
            name: name.to_string(),
            version: options
                .version
                .or_else(|| self.version().map(str::to_owned)),
            input: Some(input),
            tags: options.tags,
            trace_context: self.trace_context(),
        };
        let id = self
            .shared
            .call()
            .start_call(&self.shared, call, options.retry, prefix);
        Task::scheduled(Arc::clone(&self.shared), id, name)
    }

    /// A durable timer that fires `delay` after the replay clock's present instant.
    pub fn create_timer(&self, delay: Duration) -> Timer {
        let mut state = self.shared.call();
        let at = state.after(delay);
        let id = state.start_timer(at);
        Timer::new(Arc::clone(&self.shared), id)
    }

    /// A durable timer that fires at `at`, or at once if that has passed.
    pub fn create_timer_at(&self, at: DateTime<Utc>) -> Timer {
        let id = self.shared.call().start_timer(at);
        Timer::new(Arc::clone(&self.shared), id)
    }

    /// Waits for an external event. Events that came before are kept, oldest
    /// first; several waiters for one name are served in order.
    pub fn wait_for_event<T>(&self, event: &Event<T>) -> EventTask<T> {
        let waiter = self.shared.call().inbox.wait(event.name());
        EventTask::new(Arc::clone(&self.shared), waiter, event.shared_name())
    }

    /// Waits for an external event for at most `deadline`; `None` if it does not come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use durabletask::{Event, Failure, OrchestrationContext};
    ///
    /// const APPROVAL: Event<bool> = Event::new("approval");
    ///
    /// async fn approved(ctx: &OrchestrationContext) -> Result<bool, Failure> {
    ///     let day = Duration::from_secs(24 * 3600);
    ///     Ok(ctx.wait_for_event_within(&APPROVAL, day).await?.unwrap_or(false))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TaskError::Payload`] if the event's payload is not a `T`.
    pub fn wait_for_event_within<T: DeserializeOwned>(
        &self,
        event: &Event<T>,
        deadline: Duration,
    ) -> impl Future<Output = Result<Option<T>, TaskError>> + use<'_, T> {
        // The future does not borrow the event, which is often a constant: it may be kept.
        let raised = self.wait_for_event(event);
        async move { self.within(deadline, raised).await.transpose() }
    }

    /// Waits for `future` for at most `deadline` on the replay clock; `None` if it
    /// takes longer. The future is dropped then: see [`select`](crate::select).
    ///
    /// ```
    /// use std::time::Duration;
    /// use durabletask::{Activity, Failure, OrchestrationContext};
    ///
    /// const QUOTE: Activity<String, u32> = Activity::new("quote");
    ///
    /// async fn quote(ctx: &OrchestrationContext, item: &String) -> Result<Option<u32>, Failure> {
    ///     let quoted = ctx.call_activity(&QUOTE, item);
    ///     Ok(ctx.within(Duration::from_secs(60), quoted).await.transpose()?)
    /// }
    /// ```
    pub async fn within<F: Future>(&self, deadline: Duration, future: F) -> Option<F::Output> {
        match select(future, self.create_timer(deadline)).await {
            Either::Left(output) => Some(output),
            Either::Right(()) => None,
        }
    }

    /// Raises an external event for another instance (or this one). If there is no such
    /// instance, the event is lost without a word.
    ///
    /// # Errors
    ///
    /// If `payload` cannot be written as JSON.
    pub fn send_event<T>(
        &self,
        instance_id: &str,
        event: &Event<T>,
        payload: &(impl InputFor<T> + ?Sized),
    ) -> Result<(), TaskError> {
        let data = codec::encode(payload).map_err(|reason| unwritable(event.name(), reason))?;
        let mut state = self.shared.call();
        let id = state.take_id();
        state.push_action(
            id,
            ActionKind::SendEvent {
                instance_id: instance_id.to_owned(),
                name: event.name().to_owned(),
                data: Some(data),
            },
        );
        Ok(())
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.started()
            .and_then(|started| started.trace_context.clone())
    }
}

impl fmt::Debug for OrchestrationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrchestrationContext")
            .field("instance_id", &self.shared.instance_id)
            .finish_non_exhaustive()
    }
}

/// A payload that cannot be written as JSON.
pub(super) fn unwritable(name: &str, reason: String) -> TaskError {
    TaskError::Payload {
        name: name.to_owned(),
        reason,
    }
}
