//! What the adapter needs to know.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::VaultAddress;

/// Where the vault is and how to deal with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVaultSettings {
    /// The vault.
    pub address: VaultAddress,
    /// Whether it is an emulator, which asks for tokens for its own host. Azure's vaults
    /// ask for tokens for their cloud, and one that does not is not trusted.
    pub emulator: bool,
    /// A PEM file with certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The version of the REST API, such as `7.6`; that of the SDK if absent.
    pub api_version: Option<String>,
    /// How long calls may take and how fast they may come.
    pub limits: Limits,
}

impl KeyVaultSettings {
    /// The usual settings for the vault at `address`.
    #[must_use]
    pub fn new(address: VaultAddress) -> Self {
        Self {
            address,
            emulator: false,
            ca_file: None,
            api_version: None,
            limits: Limits::default(),
        }
    }
}

/// How long calls may take, all tries together, and how fast they may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One try of a read.
    pub read_try: Duration,
    /// A read with all its tries: someone waits for a code.
    pub read: Duration,
    /// One try of a write.
    pub write_try: Duration,
    /// A write with all its tries. The orchestration tries again after that.
    pub write: Duration,
    /// New secrets a second that this process makes. A vault takes 30 a second from
    /// all processes together.
    pub writes_per_second: u32,
    /// How old the list of accounts may be that lists are answered from.
    pub list_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            read_try: Duration::from_secs(3),
            read: Duration::from_secs(8),
            write_try: Duration::from_secs(10),
            write: Duration::from_secs(45),
            writes_per_second: 25,
            list_age: Duration::from_secs(10),
        }
    }
}

/// Why the adapter cannot be set up.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file with certificates cannot be read.
    #[error("cannot read the certificates in {}: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS or the SDK cannot be set up.
    #[error("the Key Vault client cannot be set up: {0}")]
    Client(String),
}
