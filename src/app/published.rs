//! Where commands on this machine find the front door: the address file of the data folder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{AppError, Running};
use crate::data_dir::{Addresses, DataDir, DataDirError};

/// The address file of a running front door.
pub(super) struct Published {
    data: DataDir,
    written: Mutex<Written>,
}

/// What the file says, and what it shall say once it is written.
#[derive(Default)]
struct Written {
    addresses: Option<Addresses>,
    certificates: Vec<String>,
}

impl Published {
    pub(super) fn new(data: DataDir) -> Self {
        Self {
            data,
            written: Mutex::default(),
        }
    }

    /// Writes the file.
    pub(super) fn write(&self, mut addresses: Addresses) -> Result<(), DataDirError> {
        let mut written = self.written();
        addresses.certificates.clone_from(&written.certificates);
        self.data.write_addresses(&addresses)?;
        written.addresses = Some(addresses);
        Ok(())
    }

    /// From now on the front door presents `certificate`. Commands that it still presents the one
    /// before to recognize that one too.
    pub(super) fn presents(&self, certificate: &CertificateDer<'_>) -> Result<(), DataDirError> {
        let mut written = self.written();
        written.certificates.insert(0, digest(certificate));
        written.certificates.dedup();
        written.certificates.truncate(2);
        let certificates = written.certificates.clone();
        match &mut written.addresses {
            Some(addresses) => {
                addresses.certificates = certificates;
                self.data.write_addresses(addresses)
            }
            None => Ok(()),
        }
    }

    /// Removes the file, if this process has written it.
    pub(super) fn remove(&self) {
        if self.written().addresses.take().is_some() {
            self.data.remove_addresses();
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Only clones and whole values, which a panic cannot leave half changed.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a certificate is named in the file.
pub(crate) fn digest(certificate: &CertificateDer<'_>) -> String {
    HEXLOWER.encode(&Sha256::digest(certificate))
}

impl Running {
    /// Where the front door answers programs on this machine, as a URL.
    #[must_use]
    pub fn server_url(&self) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.http_addr
            .map(|address| format!("{scheme}://{}", on_this_machine(address)))
    }

    /// Where people reach the front door: the configured address, or else the one on this machine.
    #[must_use]
    pub fn public_url(&self) -> Option<String> {
        match &self.public_url {
            Some(url) if self.http_addr.is_some() => {
                Some(url.as_str().trim_end_matches('/').to_owned())
            }
            _ => self.server_url(),
        }
    }

    /// A link that logs one browser in as the administrator, once and soon; none while access
    /// control is off, and without a front door.
    #[must_use]
    pub async fn login_link(&self) -> Option<Zeroizing<String>> {
        let (access, clock) = self.login.as_ref()?;
        // Where it cannot be made there is none; `countersign login-link` says why.
        let code = access.admin_login_code(clock.now()).await.ok()??;
        let link = format!("{}{}", self.public_url()?, crate::http::login_link(&code));
        Some(Zeroizing::new(link))
    }

    /// Publishes the addresses to other programs on this machine, once everything answers.
    pub(super) fn write_addresses(&self) -> Result<(), AppError> {
        let url = |address: Option<SocketAddr>| {
            address.map(|address| format!("http://{}", on_this_machine(address)))
        };
        let Some(server) = self.server_url() else {
            return Ok(());
        };
        self.published.write(Addresses {
            server,
            certificates: Vec::new(),
            scheduler: url(self.scheduler_addr),
            dashboard: url(self.dashboard_addr),
            metrics: url(self.metrics_addr),
            pid: std::process::id(),
        })?;
        Ok(())
    }
}

/// Where programs on this machine reach a listener: one on all addresses answers on loopback.
pub(super) fn on_this_machine(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
