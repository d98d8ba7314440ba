//! Sealing keys: the public halves that the worker has published, for the front door, and
//! the private halves, for the worker.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_activities::OpeningKeys;
use countersign_enrollment::sealed::{
    OpenKey, OpenKeyring, Scope, SealError, SealKeyring, Sealable, Sealed,
};
use zeroize::Zeroizing;

use super::follow::Replace;
use super::{KeyMaterialError, KeyStorage, SEAL, SEAL_PUBLIC, next};

/// The sealing keys that the worker has published last. Clones follow the same worker.
#[derive(Clone)]
pub(crate) struct SealingKeys {
    now: Arc<RwLock<Arc<SealKeyring>>>,
}

impl SealingKeys {
    pub(super) fn new(place: &KeyStorage, text: &str) -> Result<Self, KeyMaterialError> {
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

    /// Whether the worker can open what was sealed for the key with this id.
    pub(crate) fn opens(&self, id: &str) -> bool {
        self.ring().has(id)
    }

    /// The key that seals now, as text.
    pub(crate) fn to_text(&self) -> String {
        self.ring().first().to_text()
    }

    fn ring(&self) -> Arc<SealKeyring> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }
}

impl Replace for SealingKeys {
    async fn replace(&self, place: &KeyStorage, text: &str) -> Result<String, KeyMaterialError> {
        let ring = parse(place, text)?;
        let id = ring.first().id().to_owned();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(id)
    }
}

/// A worker's private halves, whose public halves it publishes.
#[derive(Clone)]
pub(crate) struct WorkerRing(OpeningKeys);

impl WorkerRing {
    /// The keys in `text`, whose public halves are published.
    pub(super) async fn open(place: &KeyStorage, text: &str) -> Result<Self, KeyMaterialError> {
        let ring = parse_private(place, text)?;
        let (id, public) = (ring.seal_key().id().to_owned(), ring.seal_keys().to_text());
        let keys = Self(OpeningKeys::new(ring));
        publish(place, &id, &public).await?;
        Ok(keys)
    }

    /// The keys, for opening.
    pub(crate) fn opening(&self) -> OpeningKeys {
        self.0.clone()
    }
}

impl Replace for WorkerRing {
    async fn replace(&self, place: &KeyStorage, text: &str) -> Result<String, KeyMaterialError> {
        let ring = parse_private(place, text)?;
        let (id, public) = (ring.seal_key().id().to_owned(), ring.seal_keys().to_text());
        // Before anything is sealed for the new one.
        self.0.replace(ring);
        publish(place, &id, &public).await?;
        Ok(id)
    }
}

/// Checks what a worker would refuse of its keys, and makes and publishes nothing.
pub(super) async fn would_open(place: &KeyStorage) -> Result<(), KeyMaterialError> {
    match (place.read(SEAL).await?, place.read(SEAL_PUBLIC).await?) {
        (Some(private), _) => parse_private(place, &private).map(drop),
        (None, Some(_)) => Err(KeyMaterialError::PrivateHalfMissing {
            private: place.of(SEAL),
            public: place.of(SEAL_PUBLIC),
        }),
        (None, None) => Ok(()),
    }
}

async fn publish(place: &KeyStorage, id: &str, public: &str) -> Result<(), KeyMaterialError> {
    if place.publish(SEAL_PUBLIC, public).await? {
        tracing::info!(key = id, "public half of the seal key published");
    }
    Ok(())
}

/// A rotation of the key that values are sealed with, in one place.
pub(crate) struct SealRotation<'a> {
    place: &'a KeyStorage,
    text: Zeroizing<String>,
    key: String,
    /// Whether it was begun earlier.
    pub(crate) resumed: bool,
}

impl<'a> SealRotation<'a> {
    /// Introduces another key, or goes on with one that was introduced. Workers on this place can
    /// open with it once they have read it, and nothing is sealed with it yet.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`]; [`KeyMaterialError::NoSealKey`] if no worker has made a first one.
    pub(crate) async fn begin(place: &'a KeyStorage) -> Result<Self, KeyMaterialError> {
        let missing = || KeyMaterialError::NoSealKey(place.of(SEAL));
        let text = place.read(SEAL).await?.ok_or_else(missing)?;
        let resumed = next::is_in(&text);
        let text = match resumed {
            true => text,
            false => {
                let key = OpenKey::generate().map_err(|_| KeyMaterialError::Random)?;
                let text = next::introduce(&text, &key.to_text());
                place.replace(SEAL, &text).await?;
                text
            }
        };
        let finished = next::first(&text).ok_or_else(missing)?;
        let ring = parse_private(place, &finished)?;
        Ok(Self {
            place,
            key: ring.seal_key().id().to_owned(),
            text: finished,
            resumed,
        })
    }

    /// The id of the key that is introduced.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Seals with the introduced key from now on; the others still open what was sealed for them.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) async fn finish(self) -> Result<(), KeyMaterialError> {
        self.place.replace(SEAL, &self.text).await
    }
}

fn parse_private(place: &KeyStorage, text: &str) -> Result<OpenKeyring, KeyMaterialError> {
    OpenKeyring::from_text(text).map_err(|source| KeyMaterialError::Seal {
        place: place.of(SEAL),
        source,
    })
}

fn parse(place: &KeyStorage, text: &str) -> Result<SealKeyring, KeyMaterialError> {
    SealKeyring::from_text(text).map_err(|source| KeyMaterialError::Seal {
        place: place.of(SEAL_PUBLIC),
        source,
    })
}
