//! Key pairs: the public half closes envelopes, the private half opens them.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, Serializable as _};
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// How long a key's id is: 8 bytes in hexadecimal.
pub(super) const KEY_ID_CHARS: usize = 16;
/// What the text of a private key begins with.
const OPEN_KEY_MARK: &str = "countersign-open-key-1";
/// What the text of a public key begins with.
const SEAL_KEY_MARK: &str = "countersign-seal-key-1";
/// How many keys a ring holds at most. Keys are rotated, not collected.
const MAX_KEYS: usize = 64;

/// Why a key cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
    /// A line is not the text of a key.
    #[error("line {line} is not a key that this release understands")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// There is no key.
    #[error("the key file contains no key")]
    Empty,
    /// There are too many keys.
    #[error("the key file contains more than {MAX_KEYS} keys; remove old ones from its end")]
    TooMany,
}

/// The public half of a key pair. Its holder can seal envelopes, and open none.
#[derive(Clone)]
pub struct SealKey {
    id: String,
    public: PublicKey,
}

impl SealKey {
    /// The key's id: the first 8 bytes of the SHA-256 of the public key, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key as one line of text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let key = BASE64URL_NOPAD.encode(&self.public.to_bytes());
        format!("{SEAL_KEY_MARK} {key}")
    }

    /// The key that [`SealKey::to_text`] gave this text for.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] for any other text.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed { line: 1 };
        let bytes = field(text, SEAL_KEY_MARK).ok_or(malformed)?;
        PublicKey::from_bytes(&bytes)
            .map(Self::new)
            .map_err(|_| malformed)
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    fn new(public: PublicKey) -> Self {
        let digest = Sha256::digest(public.to_bytes());
        let id: String = HEXLOWER
            .encode(&digest)
            .chars()
            .take(KEY_ID_CHARS)
            .collect();
        Self { id, public }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

/// A key pair. Its holder can open what was sealed for it. Wiped when dropped.
pub struct OpenKey {
    private: PrivateKey,
    seal: SealKey,
}

impl OpenKey {
    /// A new key pair.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when the system has no random numbers to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|_| KeyError::Random)?;
        let (private, _) = X25519HkdfSha256::gen_keypair_with_rng(&mut rng);
        Ok(Self::new(private))
    }

    /// The key's id, the same as that of [`OpenKey::seal_key`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.seal.id
    }

    /// The public half.
    #[must_use]
    pub fn seal_key(&self) -> &SealKey {
        &self.seal
    }

    /// The key pair as one line of text, for a file that only its owner can read.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64URL_NOPAD.encode(&*self.private_bytes()));
        // The exact capacity, so that no copy stays behind when the text grows.
        let mut text = Zeroizing::new(String::with_capacity(OPEN_KEY_MARK.len() + 1 + key.len()));
        text.push_str(OPEN_KEY_MARK);
        text.push(' ');
        text.push_str(&key);
        text
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// The private half as bytes, to derive other keys from.
    pub(super) fn private_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.private.write_exact(&mut *bytes);
        bytes
    }

    fn new(private: PrivateKey) -> Self {
        let seal = SealKey::new(X25519HkdfSha256::sk_to_pk(&private));
        Self { private, seal }
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenKey({})", self.seal.id)
    }
}

/// The key pairs of a worker: the first closes, every one opens what names it.
///
/// To rotate, put a new key first and keep the old ones for as long as enrollments
/// that were started with them may run.
#[derive(Debug)]
pub struct OpenKeyring {
    first: OpenKey,
    others: Vec<OpenKey>,
}

impl OpenKeyring {
    /// A ring of one key.
    #[must_use]
    pub fn new(key: OpenKey) -> Self {
        Self {
            first: key,
            others: Vec::new(),
        }
    }

