//! The dashboard's requests for a task hub, and its questions to all nodes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::OriginalUri;
use axum::http::{Method, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::watch;
use tokio::task::JoinSet;
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

/// How long to wait before a node that does not answer is asked again what changes there.
const FOLLOW_AGAIN: Duration = Duration::from_secs(2);

impl Nodes {
    /// Notifies of what changes at the other nodes, until the receiver is dropped.
    pub(crate) fn changes_elsewhere(&self, path: &'static str) -> watch::Receiver<()> {
        let (notify, changes) = watch::channel(());
        let (nodes, notify) = (self.clone(), Arc::new(notify));
        tokio::spawn(async move {
            let mut table = nodes.owners().changed();
            loop {
                table.mark_unchanged();
                let mut following = JoinSet::new();
                for node in nodes.others() {
                    let (nodes, notify) = (nodes.clone(), Arc::clone(&notify));
                    following.spawn(async move { nodes.follow(&node, path, &notify).await });
                }
                tokio::select! {
                    () = notify.closed() => return,
                    still = table.changed() => if still.is_err() {
                        return notify.closed().await;
                    },
                }
                notify.send_replace(());
            }
        });
        changes
    }

    /// Passes on each notice of one node.
    async fn follow(&self, node: &Node, path: &str, notify: &watch::Sender<()>) {
        loop {
            if let Ok((answer, _place)) = self.question(node, path).await {
                let mut body = answer.into_body();
                // Each event is a notice, and so is whatever else comes, which is seldom.
                while let Some(Ok(_)) = body.frame().await {
                    notify.send_replace(());
                }
            }
            tokio::time::sleep(FOLLOW_AGAIN).await;
            notify.send_replace(());
        }
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
