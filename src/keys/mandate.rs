//! Mandate keys: the front door signs with the private half, and everyone checks with the
//! list of public halves that it publishes. None of them ever comes from the task hub.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use countersign_activities::CheckingKeySource;
use countersign_authority::{CheckingKeys, SigningKey, SigningKeys};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::follow::Replace;
use super::{KeyMaterialError, KeyStorage, Name, next};
use crate::access::secret::{self, RandomUnavailable};
use crate::data_dir::NotedFile;

/// The private half: the front door's alone.
pub(super) const MANDATE: Name = Name {
    file: NotedFile::Mandate.name(),
    secret: "countersign-mandate-key",
    published: false,
};
/// The public halves, with those that are retired, which the front door publishes.
pub(super) const MANDATE_PUBLIC: Name = Name {
    file: "mandate.pub",
    secret: "countersign-mandate-keys",
    published: true,
};
/// How often the list is read again, at most, for a key that is not on it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a front door signs mandates with. Clones sign with the same keys.
#[derive(Clone)]
pub(crate) struct MandateKeys {
    now: Arc<RwLock<Arc<SigningKeys>>>,
}

impl MandateKeys {
    /// Opens the private half, which is created if it does not exist, and publishes the public one.
    pub(super) async fn open(
        place: &KeyStorage,
    ) -> Result<(Zeroizing<String>, Self), KeyMaterialError> {
        let text = place
            .read_or_make(MANDATE, || {
                let key = new_key()?;
                Ok(key.to_text())
            })
            .await?;
        let keys = publish(place, &text).await?;
        let now = Arc::new(RwLock::new(Arc::new(keys)));
        Ok((text, Self { now }))
    }

    /// The keys that sign now.
    pub(crate) fn signing(&self) -> Arc<SigningKeys> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }
}

impl Replace for MandateKeys {
    async fn replace(&self, place: &KeyStorage, text: &str) -> Result<String, KeyMaterialError> {
        // Published before it signs, so that no one sees a key that is not on the list.
        let keys = publish(place, text).await?;
        let id = keys.first().id().to_owned();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(id)
    }
}

/// A new key. It fails only if there are no random numbers.
fn new_key() -> Result<SigningKey, RandomUnavailable> {
    let seed = secret::random_bytes::<32>()?;
    SigningKey::from_seed(seed).map_err(|_| RandomUnavailable)
}

/// The keys of a private half, once their public halves are on the list.
async fn publish(place: &KeyStorage, text: &str) -> Result<SigningKeys, KeyMaterialError> {
    let (keys, list) = listed(place, text).await?;
    place.publish(MANDATE_PUBLIC, list.to_text().trim()).await?;
    Ok(keys)
}

/// Checks what a front door would refuse of its keys, and makes and publishes nothing.
pub(super) async fn would_open(place: &KeyStorage) -> Result<(), KeyMaterialError> {
    match place.read(MANDATE).await? {
        Some(text) => listed(place, &text).await.map(drop),
        None => MandateChecks::open(place).await.map(drop),
    }
}

/// The keys of a private half, and the list with their public halves. What is retired stays
/// retired, and may not sign.
async fn listed(
    place: &KeyStorage,
    text: &str,
) -> Result<(SigningKeys, CheckingKeys), KeyMaterialError> {
    let problem = |name| {
        move |problem| KeyMaterialError::Mandate {
            place: place.of(name),
            problem,
        }
    };
    let keys = SigningKeys::from_text(text).map_err(problem(MANDATE))?;
    let list = match place.read(MANDATE_PUBLIC).await? {
        Some(list) => CheckingKeys::from_text(&list)
            .map_err(problem(MANDATE_PUBLIC))?
            .merged(keys.checking()),
        None => keys.checking(),
    };
    if is_retired(&list, keys.first().id()) {
        return Err(KeyMaterialError::SignsRetired {
            place: place.of(MANDATE),
            id: keys.first().id().to_owned(),
        });
    }
    Ok((keys, list))
}

/// The id of the key that signs, of the text of a private half.
pub(super) fn signing_id(place: &KeyStorage, text: &str) -> Result<String, KeyMaterialError> {
    let keys = SigningKeys::from_text(text).map_err(|problem| KeyMaterialError::Mandate {
        place: place.of(MANDATE),
        problem,
    })?;
    Ok(keys.first().id().to_owned())
}

fn is_retired(list: &CheckingKeys, id: &str) -> bool {
    list.ids().any(|(listed, retired)| retired && listed == id)
}

