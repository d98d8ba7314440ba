//! Why a command was not carried out.

use std::net::SocketAddr;

use durabletask_scheduler::{BackupError, OpenError, ServeError};

/// Why a command was not carried out: what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Settings that cannot be used, one line each.
    #[error("{0}")]
    Settings(String),
    /// Someone else listens there.
    #[error(
        "{address} is in use by another program: stop it, or choose another address with --{flag}"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address} (--{flag}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Serving ended on its own.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The backup was not made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The system refused something that a server needs.
    #[error("the system refused: {0}")]
    Io(std::io::Error),
    /// A task of the server panicked; the log says where.
    #[error("the {0} ended unexpectedly; the log says more")]
    Lost(&'static str),
}
