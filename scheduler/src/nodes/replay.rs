//! The body of a call that may have to be sent again, because the node that got it was not the
//! owner, or could not be reached.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

/// How much of a body is kept for another attempt, in bytes. A call with more is sent once.
const KEPT: usize = 1024 * 1024;

/// A body, of which the beginning is kept until the call is answered.
pub(super) struct Replay(Arc<Mutex<Kept>>);

struct Kept {
    /// What was read from the caller so far, if another attempt is possible.
    frames: VecDeque<Bytes>,
    /// How many of them the current attempt has sent.
    sent: usize,
    bytes: usize,
    recording: bool,
    /// Attempts are numbered: an earlier one takes nothing any more.
    attempt: u64,
    rest: Body,
}

impl Replay {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            frames: VecDeque::new(),
            sent: 0,
            bytes: 0,
            recording: true,
            attempt: 0,
            rest: body,
        })))
    }

    /// The body from its beginning, for another attempt; only while [`Replay::is_whole`]. It fails once
    /// `over`: the node at the other end does not wait for what nobody will answer. It ends with `last`.
    pub(super) fn attempt(&self, over: CancellationToken, last: CancellationToken) -> Attempt {
        let mut kept = lock(&self.0);
        kept.attempt += 1;
        kept.sent = 0;
        Attempt {
            kept: Arc::clone(&self.0),
            number: kept.attempt,
            over: Box::pin(over.cancelled_owned()),
            last: Box::pin(last.cancelled_owned()),
        }
    }

    /// Whether another attempt can send the whole body.
    pub(super) fn is_whole(&self) -> bool {
        lock(&self.0).recording
    }

    /// The call is answered: nothing more is kept.
    pub(super) fn answered(self) {
        lock(&self.0).stop_recording();
    }
}

impl Kept {
    fn stop_recording(&mut self) {
        self.recording = false;
        let sent = std::mem::take(&mut self.sent);
        self.frames.drain(..sent.min(self.frames.len()));
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.recording {
            if let Some(frame) = self.frames.get(self.sent) {
                self.sent += 1;
                return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
            }
        } else if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let next = loop {
            let next = std::task::ready!(Pin::new(&mut self.rest).poll_frame(cx));
            if !is_empty(&next) {
                break next;
            }
        };
        if self.recording {
            match &next {
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(data) if self.bytes + data.len() <= KEPT => {
                        self.bytes += data.len();
                        self.frames.push_back(data.clone());
                        self.sent += 1;
                    }
                    // Too much, or trailers, which no caller sends.
                    _ => self.stop_recording(),
                },
                Some(Err(_)) => self.stop_recording(),
                None => {}
            }
        }
        Poll::Ready(next)
    }
}

/// Whether a frame carries nothing. HTTP/2 ends a connection on which many of these arrive, and calls share
/// the ones between nodes, so they are not passed on.
pub(super) fn is_empty<E>(frame: &Option<Result<Frame<Bytes>, E>>) -> bool {
    match frame {
        Some(Ok(frame)) => frame.data_ref().is_some_and(Bytes::is_empty),
        _ => false,
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of one attempt.
pub(super) struct Attempt {
    kept: Arc<Mutex<Kept>>,
    number: u64,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    last: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for Attempt {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::cancelled("the call is over"))));
        }
        if self.last.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let mut kept = lock(&self.kept);
        if kept.attempt != self.number {
            return Poll::Ready(Some(Err(Status::cancelled("the call was sent elsewhere"))));
        }
        kept.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        let kept = lock(&self.kept);
        let sent = if kept.recording { kept.sent } else { 0 };
        kept.attempt == self.number && kept.frames.len() == sent && kept.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    /// With some empty chunks.
    fn body(chunks: Vec<Vec<u8>>) -> Body {
        let frames = chunks
            .into_iter()
            .map(|chunk| Ok::<_, Status>(Frame::data(Bytes::from(chunk))));
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn attempt(replay: &Replay) -> Attempt {
        replay.attempt(CancellationToken::new(), CancellationToken::new())
    }

    async fn read(attempt: &mut Attempt, most: usize) -> Vec<u8> {
        let mut read = Vec::new();
        for _ in 0..most {
            let Some(frame) = attempt.frame().await else {
                break;
            };
            read.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        read
    }

    proptest! {
        #[test]
        fn each_attempt_gets_the_same_bytes(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..12),
            reads in proptest::collection::vec(0usize..14, 0..4),
            answered_after in 0usize..14,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let whole = chunks.concat();
                let replay = Replay::new(body(chunks));
                for most in reads {
                    let mut attempt = attempt(&replay);
                    let got = read(&mut attempt, most).await;
                    assert!(whole.starts_with(&got));
                    assert!(replay.is_whole());
                }
                let mut last = attempt(&replay);
                let mut got = read(&mut last, answered_after).await;
                replay.answered();
                got.extend(read(&mut last, usize::MAX).await);
                assert_eq!(got, whole);
            });
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_sent_once_and_whole() {
        let chunks = vec![vec![1; KEPT], vec![2; 10], vec![3; 10]];
        let whole = chunks.concat();
        let replay = Replay::new(body(chunks));
        let mut first = attempt(&replay);
        assert_eq!(read(&mut first, 1).await.len(), KEPT);
        assert!(replay.is_whole());
        let mut second = attempt(&replay);
        assert!(
            first.frame().await.unwrap().is_err(),
            "an earlier attempt takes nothing"
        );
        assert_eq!(read(&mut second, usize::MAX).await, whole);
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn a_body_fails_once_its_call_is_over() {
        let never = Body::new(StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, Status>,
        >()));
        let over = CancellationToken::new();
        let mut attempt = Replay::new(never).attempt(over.clone(), CancellationToken::new());
        let reading = tokio::spawn(async move { attempt.frame().await });
        over.cancel();
        assert!(reading.await.unwrap().unwrap().is_err());
    }
}