/// Checks mandates with the list that the front door has published last. Clones share it.
#[derive(Clone)]
pub(crate) struct MandateChecks {
    inner: Arc<Inner>,
}

struct Inner {
    place: KeyStorage,
    now: RwLock<Arc<CheckingKeys>>,
    /// When the list was last read for a key that is not on it.
    asked: Mutex<Option<Instant>>,
    again: Notify,
}

impl MandateChecks {
    /// Opens the list; an empty one if no front door has published any yet.
    pub(super) async fn open(place: &KeyStorage) -> Result<Self, KeyMaterialError> {
        let now = match place.read(MANDATE_PUBLIC).await? {
            Some(text) => parse(place, &text)?,
            None => CheckingKeys::default(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                place: place.clone(),
                now: RwLock::new(Arc::new(now)),
                asked: Mutex::new(None),
                again: Notify::new(),
            }),
        })
    }

    /// Reads the list again from time to time, and soon after a key was requested that is not
    /// on it, until asked to stop. A list that cannot be read or used leaves the one before it
    /// in force, and is logged once.
    pub(crate) async fn until(self, stop: CancellationToken) {
        let mut said = None;
        loop {
            let read_at = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.inner.place.pace()) => {}
                () = self.inner.again.notified() => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep_until(read_at + ASK_AGAIN) => {}
                    }
                }
            }
            let found = self.inner.place.read(MANDATE_PUBLIC).await;
            let used = found.and_then(|text| match text {
                Some(text) => self.inner.take(&text),
                // No front door has started yet, or the list was removed: nothing new is known.
                None => Ok(()),
            });
            match used {
                Ok(()) => said = None,
                Err(error) => {
                    let problem = error.to_string();
                    if said.as_ref() != Some(&problem) {
                        tracing::warn!(problem, "keeping the previous mandate keys");
                    }
                    said = Some(problem);
                }
            }
        }
    }
}

impl Inner {
    fn list(&self) -> Arc<CheckingKeys> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, text: &str) -> Result<(), KeyMaterialError> {
        let list = parse(&self.place, text)?;
        if *self.list() != list {
            let keys = list.ids().count();
            tracing::debug!(
                place = self.place.of(MANDATE_PUBLIC),
                keys,
                "mandate keys read"
            );
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        }
        Ok(())
    }

    /// Whether it is time to read the list for a key that is not on it.
    fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if asked.is_some_and(|at| now < at + ASK_AGAIN) {
            return false;
        }
        *asked = Some(now);
        true
    }
}

impl CheckingKeySource for MandateChecks {
    fn keys(&self, claimed: Option<&str>) -> Arc<CheckingKeys> {
        let list = self.inner.list();
        if claimed.is_none_or(|id| list.knows(id)) || !self.inner.may_ask() {
            return list;
        }
        match &self.inner.place {
            // A small file, once a second at most: not worth another thread.
            KeyStorage::Folder(data) => {
                let read = data.read_secret(MANDATE_PUBLIC.file);
                let used = match read {
                    Ok(Some(text)) => self.inner.take(&text),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = used {
                    tracing::warn!(%error, "keeping the previous mandate keys");
                }
            }
            KeyStorage::KeyVault(_) => self.inner.again.notify_one(),
        }
        self.inner.list()
    }
}

fn parse(place: &KeyStorage, text: &str) -> Result<CheckingKeys, KeyMaterialError> {
    CheckingKeys::from_text(text).map_err(|problem| KeyMaterialError::Mandate {
        place: place.of(MANDATE_PUBLIC),
        problem,
    })
}

/// A mandate key as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedKey {
    pub(crate) id: String,
    pub(crate) state: State,
}

/// The state of a mandate key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// New mandates are signed with it.
    Signs,
    /// Mandates that it has signed are valid.
    Counts,
    /// Nothing that it has signed is valid.
    Retired,
}

/// A key that a rotation introduces.
#[derive(Clone, Debug)]
pub(crate) struct Rotated {
    pub(crate) id: String,
    /// Whether that was done earlier.
    pub(crate) resumed: bool,
}

/// The mandate keys for operators' commands, beside a front door that may be running.
pub(crate) struct MandateKeyFile {
    place: KeyStorage,
    /// The private halves as they were read.
    text: Zeroizing<String>,
    signing: SigningKeys,
    list: CheckingKeys,
}

