//! The front doors' own keys: a current one, those that it has replaced, and the first one, from
//! which everything is derived that must stay the same.
//!
//! A key that was never rotated is one line of hexadecimal. After the first rotation each line
//! says what its key is for:
//!
//! ```text
//! derives HEX           names that must not change: ids for idempotency keys, pseudonyms
//! current HEX           chains the audit log, signs sessions, proves the server to commands
//! next    HEX           will be the current one: all front doors have to know it first
//! earlier HEX SECONDS   was the current one; its sessions are valid until this time
//! ```
//!
//! Earlier keys stay, to verify what they have chained.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::secret::{self, RandomUnavailable};

/// The words at the beginning of each line.
const DERIVES: &str = "derives";
const CURRENT: &str = "current";
const NEXT: &str = "next";
const EARLIER: &str = "earlier";
const ID_LABEL: &[u8] = b"countersign server key id v1";
/// How many bytes of a key's id are kept.
const ID_BYTES: usize = 6;

/// One of the keys.
#[derive(Clone)]
pub(crate) struct ServerKey {
    /// By which people, the audit log and the database name it. It does not reveal the key.
    pub(crate) id: Arc<str>,
    bytes: Zeroizing<[u8; 32]>,
}

impl ServerKey {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let id = &secret::mac(&bytes, &[ID_LABEL])[..ID_BYTES];
        Self {
            id: HEXLOWER.encode(id).into(),
            bytes,
        }
    }

    fn parse(hex: &str) -> Option<Self> {
        secret::key_from_hex(hex).map(Self::new)
    }

    /// A key for one purpose, derived from this one.
    pub(crate) fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(secret::mac(&self.bytes, &[label]))
    }

    /// The key itself.
    pub(crate) const fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.bytes
    }
}

/// All keys at one moment.
#[derive(Clone)]
pub(crate) struct ServerRing {
    /// The installation's first key, which never changes.
    pub(crate) derives: ServerKey,
    /// The one in use.
    pub(crate) current: ServerKey,
    /// The one that a rotation has begun to introduce.
    pub(crate) next: Option<ServerKey>,
    /// Those that were in use, and until when their sessions are valid.
    pub(crate) earlier: Vec<(ServerKey, DateTime<Utc>)>,
}

impl ServerRing {
    /// Reads the text of a file or secret; none if it is anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(only) = ServerKey::parse(text.trim()) {
            return Some(Self {
                derives: only.clone(),
                current: only,
                next: None,
                earlier: Vec::new(),
            });
        }
        let (mut derives, mut current, mut next) = (None, None, None);
        let mut earlier = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = match *words {
                [DERIVES, hex] => (&mut derives, hex),
                [CURRENT, hex] => (&mut current, hex),
                [NEXT, hex] => (&mut next, hex),
                [EARLIER, hex, until] => {
                    let until = DateTime::from_timestamp(until.parse().ok()?, 0)?;
                    earlier.push((ServerKey::parse(hex)?, until));
                    continue;
                }
                _ => return None,
            };
            if place.0.replace(ServerKey::parse(place.1)?).is_some() {
                return None;
            }
        }
        Some(Self {
            derives: derives?,
            current: current?,
            next,
            earlier,
        })
    }

    /// What [`ServerRing::parse`] reads.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        let mut line = |word: &str, key: &ServerKey, until: Option<&DateTime<Utc>>| {
            let hex = Zeroizing::new(HEXLOWER.encode(key.bytes.as_slice()));
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a string does not fail.
            let _ = write!(text, "{word} {}", hex.as_str());
            if let Some(until) = until {
                let _ = write!(text, " {}", until.timestamp());
            }
        };
        line(DERIVES, &self.derives, None);
        line(CURRENT, &self.current, None);
        if let Some(next) = &self.next {
            line(NEXT, next, None);
        }
        for (key, until) in &self.earlier {
            line(EARLIER, key, Some(until));
        }
        text
    }

    /// Those that count at `now`, the one in use first: what they have signed is valid.
    pub(crate) fn valid(&self, now: DateTime<Utc>) -> impl Iterator<Item = &ServerKey> {
        let earlier = self.earlier.iter().filter(move |(_, until)| *until > now);
        [&self.current]
            .into_iter()
            .chain(&self.next)
            .chain(earlier.map(|(key, _)| key))
    }

    /// Introduces another key, which counts from now on but is not in use yet.
    pub(crate) fn begin(&mut self) -> Result<&ServerKey, RandomUnavailable> {
        let bytes = secret::random_bytes::<32>()?;
        Ok(self.next.insert(ServerKey::new(bytes)))
    }

    /// Uses the introduced key, if there is one; sessions of all keys before it are valid `until`
    /// then at most.
    pub(crate) fn finish(&mut self, until: DateTime<Utc>) {
        if let Some(next) = self.next.take() {
            for (_, valid) in &mut self.earlier {
                *valid = (*valid).min(until);
            }
            let before = std::mem::replace(&mut self.current, next);
            self.earlier.insert(0, (before, until));
        }
    }
}

