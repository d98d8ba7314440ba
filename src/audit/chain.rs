//! How entries are chained, wherever they are kept: each hash covers the one before it, under a key
//! that is derived from the server's.
//!
//! When the server key is rotated, an entry under the key before names the next one, and the chain
//! continues under that. Whoever learns the key before can then neither continue the chain nor
//! change what came before that entry, whose hash the next key covers. A chain that ends under an
//! earlier key than the one in use lacks that entry, and with it everything after it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::entry::{Action, Event};
use super::error::{AuditError, Loss};
use super::head::Head;
use crate::access::secret;
use crate::access::{ServerKey, ServerKeys};

const LABEL: &[u8] = b"countersign audit v1";
/// What the entry is about that names another key.
pub(crate) const SERVER_KEY_SUBJECT: &str = "server-key";
/// Its field with the ids of both keys.
pub(crate) const KEY_FIELD: &str = "key";

/// Whether the server key with which an entry is chained is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Earlier,
    Current,
    Next,
}

/// A key that entries are chained with.
pub(super) struct ChainKey {
    /// The id of the server key that it is derived from.
    pub(super) id: Arc<str>,
    key: Zeroizing<[u8; 32]>,
    age: Age,
}

impl ChainKey {
    fn of(server: &ServerKey, age: Age) -> Self {
        Self {
            id: Arc::clone(&server.id),
            key: server.derive(LABEL),
            age,
        }
    }

    /// The hash of an entry after the one with the hash `before`.
    pub(super) fn link(&self, before: &[u8; 32], sequence: u64, event: &str) -> [u8; 32] {
        let number = sequence.to_be_bytes();
        secret::mac(&self.key, &[before, &number, event.as_bytes()])
    }

    /// Proves that this program archived the entries up to there, the next of which is chained
    /// with this key.
    pub(super) fn archived(&self, through: &Head) -> [u8; 32] {
        let number = through.sequence.to_be_bytes();
        secret::mac(&self.key, &[b"archived", &number, &through.hash])
    }
}

/// A place in the chain, and the id of the key that the entry after it is chained with; none
/// before the very first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) head: Head,
    pub(super) key: Option<Arc<str>>,
}

/// All keys that entries are or were chained with, as they are at one moment.
pub(super) struct ChainKeys {
    /// The hash before the first entry.
    beginning: [u8; 32],
    /// The id of the installation's first key.
    first: Arc<str>,
    /// The one in use.
    current: ChainKey,
    /// The one that a rotation introduces, and earlier ones.
    others: Vec<ChainKey>,
}

