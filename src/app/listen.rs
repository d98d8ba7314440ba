//! The front door's listener: how many connections it accepts, how slow they may be, and TLS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::middleware::AddExtension;
use axum::{Extension, Router};
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use super::AppError;
use super::certificate::Certificate;
use super::published::Published;
use crate::config::{Limits, Networks};
use crate::http::LocalEnd;

/// The largest headers of a request, in bytes; larger ones are answered with 431.
const MAX_HEADERS: usize = 64 * 1024;
/// How many requests an HTTP/2 connection carries at once.
const MAX_STREAMS: u32 = 128;
/// How long requests may take to finish once a stop was requested, before their
/// connections are cut: sooner than the part that they belong to.
const LAST_ANSWERS: Duration = Duration::from_secs(9);

/// A listener's limits.
pub(super) struct Listen {
    pub(super) limits: Limits,
    pub(super) proxies: Networks,
    pub(super) tls: Option<Certificate>,
    pub(super) published: Arc<Published>,
}

impl Listen {
    /// Answers requests until asked to stop; then finishes those in progress.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> Result<(), AppError> {
        let timeout = self.limits.header_timeout;
        let handle = Handle::new();
        let mut server = Server::<SocketAddr>::from_listener(listener)
            .handle(handle.clone())
            .first_request_timeout(timeout)
            .accept_error_handler(|peer, error| {
                tracing::debug!(?peer, %error, "accepting a connection failed");
            });
        let http = server.http_builder();
        http.http1()
            .header_read_timeout(timeout)
            .max_buf_size(MAX_HEADERS);
        http.http2()
            .max_header_list_size(MAX_HEADERS as u32)
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(timeout)
            .keep_alive_timeout(timeout);
        let gate = Gate(Arc::new(GateState {
            limits: self.limits,
            proxies: self.proxies,
            open: Mutex::default(),
        }));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let served = async {
            match &self.tls {
                None => server.acceptor(gate).serve(service).await,
                Some(certificate) => {
                    let acceptor = RustlsAcceptor::new(certificate.config())
                        .handshake_timeout(timeout)
                        .acceptor(gate);
                    server.acceptor(acceptor).serve(service).await
                }
            }
        };
        let watched = async {
            match &self.tls {
                Some(certificate) => certificate.watch(&self.published).await,
                None => std::future::pending().await,
            }
        };
        let stopping = async {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(LAST_ANSWERS));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = served => Ok(served?),
            () = watched => Ok(()),
            () = stopping => Ok(()),
        }
    }
}

/// Accepts connections up to a total and a number per address.
#[derive(Clone)]
struct Gate(Arc<GateState>);

struct GateState {
    limits: Limits,
    proxies: Networks,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl GateState {
    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        // Two numbers, neither of which a panic leaves half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn admit(&self, peer: SocketAddr) -> io::Result<Pass> {
        let address = crate::http::network_of(peer.ip());
        let limits = &self.0.limits;
        let proxy = self.0.proxies.contain(peer.ip());
        let mut open = self.0.open();
        if open.all >= limits.connections {
            return Err(io::Error::other("too many connections"));
        }
        let from_there = open.by_address.entry(address).or_default();
        if *from_there >= limits.connections_per_address && !proxy {
            return Err(io::Error::other("too many connections from this address"));
        }
        *from_there += 1;
        open.all += 1;
        Ok(Pass {
            inside: Arc::clone(&self.0),
            address,
        })
    }
}

/// An accepted connection's place, until it is dropped.
struct Pass {
    inside: Arc<GateState>,
    address: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.inside.open();
        open.all -= 1;
        if let Some(from_there) = open.by_address.get_mut(&self.address) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Guarded;
    type Service = AddExtension<S, LocalEnd>;
    type Future = std::future::Ready<io::Result<(Guarded, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let guarded = stream.peer_addr().and_then(|peer| {
            let pass = self.admit(peer)?;
            let address = stream.local_addr()?;
            let end = LocalEnd { address, peer };
            // Answers are small; waiting to fill a packet only delays them.
            stream.set_nodelay(true)?;
            let guarded = Guarded {
                stream,
                patience: self.0.limits.body_timeout,
                stuck: None,
                _pass: pass,
            };
            Ok((guarded, Extension(end).layer(service)))
        });
        std::future::ready(guarded)
    }
}

/// A connection that is closed if its peer does not read an answer in time.
struct Guarded {
    stream: TcpStream,
    patience: Duration,
    /// Runs while written data is not read; then closes the connection.
    stuck: Option<Pin<Box<Sleep>>>,
    _pass: Pass,
}

impl Guarded {
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stuck
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, shut)
    }
}
