//! Waiting for several tasks. All of it is deterministic: ties go to the first
//! in the order of the arguments.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};

use super::fan_out::{Settled, fan_out};

/// Which of two futures came first.
///
/// ```
/// use durabletask::{Activity, Either, Failure, OrchestrationContext, select};
///
/// const FAST: Activity<(), u32> = Activity::new("fast");
/// const GOOD: Activity<(), String> = Activity::new("good");
///
/// async fn either(ctx: &OrchestrationContext) -> Result<String, Failure> {
///     let fast = ctx.call_activity(&FAST, &());
///     let good = ctx.call_activity(&GOOD, &());
///     Ok(match select(good, fast).await {
///         Either::Left(text) => text?,
///         Either::Right(number) => number?.to_string(),
///     })
/// }
/// # let _ = either;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one.
    Left(A),
    /// The second one.
    Right(B),
}

/// Waits for the first of two futures and drops the other one.
///
/// A dropped timer is taken back, a dropped event task gives up its place; a
/// dropped activity continues unobserved. If both are ready, the first wins.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::{Either, Event, Failure, OrchestrationContext, select};
///
/// const GO: Event<u32> = Event::new("go");
///
/// async fn go_or_default(ctx: &OrchestrationContext) -> Result<u32, Failure> {
///     let deadline = ctx.create_timer(Duration::from_secs(3600));
///     match select(ctx.wait_for_event(&GO), deadline).await {
///         Either::Left(number) => Ok(number?),
///         Either::Right(()) => Ok(0),
///     }
/// }
/// # let _ = go_or_default;
/// ```
pub async fn select<A, B>(first: A, second: B) -> Either<A::Output, B::Output>
where
    A: Future,
    B: Future,
{
    let mut first = std::pin::pin!(first);
    let mut second = std::pin::pin!(second);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Either::Left(output));
        }
        second.as_mut().poll(context).map(Either::Right)
    })
    .await
}

/// Waits for two futures of any types and yields both values.
///
/// ```
/// use std::time::Duration;
/// use durabletask::{Activity, Failure, OrchestrationContext, join};
///
/// const FLIGHT: Activity<String, u32> = Activity::new("flight");
/// const HOTEL: Activity<String, String> = Activity::new("hotel");
///
/// async fn trip(ctx: OrchestrationContext, to: String) -> Result<(u32, String), Failure> {
///     let (flight, hotel) = join(
///         ctx.call_activity(&FLIGHT, &to),
///         ctx.call_activity(&HOTEL, &to),
///     )
///     .await;
///     Ok((flight?, hotel?))
/// }
/// ```
pub async fn join<A, B>(first: A, second: B) -> (A::Output, B::Output)
where
    A: Future,
    B: Future,
{
    futures_util::future::join(first, second).await
}

/// Waits for all futures and yields their values in the order of the arguments.
///
/// The first error ends it; the remaining tasks continue unobserved.
/// The cost of an event does not grow with the number of futures.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, when_all};
///
/// const COUNT: Activity<String, u64> = Activity::new("count");
///
/// async fn total(ctx: OrchestrationContext, files: Vec<String>) -> Result<u64, Failure> {
///     let counts = when_all(files.iter().map(|file| ctx.call_activity(&COUNT, file))).await?;
///     Ok(counts.iter().sum())
/// }
/// # let _ = total;
/// ```
///
/// # Errors
///
/// The first error that occurs.
pub fn when_all<I, F, T, E>(futures: I) -> WhenAll<F, T>
where
    I: IntoIterator<Item = F>,
    F: Future<Output = Result<T, E>>,
{
    let pending: FuturesUnordered<Indexed<F>> = futures
        .into_iter()
        .enumerate()
        .map(|(index, future)| Indexed {
            index,
            future: Box::pin(future),
        })
        .collect();
    let results = std::iter::repeat_with(|| None)
        .take(pending.len())
        .collect();
    WhenAll { pending, results }
}

