//! TLS with a certificate and a key from files.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::reload::{FileError, FromFiles};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most concurrent handshakes; further peers wait in the system's queue.
const HANDSHAKES: usize = 256;
/// How many finished connections wait to be accepted.
const READY: usize = 64;
/// How long to wait after accepting a connection failed.
const AGAIN: Duration = Duration::from_millis(100);

/// The content of the two files, in words.
const CERTIFICATE: &str = "a certificate";
const KEY: &str = "a private key";
/// The content of a third one, where there is one.
const AUTHORITY: &str = "the certificate of an authority";

/// A certificate chain with its key. Changed files are read again within a second of
/// the next connection, which gets the new certificate; open connections continue as they are.
/// If the changed files cannot be used (as while only one of the two exists), what was
/// read before stays in use, and the log says why.
#[derive(Clone)]
pub struct Tls(Arc<FromFiles<Configs, TlsError>>);

/// One chain and key, with the protocol inside.
struct Configs {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds no PEM of its kind, or cannot be read.
    #[error("cannot read {what} from {path}: {source}")]
    Pem {
        /// What was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        source: pem::Error,
    },
    /// The two do not match, or are of a kind that is not supported.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(rustls::Error),
}

impl FileError for TlsError {
    fn unreadable(at: usize, path: &Path, source: io::Error) -> Self {
        Self::Pem {
            what: match at {
                0 => CERTIFICATE,
                1 => KEY,
                _ => AUTHORITY,
            },
            path: path.to_owned(),
            source: pem::Error::Io(source),
        }
    }
}

/// The protocol inside the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// gRPC, which is HTTP/2.
    Grpc,
    /// The dashboard, which is HTTP/1.1.
    Http,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate chain (the server's own first) and its private key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be read or the two do not match.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = vec![certificate.to_owned(), key.to_owned()];
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        FromFiles::read(files, move |contents| {
            let [chain, private] = contents else {
                return Err(TlsError::Unusable(rustls::Error::NoCertificatesPresented));
            };
            Configs::parse((&certificate, chain), (&key, private))
        })
        .map(|configs| Self(Arc::new(configs)))
    }

    /// Takes over a listener. Must be called on a Tokio runtime; the task that this
    /// starts ends with the returned value.
    #[must_use]
    pub fn listen(&self, listener: TcpListener, inside: Inside) -> TlsListener {
        let tls = self.clone();
        listen(listener, move || tls.0.current().acceptor(inside))
    }
}

impl Configs {
    fn parse(certificate: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<Self, TlsError> {
        let chain = chain_in(certificate)?;
        let key = key_in(key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Unusable)?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self {
            grpc: speaking(b"h2"),
            http: speaking(b"http/1.1"),
        })
    }

    fn acceptor(&self, inside: Inside) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(match inside {
            Inside::Grpc => &self.grpc,
            Inside::Http => &self.http,
        }))
    }
}

/// The certificates in a file.
pub(crate) fn chain_in(
    (path, content): (&Path, &[u8]),
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(CERTIFICATE, path, content)
}

/// The certificates of authorities in a file.
pub(crate) fn authorities_in(
    (path, content): (&Path, &[u8]),
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(AUTHORITY, path, content)
}

fn certificates_in(
    what: &'static str,
    path: &Path,
    content: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(content)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| {
            if chain.is_empty() {
                return Err(pem::Error::NoItemsFound);
            }
            Ok(chain)
        })
        .map_err(|source| TlsError::Pem {
            what,
            path: path.to_owned(),
            source,
        })
}

/// The private key in a file.
pub(crate) fn key_in((path, content): (&Path, &[u8])) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(content).map_err(|source| TlsError::Pem {
        what: KEY,
        path: path.to_owned(),
        source,
    })
}

/// Takes over a listener; each handshake uses the acceptor of its time.
pub(crate) fn listen(
    listener: TcpListener,
    acceptor: impl Fn() -> TlsAcceptor + Send + 'static,
) -> TlsListener {
    let address = listener.local_addr();
    let (sender, ready) = mpsc::channel(READY);
    let task = tokio::spawn(accept(listener, acceptor, sender)).abort_handle();
    TlsListener {
        ready,
        address,
        task,
    }
}

async fn accept(
    listener: TcpListener,
    current: impl Fn() -> TlsAcceptor,
    ready: mpsc::Sender<Connection>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if handshakes.len() < HANDSHAKES => match accepted {
                Ok((stream, peer)) => {
                    let acceptor = current();
                    handshakes.spawn(async move { (shake_hands(stream, &acceptor).await, peer) });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(done) = handshakes.join_next() => match done {
                Ok((Ok(connection), _)) => {
                    if ready.send(connection).await.is_err() {
                        return;
                    }
                }
                Ok((Err(error), peer)) => {
                    tracing::debug!(%error, %peer, "a TLS handshake failed");
                }
                Err(_) => tracing::error!("a TLS handshake panicked"),
            },
        }
    }
}

async fn shake_hands(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let info = TcpConnectInfo {
        local_addr: stream.local_addr().ok(),
        remote_addr: stream.peer_addr().ok(),
    };
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    Ok(Connection { stream, info })
}

/// The stream of connections after their TLS handshake.
pub struct TlsListener {
    ready: mpsc::Receiver<Connection>,
    address: io::Result<SocketAddr>,
    task: AbortHandle,
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream for TlsListener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Some(connection) = self.ready.recv().await else {
                // The task has ended, which happens only with this value or in a panic.
                return std::future::pending().await;
            };
            if let Some(peer) = connection.info.remote_addr {
                return (connection, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}

/// A connection after its TLS handshake.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    info: TcpConnectInfo,
}

impl Connection {
    /// The certificate that the peer has proved to hold the key of, if it was asked for one.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let (_, session) = self.stream.get_ref();
        session.peer_certificates()?.first()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
