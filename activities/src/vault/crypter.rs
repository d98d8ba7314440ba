//! Encryption of what the embedded vault keeps.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// XChaCha20-Poly1305 takes nonces long enough to be drawn at random.
pub(super) const NONCE_BYTES: usize = 24;

/// A key of 32 random bytes and its public id. Wiped when dropped.
pub(super) struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    pub(super) fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        // The label keeps the id from being a hash that something else uses.
        let digest = Sha256::new()
            .chain_update(b"countersign vault key id")
            .chain_update(*bytes)
            .finalize();
        let id = HEXLOWER.encode(&digest).chars().take(16).collect();
        Self { id, bytes }
    }

    /// Its public id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }

    /// An HMAC-SHA256 (RFC 2104), cut to 16 bytes: enough that no two contents share one.
    fn mark(&self, content: &[&[u8]]) -> Result<Vec<u8>, CrypterError> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*self.bytes)
            .map_err(|_| CrypterError::UnknownKey)?;
        for part in [&b"countersign vault content"[..]].iter().chain(content) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes()[..16].to_vec())
    }
}

/// The keys of a vault: the current one encrypts, every one decrypts what names it.
///
/// Another process may change the key while this one runs: the database says which key is the
/// current one, and a key that is not known is looked for in the key file once more.
pub(super) struct Crypter {
    /// The first is the one to keep marks by.
    keys: RwLock<Vec<Arc<MasterKey>>>,
    /// What reads further keys.
    source: Option<Source>,
}

/// What reads the keys once more; nothing where it cannot.
type Source = Box<dyn Fn() -> Option<Crypter> + Send + Sync>;

/// Something encrypted.
pub(super) struct Encrypted {
    /// The key's id.
    pub(super) key_id: String,
    /// [`NONCE_BYTES`] random bytes.
    pub(super) nonce: Vec<u8>,
    /// With the authentication tag.
    pub(super) ciphertext: Vec<u8>,
}

/// Why something was not encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrypterError {
    /// The key that it names is not here.
    UnknownKey,
    /// It was changed, moved, or encrypted with another key of the same id.
    DoesNotOpen,
    /// The system has no random numbers to give.
    Random,
    /// It is too large to be encrypted.
    TooLarge,
}

