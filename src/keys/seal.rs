//! What a front door seals values with: the public halves that the worker has published.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_enrollment::sealed::{Scope, SealError, SealKeyring, Sealable, Sealed};

use super::follow::Replace;
use super::{KeyMaterialError, Place, SEAL_PUBLIC};

/// The sealing keys that the worker has published last. Clones follow the same worker.
#[derive(Clone)]
pub(crate) struct SealingKeys {
    now: Arc<RwLock<Arc<SealKeyring>>>,
}

impl SealingKeys {
    pub(super) fn new(place: &Place, text: &str) -> Result<Self, KeyMaterialError> {
        let ring = Arc::new(parse(place, text)?);
        Ok(Self {
            now: Arc::new(RwLock::new(ring)),
        })
    }

    /// Closes an envelope around `value` that opens for `scope` only.
    ///
    /// # Errors
    ///
    /// As [`countersign_enrollment::sealed::SealKey::seal`].
    pub(crate) fn seal<T: Sealable>(
        &self,
        scope: &impl Scope,
        value: &T,
    ) -> Result<Sealed<T>, SealError> {
        self.ring().first().seal(scope, value)
    }

    /// Whether the worker can open what was closed for the key with this id.
    pub(crate) fn opens(&self, id: &str) -> bool {
        self.ring().has(id)
    }

    /// The key that closes envelopes now, as text.
    pub(crate) fn to_text(&self) -> String {
        self.ring().first().to_text()
    }

    fn ring(&self) -> Arc<SealKeyring> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }
}

impl Replace for SealingKeys {
    async fn replace(&self, place: &Place, text: &str) -> Result<String, KeyMaterialError> {
        let ring = parse(place, text)?;
        let id = ring.first().id().to_owned();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(id)
    }
}

fn parse(place: &Place, text: &str) -> Result<SealKeyring, KeyMaterialError> {
    SealKeyring::from_text(text).map_err(|source| KeyMaterialError::Seal {
        place: place.of(SEAL_PUBLIC),
        source,
    })
}
