//! The keys that mandates and decisions are signed and checked with: Ed25519 (RFC 8032).
//!
//! The front door holds [`SigningKeys`]; everyone else holds [`CheckingKeys`], which can
//! sign nothing. Each key is named by the first eight bytes of the SHA-256 of its public
//! half, and every signed text names its key, so keys can be rotated while work is in progress.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use countersign_enrollment::mandate::Digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::{DecodingKey, EncodingKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::mandate::Mandate;

/// The prefix of a signing key's text.
const SIGNING_MARK: &str = "countersign-mandate-key-1";
/// The prefix of a checking key's text.
const CHECKING_MARK: &str = "countersign-mandate-check-1";
/// Marks a retired checking key.
const RETIRED: &str = "retired ";
/// How many keys a file holds at most.
const MAX_KEYS: usize = 64;
/// How long a key's id is.
const KEY_ID_CHARS: usize = 16;

/// Why keys cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyProblem {
    /// A line is not the text of a key.
    #[error("line {line} is not a mandate key that this release understands")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// There is no active key.
    #[error("there is no active mandate key")]
    Empty,
    /// There are too many keys.
    #[error("there are more than {MAX_KEYS} mandate keys; remove retired ones from the end")]
    TooMany,
    /// The seed cannot be used as a key.
    #[error("the mandate key cannot be used")]
    Unusable,
}

/// A private key that mandates and decisions are signed with. Wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    id: String,
    pub(crate) encoding: EncodingKey,
}

impl SigningKey {
    /// The key with this seed of 32 random bytes (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`KeyProblem::Unusable`].
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyProblem> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyProblem::Unusable)?;
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyProblem::Unusable)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyProblem::Unusable)?;
        Ok(Self {
            seed,
            public,
            id: key_id(&public),
            encoding: EncodingKey::from_ed_der(document.as_ref()),
        })
    }

    /// The key's id: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key as one line of text, for a file that only its owner can read.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut encoded = BASE64URL_NOPAD.encode(&*self.seed);
        let text = Zeroizing::new(format!("{SIGNING_MARK} {encoded}"));
        encoded.zeroize();
        text
    }

    /// The line with which others check this key's signatures.
    #[must_use]
    pub fn to_checking_text(&self) -> String {
        format!("{CHECKING_MARK} {}", BASE64URL_NOPAD.encode(&self.public))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// The keys of a front door: the first one signs, the others have signed what may still be
/// in progress.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    first: SigningKey,
    others: Vec<SigningKey>,
}

impl SigningKeys {
    /// One key.
    #[must_use]
    pub const fn new(key: SigningKey) -> Self {
        Self {
            first: key,
            others: Vec::new(),
        }
    }

    /// The keys that a file holds: one key a line, the one that signs first; empty lines and
    /// lines that begin with `#` don't count.
    ///
    /// # Errors
    ///
    /// [`KeyProblem`], with the line that is not a key.
    pub fn from_text(text: &str) -> Result<Self, KeyProblem> {
        let mut keys = Vec::new();
        for (line, content) in lines(text) {
            let bytes = field(content, SIGNING_MARK).ok_or(KeyProblem::Malformed { line })?;
            keys.push(SigningKey::from_seed(bytes).map_err(|_| KeyProblem::Malformed { line })?);
            if keys.len() > MAX_KEYS {
                return Err(KeyProblem::TooMany);
            }
        }
        let mut keys = keys.into_iter();
        Ok(Self {
            first: keys.next().ok_or(KeyProblem::Empty)?,
            others: keys.collect(),
        })
    }

    /// The same keys with `key` in front: from now on it signs.
    #[must_use]
    pub fn rotated(mut self, key: SigningKey) -> Self {
        let before = std::mem::replace(&mut self.first, key);
        self.others.insert(0, before);
        self
    }

    /// All keys as text, one a line, the one that signs first.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity((1 + self.others.len()) * 80));
        for key in self.all() {
            text.push_str(&key.to_text());
            text.push('\n');
        }
        text
    }

    /// The key that signs.
    #[must_use]
    pub const fn first(&self) -> &SigningKey {
        &self.first
    }

    /// What checks the signatures of all of them, as text: one key a line.
    #[must_use]
    pub fn to_checking_text(&self) -> String {
        self.all()
            .map(|key| key.to_checking_text() + "\n")
            .collect()
    }

    /// What checks the signatures of all of them.
    #[must_use]
    pub fn checking(&self) -> CheckingKeys {
        CheckingKeys {
            keys: self
                .all()
                .map(|key| CheckingKey {
                    id: key.id.clone(),
                    public: key.public,
                    retired: false,
                })
                .collect(),
            seen: Seen::default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The public halves of the active keys and of the retired ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckingKeys {
    keys: Vec<CheckingKey>,
    pub(crate) seen: Seen,
}

/// The mandates whose signatures these very keys have been found to hold: checking one again
/// has the same result, and costs more than all the rest of a judgment. Bounded; other keys
/// have none of it.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<Digest, Mandate>>>);

/// How many mandates are remembered; the next one starts over.
const MAX_SEEN: usize = 1_024;

impl Seen {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Mandate> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).cloned()
    }

    pub(crate) fn keep(&self, digest: Digest, mandate: &Mandate) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        seen.insert(digest, mandate.clone());
    }
}

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        // What was seen is not part of the keys' value.
        true
    }
}

