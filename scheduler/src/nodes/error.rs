//! Why nodes cannot call this one.

use std::net::SocketAddr;

use crate::tls::TlsError;

/// Why a node cannot be called by others.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address cannot be listened on.
    #[error("cannot listen for other nodes on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The address for the others is not one.
    #[error(
        "the other nodes cannot call {0:?}: a peer address is a host name or an IP address with a port, such as 10.0.0.7:8083"
    )]
    Address(String),
    /// No address was given for the others.
    #[error(
        "the other nodes cannot call {0}, which stands for every address of this machine: set the peer address, under which they reach this one"
    )]
    NoAddress(SocketAddr),
    /// The key or the certificate could not be made.
    #[error("cannot make a certificate for this node: {0}")]
    Make(String),
    /// The operator's certificate, key or authority cannot be used.
    #[error("the certificates for other nodes cannot be used: {0}")]
    Files(#[from] TlsError),
}