/// A front door's keys, which later ones replace. Clones follow the same file or secret.
#[derive(Clone)]
pub struct ServerKeys {
    now: Arc<RwLock<Arc<ServerRing>>>,
}

impl ServerKeys {
    pub(crate) fn new(ring: ServerRing) -> Self {
        Self {
            now: Arc::new(RwLock::new(Arc::new(ring))),
        }
    }

    /// The keys in the text of a file or secret; none if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ServerRing::parse(text).map(Self::new)
    }

    /// The id of the key in use.
    #[must_use]
    pub fn id(&self) -> String {
        self.ring().current.id.to_string()
    }

    /// Uses these keys from now on.
    pub(crate) fn adopt(&self, ring: ServerRing) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The keys as they are now.
    pub(crate) fn ring(&self) -> Arc<ServerRing> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }
}

impl From<&[u8; 32]> for ServerKeys {
    /// A key that was never rotated.
    fn from(only: &[u8; 32]) -> Self {
        let only = ServerKey::new(Zeroizing::new(*only));
        Self::new(ServerRing {
            derives: only.clone(),
            current: only,
            next: None,
            earlier: Vec::new(),
        })
    }
}

impl From<&Self> for ServerKeys {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_ring_is_read_as_it_is_written_and_the_first_key_stays() {
        let only = HEXLOWER.encode(&[7; 32]);
        let mut ring = ServerRing::parse(&format!("{only}\n")).unwrap();
        assert_eq!(ring.derives.id, ring.current.id);
        let first = ring.current.id.clone();
        let second = ring.begin().unwrap().id.clone();
        let read = ServerRing::parse(&ring.to_text()).unwrap();
        assert_eq!(read.to_text(), ring.to_text());
        assert_eq!(
            (&read.current.id, &read.next.unwrap().id),
            (&first, &second)
        );
        ring.finish(until(100));
        ring.begin().unwrap();
        ring.finish(until(200));
        let read = ServerRing::parse(&ring.to_text()).unwrap();
        assert_eq!(read.to_text(), ring.to_text());
        assert_eq!(read.derives.id, first);
        let valid = |now| read.valid(until(now)).count();
        assert_eq!((valid(99), valid(100), valid(200)), (3, 2, 1));
        // A shorter overlap is one for all of them.
        ring.begin().unwrap();
        ring.finish(until(50));
        assert_eq!(
            (ring.valid(until(49)).count(), ring.valid(until(50)).count()),
            (4, 1)
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let hex = HEXLOWER.encode(&[7; 32]);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("{hex}\n{hex}"),
            format!("derives {hex}"),
            format!("current {hex}"),
            format!("derives {hex}\ncurrent {hex}\ncurrent {hex}"),
            format!("derives {hex}\ncurrent {hex}\nearlier {hex}"),
            format!("derives {hex}\ncurrent {hex}\nearlier {hex} soon"),
            format!("derives {hex}\ncurrent {hex}\nretired {hex}"),
            format!("derives {hex}\ncurrent 00"),
        ] {
            assert!(ServerRing::parse(&text).is_none(), "{text}");
        }
    }
}
