//! The front door's certificate and key, from files that may change.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::published::Published;
use crate::config::TlsFiles;

/// How often the certificate and key files are checked for changes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Why certificate and key cannot be used, and which file is wrong.
#[derive(Debug, Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("{flag}: cannot read {}: {source}", path.display())]
    Unreadable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file has no certificate.
    #[error(
        "--tls-certificate: {} contains no certificate in PEM format: it begins with \
         -----BEGIN CERTIFICATE-----", .0.display()
    )]
    NoCertificate(PathBuf),
    /// The file has no key.
    #[error(
        "--tls-key: {} contains no private key in PEM format without a password: it begins with \
         -----BEGIN PRIVATE KEY-----", .0.display()
    )]
    NoKey(PathBuf),
    /// The key is of another certificate, or of a kind that is not supported.
    #[error("--tls-key: the key in {} is not the one of the certificate in {}: {source}", key.display(), certificate.display())]
    NoPair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// Certificate and key from files, reloaded when these change.
pub(super) struct Certificate {
    files: TlsFiles,
    config: RustlsConfig,
    read: Pem,
    presented: CertificateDer<'static>,
}

/// The content of both files.
type Pem = (Vec<u8>, Zeroizing<Vec<u8>>);

impl Certificate {
    /// # Errors
    ///
    /// [`TlsFault`] when the files cannot be read or do not belong together.
    pub(super) async fn open(files: TlsFiles) -> Result<Self, TlsFault> {
        let read = read(&files).await?;
        let presented = leaf(&files, &read)?;
        let config = RustlsConfig::from_pem(read.0.clone(), read.1.to_vec()).await;
        Ok(Self {
            config: config.map_err(|source| no_pair(&files, source))?,
            files,
            read,
            presented,
        })
    }

    /// The accepted connections' configuration, which follows the files.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// The server's own certificate, as the files were when they were opened.
    pub(super) const fn presented(&self) -> &CertificateDer<'static> {
        &self.presented
    }

    /// Reloads files that have changed. A certificate and key that do not match, as while they
    /// are being replaced, are ignored.
    pub(super) async fn watch(&self, published: &Published) {
        let mut known = self.read.clone();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let Ok(read) = read(&self.files).await else {
                continue;
            };
            if read == known {
                continue;
            }
            match self.reload(&read, published).await {
                Ok(()) => tracing::info!("TLS certificate reloaded"),
                Err(error) => {
                    tracing::warn!(%error, "the new TLS certificate cannot be used; keeping the old one");
                }
            }
            known = read;
        }
    }

    async fn reload(&self, read: &Pem, published: &Published) -> Result<(), TlsFault> {
        let presented = leaf(&self.files, read)?;
        let (certificate, key) = read.clone();
        // Checked first: one that is refused is never published.
        let checked = RustlsConfig::from_pem(certificate, key.to_vec()).await;
        let checked = checked.map_err(|source| no_pair(&self.files, source))?;
        if let Err(error) = published.presents(&presented) {
            tracing::warn!(%error, "commands on this machine may not recognize the new certificate");
        }
        self.config.reload_from_config(checked.get_inner());
        Ok(())
    }
}

async fn read(files: &TlsFiles) -> Result<Pem, TlsFault> {
    let one = async |flag, path: &PathBuf| {
        tokio::fs::read(path)
            .await
            .map_err(|source| TlsFault::Unreadable {
                flag,
                path: path.clone(),
                source,
            })
    };
    let certificate = one("--tls-certificate", &files.certificate).await?;
    let key = one("--tls-key", &files.key).await?;
    Ok((certificate, key.into()))
}

/// The server's own certificate: the first of its file. The key is looked at too.
fn leaf(files: &TlsFiles, (certificate, key): &Pem) -> Result<CertificateDer<'static>, TlsFault> {
    let leaf = CertificateDer::pem_slice_iter(certificate).next();
    let Some(Ok(leaf)) = leaf else {
        return Err(TlsFault::NoCertificate(files.certificate.clone()));
    };
    PrivateKeyDer::from_pem_slice(key)
        .map(|_| leaf)
        .map_err(|_| TlsFault::NoKey(files.key.clone()))
}

fn no_pair(files: &TlsFiles, source: io::Error) -> TlsFault {
    TlsFault::NoPair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    }
}
