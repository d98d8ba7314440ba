//! The dashboard's requests for a task hub, and its questions to all nodes.

use std::time::Duration;

use axum::extract::OriginalUri;
use axum::http::{Method, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::owners::Node;
use super::protocol::Kind;
use super::receive::Sender;
use super::route::{Call, Nodes};

/// How long a question to another node may take.
const ASKED: Duration = Duration::from_secs(2);
/// The largest answer to one, in bytes.
const ANSWER: usize = 8 * 1024 * 1024;

impl Nodes {
    /// Answers a browser's request for a task hub where that is.
    pub(crate) async fn route_page(
        &self,
        hub: String,
        stop: CancellationToken,
        mut request: axum::extract::Request,
        next: Next,
    ) -> Response {
        // The other node's routes begin where this one's do.
        if let Some(OriginalUri(uri)) = request.extensions().get().cloned() {
            *request.uri_mut() = uri;
        }
        let call = Call {
            kind: Kind::of_page(request.method()),
            hub,
            from: None,
            stop,
        };
        let here = |request: Request<Body>| run(next.clone(), request);
        let response = self.route(call, request.map(Body::new), here).await;
        response.map(axum::body::Body::new)
    }

    /// Answers another node's request for a task hub, if that is here.
    pub(crate) async fn receive_page(
        &self,
        hub: String,
        stop: CancellationToken,
        request: axum::extract::Request,
        next: Next,
    ) -> Response {
        let sender = request.extensions().get().copied();
        let call = Call {
            kind: Kind::of_page(request.method()),
            hub,
            from: sender.and_then(|Sender(certificate)| certificate),
            stop,
        };
        let response = self.receive(call, || run(next, request.map(Body::new)));
        response.await.map(axum::body::Body::new)
    }

    /// What another node answers to a question of this one.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub(crate) async fn ask(&self, node: &Node, path: &'static str) -> Result<Bytes, String> {
        let asked = async {
            let (answer, place) = self.question(node, path).await?;
            if !answer.status().is_success() {
                return Err(format!("it answered HTTP status {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), ANSWER).collect().await;
            drop(place);
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|error| error.to_string())
        };
        let answer = tokio::time::timeout(ASKED, asked).await;
        answer.unwrap_or_else(|_| Err(format!("it did not answer within {} s", ASKED.as_secs())))
    }
}

async fn run(next: Next, request: Request<Body>) -> axum::http::Response<Body> {
    let response = next.run(request.map(axum::body::Body::new)).await;
    response.map(Body::new)
}

impl Kind {
    /// A request of the dashboard.
    pub(super) fn of_page(method: &Method) -> Self {
        Self::Page {
            repeatable: matches!(*method, Method::GET | Method::HEAD),
        }
    }
}
