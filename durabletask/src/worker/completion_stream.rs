//! How results reach the scheduler: as messages on one stream where it offers that, else with a
//! call each. `docs/WIRE.md` in the repository describes the stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durabletask_proto as proto;
use futures_util::{Stream, stream};
use prost::Message as _;
use proto::completion::Result as Handed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use super::link::Link;

/// The header in the answer to `Hello` by which a scheduler offers the stream.
const OFFER: &str = "completion-stream";
/// How many completions wait for a frame before those that add one do.
const QUEUE: usize = 256;
/// The most completions of a frame, and the size from which it gets no more.
const FRAME: usize = 256;
const FRAME_BYTES: usize = 1024 * 1024;
/// How long the opening may take.
const OPENING: Duration = Duration::from_secs(10);
/// How long after its end the stream is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// The way of results to the scheduler.
pub(super) struct Completions {
    link: Arc<Link>,
    /// Whether a stream is used at all.
    enabled: bool,
    state: Arc<Mutex<State>>,
    /// Ends the stream with the worker.
    over: CancellationToken,
    _ends_with_this: DropGuard,
}

#[derive(Default)]
struct State {
    /// Whether the scheduler has the stream, as of the last greeting.
    offered: bool,
    open: Option<Arc<Open>>,
    /// A task opens it, or runs it.
    busy: bool,
    /// It is not opened before.
    not_before: Option<Instant>,
}

impl Completions {
    pub(super) fn new(link: Link, enabled: bool) -> Self {
        let over = CancellationToken::new();
        Self {
            link: Arc::new(link),
            enabled,
            state: Arc::default(),
            _ends_with_this: over.clone().drop_guard(),
            over,
        }
    }

    /// The connection, for calls.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Notes what the scheduler has answered to a greeting.
    pub(super) fn greeted(&self, answer: &MetadataMap) {
        let offered = answer.get(OFFER).is_some_and(|version| version == "v1");
        lock(&self.state).offered = offered;
        self.open_if_due();
    }

    /// Replaces the connection.
    pub(super) fn renew(&self) {
        self.link.renew();
        let open = lock(&self.state).open.take();
        if let Some(open) = open {
            open.close();
        }
    }

    /// Hands in a result once.
    ///
    /// # Errors
    ///
    /// The scheduler's refusal, or that it is not known whether the scheduler has it.
    pub(super) async fn hand_in(&self, result: Handed) -> Result<(), Status> {
        let open = lock(&self.state).open.clone();
        let result = match open {
            Some(open) => match open.hand_in(result).await {
                Sent::Answered(answer) => return answer,
                // It has just ended, without this result.
                Sent::Not(result) => *result,
            },
            None => {
                self.open_if_due();
                result
            }
        };
        let mut service = self.link.service();
        let answer = match result {
            Handed::Orchestrator(response) => service.complete_orchestrator_task(response).await,
            Handed::Activity(response) => service.complete_activity_task(response).await,
            Handed::Entity(result) => service.complete_entity_task(result).await,
        };
        answer.map(|_: Response<proto::CompleteTaskResponse>| ())
    }

    /// Opens the stream if the scheduler has one and it is time. Results go by calls meanwhile.
    fn open_if_due(&self) {
        let mut state = lock(&self.state);
        let early = state.not_before.is_some_and(|at| Instant::now() < at);
        if !self.enabled || !state.offered || state.busy || early {
            return;
        }
        state.busy = true;
        drop(state);
        let keeper = Keeper {
            link: Arc::clone(&self.link),
            state: Arc::clone(&self.state),
        };
        let over = self.over.clone();
        tokio::spawn(async move { over.run_until_cancelled(keeper.run()).await });
    }
}

/// Opens the stream and runs it to its end.
struct Keeper {
    link: Arc<Link>,
    state: Arc<Mutex<State>>,
}

