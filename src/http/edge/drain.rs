//! How a request and its connection end: the rest of a body once its answer is ready,
//! and connections of a server that is stopping.
//!
//! A server that answers and closes while the client still writes resets the
//! connection, and many clients then report the reset instead of the answer. So the
//! rest is read and discarded first, up to a limit on bytes and time: a client that sends
//! too much gets that answer. Beyond the limit the connection is closed anyway.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;

use crate::http::FrontDoor;
use crate::intake::MAX_BODY;

/// How much of the rest of a body is read and discarded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As much as a caller may send by mistake.
    Long,
    /// As much as arrives in a moment: enough that a caller with an expired key gets that answer,
    /// and no more, since the sender is unknown.
    Moment,
    /// What has arrived already: the body is too large.
    Arrived,
}

impl Patience {
    /// Bytes and time.
    const fn bounds(self) -> (usize, Duration) {
        match self {
            Self::Long => (256 * 1024 * 1024, Duration::from_secs(20)),
            Self::Moment => (MAX_BODY + MAX_BODY / 4, Duration::from_secs(1)),
            Self::Arrived => (64 * 1024, Duration::ZERO),
        }
    }
}

/// Answers a request by `next`, and reads the rest of its body.
pub(crate) async fn drain<F>(
    door: &FrontDoor,
    request: Request,
    patience: Patience,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let tells = request.version() < Version::HTTP_2;
    let (mut response, all) = answered(request, patience, next).await;
    // A body that never ends ends with its connection, or with its stream.
    if tells && !all && patience != Patience::Long {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    // Long polls are answered when a stop begins, before their connection is closed: a
    // client without this header would send its next request on a closed connection. HTTP/2 has
    // its own way to say so.
    if tells && door.stop.is_cancelled() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// The answer, and whether the body was read completely.
async fn answered<F>(
    request: Request,
    patience: Patience,
    next: impl FnOnce(Request) -> F,
) -> (Response, bool)
where
    F: Future<Output = Response>,
{
    if request.body().is_end_stream() {
        return (next(request).await, true);
    }
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (give_back, given_back) = oneshot::channel();
    let request = request.map(|body| {
        Body::from_stream(Lent {
            rest: Some(Rest {
                body: body.into_data_stream(),
                begun: false,
            }),
            give_back: Some(give_back),
        })
    });
    let response = next(request).await;
    let mut given_back = given_back;
    if let Ok(rest) = given_back.try_recv() {
        // Reading would ask a client that expects 100-continue to send: do not.
        let (most, longest) = patience.bounds();
        let reads = rest.begun || !asks_first;
        let discarded = reads.then(|| tokio::time::timeout(longest, discard(rest.body, most)));
        let all = match discarded {
            Some(discarded) => discarded.await.unwrap_or(false),
            None => false,
        };
        return (response, all);
    }
    (response, true)
}

/// Whether the body ended.
async fn discard(mut body: BodyDataStream, most: usize) -> bool {
    let mut read = 0;
    while let Some(part) = body.next().await {
        let Ok(bytes) = part else { return false };
        read += bytes.len();
        if read > most {
            return false;
        }
    }
    true
}

struct Rest {
    body: BodyDataStream,
    /// Whether anyone has begun to read it.
    begun: bool,
}

/// A body that returns to the middleware when its reader drops it before its end.
struct Lent {
    rest: Option<Rest>,
    give_back: Option<oneshot::Sender<Rest>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        rest.begun = true;
        let next = rest.body.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        next
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(rest), Some(give_back)) = (self.rest.take(), self.give_back.take()) {
            // The middleware is gone if the request was canceled: there is no one to answer.
            let _ = give_back.send(rest);
        }
    }
}