impl Crypter {
    /// A crypter with these keys; nothing without any.
    pub(super) fn new(keys: Vec<MasterKey>) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        Some(Self {
            keys: RwLock::new(keys.into_iter().map(Arc::new).collect()),
            source: None,
        })
    }

    /// The same, which lets `source` read the keys once more for one that it does not know.
    pub(super) fn following(
        mut self,
        source: impl Fn() -> Option<Self> + Send + Sync + 'static,
    ) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The id of the key that encrypts where nothing says which.
    pub(super) fn first_id(&self) -> Option<String> {
        self.keys().first().map(|key| key.id.clone())
    }

    /// Whether the key with this id is here.
    pub(super) fn has(&self, key_id: &str) -> bool {
        self.keys().iter().any(|key| key.id == key_id)
    }

    /// The ids of all keys, the first one first.
    pub(super) fn ids(&self) -> Vec<String> {
        self.keys().iter().map(|key| key.id.clone()).collect()
    }

    /// Encrypts `plaintext` for one place, which `place` names: it does not decrypt in
    /// another. With the key `current`, or the first one if that is not said.
    pub(super) fn encrypt(
        &self,
        current: Option<&str>,
        place: &str,
        plaintext: &[u8],
    ) -> Result<Encrypted, CrypterError> {
        let key = self.encrypting(current)?;
        let mut nonce = [0; NONCE_BYTES];
        SysRng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| CrypterError::Random)?;
        let ciphertext = key
            .cipher()
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: plaintext,
                    aad: place.as_bytes(),
                },
            )
            .map_err(|_| CrypterError::TooLarge)?;
        Ok(Encrypted {
            key_id: key.id.clone(),
            nonce: nonce.to_vec(),
            ciphertext,
        })
    }

    /// What tells some content from any other to those who hold a key, by each key. `current` is
    /// known by then.
    pub(super) fn marks(
        &self,
        current: Option<&str>,
        content: &[&[u8]],
    ) -> Result<Vec<Vec<u8>>, CrypterError> {
        if let Some(id) = current {
            self.find(id)?;
        }
        self.keys().iter().map(|key| key.mark(content)).collect()
    }

    /// What tells some content from any other, by the key `current`, or the first one if that is
    /// not said.
    pub(super) fn mark(
        &self,
        current: Option<&str>,
        content: &[&[u8]],
    ) -> Result<Vec<u8>, CrypterError> {
        self.encrypting(current)?.mark(content)
    }

    fn encrypting(&self, current: Option<&str>) -> Result<Arc<MasterKey>, CrypterError> {
        match current {
            Some(id) => self.find(id),
            None => self.keys().first().cloned().ok_or(CrypterError::UnknownKey),
        }
    }

    /// Decrypts what was encrypted for `place`.
    pub(super) fn decrypt(
        &self,
        place: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, CrypterError> {
        let key = self.find(&encrypted.key_id)?;
        let nonce: [u8; NONCE_BYTES] = encrypted
            .nonce
            .as_slice()
            .try_into()
            .map_err(|_| CrypterError::DoesNotOpen)?;
        key.cipher()
            .decrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &encrypted.ciphertext,
                    aad: place.as_bytes(),
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| CrypterError::DoesNotOpen)
    }

    /// The key with this id, out of the key file if it is new there.
    fn find(&self, key_id: &str) -> Result<Arc<MasterKey>, CrypterError> {
        let known = |keys: &[Arc<MasterKey>]| keys.iter().find(|key| key.id == key_id).cloned();
        if let Some(key) = known(&self.keys()) {
            return Ok(key);
        }
        let source = self.source.as_ref().ok_or(CrypterError::UnknownKey)?;
        let found = source().ok_or(CrypterError::UnknownKey)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut now = found
            .keys
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // Something that was read before may still need a key that has just been retired.
        let gone = keys
            .drain(..)
            .filter(|key| !now.iter().any(|it| it.id == key.id));
        let gone: Vec<_> = gone.collect();
        now.extend(gone);
        *keys = now;
        known(&keys).ok_or(CrypterError::UnknownKey)
    }

    fn keys(&self) -> RwLockReadGuard<'_, Vec<Arc<MasterKey>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypter(byte: u8) -> Crypter {
        Crypter::new(vec![MasterKey::new(Zeroizing::new([byte; 32]))]).unwrap()
    }

    #[test]
    fn what_was_encrypted_opens_in_its_place_and_with_its_key_only() {
        let (crypter, other) = (crypter(1), crypter(2));
        let mut encrypted = crypter.encrypt(None, "here", b"secret").unwrap();
        let opened = crypter.decrypt("here", &encrypted).unwrap();
        assert_eq!(opened.as_slice(), b"secret");

        let refused = |crypter: &Crypter, place: &str, encrypted: &Encrypted| {
            crypter.decrypt(place, encrypted).unwrap_err()
        };
        assert_eq!(
            refused(&crypter, "elsewhere", &encrypted),
            CrypterError::DoesNotOpen
        );
        assert_eq!(
            refused(&other, "here", &encrypted),
            CrypterError::UnknownKey
        );
        for at in 0..encrypted.ciphertext.len() {
            encrypted.ciphertext[at] ^= 1;
            assert_eq!(
                refused(&crypter, "here", &encrypted),
                CrypterError::DoesNotOpen
            );
            encrypted.ciphertext[at] ^= 1;
        }
        // Another key's row that names this one.
        let foreign = Encrypted {
            key_id: encrypted.key_id,
            ..other.encrypt(None, "here", b"secret").unwrap()
        };
        assert_eq!(
            refused(&crypter, "here", &foreign),
            CrypterError::DoesNotOpen
        );
    }
}
