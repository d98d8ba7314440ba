//! One connection to another node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::meters::Meters;
use super::owners::Node;
use super::port::PeerPort;
use super::protocol::{GREETING, NODE, V1, VERSION};
use super::replay::{Attempt, Replay};

/// How long a connection may take to open: a host that is gone does not even refuse one.
const CONNECT: Duration = Duration::from_secs(1);
/// The same with the TLS handshake and the greeting.
const GREET: Duration = Duration::from_secs(2);
/// What one stream may send ahead of its reader, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// As much as all streams together, so that one whose reader has stopped never stops another.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What requests to other nodes are sent with.
pub(super) type Sender = http2::SendRequest<Attempt>;

/// Why a node cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("the connection failed: {0}")]
    Connect(Arc<std::io::Error>),
    #[error("it did not accept a connection within {} s", CONNECT.as_secs())]
    NoConnection,
    #[error("it accepted a connection, but did not answer within {} s", GREET.as_secs())]
    NoAnswer,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("HTTP/2 failed: {0}")]
    Http(String),
    #[error("it refused the greeting with HTTP status {0}; see its log")]
    Refused(u16),
    #[error("it speaks version {0:?} of the protocol between nodes, and this node version {V1}")]
    Version(String),
    #[error("another node answers at its address: {0}")]
    Other(String),
    #[error("the attempt to connect ended early")]
    Ended,
}

/// Opens a connection, and returns once the node at the other end has said who it is.
pub(super) async fn connect(
    node: &Node,
    port: &PeerPort,
    keepalive: Duration,
    meters: &Arc<Meters>,
) -> Result<Sender, Unreachable> {
    let begun = tokio::time::Instant::now();
    let connecting = TcpStream::connect(&*node.address);
    let stream = tokio::time::timeout(CONNECT, connecting)
        .await
        .map_err(|_| Unreachable::NoConnection)?
        .map_err(|error| Unreachable::Connect(Arc::new(error)))?;
    let rest = async {
        let _ = stream.set_nodelay(true);
        let tls = |error: &dyn std::fmt::Display| Unreachable::Tls(error.to_string());
        let (config, name) = port.identity().client(node).map_err(|error| tls(&error))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| tls(&error))?;
        let http = |error: hyper::Error| Unreachable::Http(causes(&error));
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        let open = Open::begin(meters);
        // It ends when the last sender is dropped, or with the connection.
        tokio::spawn(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(error = causes(&error), "a connection to another node ended");
            }
        });
        greet(&mut sender, node, port).await?;
        Ok(sender)
    };
    tokio::time::timeout_at(begun + GREET, rest)
        .await
        .map_err(|_| Unreachable::NoAnswer)?
}

async fn greet(sender: &mut Sender, node: &Node, port: &PeerPort) -> Result<(), Unreachable> {
    let mut request = Request::new(nothing());
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(node, GREETING).ok_or(Unreachable::Ended)?;
    let headers = request.headers_mut();
    headers.insert(VERSION, HeaderValue::from_static(V1));
    if let Ok(id) = HeaderValue::from_str(port.id()) {
        headers.insert(NODE, id);
    }
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| Unreachable::Http(causes(&error)))?;
    let said = |name: HeaderName| {
        let value = answer.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    match said(VERSION) {
        V1 if answer.status().is_success() => {}
        "" | V1 => return Err(Unreachable::Refused(answer.status().as_u16())),
        other => return Err(Unreachable::Version(other.to_owned())),
    }
    if *said(NODE) != *node.id {
        return Err(Unreachable::Other(said(NODE).to_owned()));
    }
    Ok(())
}

/// The body of a request without one.
pub(super) fn nothing() -> Attempt {
    let never = CancellationToken::new();
    Replay::new(Body::empty()).attempt(never.clone(), never)
}

/// The address of a path at a node.
pub(super) fn uri(node: &Node, path: &str) -> Option<Uri> {
    Uri::builder()
        .scheme("https")
        .authority(&*node.address)
        .path_and_query(path)
        .build()
        .ok()
}

/// An error with its causes: hyper's own text only names the layer.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Counts an open connection until it is dropped.
struct Open(Arc<Meters>);

impl Open {
    fn begin(meters: &Arc<Meters>) -> Self {
        meters.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(meters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
