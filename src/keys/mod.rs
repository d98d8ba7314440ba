//! The installation's keys: where they are kept, and which part of the program opens which.
//!
//! | Key | Front door | Worker |
//! | --- | --- | --- |
//! | seal key, private half | – | creates and reads |
//! | seal key, public half | reads | publishes |
//! | fingerprint key | reads | creates and reads |
//! | mandate key, private half | creates and reads | – |
//! | mandate keys, public halves | publishes | reads |
//! | server key | creates and reads | – |
//! | the data folder's id | creates and reads | – |
//!
//! A part neither reads nor creates the keys that it does not need, so that in Key Vault its
//! identity needs no role on them.

mod error;
mod follow;
mod installation;
mod mandate;
mod next;
mod place;
mod seal;
mod server;
mod shared;
mod webhook;
mod wrapping;

use std::time::Duration;

use countersign_enrollment::sealed::OpenKey;
use zeroize::Zeroizing;

use crate::access::ServerKeys;
use crate::access::secret::{self, RandomUnavailable};
use crate::data_dir::{DataDir, NotedFile};

pub use error::KeyMaterialError;
pub(crate) use follow::Followed;
pub(crate) use installation::{Installation, check_embedded, would_belong};
pub(crate) use mandate::{MandateChecks, MandateKeyFile, MandateKeys, State};
pub(crate) use place::KeyStorage;
pub(crate) use seal::{SealRotation, SealingKeys, WorkerRing};
pub(crate) use server::{ServerRotation, until_read};
pub(crate) use shared::{
    DOOR_FILES, Own, WORKER_FILES, add_mandate_key, note_keys, refuse_missing, refuse_other,
    would_agree,
};
pub(crate) use webhook::{WEBHOOK_SECRET, webhook_keys};
pub(crate) use wrapping::{vault_key_file, vault_key_wrapping};

/// How many rereading intervals are waited for, so that every process has read a key.
const LOOKS: u32 = 3;

/// A key's names: of its file in the data folder, and of its secret in Key Vault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) file: &'static str,
    secret: &'static str,
    /// Whether one process publishes it for others, which read its latest text.
    published: bool,
}

/// The private half of the key that values are sealed for: the worker's alone.
const SEAL: Name = Name {
    file: "seal.key",
    secret: "countersign-seal-key",
    published: false,
};
/// Its public half, which the worker publishes.
const SEAL_PUBLIC: Name = Name {
    file: "seal.pub",
    secret: "countersign-seal-key-public",
    published: true,
};
/// The key under which secrets get fingerprints. The worker creates it; both have it.
const FINGERPRINT: Name = Name {
    file: NotedFile::Fingerprint.name(),
    secret: "countersign-fingerprint-key",
    published: false,
};
/// The front door's own keys.
pub(crate) const SERVER: Name = Name {
    file: "server.key",
    secret: "countersign-server-key",
    published: false,
};

/// What a front door opens. It can seal, but cannot open anything sealed.
pub(crate) struct DoorKeys {
    /// What values are sealed with, now and after the worker has published another key.
    pub(crate) seal: Followed<SealingKeys>,
    /// What mandates are signed with, now and after the key was rotated.
    pub(crate) mandates: Followed<MandateKeys>,
    /// What mandates are checked with.
    pub(crate) checks: MandateChecks,
    /// The keys that sessions, ids and the like are derived from, now and after a rotation.
    pub(crate) server: Followed<ServerKeys>,
    /// The key under which secrets get fingerprints.
    pub(crate) fingerprint: Zeroizing<[u8; 32]>,
}

impl DoorKeys {
    /// Waits up to this long for the keys that a worker creates, and creates the front door's
    /// own. Creates nothing if it has waited without success.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`], which says what to do.
    pub(crate) async fn open(
        place: &KeyStorage,
        installation: Installation<'_>,
        patience: Duration,
    ) -> Result<Self, KeyMaterialError> {
        let (public, fingerprint) = tokio::try_join!(
            place.wait_for(SEAL_PUBLIC, patience),
            place.wait_for(FINGERPRINT, patience),
        )?;
        let seal = SealingKeys::new(place, &public)?;
        let check = async {
            match place {
                KeyStorage::KeyVault(vault) => vault.check(installation).await,
                KeyStorage::Folder(_) => Ok(()),
            }
        };
        let ((), (text, mandates), own) = tokio::try_join!(
            check,
            MandateKeys::open(place),
            place.read_or_make(SERVER, secret::random_hex)
        )?;
        let server = ServerKeys::new(server::parse(place, &own)?);
        Ok(Self {
            mandates: Followed::new(place.clone(), mandate::MANDATE, text, mandates),
            checks: MandateChecks::open(place).await?,
            seal: Followed::new(place.clone(), SEAL_PUBLIC, public, seal),
            fingerprint: place.bytes(FINGERPRINT, &fingerprint)?,
            server: Followed::new(place.clone(), SERVER, own, server),
        })
    }
}

