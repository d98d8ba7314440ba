//! The layer in front of the gRPC services on the address for clients and workers.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Request, Response};
use durabletask_proto::{
    completion_stream_service_server, fork_service_server, task_hub_sidecar_service_server,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer, Service};

use super::protocol::{Kind, TASK_HUB, strip_peer_headers};
use super::route::{Call, Nodes};
use crate::limits::MAX_HUB_NAME;

/// The services whose methods are for a task hub.
const SERVICES: [&str; 3] = [
    task_hub_sidecar_service_server::SERVICE_NAME,
    completion_stream_service_server::SERVICE_NAME,
    fork_service_server::SERVICE_NAME,
];
/// The method that is about the node itself.
const HELLO: (&str, &str) = (task_hub_sidecar_service_server::SERVICE_NAME, "Hello");

/// Whether a path is one of a call for a task hub.
pub(super) fn is_for_hub(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .is_some_and(|(service, method)| SERVICES.contains(&service) && (service, method) != HELLO)
}

/// The task hub that a call names, as it spells it, or else the default one; nothing if the
/// header is one that the service refuses.
pub(super) fn hub_of(headers: &HeaderMap, default: Option<&str>) -> Option<String> {
    match headers.get(TASK_HUB).map(|name| name.to_str()) {
        None => default.map(str::to_owned),
        Some(Ok(name)) if (1..=MAX_HUB_NAME).contains(&name.len()) => Some(name.to_owned()),
        Some(_) => None,
    }
}

/// Sends each call to the node that owns its task hub. Alone, a node serves all calls.
#[derive(Clone)]
pub(crate) struct RouteLayer {
    pub(crate) nodes: Option<Nodes>,
    pub(crate) default_hub: Arc<str>,
    /// Ends what is open at other nodes.
    pub(crate) stop: CancellationToken,
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service behind [`RouteLayer`].
#[derive(Clone)]
pub(crate) struct Route<S> {
    inner: S,
    layer: RouteLayer,
}

impl<S> Service<Request<Body>> for Route<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        strip_peer_headers(request.headers_mut());
        let nodes = self.layer.nodes.as_ref();
        let hub = is_for_hub(request.uri().path())
            .then(|| hub_of(request.headers(), Some(&self.layer.default_hub)))
            .flatten();
        let (Some(nodes), Some(hub)) = (nodes, hub) else {
            return Either::Left(self.inner.call(request));
        };
        let call = Call {
            kind: Kind::of_grpc(request.uri()),
            hub,
            from: None,
            stop: self.layer.stop.clone(),
        };
        let (nodes, inner) = (nodes.clone(), self.inner.clone());
        let routed = async move {
            let here = move |request| serve(inner.clone(), request);
            Ok(nodes.route(call, request, here).await)
        };
        Either::Right(routed.boxed())
    }
}

/// The answer of a service that is always ready and never fails, as a router is.
pub(super) async fn serve<S>(mut service: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