impl Keeper {
    async fn run(self) {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let mut client = self.link.completion_stream();
        let opened = tokio::time::timeout(OPENING, client.complete(frames(queue))).await;
        let status = match opened {
            Ok(Ok(answers)) => {
                let open = Arc::new(Open::new(outgoing));
                lock(&self.state).open = Some(Arc::clone(&open));
                let _closing = Closing(Arc::clone(&open));
                follow(&open, answers.into_inner()).await
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the stream of completions does not open"),
        };
        tracing::debug!(code = ?status.code(), reason = status.message(), "the stream of completions is not open; results go by calls");
        if status.code() == Code::Unimplemented {
            // Something on the way does not let it pass.
            lock(&self.state).offered = false;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.open = None;
        state.busy = false;
        state.not_before = Some(Instant::now() + AGAIN);
    }
}

/// Ends a stream, however what follows it ends.
struct Closing(Arc<Open>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Passes acknowledgements on until the stream ends. Yields why.
async fn follow(open: &Open, mut answers: tonic::Streaming<proto::AcknowledgementFrame>) -> Status {
    loop {
        let frame = tokio::select! {
            biased;
            () = open.closed.cancelled() => {
                return Status::cancelled("a result was not acknowledged, or the connection replaced");
            }
            frame = answers.message() => frame,
        };
        match frame {
            Ok(Some(frame)) => frame
                .acknowledgements
                .into_iter()
                .for_each(|each| open.answer(each)),
            Ok(None) => return Status::unavailable("the scheduler has ended it"),
            Err(status) => return status,
        }
    }
}

/// What became of a result that was given to a stream.
enum Sent {
    /// It was answered, or it is not known whether it arrived.
    Answered(Result<(), Status>),
    /// It was not sent.
    Not(Box<Handed>),
}

/// Where the answer to a result goes.
type Waits = oneshot::Sender<Result<(), Status>>;

/// An open stream.
struct Open {
    outgoing: mpsc::Sender<proto::Completion>,
    /// Those that wait for an acknowledgement; none once the stream has ended.
    waiting: Mutex<Option<HashMap<u64, Waits>>>,
    numbers: AtomicU64,
    closed: CancellationToken,
}

impl Open {
    fn new(outgoing: mpsc::Sender<proto::Completion>) -> Self {
        Self {
            outgoing,
            waiting: Mutex::new(Some(HashMap::new())),
            numbers: AtomicU64::new(1),
            closed: CancellationToken::new(),
        }
    }

    fn close(&self) {
        self.closed.cancel();
        // Those that wait learn of it.
        lock(&self.waiting).take();
    }

    fn answer(&self, acknowledgement: proto::Acknowledgement) {
        let waits = lock(&self.waiting)
            .as_mut()
            .and_then(|waiting| waiting.remove(&acknowledgement.number));
        if let Some(waits) = waits {
            let answer = match Code::from_i32(acknowledgement.code) {
                Code::Ok => Ok(()),
                code => Err(Status::new(code, acknowledgement.message)),
            };
            // Who no longer waits has closed the stream.
            let _ = waits.send(answer);
        }
    }

    async fn hand_in(&self, result: Handed) -> Sent {
        let Ok(room) = self.outgoing.reserve().await else {
            return Sent::Not(Box::new(result));
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (waits, answer) = oneshot::channel();
        match lock(&self.waiting).as_mut() {
            Some(waiting) => waiting.insert(number, waits),
            None => return Sent::Not(Box::new(result)),
        };
        let mut unanswered = Unanswered(Some(self));
        room.send(proto::Completion {
            number,
            result: Some(result),
        });
        let answer = answer.await;
        unanswered.0 = None;
        Sent::Answered(answer.unwrap_or_else(|_| {
            Err(Status::unavailable(
                "the stream of completions ended before its answer",
            ))
        }))
    }
}

/// Closes a stream that does not answer in time, so that no other result waits for it.
struct Unanswered<'a>(Option<&'a Open>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.0 {
            open.close();
        }
    }
}

/// What is queued, as frames: all that is there, up to a size.
fn frames(
    queue: mpsc::Receiver<proto::Completion>,
) -> impl Stream<Item = proto::CompletionFrame> + Send {
    stream::unfold((queue, None), |(mut queue, first)| async move {
        let first: proto::Completion = match first {
            Some(first) => first,
            None => queue.recv().await?,
        };
        let mut bytes = first.encoded_len();
        let mut completions = vec![first];
        let mut next = None;
        while completions.len() < FRAME
            && bytes < FRAME_BYTES
            && let Ok(completion) = queue.try_recv()
        {
            let size = completion.encoded_len();
            if bytes + size > FRAME_BYTES {
                next = Some(completion);
                break;
            }
            bytes += size;
            completions.push(completion);
        }
        Some((proto::CompletionFrame { completions }, (queue, next)))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single step, so a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    fn completion(number: u64, bytes: usize) -> proto::Completion {
        proto::Completion {
            number,
            result: Some(Handed::Activity(proto::ActivityResponse {
                result: Some("x".repeat(bytes)),
                ..Default::default()
            })),
        }
    }

    #[tokio::test]
    async fn frames_have_all_in_order_and_end_at_their_size() {
        let (sender, queue) = mpsc::channel(QUEUE);
        let sizes = [10, 10, 600_000, 600_000, 10, 3_000_000, 10];
        for (number, bytes) in (0..).zip(sizes) {
            sender.send(completion(number, bytes)).await.unwrap();
        }
        drop(sender);
        let frames: Vec<Vec<u64>> = frames(queue)
            .map(|frame| frame.completions.iter().map(|each| each.number).collect())
            .collect()
            .await;
        assert_eq!(frames, [vec![0, 1, 2], vec![3, 4], vec![5], vec![6]]);
    }

    #[tokio::test]
    async fn an_ended_stream_takes_no_result_and_leaves_none_waiting() {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let open = Arc::new(Open::new(sender));
        let Some(result) = completion(0, 1).result else {
            unreachable!()
        };
        let handing = tokio::spawn({
            let (open, result) = (Arc::clone(&open), result.clone());
            async move { open.hand_in(result).await }
        });
        assert!(queue.recv().await.is_some());
        open.close();
        let Sent::Answered(Err(status)) = handing.await.unwrap() else {
            panic!("nobody has answered")
        };
        assert_eq!(status.code(), Code::Unavailable);
        assert!(matches!(open.hand_in(result).await, Sent::Not(_)));
    }
}