impl ChainKeys {
    pub(super) fn of(server: &ServerKeys) -> Self {
        let ring = server.ring();
        let next = ring.next.iter().map(|key| ChainKey::of(key, Age::Next));
        let earlier = ring.earlier.iter();
        let earlier = earlier.map(|(key, _)| ChainKey::of(key, Age::Earlier));
        Self {
            first: Arc::clone(&ring.derives.id),
            beginning: secret::mac(&ring.derives.derive(LABEL), &[b"beginning"]),
            current: ChainKey::of(&ring.current, Age::Current),
            others: next.chain(earlier).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &ChainKey> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// Where every chain of the installation begins.
    pub(super) fn beginning(&self) -> Position {
        Position {
            head: Head {
                sequence: 0,
                hash: self.beginning,
            },
            key: None,
        }
    }

    /// The id of the installation's first key, with which everything is chained until a rotation.
    pub(super) fn first(&self) -> Arc<str> {
        Arc::clone(&self.first)
    }

    /// The key that is in use.
    pub(super) const fn current(&self) -> &ChainKey {
        &self.current
    }

    /// The key with this id, with which the entry after `sequence` is chained.
    pub(super) fn find(&self, id: &str, sequence: u64) -> Result<&ChainKey, AuditError> {
        let found = self.all().find(|key| *key.id == *id);
        found.ok_or_else(|| AuditError::KeyMissing {
            sequence: sequence + 1,
            id: id.to_owned(),
        })
    }

    /// The key to append with at `at`.
    ///
    /// # Errors
    ///
    /// [`Loss::BeforeRotation`] when the chain ends before the key in use was introduced.
    pub(super) fn appending(&self, at: &Position) -> Result<&ChainKey, AuditError> {
        let sequence = at.head.sequence;
        let key = match &at.key {
            Some(id) => self.find(id, sequence)?,
            None => self.current(),
        };
        match key.age {
            Age::Earlier => Err(Loss::BeforeRotation { ends: sequence }.into()),
            Age::Current | Age::Next => Ok(key),
        }
    }

    /// Whether the chain at `at` continues with the key that a rotation introduces.
    pub(super) fn continues_with_next(&self, at: &Position) -> bool {
        let next = self.others.iter().find(|key| key.age == Age::Next);
        next.is_some_and(|next| at.key.as_deref() == Some(&*next.id))
    }

    /// Whether a chain that ends at `at` ends before the key in use was introduced.
    pub(super) fn lost_rotation(&self, at: &Position) -> Option<Loss> {
        match self.appending(at) {
            Err(AuditError::Incomplete(loss)) => Some(loss),
            _ => None,
        }
    }

    /// The place after `at`, if the entry that was read from there is the next in the chain.
    ///
    /// # Errors
    ///
    /// [`AuditError::KeyMissing`] when it is chained with a key that is not known.
    pub(super) fn follow(
        &self,
        at: &Position,
        event: &str,
        written: &[u8],
    ) -> Result<Option<Position>, AuditError> {
        let sequence = at.head.sequence + 1;
        let known = match &at.key {
            Some(id) => Some(self.find(id, at.head.sequence)?),
            None => None,
        };
        let candidates = self.all().filter(|key| match known {
            Some(known) => known.id == key.id,
            None => true,
        });
        for key in candidates {
            let hash = key.link(&at.head.hash, sequence, event);
            if secret::same(&hash, written) {
                let next = changed_key(event).unwrap_or_else(|| Arc::clone(&key.id));
                return Ok(Some(Position {
                    head: Head { sequence, hash },
                    key: Some(next),
                }));
            }
        }
        Ok(None)
    }

    /// Chains an event after `at`: its text, and the place where it then is.
    pub(super) fn append(
        &self,
        at: &Position,
        event: &Event,
    ) -> Result<(String, Position), AuditError> {
        let key = self.appending(at)?;
        self.append_with(key, at, event)
    }

    /// Chains an event that names the key in use after `at`, where an earlier one is.
    pub(super) fn bridge(
        &self,
        at: &Position,
        event: &Event,
    ) -> Result<(String, Position), AuditError> {
        let key = match &at.key {
            Some(id) => self.find(id, at.head.sequence)?,
            None => self.current(),
        };
        self.append_with(key, at, event)
    }

    fn append_with(
        &self,
        key: &ChainKey,
        at: &Position,
        event: &Event,
    ) -> Result<(String, Position), AuditError> {
        let sequence = at.head.sequence + 1;
        let text = serde_json::to_string(event).map_err(|_| AuditError::Unreadable { sequence })?;
        let hash = key.link(&at.head.hash, sequence, &text);
        let next = match names_key(event) {
            Some(id) => Arc::clone(&self.find(&id, sequence)?.id),
            None => Arc::clone(&key.id),
        };
        let position = Position {
            head: Head { sequence, hash },
            key: Some(next),
        };
        Ok((text, position))
    }

    /// The place after what was archived, if `code` proves that this program archived it.
    pub(super) fn after_archive(&self, through: Head, code: &[u8]) -> Option<Position> {
        let proves = |key: &&ChainKey| secret::same(code, &key.archived(&through));
        let key = Some(Arc::clone(&self.all().find(proves)?.id));
        Some(Position { head: through, key })
    }
}

/// The id of the key that the text of an entry names as the next one.
pub(super) fn changed_key(event: &str) -> Option<Arc<str>> {
    // Nearly every entry is another one.
    if !event.contains(SERVER_KEY_SUBJECT) {
        return None;
    }
    names_key(&serde_json::from_str(event).ok()?)
}

fn names_key(event: &Event) -> Option<Arc<str>> {
    let is_about = event
        .subject
        .as_ref()
        .is_some_and(|it| it.0 == SERVER_KEY_SUBJECT);
    // A worker's journal decides nothing about the chain.
    if event.action != Action::RotateSecret || !is_about || event.journal.is_some() {
        return None;
    }
    let change = event.changes.iter().find(|it| it.field == KEY_FIELD)?;
    change.to.as_deref().map(Arc::from)
}

/// A place in the log as databases keep it.
pub(super) fn place(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// The same, the other way round.
pub(super) fn unsigned(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or(0)
}
