//! What arrives at the port for other nodes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request, Response};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

use super::error::PeerError;
use super::grpc::{hub_of, is_for_hub, serve};
use super::owners::{Fingerprint, Owners};
use super::pins::is_published;
use super::port::PeerPort;
use super::protocol::{GREETING, Kind, NODE, V1, VERSION, strip_peer_headers};
use super::route::{Call, Nodes};
use crate::tls::{self, Connection};

/// Takes over the port's listener. Only nodes get through the TLS handshake.
///
/// # Errors
/// [`PeerError::Files`] where the certificate cannot be used.
pub(crate) fn listen(
    listener: TcpListener,
    port: &PeerPort,
    owners: &Arc<dyn Owners>,
) -> Result<impl Stream<Item = io::Result<PeerConnection>> + use<>, PeerError> {
    let (port, owners) = (port.clone(), Arc::clone(owners));
    let first = port.identity().server(&owners)?;
    let accepting = move || {
        // Files that cannot be used any more leave the ones before in use.
        let current = port.identity().server(&owners);
        TlsAcceptor::from(current.unwrap_or_else(|_| Arc::clone(&first)))
    };
    let connections = tls::listen(listener, accepting);
    Ok(connections.map(|connection| connection.map(PeerConnection)))
}

/// A connection from another node.
pub(crate) struct PeerConnection(Connection);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From(Option<Fingerprint>);

impl Connected for PeerConnection {
    type ConnectInfo = From;

    fn connect_info(&self) -> From {
        let certificate = self.0.peer_certificate();
        From(certificate.map(|certificate| Fingerprint::of(certificate)))
    }
}

impl AsyncRead for PeerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// Serves the calls that other nodes send for the task hubs of this one, and greets nodes. Nothing is
/// ever sent on from here.
#[derive(Clone)]
pub(crate) struct ReceiveLayer {
    pub(crate) nodes: Nodes,
    pub(crate) stop: CancellationToken,
}

impl<S> Layer<S> for ReceiveLayer {
    type Service = Receive<S>;

    fn layer(&self, inner: S) -> Receive<S> {
        Receive {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service behind [`ReceiveLayer`].
#[derive(Clone)]
pub(crate) struct Receive<S> {
    inner: S,
    layer: ReceiveLayer,
}

impl<S> Service<Request<Body>> for Receive<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (layer, inner) = (self.layer.clone(), self.inner.clone());
        async move { Ok(layer.receive(request, inner).await) }.boxed()
    }
}

impl ReceiveLayer {
    async fn receive<S>(&self, mut request: Request<Body>, inner: S) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let path = request.uri().path();
        let for_hub = is_for_hub(path);
        let kind = match for_hub {
            true => Kind::of_grpc(request.uri()),
            false => Kind::of_page(request.method()),
        };
        let from = match self.sender(&request) {
            Ok(from) => from,
            Err(_) if path == GREETING => return self.greet(false),
            Err(status) => return kind.answer(status),
        };
        if path == GREETING {
            return self.greet(true);
        }
        strip_peer_headers(request.headers_mut());
        self.nodes.meters().received();
        if !for_hub {
            request.extensions_mut().insert(Sender(from));
            return serve(inner, request).await;
        }
        let Some(hub) = hub_of(request.headers(), None) else {
            return kind.answer(Status::invalid_argument(
                "a call between nodes names its task hub in the header taskhub",
            ));
        };
        let call = Call {
            kind,
            hub,
            from,
            stop: self.stop.clone(),
        };
        self.nodes.receive(call, || serve(inner, request)).await
    }

    /// The certificate of the node that sent a request, where it must be a published one.
    fn sender(&self, request: &Request<Body>) -> Result<Option<Fingerprint>, Status> {
        let version = request.headers().get(VERSION);
        match version.map(HeaderValue::to_str) {
            Some(Ok(V1)) => {}
            None => {
                return Err(Status::unauthenticated(
                    "this port is for the other nodes of this scheduler; use the address for clients and workers",
                ));
            }
            Some(_) => {
                return Err(super::protocol::unavailable(&format!(
                    "this node speaks version {V1} of the protocol between nodes only; run one version on all nodes"
                )));
            }
        }
        let From(certificate) = request.extensions().get().copied().unwrap_or(From(None));
        if !self.nodes.port().identity().pins() {
            return Ok(None);
        }
        match certificate {
            Some(certificate) if is_published(self.nodes.owners().as_ref(), certificate) => {
                Ok(Some(certificate))
            }
            _ => Err(super::protocol::unavailable(
                "the node that sent this is not among the live nodes any more",
            )),
        }
    }

    fn greet(&self, welcome: bool) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        if !welcome {
            *response.status_mut() = axum::http::StatusCode::FORBIDDEN;
        }
        let headers = response.headers_mut();
        headers.insert(VERSION, HeaderValue::from_static(V1));
        if let Ok(id) = HeaderValue::from_str(self.nodes.port().id()) {
            headers.insert(NODE, id);
        }
        response
    }
}

/// The certificate of the node that sent a request for a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender(pub(super) Option<Fingerprint>);