    /// The ring that a key file holds: one key a line, the one that closes first; empty
    /// lines and lines that begin with `#` don't count.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] with the line that is not a key, [`KeyError::Empty`] without
    /// any, [`KeyError::TooMany`] with more than 64.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (number, line) in lines(text) {
            let malformed = KeyError::Malformed { line: number };
            let bytes = field(line, OPEN_KEY_MARK).ok_or(malformed)?;
            let private = PrivateKey::from_bytes(&bytes).map_err(|_| malformed)?;
            keys.push(OpenKey::new(private));
            if keys.len() > MAX_KEYS {
                return Err(KeyError::TooMany);
            }
        }
        let mut keys = keys.into_iter();
        Ok(Self {
            first: keys.next().ok_or(KeyError::Empty)?,
            others: keys.collect(),
        })
    }

    /// The same ring with `key` in front: from now on it closes.
    #[must_use]
    pub fn rotated(mut self, key: OpenKey) -> Self {
        let before = std::mem::replace(&mut self.first, key);
        self.others.insert(0, before);
        self
    }

    /// The key that closes envelopes now.
    #[must_use]
    pub fn seal_key(&self) -> &SealKey {
        self.first.seal_key()
    }

    pub(super) const fn first(&self) -> &OpenKey {
        &self.first
    }

    /// The public halves of all keys, in the same order.
    #[must_use]
    pub fn seal_keys(&self) -> SealKeyring {
        SealKeyring {
            first: self.first.seal.clone(),
            others: self.others.iter().map(|key| key.seal.clone()).collect(),
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&OpenKey> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id() == id)
    }
}

/// The public halves of a worker's key pairs, as it publishes them: the first closes
/// envelopes, and the worker opens what was sealed for any of them. Its holder can
/// open none.
#[derive(Clone, Debug)]
pub struct SealKeyring {
    first: SealKey,
    others: Vec<SealKey>,
}

impl SealKeyring {
    /// The ring that [`SealKeyring::to_text`] gave this text for: one key a line; empty lines
    /// and lines that begin with `#` don't count.
    ///
    /// # Errors
    ///
    /// As [`OpenKeyring::from_text`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (line, text) in lines(text) {
            let key = SealKey::from_text(text).map_err(|_| KeyError::Malformed { line })?;
            keys.push(key);
            if keys.len() > MAX_KEYS {
                return Err(KeyError::TooMany);
            }
        }
        let mut keys = keys.into_iter();
        Ok(Self {
            first: keys.next().ok_or(KeyError::Empty)?,
            others: keys.collect(),
        })
    }

    /// The keys, one a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines: Vec<String> = self.keys().map(SealKey::to_text).collect();
        lines.join("\n")
    }

    /// The key that closes envelopes now.
    #[must_use]
    pub fn first(&self) -> &SealKey {
        &self.first
    }

    /// Whether the worker can open what was closed for the key with this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.keys().any(|key| key.id() == id)
    }

    fn keys(&self) -> impl Iterator<Item = &SealKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The lines of a key file that count, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// Whether a text can be a key's id.
pub(super) fn is_key_id(text: &str) -> bool {
    text.len() == KEY_ID_CHARS
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The bytes after `mark` on a line.
fn field(line: &str, mark: &str) -> Option<Zeroizing<Vec<u8>>> {
    let encoded = line.trim().strip_prefix(mark)?.strip_prefix(' ')?;
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
    Some(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_publishes_closes_with_its_first_key_and_knows_all() {
        let (old, new) = (OpenKey::generate().unwrap(), OpenKey::generate().unwrap());
        let ids = [new.id().to_owned(), old.id().to_owned()];
        let ring = OpenKeyring::new(old).rotated(new);
        let text = format!("# published\n\n{}\n", ring.seal_keys().to_text());
        let published = SealKeyring::from_text(&text).unwrap();
        assert_eq!(published.first().id(), ids[0]);
        assert!(ids.iter().all(|id| published.has(id)));
        assert!(!published.has("0123456789abcdef"));

        // What a worker keeps to itself is not what it publishes.
        let private = OpenKey::generate().unwrap().to_text();
        let spoilt = format!("{text}{}", private.as_str());
        let malformed = SealKeyring::from_text(&spoilt).unwrap_err();
        assert_eq!(malformed, KeyError::Malformed { line: 5 });
        assert_eq!(SealKeyring::from_text("#").unwrap_err(), KeyError::Empty);
        let many = (ring.seal_key().to_text() + "\n").repeat(MAX_KEYS + 1);
        assert_eq!(
            SealKeyring::from_text(&many).unwrap_err(),
            KeyError::TooMany
        );
    }
}
