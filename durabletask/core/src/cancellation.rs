//! Notifying an activity that its result is no longer needed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Whether an activity should stop; clones belong to the same call.
///
/// A worker cancels; the activity asks through
/// [`ActivityContext::cancelled`](crate::ActivityContext::cancelled).
///
/// ```
/// use durabletask_core::Cancellation;
/// use durabletask::ActivityContext;
///
/// let cancellation = Cancellation::default();
/// let context = ActivityContext::new("copy", "order-1", 0).with_cancellation(cancellation.clone());
/// assert!(!context.is_cancelled());
/// cancellation.cancel();
/// assert!(context.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct Cancellation {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    watched: bool,
    waiting: Vec<(u64, Waker)>,
    next: u64,
}

impl Cancellation {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single step, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the activity to stop.
    pub fn cancel(&self) {
        let waiting = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Whether the activity should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Whether the activity watches for cancellation, so that it gets time to clean up.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.lock().watched
    }

    /// Waits until the activity should stop.
    #[must_use = "futures do nothing unless they are awaited"]
    pub fn cancelled(&self) -> Cancelled {
        let mut state = self.lock();
        state.watched = true;
        let id = state.next;
        state.next += 1;
        drop(state);
        Cancelled {
            cancellation: self.clone(),
            id,
        }
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Waiting for a cancellation; made by [`Cancellation::cancelled`].
///
/// ```
/// use durabletask::{ActivityContext, Failure};
///
/// async fn copy(ctx: ActivityContext, _: String) -> Result<(), Failure> {
///     // ... in a `select!` beside the work:
///     ctx.cancelled().await;
///     Err(Failure::new("Canceled", "the copy was stopped and taken back"))
/// }
/// # let _ = copy;
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Cancelled {
    cancellation: Cancellation,
    id: u64,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.cancellation.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        match state.waiting.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, known)) => known.clone_from(context.waker()),
            None => state.waiting.push((self.id, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        let id = self.id;
        self.cancellation
            .lock()
            .waiting
            .retain(|(other, _)| *other != id);
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").finish_non_exhaustive()
    }
}
