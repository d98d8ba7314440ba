//! Where a command finds its server.

use std::path::PathBuf;

use zeroize::Zeroizing;

/// Where a command finds its server, from the environment.
pub(crate) struct ClientEnvironment {
    /// `COUNTERSIGN_SERVER`: the front door's base URL.
    pub(crate) server: Option<String>,
    /// `COUNTERSIGN_TOKEN`: the token or key to present.
    pub(crate) token: Option<Zeroizing<String>>,
    /// `COUNTERSIGN_DATA_DIR`: the data folder.
    pub(crate) data_dir: Option<PathBuf>,
}

impl ClientEnvironment {
    /// Reads the process's environment.
    pub(crate) fn read() -> Self {
        let var = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            server: var("COUNTERSIGN_SERVER"),
            token: var("COUNTERSIGN_TOKEN").map(Zeroizing::new),
            data_dir: var("COUNTERSIGN_DATA_DIR").map(PathBuf::from),
        }
    }
}
