//! What a node's peer port sees when it is not a scheduler that calls: raw TLS with certificates of
//! the test's own, and a way between nodes that can freeze.
#![allow(unreachable_pub)]

use std::net::SocketAddr;
use std::sync::Arc;

use durabletask_scheduler::{Fingerprint, Node};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The name in nodes' own certificates.
pub const NAME: &str = "node.durabletask.internal";

/// A key with a certificate for it that a node could have made.
pub struct Certified {
    pub certificate: CertificateDer<'static>,
    pub key: Vec<u8>,
}

impl Certified {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// One that was valid once.
    pub fn expired() -> Self {
        Self::with(|params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    pub fn node(&self, id: &str, address: SocketAddr) -> Node {
        Node {
            id: id.into(),
            address: address.to_string().into(),
            certificate: Fingerprint::of(&self.certificate),
        }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    fn client(&self) -> ClientConfig {
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(self.key()).unwrap();
        // Whether it belongs to the certificate is not checked here.
        let certified = CertifiedKey::new(vec![self.certificate.clone()], key);
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut config = builder().with_client_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    fn server(&self) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

fn builder()
-> tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>
{
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
}

/// Connects to a peer port, with a certificate or none.
pub async fn connect(
    to: SocketAddr,
    who: Option<&Certified>,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let config = match who {
        Some(certified) => certified.client(),
        None => builder().with_no_client_auth(),
    };
    let name = ServerName::try_from(NAME).unwrap();
    let stream = TcpStream::connect(to).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Whether a peer port lets this one say anything.
pub async fn lets_in(to: SocketAddr, who: Option<&Certified>) -> bool {
    let Ok(mut stream) = connect(to, who).await else {
        return false;
    };
    // HTTP/2 begins with a preface and settings; a server that listens sends its own.
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if stream.write_all(hello).await.is_err() {
        return false;
    }
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.is_ok()
}

/// A fake node: accepts connections by TLS, and does with them what the test says.
pub struct FakeNode {
    pub node: Node,
    serving: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl FakeNode {
    pub async fn new<F>(
        certified: &Certified,
        serve: impl Fn(server::TlsStream<TcpStream>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = certified.node("fake", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(certified.server()));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    connections.spawn(serve(stream));
                }
            }
        });
        Self { node, serving }
    }
}

/// A way to a node that stops to pass anything on when it is frozen, and is cut when it is dropped.
pub struct Way {
    pub address: SocketAddr,
    frozen: watch::Sender<bool>,
    passing: JoinHandle<()>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

impl Way {
    pub async fn to(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let (frozen, freezing) = watch::channel(false);
        let passing = tokio::spawn(async move {
            let mut ways = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (address, freezing) = (address.clone(), freezing.clone());
                ways.spawn(async move {
                    let to = TcpStream::connect(address).await.unwrap();
                    let (mut a, mut b) = stream.into_split();
                    let (mut c, mut d) = to.into_split();
                    tokio::select! {
                        () = copy(&mut a, &mut d, freezing.clone()) => {}
                        () = copy(&mut c, &mut b, freezing) => {}
                    }
                });
            }
        });
        Self {
            address: own,
            frozen,
            passing,
        }
    }

    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

async fn copy(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let _ = frozen.wait_for(|frozen| !frozen).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The test's own connections check nothing: what the node checks is tested.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
