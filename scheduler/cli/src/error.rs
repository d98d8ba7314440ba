//! Why a command failed.

use std::net::SocketAddr;

use durabletask_scheduler::{BackupError, MigrateError, OpenError, PeerError, ServeError};

/// Why a command failed: what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Settings that cannot be used, one line each.
    #[error("{0}")]
    Settings(String),
    /// Another program listens on this address.
    #[error(
        "{address} is in use by another program: stop it, or choose another address with --{flag}"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The operating system refused the address.
    #[error("cannot listen on {address} (--{flag}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The data cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Other schedulers cannot call this one.
    #[error(transparent)]
    Peers(PeerError),
    /// Serving ended unexpectedly.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The backup failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The task hubs were not moved.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The operating system refused something that a server needs.
    #[error("the system refused: {0}")]
    Io(std::io::Error),
    /// A task of the server panicked; the log says where.
    #[error("the {0} ended unexpectedly; see the log")]
    Lost(&'static str),
}
