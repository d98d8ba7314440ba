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
