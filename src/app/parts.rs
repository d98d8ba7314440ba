//! Parts of the process: each with an owner, a stop signal and a bound on stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use countersign_activities::vault::{
    CacheSettings, CachedVault, EmbeddedVault, SecretVault, VaultError,
};
use countersign_azure::{Identity, KeyVault, KeyVaultSettings};
use countersign_enrollment::sealed::{OpenKey, OpenKeyring};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{AppError, SERVER_KEY};
use crate::access::secret::{self, RandomUnavailable};
use crate::config::AzureConfig;
use crate::data_dir::DataDir;
use crate::metrics::VaultCounts;

/// The key pair for sealed values, in the data folder.
const SEAL_KEY: &str = "seal.key";
/// The same in Key Vault, for all processes of an installation.
const SHARED_SEAL_KEY: &str = "countersign-seal-key";
const SHARED_SERVER_KEY: &str = "countersign-server-key";

/// One running part.
pub(super) struct Part {
    name: &'static str,
    stop: CancellationToken,
    drain: Duration,
    task: JoinHandle<Result<(), AppError>>,
}

impl Part {
    /// Runs `work` until it is told to stop, and cancels `failed` if it ends before.
    pub(super) fn spawn<F, W>(
        name: &'static str,
        drain: Duration,
        failed: &CancellationToken,
        work: W,
    ) -> Self
    where
        W: FnOnce(CancellationToken) -> F,
        F: Future<Output = Result<(), AppError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        // Dropped when the task ends in any way, a panic too.
        let failed = failed.clone().drop_guard();
        let work = work(stop.clone());
        let task = tokio::spawn(async move {
            let _failed = failed;
            let outcome = work.await;
            tracing::debug!(part = name, ok = outcome.is_ok(), "part ended");
            outcome
        });
        Self {
            name,
            stop,
            drain,
            task,
        }
    }

    /// Asks it to stop, without waiting.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Asks it to stop and waits for that, within its bound.
    pub(super) async fn stop(self) -> Result<(), AppError> {
        let early = self.task.is_finished();
        self.stop.cancel();
        let abort = self.task.abort_handle();
        match tokio::time::timeout(self.drain, self.task).await {
            Ok(Ok(Ok(()))) if early => Err(AppError::Lost(self.name)),
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AppError::Lost(self.name)),
            Err(_) => {
                // What was acknowledged is durable and unfinished work is done again, so
                // cutting it off is no failure.
                abort.abort();
                tracing::warn!(part = self.name, "did not stop in time and was cut off");
                Ok(())
            }
        }
    }
}

/// Keys and vault: of the data folder, or of the Key Vault that the settings name.
pub(super) struct Keys {
    pub(super) ring: OpenKeyring,
    pub(super) vault: Arc<dyn SecretVault>,
    /// The front door's own secret key.
    pub(super) server_key: Zeroizing<[u8; 32]>,
    /// The cache inside of `vault`, and what is behind it.
    pub(super) counts: VaultCounts,
}

impl Keys {
    /// Opens what the settings name, and makes what is not there yet.
    pub(super) async fn open(
        data: &DataDir,
        azure: &AzureConfig,
        identity: Identity,
    ) -> Result<Self, AppError> {
        match &azure.key_vault {
            Some(settings) => Self::from_key_vault(settings, azure, identity).await,
            None => Self::from_folder(data, azure.cache).await,
        }
    }

    async fn from_folder(data: &DataDir, cache: CacheSettings) -> Result<Self, AppError> {
        let data = data.clone();
        blocking(move || {
            let text = data.secret_file(SEAL_KEY, || {
                let key = OpenKey::generate().map_err(|_| RandomUnavailable)?;
                Ok(key.to_text())
            })?;
            let ring = OpenKeyring::from_text(&text).map_err(|source| AppError::SealKey {
                place: data.path().join(SEAL_KEY).display().to_string(),
                source,
            })?;
            let vault = Arc::new(EmbeddedVault::open(data.path())?);
            Ok(Self::cached(
                ring,
                data.secret_key(SERVER_KEY)?,
                CachedVault::new(vault, cache),
                None,
            ))
        })
        .await?
    }

    /// Key Vault keeps the keys too: several front doors and workers have to agree on
    /// them, and share no folder.
    async fn from_key_vault(
        settings: &KeyVaultSettings,
        azure: &AzureConfig,
        identity: Identity,
    ) -> Result<Self, AppError> {
        let vault = KeyVault::new(settings, identity)?;
        let place = |name: &str| format!("the secret {name} of {}", settings.address);
        let failed = |name: &'static str| {
            let place = place(name);
            move |source| AppError::SharedKey { place, source }
        };
        let none = |error: RandomUnavailable| VaultError::Unavailable {
            source: Box::new(error),
        };
        let text = vault
            .shared_secret(SHARED_SEAL_KEY, || {
                let key = OpenKey::generate().map_err(|_| none(RandomUnavailable))?;
                Ok(key.to_text())
            })
            .await
            .map_err(failed(SHARED_SEAL_KEY))?;
        let ring = OpenKeyring::from_text(&text).map_err(|source| AppError::SealKey {
            place: place(SHARED_SEAL_KEY),
            source,
        })?;
        let text = vault
            .shared_secret(SHARED_SERVER_KEY, || secret::random_hex().map_err(none))
            .await
            .map_err(failed(SHARED_SERVER_KEY))?;
        let server_key = secret::key_from_hex(&text)
            .ok_or_else(|| AppError::ServerKey(place(SHARED_SERVER_KEY)))?;
        let vault = Arc::new(vault);
        let cache = CachedVault::new(Arc::<KeyVault>::clone(&vault), azure.cache);
        Ok(Self::cached(ring, server_key, cache, Some(vault)))
    }

    fn cached(
        ring: OpenKeyring,
        server_key: Zeroizing<[u8; 32]>,
        cache: CachedVault,
        remote: Option<Arc<KeyVault>>,
    ) -> Self {
        let cache = Arc::new(cache);
        Self {
            ring,
            vault: Arc::<CachedVault>::clone(&cache),
            server_key,
            counts: VaultCounts { cache, remote },
        }
    }
}

/// Listens on `address`, which the flag `flag` sets.
pub(super) async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => AppError::AddressInUse { address, flag },
            _ => AppError::Listen {
                address,
                flag,
                source,
            },
        })
}

/// Answers HTTP requests until told to stop; then finishes those under way.
pub(super) async fn serve_http(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let listener = listener.tap_io(|stream| {
        // Answers are small; waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Runs `work`, which blocks, on a thread for such work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| AppError::Lost("start"))
}