impl Eq for Seen {}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CheckingKey {
    id: String,
    public: [u8; 32],
    retired: bool,
}

/// The state of the key that a text names.
pub(crate) enum Known {
    InForce(DecodingKey),
    Retired,
    Unknown,
}

impl CheckingKeys {
    /// The keys that a text holds: one a line, `retired ` before a retired one;
    /// empty lines and lines that begin with `#` don't count.
    ///
    /// # Errors
    ///
    /// [`KeyProblem`], with the line that is not a key.
    pub fn from_text(text: &str) -> Result<Self, KeyProblem> {
        let mut keys: Vec<CheckingKey> = Vec::new();
        for (line, content) in lines(text) {
            let (retired, content) = match content.strip_prefix(RETIRED) {
                Some(rest) => (true, rest),
                None => (false, content),
            };
            let public = field(content, CHECKING_MARK).ok_or(KeyProblem::Malformed { line })?;
            keys.push(CheckingKey {
                id: key_id(&public),
                public: *public,
                retired,
            });
            if keys.len() > MAX_KEYS {
                return Err(KeyProblem::TooMany);
            }
        }
        if keys.iter().all(|key| key.retired) {
            return Err(KeyProblem::Empty);
        }
        Ok(Self {
            keys,
            seen: Seen::default(),
        })
    }

    /// The keys as text, one a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |key: &CheckingKey| {
            let mark = if key.retired { RETIRED } else { "" };
            let public = BASE64URL_NOPAD.encode(&key.public);
            format!("{mark}{CHECKING_MARK} {public}\n")
        };
        self.keys.iter().map(line).collect()
    }

    /// Each key's id, and whether it is retired.
    pub fn ids(&self) -> impl Iterator<Item = (&str, bool)> {
        self.keys.iter().map(|key| (key.id.as_str(), key.retired))
    }

    /// Whether there is a key with this id, retired or not.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The same keys with the one that has this id retired; none if there is none.
    #[must_use]
    pub fn retiring(mut self, id: &str) -> Option<Self> {
        let key = self.keys.iter_mut().find(|key| key.id == id)?;
        key.retired = true;
        // Mandates that it signed are no longer valid.
        self.seen = Seen::default();
        Some(self)
    }

    /// The keys of `newer` and, retired or not, those of `self` that it does not name.
    #[must_use]
    pub fn merged(self, newer: Self) -> Self {
        let mut keys = newer.keys;
        for key in self.keys {
            match keys.iter_mut().find(|known| known.id == key.id) {
                Some(known) => known.retired |= key.retired,
                None => keys.push(key),
            }
        }
        Self {
            keys,
            seen: Seen::default(),
        }
    }

    pub(crate) fn find(&self, id: &str) -> Known {
        match self.keys.iter().find(|key| key.id == id) {
            None => Known::Unknown,
            Some(key) if key.retired => Known::Retired,
            Some(key) => Known::InForce(DecodingKey::from_ed_der(&key.public)),
        }
    }
}

fn key_id(public: &[u8; 32]) -> String {
    let mut id = HEXLOWER.encode(&Sha256::digest(public));
    id.truncate(KEY_ID_CHARS);
    id
}

/// The lines that count, each with its number from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines().map(str::trim))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The 32 bytes after `mark` on a line.
fn field(line: &str, mark: &str) -> Option<Zeroizing<[u8; 32]>> {
    let encoded = line.strip_prefix(mark)?.strip_prefix(' ')?;
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([byte; 32])).unwrap()
    }

    #[test]
    fn keys_survive_conversion_to_text_and_back() {
        let keys = SigningKeys::new(key(1)).rotated(key(2));
        let read = SigningKeys::from_text(&format!("# two\n\n{}", *keys.to_text())).unwrap();
        assert_eq!(read.first().id(), key(2).id());
        let checking = CheckingKeys::from_text(&keys.to_checking_text()).unwrap();
        assert_eq!(checking, read.checking());
        let retired = checking.clone().retiring(key(1).id()).unwrap();
        assert_eq!(
            CheckingKeys::from_text(&retired.to_text()).unwrap(),
            retired
        );
        assert!(matches!(retired.find(key(1).id()), Known::Retired));
        assert!(matches!(retired.find(key(2).id()), Known::InForce(_)));
        assert!(matches!(retired.find(key(3).id()), Known::Unknown));
        // A retired key does not come back by being published again.
        assert_eq!(retired.clone().merged(checking), retired);
    }

    #[test]
    fn a_line_that_is_not_a_key_is_refused_by_number() {
        let text = format!("{}\nnonsense", *key(1).to_text());
        let malformed = KeyProblem::Malformed { line: 2 };
        assert_eq!(SigningKeys::from_text(&text).unwrap_err(), malformed);
        assert_eq!(SigningKeys::from_text("").unwrap_err(), KeyProblem::Empty);
        assert_eq!(CheckingKeys::from_text("#").unwrap_err(), KeyProblem::Empty);
        let private = key(1).to_text();
        assert!(CheckingKeys::from_text(&private).is_err());
    }
}
