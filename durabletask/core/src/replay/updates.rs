//! Updates: what an orchestration is asked to do, judges, and answers.
//!
//! An update is an external event that names the instance to which the answer goes, as
//! another external event. So both are steps of the history, on every backend.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::action::ActionKind;
use crate::codec;
use crate::contract::Update;
use crate::error::{Failure, FailureDetails, TaskError};
use crate::input::InputFor;

use super::context::{OrchestrationContext, unwritable};
use super::inbox::Raised;
use super::messages::{UPDATE_ANSWER, UpdateAnswer, UpdateMessage, is_update};
use super::state::{Shared, State};

impl State {
    fn answer_update(&mut self, reply_to: String, answer: &UpdateAnswer) {
        self.updates.remove(&reply_to);
        if self.completion.is_some() {
            return;
        }
        let id = self.take_id();
        self.push_action(
            id,
            ActionKind::SendEvent {
                instance_id: reply_to,
                name: UPDATE_ANSWER.to_owned(),
                // Both parts are text already, so writing them does not fail.
                data: codec::encode(answer).ok(),
            },
        );
    }

    /// The execution ends: tells those who wait, unless the next execution can.
    pub(super) fn end_updates(&mut self, continues: bool) {
        let mut waiting = std::mem::take(&mut self.updates);
        if !continues {
            let buffered = self.inbox.take_where(is_update).into_iter();
            waiting.extend(buffered.filter_map(|raised| message(&raised).ok()?.reply_to.into()));
        }
        for reply_to in waiting {
            self.answer_update(reply_to, &UpdateAnswer::Ended);
        }
    }
}

/// Reads an update's payload; what no orchestration can read is refused or ignored here.
/// Reading runs user code, so the state must not be locked.
fn open<I: DeserializeOwned>(shared: &Shared, raised: &Raised) -> Option<(I, String)> {
    let UpdateMessage { reply_to, input } = match message(raised) {
        Ok(message) => message,
        Err(reason) => {
            let event = raised.name.as_str();
            tracing::warn!(event, reason, "ignoring an event that is not an update");
            return None;
        }
    };
    match codec::decode(Some(&input)) {
        Ok(input) => {
            shared.lock().updates.insert(reply_to.clone());
            Some((input, reply_to))
        }
        Err(reason) => {
            let mismatch = FailureDetails::new("PayloadMismatch", reason).permanent();
            let refused = UpdateAnswer::Refused(mismatch);
            shared.lock().answer_update(reply_to, &refused);
            None
        }
    }
}

fn message(raised: &Raised) -> Result<UpdateMessage, String> {
    codec::decode(raised.input.as_deref())
}

impl OrchestrationContext {
    /// Waits for an update: a change that a client asks for with `Client::update`, and
    /// whose answer it waits for. The orchestration judges it, and accepts or refuses it by
    /// the [`UpdateReply`].
    ///
    /// Updates that came before are kept, oldest first. One whose input is no `I` is
    /// refused without being yielded. When the orchestration ends, those that nobody took
    /// are answered so; when it continues as new, they go on to the next execution.
    ///
    /// ```
    /// use durabletask::{Failure, OrchestrationContext, Update};
    ///
    /// const ADD: Update<u32, u32> = Update::new("add");
    ///
    /// async fn cart(ctx: OrchestrationContext, room: u32) -> Result<u32, Failure> {
    ///     let mut items = 0;
    ///     while items < room {
    ///         let (count, reply) = ctx.wait_for_update(&ADD).await;
    ///         if count > room - items {
    ///             reply.refuse(format!("there is room for {} more", room - items));
    ///             continue;
    ///         }
    ///         items += count;
    ///         reply.accept(&items)?;
    ///     }
    ///     Ok(items)
    /// }
    /// # let _ = cart;
    /// ```
    pub fn wait_for_update<I, O>(&self, update: &Update<I, O>) -> UpdateTask<I, O> {
        let event = UpdateMessage::event_name(update.name());
        let waiter = self.shared().call().inbox.wait(&event);
        UpdateTask {
            shared: Arc::clone(self.shared()),
            waiter,
            event,
            update: update.shared_name(),
            taken: false,
            types: PhantomData,
        }
    }
}