impl MandateKeyFile {
    /// Reads both halves.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError::NoMandateKey`] where no front door has started yet.
    pub(crate) async fn open(place: KeyStorage) -> Result<Self, KeyMaterialError> {
        let missing = |name| KeyMaterialError::NoMandateKey(place.of(name));
        let text = place.read(MANDATE).await?.ok_or_else(|| missing(MANDATE))?;
        let signing =
            SigningKeys::from_text(&text).map_err(|problem| KeyMaterialError::Mandate {
                place: place.of(MANDATE),
                problem,
            })?;
        let public = place.read(MANDATE_PUBLIC).await?;
        let public = public.ok_or_else(|| missing(MANDATE_PUBLIC))?;
        let list = parse(&place, &public)?.merged(signing.checking());
        Ok(Self {
            place,
            text,
            signing,
            list,
        })
    }

    /// Whether the machines of an installation have copies of it.
    pub(crate) const fn has_copies(&self) -> bool {
        matches!(self.place, KeyStorage::Folder(_))
    }

    /// All keys that are on the list.
    pub(crate) fn list(&self) -> Vec<ListedKey> {
        let signs = self.signing.first().id();
        let state = |id: &str, retired| match retired {
            true => State::Retired,
            false if id == signs => State::Signs,
            false => State::Counts,
        };
        self.list
            .ids()
            .map(|(id, retired)| ListedKey {
                id: id.to_owned(),
                state: state(id, retired),
            })
            .collect()
    }

    /// Creates a new key that signs from now on, or lets one that was introduced sign. What the
    /// previous one has signed is valid until it is retired; its private half is deleted.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) async fn rotate(self) -> Result<String, KeyMaterialError> {
        let key = match self.next()? {
            Some(introduced) => introduced,
            None => new_key().map_err(|_| KeyMaterialError::Random)?,
        };
        let signing = SigningKeys::new(key);
        self.list_also(&signing).await?;
        let private = trimmed(&signing.to_text());
        self.place.replace(MANDATE, &private).await?;
        Ok(signing.first().id().to_owned())
    }

    /// Introduces a new key, which everyone checks with and nobody signs with yet, unless one is
    /// introduced already.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) async fn introduce(self) -> Result<Rotated, KeyMaterialError> {
        if let Some(introduced) = self.next()? {
            let id = introduced.id().to_owned();
            return Ok(Rotated { id, resumed: true });
        }
        let key = new_key().map_err(|_| KeyMaterialError::Random)?;
        let id = key.id().to_owned();
        let own = self.signing.to_text();
        let private = next::introduce(&own, &key.to_text());
        self.list_also(&SigningKeys::new(key)).await?;
        self.place.replace(MANDATE, &private).await?;
        Ok(Rotated { id, resumed: false })
    }

    /// The key that is introduced.
    fn next(&self) -> Result<Option<SigningKey>, KeyMaterialError> {
        let Some(text) = next::key(&self.text) else {
            return Ok(None);
        };
        let keys = SigningKeys::from_text(text).map_err(|problem| KeyMaterialError::Mandate {
            place: self.place.of(MANDATE),
            problem,
        })?;
        Ok(Some(keys.first().clone()))
    }

    /// Publishes the public halves of these keys too, so that no one sees a key that is not on the
    /// list.
    async fn list_also(&self, signing: &SigningKeys) -> Result<(), KeyMaterialError> {
        let list = self.list.clone().merged(signing.checking()).to_text();
        // Checked as its readers check it.
        parse(&self.place, &list)?;
        self.place.publish(MANDATE_PUBLIC, list.trim()).await?;
        Ok(())
    }

    /// Retires a key: nothing that it has signed is valid any more.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError::SignsStill`] for the key that signs or is introduced,
    /// [`KeyMaterialError::NoSuchMandateKey`] for one that is not on the list.
    pub(crate) async fn retire(self, id: &str) -> Result<(), KeyMaterialError> {
        let next = self.next()?;
        if self.signing.first().id() == id || next.is_some_and(|key| key.id() == id) {
            return Err(KeyMaterialError::SignsStill(id.to_owned()));
        }
        let list = self.list.retiring(id);
        let list = list.ok_or_else(|| KeyMaterialError::NoSuchMandateKey(id.to_owned()))?;
        self.place
            .publish(MANDATE_PUBLIC, list.to_text().trim())
            .await?;
        Ok(())
    }
}