impl DoorKeys {
    /// What the other processes on a shared database have to have too.
    pub(crate) fn own(&self) -> Own<'_> {
        Own {
            fingerprint: &self.fingerprint,
            server: Some(self.server.value()),
            mandate: Some(self.mandates.value().signing().first().id().to_owned()),
        }
    }
}

/// Checks what front door and worker would refuse of the keys in a data folder, and makes and
/// publishes nothing.
///
/// # Errors
///
/// [`KeyMaterialError`], which says what to do.
pub(crate) async fn would_open(data: &DataDir) -> Result<(), KeyMaterialError> {
    let place = &KeyStorage::Folder(data.clone());
    seal::would_open(place).await?;
    mandate::would_open(place).await?;
    if let Some(key) = place.read(FINGERPRINT).await? {
        place.bytes(FINGERPRINT, &key)?;
    }
    place.server_keys().await.map(drop)
}

/// What a worker opens.
pub(crate) struct WorkerKeys {
    /// What sealed values are opened with.
    pub(crate) ring: Followed<WorkerRing>,
    /// The key under which secrets get fingerprints.
    pub(crate) fingerprint: Zeroizing<[u8; 32]>,
    /// What mandates are checked with.
    pub(crate) checks: MandateChecks,
}

impl WorkerKeys {
    /// What the other processes on a shared database have to have too.
    pub(crate) fn own(&self) -> Own<'_> {
        Own {
            fingerprint: &self.fingerprint,
            server: None,
            mandate: None,
        }
    }

    /// Opens the worker's keys, creates missing ones, and publishes the public half of
    /// the seal key.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`], which says what to do.
    pub(crate) async fn open(place: &KeyStorage) -> Result<Self, KeyMaterialError> {
        let (ring, fingerprint, checks) = tokio::try_join!(
            Self::open_ring(place),
            place.random_key(FINGERPRINT),
            MandateChecks::open(place),
        )?;
        Ok(Self {
            ring,
            fingerprint,
            checks,
        })
    }

    async fn open_ring(place: &KeyStorage) -> Result<Followed<WorkerRing>, KeyMaterialError> {
        let text = match place.read(SEAL).await? {
            Some(text) => text,
            None => Self::make_ring(place).await?,
        };
        let ring = WorkerRing::open(place, &text).await?;
        Ok(Followed::new(place.clone(), SEAL, text, ring))
    }

    async fn make_ring(place: &KeyStorage) -> Result<Zeroizing<String>, KeyMaterialError> {
        // A new key must not hide that the old one is lost. Checked again after that, since
        // a worker that starts at the same time creates both, the private half first.
        if place.read(SEAL_PUBLIC).await?.is_some() && place.read(SEAL).await?.is_none() {
            return Err(KeyMaterialError::PrivateHalfMissing {
                private: place.of(SEAL),
                public: place.of(SEAL_PUBLIC),
            });
        }
        let make = || {
            let key = OpenKey::generate().map_err(|_| RandomUnavailable)?;
            Ok(key.to_text())
        };
        place.read_or_make(SEAL, make).await
    }
}

impl KeyStorage {
    /// A key of 32 random bytes, created if it does not exist.
    async fn random_key(&self, name: Name) -> Result<Zeroizing<[u8; 32]>, KeyMaterialError> {
        let text = self.read_or_make(name, secret::random_hex).await?;
        self.bytes(name, &text)
    }

    /// The keys that front doors share, if they were made.
    pub(crate) async fn server_keys(&self) -> Result<Option<ServerKeys>, KeyMaterialError> {
        let text = self.read(SERVER).await?;
        text.map(|text| server::parse(self, &text).map(ServerKeys::new))
            .transpose()
    }

    fn bytes(&self, name: Name, text: &str) -> Result<Zeroizing<[u8; 32]>, KeyMaterialError> {
        secret::key_from_hex(text).ok_or_else(|| KeyMaterialError::NotHexadecimal(self.of(name)))
    }
}
