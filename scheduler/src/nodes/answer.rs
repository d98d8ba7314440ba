//! The body of an answer that ends early, with a status that says why, when its task hub moves,
//! its node stops or its connection breaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::DropGuard;
use tonic::Status;
use tonic::body::Body;

use super::meters::{OpenCall, Outcome};
use super::protocol::{Kind, unavailable};
use super::replay::is_empty;

const GRPC_STATUS: &str = "grpc-status";

/// Ends an answer, and why.
pub(super) type Ending = BoxFuture<'static, (Outcome, Status)>;

/// What a forwarded call holds until its answer ends.
pub(super) struct Forwarded {
    pub(super) open: OpenCall,
    pub(super) _place: OwnedSemaphorePermit,
    /// Ends the body of the request with the answer.
    pub(super) _over: DropGuard,
    /// The node, for messages.
    pub(super) node: String,
}

/// An answer's body until its `ending`.
pub(super) struct Answer<B: HttpBody> {
    /// Nothing once it has ended.
    body: Option<B>,
    ending: Ending,
    kind: Kind,
    /// Whether the status is still to come. An answer may have it in its head.
    owes_status: bool,
    /// An answer of another node.
    forwarded: Option<Forwarded>,
}

/// The answer with its body under guard.
pub(super) fn guarded<B>(
    response: Response<B>,
    kind: Kind,
    ending: Ending,
    forwarded: Option<Forwarded>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error,
{
    let owes_status = kind.is_grpc() && !response.headers().contains_key(GRPC_STATUS);
    response.map(|body| {
        Body::new(Answer {
            body: Some(body),
            ending,
            kind,
            owes_status,
            forwarded,
        })
    })
}

impl<B: HttpBody> Answer<B> {
    /// Ends the answer, with a status where one is still owed.
    fn cut(&mut self, outcome: Outcome, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.body = None;
        if let Some(mut forwarded) = self.forwarded.take() {
            forwarded.open.note(outcome);
        }
        if !self.kind.is_grpc() {
            // A browser sees that the answer is not whole.
            return Some(Err(status));
        }
        self.owes_status.then(|| {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            Ok(Frame::trailers(trailers))
        })
    }

    fn broken(&mut self, how: &str) -> Option<Result<Frame<Bytes>, Status>> {
        let node = match &self.forwarded {
            Some(forwarded) => format!("node {}", forwarded.node),
            None => "this node".to_owned(),
        };
        let status = unavailable(&format!("the answer of {node} {how}; retry"));
        self.cut(Outcome::Broken, status)
    }
}

impl<B> HttpBody for Answer<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready((outcome, status)) = this.ending.as_mut().poll(cx) {
            return Poll::Ready(this.cut(outcome, status));
        }
        let next = loop {
            let next = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
            if !is_empty(&next) {
                break next;
            }
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.owes_status &= !trailers.contains_key(GRPC_STATUS);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => this.broken(&format!("broke off: {error}")),
            None if this.owes_status => this.broken("ended before its status"),
            None => {
                this.body = None;
                if let Some(forwarded) = this.forwarded.take() {
                    forwarded.open.end(Outcome::Answered);
                }
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream() && !self.owes_status,
            None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) if !self.owes_status => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl<B: HttpBody> Drop for Answer<B> {
    fn drop(&mut self) {
        // Nobody asks for more after a status, or a body that says that it has ended.
        let (Some(body), Some(forwarded)) = (&self.body, &mut self.forwarded) else {
            return;
        };
        let whole = match self.kind {
            Kind::Grpc { .. } => !self.owes_status,
            Kind::Page { .. } => body.is_end_stream(),
        };
        if whole {
            forwarded.open.note(Outcome::Answered);
        }
    }
}
