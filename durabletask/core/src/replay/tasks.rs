//! The futures that user code awaits.
//!
//! What they stand for is scheduled when they are made; awaiting only waits.

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::TaskError;

use super::operations::Outcome;
use super::state::Shared;

/// An activity, sub-orchestration or call of an entity under way, with all its attempts.
///
/// Dropping it does not stop the work; the result is then not looked at.
///
/// ```
/// use durabletask::orchestration::Task;
/// use durabletask::{Activity, Failure, OrchestrationContext};
///
/// const COUNT: Activity<String, u64> = Activity::new("count");
///
/// async fn both(ctx: OrchestrationContext, files: (String, String)) -> Result<u64, Failure> {
///     // Both run at once, for both are scheduled here.
///     let first: Task<u64> = ctx.call_activity(&COUNT, &files.0);
///     let second = ctx.call_activity(&COUNT, &files.1);
///     Ok(first.await? + second.await?)
/// }
/// # let _ = both;
/// ```
#[must_use = "the task is scheduled already; await it to learn how it ended"]
pub struct Task<O> {
    inner: Inner,
    name: Cow<'static, str>,
    output: PhantomData<fn() -> O>,
}

enum Inner {
    Scheduled { shared: Arc<Shared>, id: i32 },
    Refused(Option<TaskError>),
    Taken,
}

impl<O> Task<O> {
    pub(crate) fn scheduled(shared: Arc<Shared>, id: i32, name: Cow<'static, str>) -> Self {
        Self {
            inner: Inner::Scheduled { shared, id },
            name,
            output: PhantomData,
        }
    }

    /// A call whose input could not be written: it ends before it begins.
    pub(crate) fn refused(name: Cow<'static, str>, reason: String) -> Self {
        Self {
            inner: Inner::Refused(Some(TaskError::Payload {
                name: name.to_string(),
                reason,
            })),
            name,
            output: PhantomData,
        }
    }

    /// A call that a rule forbids: it ends before it begins.
    pub(crate) fn not_allowed(name: Cow<'static, str>, reason: String) -> Self {
        Self {
            inner: Inner::Refused(Some(TaskError::NotAllowed {
                name: name.to_string(),
                reason,
            })),
            name,
            output: PhantomData,
        }
    }

    /// The id of the task's first attempt in its execution, if it was scheduled
    /// and has not been awaited to its end.
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        match &self.inner {
            Inner::Scheduled { id, .. } => Some(*id),
            Inner::Refused(_) | Inner::Taken => None,
        }
    }
}