fn trimmed(text: &Zeroizing<String>) -> Zeroizing<String> {
    Zeroizing::new(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    /// A folder, and what checks mandates by what is in it.
    async fn checks() -> (tempfile::TempDir, KeyStorage, MandateChecks) {
        let folder = tempfile::tempdir().unwrap();
        let place = KeyStorage::Folder(DataDir::create(folder.path()).unwrap());
        let checks = MandateChecks::open(&place).await.unwrap();
        (folder, place, checks)
    }

    /// Opens the keys as a front door does, and returns the id of the one that signs.
    async fn front_door(place: &KeyStorage) -> String {
        let (_, keys) = MandateKeys::open(place).await.unwrap();
        keys.signing().first().id().to_owned()
    }

    async fn rotate(place: &KeyStorage) -> String {
        let file = MandateKeyFile::open(place.clone()).await.unwrap();
        file.rotate().await.unwrap()
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_is_looked_for_at_once_and_once_a_second_at_most() {
        let (folder, place, checks) = checks().await;
        let first = front_door(&place).await;
        assert!(checks.keys(Some(&first)).knows(&first));

        // Within the same second it is not read again.
        let second = rotate(&place).await;
        assert!(!checks.keys(Some(&second)).knows(&second));
        *checks.inner.asked.lock().unwrap() = Instant::now().checked_sub(ASK_AGAIN);
        assert!(checks.keys(Some(&second)).knows(&second));
        drop(folder);
    }

    #[tokio::test]
    async fn an_unusable_key_list_leaves_the_previous_one_in_use() {
        let (folder, place, checks) = checks().await;
        let id = front_door(&place).await;
        assert!(checks.keys(Some(&id)).knows(&id));
        for spoilt in ["nonsense", ""] {
            std::fs::write(folder.path().join(MANDATE_PUBLIC.file), spoilt).unwrap();
            *checks.inner.asked.lock().unwrap() = None;
            assert!(checks.keys(Some("another")).knows(&id), "{spoilt}");
        }
    }

    #[tokio::test]
    async fn what_is_retired_stays_retired_and_does_not_sign() {
        let (_folder, place, _) = checks().await;
        let first = front_door(&place).await;
        let file = MandateKeyFile::open(place.clone()).await.unwrap();
        let refused = file.retire(&first).await.unwrap_err();
        assert!(matches!(refused, KeyMaterialError::SignsStill(_)));
        let before = place.read(MANDATE).await.unwrap().unwrap();

        let second = rotate(&place).await;
        let file = MandateKeyFile::open(place.clone()).await.unwrap();
        file.retire(&first).await.unwrap();
        let listed = |id: &str, state| ListedKey {
            id: id.to_owned(),
            state,
        };
        let expected = [
            listed(&second, State::Signs),
            listed(&first, State::Retired),
        ];
        let file = MandateKeyFile::open(place.clone()).await.unwrap();
        assert_eq!(file.list(), expected);
        // A starting front door publishes its keys, and revives none.
        assert_eq!(front_door(&place).await, second);
        let file = MandateKeyFile::open(place.clone()).await.unwrap();
        assert_eq!(file.list(), expected);
        let unknown = file.retire("0123456789abcdef").await.unwrap_err();
        assert!(matches!(unknown, KeyMaterialError::NoSuchMandateKey(_)));

        // Nor does a restored old private half.
        place.replace(MANDATE, &before).await.unwrap();
        let refused = MandateKeys::open(&place).await.err().unwrap();
        assert!(matches!(refused, KeyMaterialError::SignsRetired { .. }));
    }

    #[tokio::test]
    async fn a_running_front_door_publishes_a_key_before_it_signs_with_it() {
        let (_folder, place, checks) = checks().await;
        let (_, keys) = MandateKeys::open(&place).await.unwrap();
        let key = new_key().unwrap();
        keys.replace(&place, &key.to_text()).await.unwrap();
        assert_eq!(keys.signing().first().id(), key.id());
        assert!(checks.keys(Some(key.id())).knows(key.id()));

        assert!(keys.replace(&place, "nonsense").await.is_err());
        assert_eq!(keys.signing().first().id(), key.id());
    }

    #[tokio::test]
    async fn a_damaged_list_is_not_overwritten() {
        let (folder, place, _) = checks().await;
        front_door(&place).await;
        let file = folder.path().join(MANDATE_PUBLIC.file);
        std::fs::write(&file, "nonsense").unwrap();
        assert!(MandateKeys::open(&place).await.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "nonsense");
    }
}
