//! What the fake keeps and what it answers.

use std::collections::{BTreeMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Method;
use serde_json::{Value, json};

use super::keys::Keys;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Get,
    Set,
    Update,
    Delete,
    Versions,
    List,
    GetDeleted,
    ListDeleted,
    Recover,
    Purge,
    Wrap,
    Unwrap,
}

/// How many requests an unfinished change is answered as unfinished.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) deleting: u32,
    pub(crate) recovering: u32,
    pub(crate) purging: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) content_type: Value,
    pub(crate) tags: Value,
    pub(crate) enabled: bool,
    pub(crate) created: u64,
    pub(crate) updated: u64,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    versions: Vec<Version>,
    deleted_at: Option<u64>,
    /// Requests for which it is still in transition.
    deleting: u32,
    recovering: u32,
}

type Answer = Result<(u16, Value), (u16, &'static str, &'static str)>;

/// The secrets, and who may do what.
#[derive(Default)]
pub(crate) struct Vault {
    entries: BTreeMap<String, Entry>,
    pub(crate) keys: Keys,
    purging: BTreeMap<String, u32>,
    pub(crate) forbidden: HashSet<Op>,
    pub(crate) purge_protection: bool,
    pub(crate) delays: Delays,
    pub(crate) page: usize,
    /// The next token that is presented is not accepted.
    pub(crate) reject_once: bool,
    made: u64,
}

/// The operation, the name and the version that a path means.
pub(crate) fn route(method: &Method, path: &str) -> Option<(Op, String, Option<String>)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (op, name, version) = match (method.as_str(), parts.as_slice()) {
        ("GET", ["secrets"]) => (Op::List, "", None),
        ("GET", ["secrets", name]) => (Op::Get, *name, None),
        ("GET", ["secrets", name, "versions"]) => (Op::Versions, *name, None),
        ("GET", ["secrets", name, version]) => (Op::Get, *name, Some(*version)),
        ("PUT", ["secrets", name]) => (Op::Set, *name, None),
        ("PATCH", ["secrets", name]) => (Op::Update, *name, None),
        ("PATCH", ["secrets", name, version]) => (Op::Update, *name, Some(*version)),
        ("DELETE", ["secrets", name]) => (Op::Delete, *name, None),
        ("GET", ["deletedsecrets"]) => (Op::ListDeleted, "", None),
        ("GET", ["deletedsecrets", name]) => (Op::GetDeleted, *name, None),
        ("POST", ["deletedsecrets", name, "recover"]) => (Op::Recover, *name, None),
        ("DELETE", ["deletedsecrets", name]) => (Op::Purge, *name, None),
        ("POST", ["keys", name, "wrapkey"]) => (Op::Wrap, *name, None),
        ("POST", ["keys", name, version, "wrapkey"]) => (Op::Wrap, *name, Some(*version)),
        ("POST", ["keys", name, "unwrapkey"]) => (Op::Unwrap, *name, None),
        ("POST", ["keys", name, version, "unwrapkey"]) => (Op::Unwrap, *name, Some(*version)),
        _ => return None,
    };
    // Names compare without case.
    Some((op, name.to_ascii_lowercase(), version.map(str::to_owned)))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

const NOT_FOUND: (u16, &str, &str) = (404, "SecretNotFound", "");
const BAD: (u16, &str, &str) = (400, "BadParameter", "");

impl Vault {
    /// Puts a secret there as another program would.
    pub(crate) fn put(&mut self, name: &str, value: &str, tags: Value) {
        let version = self.version(value, json!("application/json"), tags, true);
        self.entries
            .entry(name.to_owned())
            .or_default()
            .versions
            .push(version);
    }

    /// Puts a version there under an id of one's own.
    pub(crate) fn put_as(&mut self, name: &str, id: &str, value: &str, tags: Value) {
        self.put(name, value, tags);
        let entry = self.entries.get_mut(name).expect("a secret");
        id.clone_into(&mut entry.versions.last_mut().expect("a version").id);
    }

    /// Every version of a secret, the oldest first.
    pub(crate) fn versions(&self, name: &str) -> Vec<Version> {
        self.entries
            .get(name)
            .map(|entry| entry.versions.clone())
            .unwrap_or_default()
    }

    /// Switches the latest version on or off.
    pub(crate) fn enable(&mut self, name: &str, enabled: bool) {
        let entry = self.entries.get_mut(name).expect("a secret");
        entry.versions.last_mut().expect("a version").enabled = enabled;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        self.entries
            .get(name)
            .is_some_and(|entry| entry.deleted_at.is_some())
    }