/// The future that [`when_all`] makes.
///
/// ```
/// use durabletask::orchestration::{Task, WhenAll};
/// use durabletask::{Activity, OrchestrationContext, when_all};
///
/// const COUNT: Activity<u32, u64> = Activity::new("count");
///
/// fn begin(ctx: &OrchestrationContext) -> WhenAll<Task<u64>, u64> {
///     when_all((0..3).map(|part| ctx.call_activity(&COUNT, &part)))
/// }
/// # let _ = begin;
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct WhenAll<F, T> {
    pending: FuturesUnordered<Indexed<F>>,
    results: Vec<Option<T>>,
}

struct Indexed<F> {
    index: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Indexed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        self.future
            .as_mut()
            .poll(context)
            .map(|output| (index, output))
    }
}

// The results are only moved, never pinned.
impl<F, T> Unpin for WhenAll<F, T> {}

impl<F, T, E> Future for WhenAll<F, T>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<Vec<T>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match Pin::new(&mut self.pending).poll_next(context) {
                Poll::Ready(Some((index, Ok(value)))) => {
                    if let Some(slot) = self.results.get_mut(index) {
                        *slot = Some(value);
                    }
                }
                Poll::Ready(Some((_, Err(error)))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => {
                    let results = std::mem::take(&mut self.results);
                    return Poll::Ready(Ok(results.into_iter().flatten().collect()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Waits for all futures, whether they succeed or fail, and yields their outputs in the order
/// of the arguments. [`fan_out`](crate::fan_out) can bound how many are under way at once.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, when_all_settled};
///
/// const PING: Activity<String, ()> = Activity::new("ping");
///
/// async fn answering(ctx: OrchestrationContext, hosts: Vec<String>) -> Result<usize, Failure> {
///     let pings = hosts.iter().map(|host| ctx.call_activity(&PING, host));
///     let answers = when_all_settled(pings).await;
///     Ok(answers.iter().filter(|answer| answer.is_ok()).count())
/// }
/// # let _ = answering;
/// ```
pub fn when_all_settled<'a, I, F>(futures: I) -> Settled<'a, F, F::Output>
where
    I: IntoIterator<Item = F>,
    F: Future + Send + 'a,
{
    let futures: Vec<F> = futures.into_iter().collect();
    fan_out(futures, |future| future).settled()
}

/// Waits for the first of several futures; yields its index and value and drops
/// the others. An empty list is never ready.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, when_any};
///
/// const ASK: Activity<String, u32> = Activity::new("ask");
///
/// /// The first answer, and who gave it.
/// async fn first(ctx: OrchestrationContext, mirrors: Vec<String>) -> Result<(String, u32), Failure> {
///     let asked = mirrors.iter().map(|mirror| ctx.call_activity(&ASK, mirror));
///     let (which, answer) = when_any(asked).await;
///     Ok((mirrors[which].clone(), answer?))
/// }
/// # let _ = first;
/// ```
pub fn when_any<I, F>(futures: I) -> WhenAny<F>
where
    I: IntoIterator<Item = F>,
    F: Future,
{
    WhenAny {
        futures: futures.into_iter().map(Box::pin).collect(),
    }
}

/// The future that [`when_any`] makes.
///
/// ```
/// use durabletask::orchestration::{Task, WhenAny};
/// use durabletask::{Activity, OrchestrationContext, when_any};
///
/// const ASK: Activity<u32, u64> = Activity::new("ask");
///
/// fn begin(ctx: &OrchestrationContext) -> WhenAny<Task<u64>> {
///     when_any((0..3).map(|mirror| ctx.call_activity(&ASK, &mirror)))
/// }
/// # let _ = begin;
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct WhenAny<F> {
    futures: Vec<Pin<Box<F>>>,
}

impl<F: Future> Future for WhenAny<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        for (index, future) in self.futures.iter_mut().enumerate() {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                self.futures.clear();
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    }
}
