//! The front doors' own keys, as a data folder or Key Vault keeps them, and their rotation.

use chrono::{DateTime, Utc};

use super::follow::{Followed, Replace};
use super::{KeyMaterialError, KeyStorage, SERVER};
use crate::access::{ServerKeys, ServerRing, secret};
use crate::data_dir::DataDir;

impl ServerKeys {
    /// The keys in a data folder, if they were made there.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) fn existing(data: &DataDir) -> Result<Option<Self>, KeyMaterialError> {
        let Some(text) = data.read_secret(SERVER.file)? else {
            return Ok(None);
        };
        parse(&KeyStorage::Folder(data.clone()), &text).map(|ring| Some(Self::new(ring)))
    }

    /// The keys in a data folder, with a first one if there is none.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) fn in_folder(data: &DataDir) -> Result<Self, KeyMaterialError> {
        Self::follow_folder(data).map(|followed| followed.value())
    }

    /// The same, to be followed.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) fn follow_folder(data: &DataDir) -> Result<Followed<Self>, KeyMaterialError> {
        let text = data.secret_file(SERVER.file, secret::random_hex)?;
        let place = KeyStorage::Folder(data.clone());
        let keys = Self::new(parse(&place, &text)?);
        Ok(Followed::new(place, SERVER, text, keys))
    }
}

impl Replace for ServerKeys {
    async fn replace(&self, place: &KeyStorage, text: &str) -> Result<String, KeyMaterialError> {
        let ring = parse(place, text)?;
        let used = self.ring();
        if **ring.derives.bytes() != **used.derives.bytes() {
            return Err(KeyMaterialError::OtherServerKey(place.of(SERVER)));
        }
        let id = ring.current.id.to_string();
        self.adopt(ring);
        Ok(id)
    }
}

pub(super) fn parse(place: &KeyStorage, text: &str) -> Result<ServerRing, KeyMaterialError> {
    ServerRing::parse(text).ok_or_else(|| KeyMaterialError::NotServerKeys(place.of(SERVER)))
}

/// A rotation of the keys in one place.
pub(crate) struct ServerRotation<'a> {
    place: &'a KeyStorage,
    ring: ServerRing,
    /// Whether it was begun earlier.
    pub(crate) resumed: bool,
}

impl<'a> ServerRotation<'a> {
    /// Introduces another key, or goes on with one that was introduced. From then on front doors
    /// on this place accept it, once they have read it.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`]; [`KeyMaterialError::NoServerKey`] if no front door has made a first one.
    pub(crate) async fn begin(place: &'a KeyStorage) -> Result<Self, KeyMaterialError> {
        let missing = || KeyMaterialError::NoServerKey(place.of(SERVER));
        let text = place.read(SERVER).await?.ok_or_else(missing)?;
        let mut ring = parse(place, &text)?;
        let resumed = ring.next.is_some();
        if !resumed {
            ring.begin().map_err(|_| KeyMaterialError::Random)?;
            place.replace(SERVER, &ring.to_text()).await?;
        }
        Ok(Self {
            place,
            ring,
            resumed,
        })
    }

    /// The id of the key that is introduced.
    pub(crate) fn key(&self) -> &str {
        let key = self.ring.next.as_ref().unwrap_or(&self.ring.current);
        &key.id
    }

    /// The id of the key in use.
    pub(crate) fn before(&self) -> &str {
        &self.ring.current.id
    }

    /// Makes the introduced key the one in use; sessions of the one before are valid `until` then.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) async fn finish(mut self, until: DateTime<Utc>) -> Result<(), KeyMaterialError> {
        self.ring.finish(until);
        self.place.replace(SERVER, &self.ring.to_text()).await
    }
}

/// Waits until every running front door has read what is in `place`.
pub(crate) async fn until_read(place: &KeyStorage) {
    tokio::time::sleep(place.pace() * super::LOOKS).await;
}

#[cfg(test)]
#[path = "../../azure/tests/fake/mod.rs"]
mod fake;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countersign_azure::{Identity, IdentitySettings, KeyVaultSettings, Selection};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::fake::{FakeKeyVault, Fault, Op};
    use super::*;
    use crate::config::AzureConfig;

    /// The vault for keys.
    fn place(fake: &FakeKeyVault, folder: &std::path::Path) -> KeyStorage {
        let azure = AzureConfig {
            key_vault: Some(KeyVaultSettings {
                emulator: true,
                ca_file: Some(fake.ca_file()),
                ..KeyVaultSettings::new(fake.url().parse().unwrap())
            }),
            ..AzureConfig::default()
        };
        let identity = Identity::new(&IdentitySettings {
            selection: Selection::Unsigned,
            ..IdentitySettings::default()
        });
        KeyStorage::new(&DataDir::at(folder), &azure, &identity).unwrap()
    }

    /// A front door that reads the keys there, as it does for as long as it runs.
    async fn front_door(place: &KeyStorage, stop: &CancellationToken) -> ServerKeys {
        let text = place.read_or_make(SERVER, secret::random_hex).await;
        let text = text.unwrap();
        let keys = ServerKeys::new(parse(place, &text).unwrap());
        let followed = Followed::new(place.clone(), SERVER, text, keys.clone());
        tokio::spawn(followed.until(stop.clone()));
        keys
    }

    #[tokio::test]
    async fn with_key_vault_every_front_door_knows_the_next_key_before_it_is_used() {
        let (fake, folder) = (FakeKeyVault::start().await, tempfile::tempdir().unwrap());
        let place = place(&fake, folder.path());
        let stop = CancellationToken::new();
        let first = front_door(&place, &stop).await;
        // From here on time passes as fast as there is nothing to do.
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(37)).await;
        let second = front_door(&place, &stop).await;
        let front_doors = [&first, &second];

        let rotation = ServerRotation::begin(&place).await.unwrap();
        let (key, before) = (rotation.key().to_owned(), rotation.before().to_owned());
        assert!(!rotation.resumed && key != before);
        // Each is refused an answer once, and reads a minute later.
        let away = Fault::Answer(403, "Forbidden", "ForbiddenByFirewall", None);
        fake.fail(Op::Versions, front_doors.len(), away);
        let begun = Instant::now();
        until_read(&place).await;
        assert_eq!(begun.elapsed().as_secs(), 180);
        for keys in front_doors {
            let ring = keys.ring();
            assert_eq!(ring.next.as_ref().map(|it| &*it.id), Some(key.as_str()));
            assert_eq!(*ring.current.id, *before, "it is not in use yet");
        }

        // Interrupted there, it goes on with the same key.
        drop(rotation);
        let rotation = ServerRotation::begin(&place).await.unwrap();
        assert!(rotation.resumed && rotation.key() == key);
        rotation.finish(Utc::now()).await.unwrap();
        tokio::time::sleep(place.pace() + Duration::from_secs(1)).await;
        for keys in front_doors {
            let ring = keys.ring();
            assert_eq!(*ring.current.id, *key);
            assert_eq!(*ring.derives.id, *before, "ids and pseudonyms stay");
            assert!(ring.next.is_none());
        }
        stop.cancel();
    }
}