/// Waiting for an update.
///
/// Dropping it gives up the place in the queue; an update that it has got and not yielded
/// goes to the next waiter.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::orchestration::UpdateTask;
/// use durabletask::{OrchestrationContext, Update};
///
/// const RENAME: Update<String, ()> = Update::new("rename");
///
/// async fn renamed_within_a_day(ctx: &OrchestrationContext) -> Option<String> {
///     let waiting: UpdateTask<String, ()> = ctx.wait_for_update(&RENAME);
///     let (name, reply) = ctx.within(Duration::from_secs(24 * 3600), waiting).await?;
///     reply.accept(&()).ok()?;
///     Some(name)
/// }
/// # let _ = renamed_within_a_day;
/// ```
#[must_use = "await it to get the update"]
pub struct UpdateTask<I, O> {
    shared: Arc<Shared>,
    waiter: u64,
    event: String,
    update: Cow<'static, str>,
    taken: bool,
    types: PhantomData<fn(I) -> O>,
}

impl<I: DeserializeOwned, O> Future for UpdateTask<I, O> {
    type Output = (I, UpdateReply<O>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.taken {
            return Poll::Pending;
        }
        let shared = Arc::clone(&self.shared);
        loop {
            // Bound to a name, so that the lock is released before the payload is read.
            let raised = shared.lock().inbox.poll(self.waiter, context.waker());
            let Some(raised) = raised else {
                return Poll::Pending;
            };
            if let Some((input, reply_to)) = open(&shared, &raised) {
                self.taken = true;
                let reply = UpdateReply {
                    shared,
                    update: self.update.clone(),
                    reply_to: Some(reply_to),
                    output: PhantomData,
                };
                return Poll::Ready((input, reply));
            }
            self.waiter = shared.lock().inbox.wait(&self.event);
        }
    }
}

impl<I, O> Drop for UpdateTask<I, O> {
    fn drop(&mut self) {
        if !self.taken {
            let waker = self.shared.lock().inbox.cancel(self.waiter);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The answer that a client waits for. Dropped without one, it refuses the update.
///
/// ```
/// use durabletask::orchestration::UpdateReply;
/// use durabletask::{TaskError, Failure};
///
/// fn judge(count: u32, reply: UpdateReply<u32>) -> Result<(), TaskError> {
///     if count == 0 {
///         reply.refuse(Failure::new("Nothing", "there is nothing to add"));
///         return Ok(());
///     }
///     reply.accept(&count)
/// }
/// # let _ = judge;
/// ```
#[must_use = "dropped without an answer, it refuses the update"]
pub struct UpdateReply<O> {
    shared: Arc<Shared>,
    update: Cow<'static, str>,
    reply_to: Option<String>,
    output: PhantomData<fn() -> O>,
}

impl<O> UpdateReply<O> {
    /// Which update it answers: the same for every repetition of one, another for every
    /// other.
    #[must_use]
    pub fn id(&self) -> &str {
        self.reply_to.as_deref().unwrap_or_default()
    }

    /// The update took place, with this result.
    ///
    /// # Errors
    ///
    /// If `output` cannot be written as JSON; the update is refused then.
    pub fn accept(mut self, output: &(impl InputFor<O> + ?Sized)) -> Result<(), TaskError> {
        let output = codec::encode(output).map_err(|reason| unwritable(&self.update, reason))?;
        self.answer(&UpdateAnswer::Accepted(output));
        Ok(())
    }

    /// The update did not take place, and why.
    pub fn refuse(mut self, reason: impl Into<Failure>) {
        self.answer(&UpdateAnswer::Refused(reason.into().into_details()));
    }

    fn answer(&mut self, answer: &UpdateAnswer) {
        if let Some(reply_to) = self.reply_to.take() {
            self.shared.lock().answer_update(reply_to, answer);
        }
    }
}

impl<O> Drop for UpdateReply<O> {
    fn drop(&mut self) {
        let reason = "the orchestration took the update and did not answer it";
        self.answer(&UpdateAnswer::Refused(FailureDetails::new(
            "NotAnswered",
            reason,
        )));
    }
}

impl<O> fmt::Debug for UpdateReply<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateReply")
            .field("update", &self.update)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
