//! The key in Key Vault or Managed HSM that wraps the vault's key, for code that blocks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign_activities::vault::{KEY_FILE, KeyFile, KeyWrapping, WrapError, WrappedKey};
use countersign_azure::{Identity, WrappingAddress, WrappingKey};
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use crate::causes::in_one_line;
use crate::config::{AzureConfig, WrappingConfig};

/// How long after a failure nothing is asked: readers that need the key would each wait for it.
const PAUSE: Duration = Duration::from_secs(5);

/// What wraps the vault's key, if the settings name it.
pub(crate) fn vault_key_wrapping(azure: &AzureConfig) -> Option<Arc<dyn KeyWrapping>> {
    let settings = azure.vault_key_wrapping.clone()?;
    Some(Arc::new(AzureWrapping {
        settings,
        azure: azure.clone(),
        unwrapped: Mutex::default(),
    }))
}

/// The file with the vault's key in a data folder.
pub(crate) fn vault_key_file(folder: &Path, wrapping: Option<Arc<dyn KeyWrapping>>) -> KeyFile {
    KeyFile::from(folder.join(KEY_FILE)).wrapped_by(wrapping)
}

struct AzureWrapping {
    settings: WrappingConfig,
    azure: AzureConfig,
    unwrapped: Mutex<Unwrapped>,
}

/// What was unwrapped, and what just could not be.
#[derive(Default)]
struct Unwrapped {
    keys: HashMap<Vec<u8>, Zeroizing<[u8; 32]>>,
    failed: Option<(Instant, String)>,
}

impl AzureWrapping {
    fn unwrapped(&self) -> MutexGuard<'_, Unwrapped> {
        // Replaced piece by piece, each as a whole.
        self.unwrapped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the key do something. On a thread and a runtime of its own: the caller may be on a
    /// thread of either kind, and others' tasks do not wait for it.
    fn with_key<T: Send>(
        &self,
        work: impl AsyncFnOnce(WrappingKey) -> Result<T, WrapError> + Send,
    ) -> Result<T, WrapError> {
        let runtime = Handle::try_current().map(|handle| handle.runtime_flavor());
        match runtime {
            Ok(RuntimeFlavor::MultiThread) => {
                tokio::task::block_in_place(|| self.on_a_thread(work))
            }
            _ => self.on_a_thread(work),
        }
    }

    fn on_a_thread<T: Send>(
        &self,
        work: impl AsyncFnOnce(WrappingKey) -> Result<T, WrapError> + Send,
    ) -> Result<T, WrapError> {
        let ended = || WrapError::from("the thread that asks Key Vault has ended");
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let identity = Identity::new(&self.azure.identity);
                    let address = self.settings.key.clone();
                    let key = WrappingKey::new(&self.settings.vault, address, identity)?;
                    work(key).await
                })
            });
            asking.join().map_err(|_| ended())?
        })
    }
}

impl KeyWrapping for AzureWrapping {
    fn name(&self) -> String {
        self.settings.key.to_string()
    }

    fn has_wrapped(&self, by: &str) -> bool {
        by.parse::<WrappingAddress>()
            .is_ok_and(|by| by.is_key_of(&self.settings.key))
    }

    fn wrap(&self, key: &Zeroizing<[u8; 32]>) -> Result<WrappedKey, WrapError> {
        let (by, bytes) =
            self.with_key(async |wrapping: WrappingKey| Ok(wrapping.wrap(key).await?))?;
        self.unwrapped().keys.insert(bytes.clone(), key.clone());
        Ok(WrappedKey {
            by: by.to_string(),
            bytes,
        })
    }

    fn unwrap(&self, wrapped: &WrappedKey) -> Result<Zeroizing<[u8; 32]>, WrapError> {
        {
            let known = self.unwrapped();
            if let Some(key) = known.keys.get(&wrapped.bytes) {
                return Ok(key.clone());
            }
            if let Some((at, said)) = &known.failed
                && at.elapsed() < PAUSE
            {
                return Err(said.clone().into());
            }
        }
        let unwrapped = self.with_key(async |wrapping: WrappingKey| {
            let by: WrappingAddress = wrapped.by.parse()?;
            Ok(wrapping.unwrap(&by, &wrapped.bytes).await?)
        });
        let mut known = self.unwrapped();
        match unwrapped {
            Ok(key) => {
                known.failed = None;
                known.keys.insert(wrapped.bytes.clone(), key.clone());
                Ok(key)
            }
            Err(error) => {
                let said = in_one_line(&*error);
                known.failed = Some((Instant::now(), said.clone()));
                Err(said.into())
            }
        }
    }
}
