//! What was read of keys, grants and guarded accounts, kept until anyone changes them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::identity::{Group, Identity};

/// How many keys, and how many grants, are remembered at most.
const MOST: usize = 4_096;

/// A memory of what a database said, by the stamp that it had before it was asked
/// ([`DatabaseStamp`](countersign_activities::database_stamp::DatabaseStamp)).
#[derive(Default)]
pub(super) struct AccessCache {
    known: Mutex<KnownCallers>,
    hashes: RandomState,
}

#[derive(Default)]
struct KnownCallers {
    stamp: u64,
    /// By the hash of the key.
    callers: HashMap<[u8; 32], Recalled>,
    /// By the hash of caller and account.
    free: HashMap<u64, Free>,
    guarded: Option<Arc<BTreeSet<String>>>,
    /// By the caller.
    persons: HashMap<String, Arc<str>>,
}

struct Recalled {
    identity: Arc<Identity>,
    until: DateTime<Utc>,
}

/// An account that a caller may read as often as it likes.
struct Free {
    caller: String,
    /// Another token of the same caller may put it into others.
    groups: Vec<Group>,
    account: String,
    until: DateTime<Utc>,
}

impl AccessCache {
    /// What is known at `stamp`: nothing, if that is a new one.
    fn at(&self, stamp: u64) -> MutexGuard<'_, KnownCallers> {
        // Each change is one assignment, so a panic leaves nothing half done.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp < stamp {
            *known = KnownCallers {
                stamp,
                ..KnownCallers::default()
            };
        }
        known
    }

    /// Whose key has this hash, if that is known at `stamp` and holds at `now`.
    pub(super) fn caller(
        &self,
        stamp: u64,
        hash: &[u8; 32],
        now: DateTime<Utc>,
    ) -> Option<Arc<Identity>> {
        let known = self.at(stamp);
        let recalled = known.callers.get(hash)?;
        (now < recalled.until).then(|| Arc::clone(&recalled.identity))
    }

    /// Remembers until when the key with this hash is known to be someone's, as read
    /// after `stamp` was taken.
    pub(super) fn remember(
        &self,
        stamp: u64,
        hash: [u8; 32],
        identity: &Arc<Identity>,
        until: DateTime<Utc>,
    ) {
        let mut known = self.at(stamp);
        if known.stamp != stamp {
            return;
        }
        if known.callers.len() >= MOST {
            known.callers.clear();
        }
        let identity = Arc::clone(identity);
        known.callers.insert(hash, Recalled { identity, until });
    }

    /// Until when a caller may read an account as often as it likes, if that is known at
    /// `stamp` and holds at `now`.
    pub(super) fn unlimited_until(
        &self,
        stamp: u64,
        caller: &Identity,
        account: &str,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let hash = self.hashes.hash_one((&caller.id, account));
        let known = self.at(stamp);
        // Two may have one hash.
        let free = known.free.get(&hash)?;
        let holds = free.caller == caller.id
            && free.groups == caller.groups
            && free.account == account
            && now < free.until;
        holds.then_some(free.until)
    }

    /// Remembers until when a caller may do that, as read after `stamp` was taken.
    pub(super) fn remember_unlimited(
        &self,
        stamp: u64,
        caller: &Identity,
        account: &str,
        until: DateTime<Utc>,
    ) {
        let hash = self.hashes.hash_one((&caller.id, account));
        let mut known = self.at(stamp);
        if known.stamp != stamp {
            return;
        }
        if known.free.len() >= MOST {
            known.free.clear();
        }
        let free = Free {
            caller: caller.id.clone(),
            groups: caller.groups.clone(),
            account: account.to_owned(),
            until,
        };
        known.free.insert(hash, free);
    }

    /// The person behind a caller, if that is known at `stamp`.
    pub(super) fn person(&self, stamp: u64, caller: &str) -> Option<Arc<str>> {
        self.at(stamp).persons.get(caller).cloned()
    }

    /// Remembers the person behind a caller, as read after `stamp` was taken.
    pub(super) fn remember_person(&self, stamp: u64, caller: &str, person: &Arc<str>) {
        let mut known = self.at(stamp);
        if known.stamp != stamp {
            return;
        }
        if known.persons.len() >= MOST {
            known.persons.clear();
        }
        known.persons.insert(caller.to_owned(), Arc::clone(person));
    }

    /// The guarded accounts, if they are known at `stamp`.
    pub(super) fn guarded(&self, stamp: u64) -> Option<Arc<BTreeSet<String>>> {
        self.at(stamp).guarded.clone()
    }

    /// Remembers the guarded accounts, as read after `stamp` was taken.
    pub(super) fn remember_guarded(&self, stamp: u64, guarded: &Arc<BTreeSet<String>>) {
        let mut known = self.at(stamp);
        if known.stamp == stamp {
            known.guarded = Some(Arc::clone(guarded));
        }
    }
}
