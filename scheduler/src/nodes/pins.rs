//! Accepts exactly the certificates that the nodes have published, and checks everything else that
//! TLS checks: that the certificate is valid now and for this use, and that its key is held by the one that presents it.

use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::owners::{Fingerprint, Owners};

/// Whether this is the certificate of a live node.
pub(super) fn is_published(owners: &dyn Owners, certificate: Fingerprint) -> bool {
    owners
        .nodes()
        .iter()
        .any(|node| node.certificate == certificate)
}

/// Each node signs its certificate itself, so it is the one authority that it is checked against.
fn only(certificate: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned())?;
    Ok(Arc::new(roots))
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::General(format!("the pinned certificate cannot be used: {error}"))
}

fn only_tls13() -> Error {
    Error::General("nodes speak TLS 1.3 to each other".to_owned())
}

/// What a node that is called asks of the caller.
pub(super) struct PublishedCallers {
    pub(super) owners: Arc<dyn Owners>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for PublishedCallers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishedCallers")
    }
}

impl ClientCertVerifier for PublishedCallers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !is_published(self.owners.as_ref(), Fingerprint::of(end_entity)) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let provider = Arc::clone(&self.provider);
        WebPkiClientVerifier::builder_with_provider(only(end_entity)?, provider)
            .build()
            .map_err(unusable)?
            .verify_client_cert(end_entity, &[], now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What a node that calls another one asks of it: the certificate of that very node.
pub(super) struct PublishedNode {
    pub(super) certificate: Fingerprint,
    pub(super) provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for PublishedNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublishedNode({})", self.certificate)
    }
}

impl ServerCertVerifier for PublishedNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Fingerprint::of(end_entity) != self.certificate {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(only(end_entity)?, provider)
            .build()
            .map_err(unusable)?
            .verify_server_cert(end_entity, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
