//! The certificate and key by which a node proves to others that it is one.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use super::error::PeerError;
use super::owners::{Fingerprint, Node, Owners};
use super::pins::{PublishedCallers, PublishedNode};
use crate::reload::FromFiles;
use crate::tls::{TlsError, authorities_in, chain_in, key_in};

/// The name in the certificates that nodes make for themselves. The certificate itself is what is checked.
const PEER_NAME: &str = "node.durabletask.internal";
/// Peers speak HTTP/2.
const PROTOCOL: &[u8] = b"h2";

/// Whose certificates nodes present to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeerCertificates {
    /// Each process makes a key, which stays in its memory, and a certificate, which the nodes
    /// publish to each other. Nothing has to be set up or renewed.
    #[default]
    Own,
    /// The operator's, PEM. Each node accepts every certificate of the authority, for either use, so the
    /// authority must not sign for anything else. Changed files are read again.
    Files {
        /// The node's certificate chain. It is for the host of the node's peer address.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// The certificate of the authority that signs the nodes' certificates.
        authority: PathBuf,
    },
}

/// A node's certificate and key, and whom it trusts.
pub(super) enum Identity {
    Own(Pair),
    Files(FromFiles<FromAuthority, TlsError>),
}

/// A chain with its key.
pub(super) struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The operator's files.
pub(super) struct FromAuthority {
    certificate: Fingerprint,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Identity {
    pub(super) fn new(settings: &PeerCertificates, node: &str) -> Result<Self, PeerError> {
        match settings {
            PeerCertificates::Own => Pair::make(node).map(Self::Own),
            PeerCertificates::Files {
                certificate,
                key,
                authority,
            } => {
                let paths = [certificate.clone(), key.clone(), authority.clone()];
                let files = FromFiles::read(paths.to_vec(), move |contents| {
                    let [chain, private, roots] = contents else {
                        return Err(TlsError::Unusable(Error::NoCertificatesPresented));
                    };
                    let [certificate, key, authority] = &paths;
                    FromAuthority::parse(
                        Pair {
                            chain: chain_in((certificate, chain))?,
                            key: key_in((key, private))?,
                        },
                        authorities_in((authority, roots))?,
                    )
                })?;
                Ok(Self::Files(files))
            }
        }
    }

    /// The fingerprint of the node's certificate.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Own(pair) => pair.fingerprint(),
            Self::Files(files) => files.current().certificate,
        }
    }

    /// Whether only the certificates that nodes have published are accepted.
    pub(super) fn pins(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// How callers are received.
    pub(super) fn server(&self, owners: &Arc<dyn Owners>) -> Result<Arc<ServerConfig>, TlsError> {
        match self {
            Self::Own(pair) => {
                let callers = PublishedCallers {
                    owners: Arc::clone(owners),
                    provider: provider(),
                };
                server(pair, Arc::new(callers)).map(Arc::new)
            }
            Self::Files(files) => Ok(Arc::clone(&files.current().server)),
        }
    }

    /// How this node is called, and under which name.
    pub(super) fn client(
        &self,
        node: &Node,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
        match self {
            Self::Own(pair) => {
                let verifier = PublishedNode {
                    certificate: node.certificate,
                    provider: provider(),
                };
                let config = ClientConfig::builder_with_provider(provider())
                    .with_protocol_versions(&[&TLS13])
                    .and_then(|config| {
                        config
                            .dangerous()
                            .with_custom_certificate_verifier(Arc::new(verifier))
                            .with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())
                    })
                    .map_err(TlsError::Unusable)?;
                let name = server_name(PEER_NAME)?;
                Ok((Arc::new(calling(config)), name))
            }
            Self::Files(files) => {
                let host = node.address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Ok((Arc::clone(&files.current().client), server_name(host)?))
            }
        }
    }
}

impl Pair {
    fn make(node: &str) -> Result<Self, PeerError> {
        let made = || {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new([PEER_NAME.to_owned()])?;
            params.distinguished_name.push(
                DnType::CommonName,
                format!("durabletask-scheduler node {node}"),
            );
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            // It is valid while it is published, whatever the clocks of the nodes say.
            let certificate = params.self_signed(&key)?;
            Ok::<_, rcgen::Error>((certificate, key))
        };
        let (certificate, key) = made().map_err(|error| PeerError::Make(error.to_string()))?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.chain.first().map_or(&[], |first| first.as_ref()))
    }
}

impl FromAuthority {
    fn parse(pair: Pair, authorities: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(TlsError::Unusable)?;
        }
        let roots = Arc::new(roots);
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| TlsError::Unusable(Error::General(error.to_string())))?;
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .and_then(|config| {
                config
                    .with_root_certificates(roots)
                    .with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())
            })
            .map_err(TlsError::Unusable)?;
        Ok(Self {
            certificate: pair.fingerprint(),
            server: Arc::new(server(&pair, callers)?),
            client: Arc::new(calling(client)),
        })
    }
}

/// Nothing is resumed: each connection proves who is at its ends, as they are trusted by then.
fn server(pair: &Pair, callers: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| {
            config
                .with_client_cert_verifier(callers)
                .with_single_cert(pair.chain.clone(), pair.key.clone_key())
        })
        .map_err(TlsError::Unusable)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn calling(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| TlsError::Unusable(Error::General(format!("{host:?} is no host name"))))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
