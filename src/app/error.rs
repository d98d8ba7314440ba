//! Why the product could not start or stopped unexpectedly.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use countersign_activities::vault::{SharedVaultError, VaultOpenError};
use countersign_activities::webhook::WebhookError;
use countersign_database::{DatabaseError, ReachError};
use durabletask::connection::ConnectionError;
use durabletask::worker::WorkerError;
use durabletask_scheduler::{AccessError, OpenError, ServeError};
use thiserror::Error;

use super::TlsFault;
use crate::access::{IssuerError, KeyError};
use crate::audit::AuditError;
use crate::data_dir::DataDirError;
use crate::http::Undescribed;
use crate::keys::KeyMaterialError;
use crate::ledger::LedgerOpenError;

/// The first port that every user may listen on.
const PRIVILEGED: u16 = 1024;

/// Why the product could not start or stopped unexpectedly.
#[derive(Debug, Error)]
pub enum AppError {
    /// The configured file has no key for the webhook.
    #[error(
        "{} contains no key: write a random text of 20 characters or more to it, readable only \
         by its owner", .0.display()
    )]
    WebhookSecret(PathBuf),
    /// The file with the key for the webhook cannot be read.
    #[error("webhook-secret-file: {0}")]
    WebhookFile(#[source] DataDirError),
    /// The webhook cannot be used.
    #[error("the webhook cannot be used: {0}")]
    Webhook(#[from] WebhookError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The shared database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The task hub's role could reach what is kept in the shared database.
    #[error(transparent)]
    HubReaches(#[from] ReachError),
    /// The vault in the shared database cannot be opened.
    #[error("the vault in the shared database cannot be opened: {0}")]
    SharedVault(#[from] SharedVaultError),
    /// The API keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerOpenError),
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The audit log cannot be sent to a collector.
    #[error("audit entries cannot be sent over OpenTelemetry: {0}; see --otlp-endpoint")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The API cannot be described.
    #[error(transparent)]
    Undescribed(#[from] Undescribed),
    /// The database of accepted codes cannot be read.
    #[error("the database of accepted codes cannot be used: {0}")]
    Verify(String),
    /// Another program listens on this address.
    #[error(
        "{address} is in use by another program: stop it, or choose another address with {flag}"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The operating system refused the address.
    #[error("cannot listen on {address} ({flag}): {source}{}", advice(*address, source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A single part was started without a task hub.
    #[error(
        "name the task hub with --connection-string or COUNTERSIGN_CONNECTION_STRING, for example \"Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None\" for a scheduler on this machine"
    )]
    NoTaskHub,
    /// Several front doors could serve this installation, each with rules of its own.
    #[error(
        "this front door uses {0}, which others can use too, but it keeps API keys, grants, counted \
         reads and the audit log in its own data folder: what one front door decides, another would \
         not know. Let them share a PostgreSQL database with --database-url, or run only one and \
         say so with --single-front-door (COUNTERSIGN_SINGLE_FRONT_DOOR=true)"
    )]
    HalfDeployment(&'static str),
    /// The connection string cannot be used.
    #[error("the connection string cannot be used: {0}")]
    Connection(#[from] ConnectionError),
    /// The worker failed.
    #[error("the worker failed: {0}")]
    Worker(#[from] WorkerError),
    /// The token that the embedded scheduler requires cannot be used.
    #[error("the task hub's token cannot be used: {0}")]
    HubToken(#[from] AccessError),
    /// The embedded scheduler's data cannot be opened.
    #[error(transparent)]
    Scheduler(#[from] OpenError),
    /// The embedded scheduler failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The vault cannot be opened.
    #[error("the vault cannot be opened: {0}")]
    Vault(#[from] VaultOpenError),
    /// The client for Key Vault cannot be set up.
    #[error(transparent)]
    KeyVault(#[from] countersign_azure::SettingsError),
    /// A key of the installation cannot be opened.
    #[error(transparent)]
    KeyMaterial(#[from] KeyMaterialError),
    /// The client for the issuer of callers' tokens cannot be set up.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The network failed underneath a listener.
    #[error("a listener failed: {0}")]
    Io(#[from] io::Error),
    /// A part panicked, was aborted, or ended although it was not asked to.
    #[error("the {part} ended unexpectedly: {how}")]
    Lost {
        /// Its name.
        part: &'static str,
        /// What is known about it.
        how: String,
    },
}

/// What to do if the operating system refuses an address.
fn advice(address: SocketAddr, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied if address.port() < PRIVILEGED => {
            ". Ports below 1024 need a privilege: give the service \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, or listen on a port from 1024 on, behind a \
             proxy"
        }
        io::ErrorKind::AddrNotAvailable => {
            ". This machine does not have that address: 0.0.0.0 and [::] stand for all that it has"
        }
        _ => "",
    }
}

impl AppError {
    /// Whether a setting is wrong, or a file that a setting names: trying again changes nothing.
    pub(crate) fn is_of_a_setting(&self) -> bool {
        match self {
            Self::WebhookSecret(_)
            | Self::WebhookFile(_)
            | Self::Webhook(_)
            | Self::Otlp(_)
            | Self::NoTaskHub
            | Self::HalfDeployment(_)
            | Self::Connection(_)
            | Self::KeyVault(_)
            | Self::Issuer(
                IssuerError::Client(_)
                | IssuerError::CaFile { .. }
                | IssuerError::Other(_)
                | IssuerError::Place(_),
            )
            | Self::Tls(_) => true,
            Self::Listen { source, .. } => source.kind() == io::ErrorKind::AddrNotAvailable,
            _ => false,
        }
    }
}
