//! Many calls of one kind, with a bound on how many are under way at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};

/// Calls `start` for each item and waits for all that it starts, in the order of the items.
///
/// Without [`at_most`](FanOut::at_most) all are started at once. Awaiting it yields the
/// outputs, or the first error; [`settled`](FanOut::settled) waits for all, whatever becomes
/// of them.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, fan_out};
///
/// const RESIZE: Activity<String, u64> = Activity::new("resize");
///
/// async fn resize_all(ctx: OrchestrationContext, files: Vec<String>) -> Result<u64, Failure> {
///     let sizes = fan_out(&files, |file| ctx.call_activity(&RESIZE, file))
///         .at_most(10)
///         .await?;
///     Ok(sizes.iter().sum())
/// }
/// # let _ = resize_all;
/// ```
pub fn fan_out<'a, I, S, F>(items: I, start: S) -> FanOut<'a, F>
where
    I: IntoIterator,
    I::IntoIter: Send + 'a,
    S: FnMut(I::Item) -> F + Send + 'a,
    F: Future,
{
    FanOut {
        starts: Box::new(items.into_iter().map(start)),
        at_most: usize::MAX,
    }
}

/// Calls that are about to be made; made by [`fan_out`].
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, fan_out};
///
/// const PING: Activity<String, u64> = Activity::new("ping");
///
/// /// How many of the hosts do not answer.
/// async fn silent(ctx: OrchestrationContext, hosts: Vec<String>) -> Result<usize, Failure> {
///     let answers = fan_out(&hosts, |host| ctx.call_activity(&PING, host)).settled().await;
///     Ok(answers.iter().filter(|answer| answer.is_err()).count())
/// }
/// # let _ = silent;
/// ```
#[must_use = "nothing is started until it is awaited"]
pub struct FanOut<'a, F> {
    // Erased, so that futures that hold it are `Send` whatever the closure borrows.
    starts: Box<dyn Iterator<Item = F> + Send + 'a>,
    at_most: usize,
}

impl<'a, F: Future> FanOut<'a, F> {
    /// At most `limit` (at least 1) are under way at once: the next is started when one ends.
    pub fn at_most(mut self, limit: usize) -> Self {
        self.at_most = limit.max(1);
        self
    }

    /// Waits for all and yields what became of each, in the order of the items.
    pub fn settled(self) -> Settled<'a, F, F::Output> {
        Settled {
            lane: Lane::new(self),
            results: Vec::new(),
        }
    }
}

impl<'a, F, T, E> IntoFuture for FanOut<'a, F>
where
    F: Future<Output = Result<T, E>> + Send + 'a,
    T: Send + 'a,
    E: Send + 'a,
{
    type Output = Result<Vec<T>, E>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let mut lane = Lane::new(self);
        let mut results: Vec<Option<T>> = Vec::new();
        Box::pin(std::future::poll_fn(move |context| {
            loop {
                match lane.poll_next(context) {
                    Poll::Ready(Some((index, Ok(value)))) => put(&mut results, index, value),
                    Poll::Ready(Some((_, Err(error)))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => {
                        let results = std::mem::take(&mut results);
                        return Poll::Ready(Ok(results.into_iter().flatten().collect()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        }))
    }
}

/// The future that [`FanOut::settled`] makes.
///
/// ```
/// use durabletask::orchestration::Settled;
/// use durabletask::{Activity, OrchestrationContext, fan_out};
///
/// const PING: Activity<u32, u64> = Activity::new("ping");
///
/// async fn answers(ctx: &OrchestrationContext) -> usize {
///     let all: Settled<'_, _, _> = fan_out(0..3, |host| ctx.call_activity(&PING, &host)).settled();
///     all.await.iter().filter(|answer| answer.is_ok()).count()
/// }
/// # let _ = answers;
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Settled<'a, F, T> {
    lane: Lane<'a, F>,
    results: Vec<Option<T>>,
}

// The results are only moved, and futures are pinned in boxes of their own.
impl<F, T> Unpin for Settled<'_, F, T> {}

impl<F: Future<Output = T>, T> Future for Settled<'_, F, T> {
    type Output = Vec<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match this.lane.poll_next(context) {
                Poll::Ready(Some((index, value))) => put(&mut this.results, index, value),
                Poll::Ready(None) => {
                    let results = std::mem::take(&mut this.results);
                    return Poll::Ready(results.into_iter().flatten().collect());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn put<T>(results: &mut Vec<Option<T>>, index: usize, value: T) {
    if results.len() <= index {
        results.resize_with(index + 1, || None);
    }
    if let Some(slot) = results.get_mut(index) {
        *slot = Some(value);
    }
}

/// What is under way, and what comes after it.
struct Lane<'a, F> {
    starts: Option<Box<dyn Iterator<Item = F> + Send + 'a>>,
    at_most: usize,
    under_way: FuturesUnordered<Numbered<F>>,
    started: usize,
}

struct Numbered<F> {
    index: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Numbered<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        let polled = self.future.as_mut().poll(context);
        polled.map(|output| (index, output))
    }
}

impl<'a, F: Future> Lane<'a, F> {
    fn new(calls: FanOut<'a, F>) -> Self {
        Self {
            starts: Some(calls.starts),
            at_most: calls.at_most,
            under_way: FuturesUnordered::new(),
            started: 0,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, F::Output)>> {
        while self.under_way.len() < self.at_most
            && let Some(starts) = &mut self.starts
        {
            match starts.next() {
                Some(future) => {
                    self.under_way.push(Numbered {
                        index: self.started,
                        future: Box::pin(future),
                    });
                    self.started += 1;
                }
                None => self.starts = None,
            }
        }
        Pin::new(&mut self.under_way).poll_next(context)
    }
}
