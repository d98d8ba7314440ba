//! Handlers by name and version.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The handlers of one kind. The version is empty where there is none; versions are
/// the same without regard to case, as in the official .NET SDK.
#[derive(Clone, Debug)]
pub(super) struct ByVersion<H> {
    names: BTreeMap<String, BTreeMap<String, H>>,
}

impl<H> Default for ByVersion<H> {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
        }
    }
}

impl<H> ByVersion<H> {
    /// Adds a handler, unless there is one.
    ///
    /// # Errors
    ///
    /// What there is already, in words.
    pub(super) fn add(&mut self, name: &str, version: &str, handler: H) -> Result<(), String> {
        let versions = self.names.entry(name.to_owned()).or_default();
        match versions.entry(version.to_lowercase()) {
            Entry::Occupied(_) if version.is_empty() => Err(format!("'{name}'")),
            Entry::Occupied(_) => Err(format!("'{name}' of version '{version}'")),
            Entry::Vacant(free) => {
                free.insert(handler);
                Ok(())
            }
        }
    }

    /// Adds all of `other`; yields what there was already, in words.
    pub(super) fn merge(&mut self, other: Self) -> Vec<String> {
        let mut taken = Vec::new();
        for (name, versions) in other.names {
            for (version, handler) in versions {
                taken.extend(self.add(&name, &version, handler).err());
            }
        }
        taken
    }

    /// The handler for `version` of `name`. One without a version serves all versions,
    /// as long as nothing is registered for one of them: what was written for a version
    /// must not be run by other code unawares.
    pub(super) fn find(&self, name: &str, version: &str) -> Option<&H> {
        let versions = self.names.get(name)?;
        match versions.get(&version.to_lowercase()) {
            Some(handler) => Some(handler),
            None if versions.keys().all(String::is_empty) => versions.get(""),
            None => None,
        }
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The versions of `name`, in lower case, sorted; empty if any is served.
    pub(super) fn versions(&self, name: &str) -> impl Iterator<Item = &str> {
        self.names
            .get(name)
            .filter(|versions| !versions.keys().all(String::is_empty))
            .into_iter()
            .flat_map(|versions| versions.keys().map(String::as_str))
    }

    /// The versions of `name` for a message: empty if there is none.
    pub(super) fn told(&self, name: &str) -> String {
        let versions: Vec<&str> = self.versions(name).collect();
        if versions.is_empty() {
            return String::new();
        }
        let versions = versions
            .iter()
            .map(|version| format!("'{version}'"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(" (there are the versions {versions})")
    }
}
