//! The port at which other nodes call this one.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::uri::Authority;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::error::PeerError;
use super::identity::{Identity, PeerCertificates};
use super::owners::Node;

/// How a node is reached by the others, and how it calls them.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// The address to listen on for the other nodes.
    pub listen: SocketAddr,
    /// Where the others reach it, `HOST:PORT`. Default: the address that it listens on, unless
    /// that stands for every address of the machine.
    pub address: Option<String>,
    /// What the nodes present to each other. Default: certificates of their own.
    pub certificates: PeerCertificates,
    /// How long a call waits for an owner that can be reached, before it is `UNAVAILABLE`. A task hub
    /// that moves, or whose owner has just ended, has none for a moment. Default 5 seconds.
    pub patience: Duration,
}

impl PeerSettings {
    /// The default settings at this address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            address: None,
            certificates: PeerCertificates::default(),
            patience: Duration::from_secs(5),
        }
    }
}

/// The port of a node, bound, with the identity that it has until the process ends. Cheap to clone.
#[derive(Clone)]
pub struct PeerPort(Arc<Inner>);

struct Inner {
    id: Arc<str>,
    address: Arc<str>,
    local: SocketAddr,
    identity: Identity,
    patience: Duration,
    /// Until it is served.
    listener: Mutex<Option<TcpListener>>,
}

impl fmt::Debug for PeerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerPort").field(&self.node()).finish()
    }
}

impl PeerPort {
    /// Binds the address and makes or reads the certificate.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn bind(settings: &PeerSettings) -> Result<Self, PeerError> {
        let id: Arc<str> = Uuid::new_v4().to_string().into();
        let identity = Identity::new(&settings.certificates, &id)?;
        let listen = |source| PeerError::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let address = match &settings.address {
            Some(address) => checked(address)?,
            None if local.ip().is_unspecified() => return Err(PeerError::NoAddress(local)),
            None => local.to_string(),
        };
        Ok(Self(Arc::new(Inner {
            id,
            address: address.into(),
            local,
            identity,
            patience: settings.patience,
            listener: Mutex::new(Some(listener)),
        })))
    }

    /// What is to be published to the other nodes.
    #[must_use]
    pub fn node(&self) -> Node {
        Node {
            id: Arc::clone(&self.0.id),
            address: Arc::clone(&self.0.address),
            certificate: self.0.identity.fingerprint(),
        }
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// How long a call waits for an owner that can be reached.
    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// The listener, once.
    pub(crate) fn take_listener(&self) -> Option<TcpListener> {
        let mut listener = self
            .0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listener.take()
    }
}

fn checked(address: &str) -> Result<String, PeerError> {
    let parsed: Option<Authority> = address.parse().ok();
    let callable = parsed.is_some_and(|authority| {
        authority.port_u16().is_some_and(|port| port != 0)
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
    });
    if callable {
        Ok(address.to_owned())
    } else {
        Err(PeerError::Address(address.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_others_has_a_host_and_a_port() {
        for good in ["10.0.0.7:8083", "[::1]:8083", "node-1.hub.example:8083"] {
            assert_eq!(checked(good).unwrap(), good);
        }
        for bad in [
            "",
            "10.0.0.7",
            ":8083",
            "node:0",
            "node:99999",
            "http://node:8083",
            "a@node:8083",
            "node:8083/x",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn every_address_of_a_machine_is_none_for_others() {
        let mut settings = PeerSettings::new(([0, 0, 0, 0], 0).into());
        let refused = PeerPort::bind(&settings).await.unwrap_err();
        assert!(matches!(refused, PeerError::NoAddress(_)), "{refused}");
        settings.address = Some("node-1.hub.example:8083".to_owned());
        let port = PeerPort::bind(&settings).await.unwrap();
        assert_eq!(&*port.node().address, "node-1.hub.example:8083");
    }
}