    fn version(&mut self, value: &str, content_type: Value, tags: Value, enabled: bool) -> Version {
        self.made += 1;
        let at = now();
        Version {
            id: format!("{:032x}", u128::from(self.made) * 0x9e37_79b9_7f4a_7c15),
            value: value.to_owned(),
            content_type,
            tags,
            enabled,
            created: at,
            updated: at,
        }
    }

    pub(crate) fn answer(
        &mut self,
        op: Op,
        name: &str,
        version: Option<&str>,
        query: &str,
        body: &[u8],
        base: &str,
    ) -> Answer {
        if self.forbidden.contains(&op) {
            return Err((403, "Forbidden", "ForbiddenByRbac"));
        }
        match op {
            Op::Get => self.get(name, version, base),
            Op::Set => self.set(name, body, base),
            Op::Update => self.update(name, version, body, base),
            Op::Delete => self.delete(name, base),
            Op::Versions => {
                if let Some(entry) = self.entries.get_mut(name).filter(|e| e.recovering > 0) {
                    entry.recovering -= 1;
                    return Err(NOT_FOUND);
                }
                let found = self.entries.get(name).filter(|e| e.in_use());
                let all: Vec<Value> = found
                    .map(|entry| {
                        entry
                            .versions
                            .iter()
                            .map(|v| v.item(name, base, true))
                            .collect()
                    })
                    .unwrap_or_default();
                Ok((
                    200,
                    self.paged(all, query, base, &format!("secrets/{name}/versions")),
                ))
            }
            Op::List => {
                let all: Vec<Value> = self
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.in_use())
                    .filter_map(|(name, entry)| {
                        Some(entry.versions.last()?.item(name, base, false))
                    })
                    .collect();
                Ok((200, self.paged(all, query, base, "secrets")))
            }
            Op::ListDeleted => {
                let all: Vec<Value> = self
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.deleted_at.is_some() && entry.deleting == 0)
                    .map(|(name, entry)| entry.deleted_item(name, base))
                    .collect();
                Ok((200, self.paged(all, query, base, "deletedsecrets")))
            }
            Op::GetDeleted => self.get_deleted(name, base),
            Op::Recover => self.recover(name, base),
            Op::Purge => self.purge(name),
            Op::Wrap | Op::Unwrap => self.keys.answer(op, name, version, body, base),
        }
    }

    fn paged(&self, all: Vec<Value>, query: &str, base: &str, path: &str) -> Value {
        let number = |key: &str| -> Option<usize> {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?
                .parse()
                .ok()
        };
        let size = number("maxresults").unwrap_or(25).min(25);
        let size = if self.page > 0 {
            size.min(self.page)
        } else {
            size
        };
        let from = number("skiptoken").unwrap_or(0);
        let next = from + size;
        let link = (next < all.len())
            .then(|| format!("{base}/{path}?api-version=2025-07-01&skiptoken={next}"));
        let value: Vec<Value> = all.into_iter().skip(from).take(size).collect();
        json!({"value": value, "nextLink": link})
    }

    fn get(&mut self, name: &str, version: Option<&str>, base: &str) -> Answer {
        let entry = self.entries.get_mut(name).ok_or(NOT_FOUND)?;
        if entry.recovering > 0 {
            entry.recovering -= 1;
            return Err(NOT_FOUND);
        }
        if !entry.in_use() {
            return Err(NOT_FOUND);
        }
        let found = match version {
            Some(id) => entry.versions.iter().find(|v| v.id == id),
            None => entry.versions.last(),
        };
        let found = found.ok_or(NOT_FOUND)?;
        if !found.enabled {
            return Err((403, "Forbidden", "SecretDisabled"));
        }
        let mut item = found.item(name, base, true);
        item["value"] = json!(found.value);
        Ok((200, item))
    }

    fn set(&mut self, name: &str, body: &[u8], base: &str) -> Answer {
        let fits = (1..=127).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let body: Value = serde_json::from_slice(body).map_err(|_| BAD)?;
        let value = body["value"].as_str().ok_or(BAD)?;
        let tags = body.get("tags").cloned().unwrap_or_else(|| json!({}));
        let too_large = value.len() > 25 * 1024
            || tags.as_object().is_none_or(|tags| {
                tags.len() > 15
                    || tags.iter().any(|(k, v)| {
                        k.len() > 256 || v.as_str().is_none_or(|v| v.chars().count() > 256)
                    })
            });
        if !fits || too_large {
            return Err(BAD);
        }
        if let Some(left) = self.purging.get_mut(name) {
            if *left > 0 {
                *left -= 1;
                return Err((409, "Conflict", "ObjectIsBeingDeleted"));
            }
            self.purging.remove(name);
        }
        if let Some(entry) = self.entries.get_mut(name) {
            if entry.recovering > 0 {
                entry.recovering -= 1;
                return Err((409, "Conflict", "ObjectIsBeingRecovered"));
            }
            if entry.deleting > 0 {
                entry.deleting -= 1;
                return Err((409, "Conflict", "ObjectIsBeingDeleted"));
            }
            if entry.deleted_at.is_some() {
                return Err((409, "Conflict", "ObjectIsDeletedButRecoverable"));
            }
        }
        let enabled = body["attributes"]["enabled"].as_bool().unwrap_or(true);
        let content_type = body["contentType"].clone();
        let version = self.version(value, content_type, tags, enabled);
        let mut item = version.item(name, base, true);
        item["value"] = json!(version.value);
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.versions.push(version);
        Ok((200, item))
    }

    fn update(&mut self, name: &str, version: Option<&str>, body: &[u8], base: &str) -> Answer {
        let body: Value = serde_json::from_slice(body).map_err(|_| BAD)?;
        let entry = self
            .entries
            .get_mut(name)
            .filter(|e| e.in_use())
            .ok_or(NOT_FOUND)?;
        let found = match version {
            Some(id) => entry.versions.iter_mut().find(|v| v.id == id),
            None => entry.versions.last_mut(),
        };
        let found = found.ok_or(NOT_FOUND)?;
        if body["tags"].is_object() {
            found.tags = body["tags"].clone();
        }
        found.updated = now();
        Ok((200, found.item(name, base, true)))
    }

    fn delete(&mut self, name: &str, base: &str) -> Answer {
        let deleting = self.delays.deleting;
        let entry = self
            .entries
            .get_mut(name)
            .filter(|e| e.in_use())
            .ok_or(NOT_FOUND)?;
        entry.deleted_at = Some(now());
        entry.deleting = deleting;
        Ok((200, entry.deleted_item(name, base)))
    }

    fn get_deleted(&mut self, name: &str, base: &str) -> Answer {
        let entry = self.entries.get_mut(name).ok_or(NOT_FOUND)?;
        if entry.deleting > 0 {
            entry.deleting -= 1;
            return Err(NOT_FOUND);
        }
        if entry.deleted_at.is_none() {
            return Err(NOT_FOUND);
        }
        Ok((200, entry.deleted_item(name, base)))
    }

    fn recover(&mut self, name: &str, base: &str) -> Answer {
        let recovering = self.delays.recovering;
        let entry = self.entries.get_mut(name).ok_or(NOT_FOUND)?;
        if entry.deleting > 0 {
            entry.deleting -= 1;
            return Err((409, "Conflict", "ObjectIsBeingDeleted"));
        }
        if entry.deleted_at.take().is_none() {
            return Err(NOT_FOUND);
        }
        entry.recovering = recovering;
        let item = entry
            .versions
            .last()
            .ok_or(NOT_FOUND)?
            .item(name, base, true);
        Ok((200, item))
    }

    fn purge(&mut self, name: &str) -> Answer {
        let deleted = self
            .entries
            .get(name)
            .is_some_and(|e| e.deleted_at.is_some());
        if !deleted {
            return Err(NOT_FOUND);
        }
        if self.purge_protection {
            return Err((403, "Forbidden", "ForbiddenByPolicy"));
        }
        self.entries.remove(name);
        self.purging.insert(name.to_owned(), self.delays.purging);
        Ok((204, Value::Null))
    }
}

impl Entry {
    fn in_use(&self) -> bool {
        self.deleted_at.is_none()
    }

    fn deleted_item(&self, name: &str, base: &str) -> Value {
        let mut item = match self.versions.last() {
            Some(version) => version.item(name, base, true),
            None => json!({}),
        };
        item["recoveryId"] = json!(format!("{base}/deletedsecrets/{name}"));
        item["deletedDate"] = json!(self.deleted_at);
        item["scheduledPurgeDate"] = json!(self.deleted_at.map(|at| at + 90 * 86_400));
        item
    }
}

impl Version {
    fn item(&self, name: &str, base: &str, with_version: bool) -> Value {
        let id = if with_version {
            format!("{base}/secrets/{name}/{}", self.id)
        } else {
            format!("{base}/secrets/{name}")
        };
        json!({
            "id": id,
            "contentType": self.content_type,
            "attributes": {
                "enabled": self.enabled,
                "created": self.created,
                "updated": self.updated,
                "recoveryLevel": "Recoverable+Purgeable",
                "recoverableDays": 90,
            },
            "tags": self.tags,
        })
    }
}