impl<O: DeserializeOwned + Send + 'static> Task<O> {
    /// The same task with another output, which `change` makes of the task's own: so tasks
    /// of different outputs can go into one list.
    ///
    /// ```
    /// use durabletask::{Activity, Failure, OrchestrationContext, when_all};
    /// use futures_util::future::FutureExt;
    ///
    /// const COUNT: Activity<String, u64> = Activity::new("count");
    /// const TITLE: Activity<String, String> = Activity::new("title");
    ///
    /// async fn facts(ctx: OrchestrationContext, page: String) -> Result<Vec<String>, Failure> {
    ///     let count = ctx.call_activity(&COUNT, &page).map(|words| format!("{words} words"));
    ///     let title = ctx.call_activity(&TITLE, &page);
    ///     Ok(when_all([count.boxed(), title.boxed()]).await?)
    /// }
    /// # let _ = facts;
    /// ```
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` would not promise a future that is `Send`"
    )]
    pub fn map<T, F>(self, change: F) -> impl Future<Output = Result<T, TaskError>> + Send + 'static
    where
        F: FnOnce(O) -> T + Send + 'static,
    {
        async move { self.await.map(change) }
    }
}

impl<O: DeserializeOwned> Future for Task<O> {
    type Output = Result<O, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name.clone();
        let (task_id, outcome) = match &mut self.inner {
            Inner::Scheduled { shared, id } => {
                // Bound to a name, so that the lock is released before the payload is read.
                let outcome = shared.lock().operations.poll(*id, context.waker());
                match outcome {
                    Some(outcome) => (*id, outcome),
                    None => return Poll::Pending,
                }
            }
            Inner::Refused(error) => {
                return match error.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    None => Poll::Pending,
                };
            }
            Inner::Taken => return Poll::Pending,
        };
        self.inner = Inner::Taken;
        Poll::Ready(match outcome {
            Outcome::Completed(result) => {
                codec::decode(result.as_deref()).map_err(|reason| TaskError::Payload {
                    name: name.to_string(),
                    reason,
                })
            }
            Outcome::Failed(details) => Err(TaskError::Failed {
                name: name.to_string(),
                task_id,
                details,
            }),
            // A timer's outcome never reaches a task: completions are matched by kind.
            Outcome::Fired => return Poll::Pending,
        })
    }
}

impl<O> Drop for Task<O> {
    fn drop(&mut self) {
        if let Inner::Scheduled { shared, id } = &self.inner {
            shared.lock().detach(*id);
        }
    }
}

/// A durable timer.
///
/// Dropping it takes it back, unless the scheduler has it already; then it fires unheard.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::orchestration::Timer;
/// use durabletask::OrchestrationContext;
///
/// async fn a_week(ctx: &OrchestrationContext) {
///     let timer: Timer = ctx.create_timer(Duration::from_secs(7 * 24 * 3600));
///     timer.await;
/// }
/// # let _ = a_week;
/// ```
#[must_use = "a timer does something only when it is awaited"]
pub struct Timer {
    shared: Arc<Shared>,
    id: i32,
    taken: bool,
}

impl Timer {
    pub(crate) fn new(shared: Arc<Shared>, id: i32) -> Self {
        Self {
            shared,
            id,
            taken: false,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.taken {
            return Poll::Pending;
        }
        let outcome = self.shared.lock().operations.poll(self.id, context.waker());
        if outcome.is_none() {
            return Poll::Pending;
        }
        self.taken = true;
        Poll::Ready(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !self.taken {
            self.shared.lock().detach(self.id);
        }
    }
}

/// Waiting for an external event.
///
/// Dropping it gives up the place in the queue; an event that it has got and
/// not yielded goes to the next waiter.
///
/// ```
/// use durabletask::orchestration::EventTask;
/// use durabletask::{Event, Failure, OrchestrationContext};
///
/// const APPROVAL: Event<bool> = Event::new("approval");
///
/// async fn two_of_them(ctx: &OrchestrationContext) -> Result<bool, Failure> {
///     let first: EventTask<bool> = ctx.wait_for_event(&APPROVAL);
///     let second = ctx.wait_for_event(&APPROVAL);
///     Ok(first.await? && second.await?)
/// }
/// # let _ = two_of_them;
/// ```
#[must_use = "await it to get the event"]
pub struct EventTask<T> {
    shared: Arc<Shared>,
    waiter: u64,
    name: Cow<'static, str>,
    taken: bool,
    payload: PhantomData<fn() -> T>,
}

impl<T> EventTask<T> {
    pub(crate) fn new(shared: Arc<Shared>, waiter: u64, name: Cow<'static, str>) -> Self {
        Self {
            shared,
            waiter,
            name,
            taken: false,
            payload: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Future for EventTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.taken {
            return Poll::Pending;
        }
        let raised = self.shared.lock().inbox.poll(self.waiter, context.waker());
        let Some(raised) = raised else {
            return Poll::Pending;
        };
        self.taken = true;
        Poll::Ready(
            codec::decode(raised.input.as_deref()).map_err(|reason| TaskError::Payload {
                name: self.name.to_string(),
                reason,
            }),
        )
    }
}

impl<T> Drop for EventTask<T> {
    fn drop(&mut self) {
        if !self.taken {
            let waker = self.shared.lock().inbox.cancel(self.waiter);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
