//! Members of a document's lists. Each is read on its own, so that one that is damaged takes no
//! other with it; what its reader does not know is looked at, and so is every text in it.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::further;
use super::item::Item;
use super::meaning::{self, Shown};
use super::{ImportEntry, display_name, joined_name};
use crate::problem::{ImportFormat, InputProblem};

/// A value of a document, which is wiped when it is dropped. Of a member that an object has
/// several times with different values, all are kept, as a list.
pub(super) struct Tree(Value);

impl Tree {
    pub(super) const fn value(&self) -> &Value {
        &self.0
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree(Value::String(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree(Value::String(text)))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut whole = Tree(Value::Array(Vec::new()));
        while let Some(mut tree) = list.next_element::<Tree>()? {
            if let Value::Array(values) = &mut whole.0 {
                values.push(tree.0.take());
            }
        }
        Ok(whole)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut whole = Tree(Value::Object(Map::new()));
        let mut several = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let mut tree = map.next_value::<Tree>()?;
            let Value::Object(object) = &mut whole.0 else {
                return Err(de::Error::custom("an object"));
            };
            let value = tree.0.take();
            match object.get_mut(&name) {
                None => {
                    object.insert(name, value);
                }
                // One list, so that the document gets no deeper.
                Some(Value::Array(values)) if several.contains(&name) => values.push(value),
                Some(first) if *first == value => {}
                Some(first) => {
                    *first = Value::Array(vec![first.take(), value]);
                    several.insert(name);
                }
            }
        }
        Ok(whole)
    }
}

/// The most members of an entry that its reader does not know.
const MAX_UNKNOWN: usize = 500;

/// A member of a list, or an object that is read on its own.
pub(super) struct Member<T> {
    read: Option<T>,
    unknown: Option<InputProblem>,
    tree: Tree,
}

impl<T> Member<T> {
    /// What was read; nothing if a part is missing or of another type.
    pub(super) const fn read(&self) -> Option<&T> {
        self.read.as_ref()
    }

    /// That something in it decides which codes come out, and is not known.
    pub(super) fn unknown(&self) -> Result<(), InputProblem> {
        self.unknown.clone().map_or(Ok(()), Err)
    }

    /// Whether it has a member of this name, whatever it holds.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tree
            .value()
            .get(name)
            .is_some_and(|value| !value.is_null())
    }

    /// That it was read, and nothing in it keeps its codes from being taken.
    pub(super) fn checked(&self, format: ImportFormat) -> Result<&T, InputProblem> {
        self.unknown()?;
        self.read().ok_or(InputProblem::EntryMalformed { format })
    }

    /// What it is called, as far as that can be seen.
    pub(super) fn shown(&self) -> Shown {
        Shown::of(self.tree.value())
    }

    /// That it could not be read, at its place counted from 1.
    fn refused(&self, number: usize, format: ImportFormat) -> ImportEntry {
        let problem = InputProblem::EntryMalformed { format };
        ImportEntry::refused(&self.name(number), problem)
    }

    /// What it is called, or its place in its list.
    fn name(&self, number: usize) -> String {
        match self.shown().name() {
            name if name.is_empty() => format!("entry {number}"),
            name => display_name(&name),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = Tree::deserialize(deserializer)?;
        let mut ignored = Vec::new();
        // The error's own text can quote the document.
        let mut read =
            serde_ignored::deserialize(tree.value(), |path| ignored.push(steps(&path))).ok();
        if ignored.len() > MAX_UNKNOWN {
            read = None;
            ignored.clear();
        }
        let unknown = ignored
            .iter()
            .find_map(|path| deciding(tree.value(), path, &ignored));
        Ok(Self {
            read,
            unknown,
            tree,
        })
    }
}

/// The names of members, and the positions in lists, that lead to a value.
fn steps(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut steps = steps(parent);
    steps.extend(step);
    steps
}

/// Why what a reader has passed over keeps an account from being read.
fn deciding(whole: &Value, path: &[String], ignored: &[Vec<String>]) -> Option<InputProblem> {
    let (name, around) = path.split_last()?;
    let inner = around.iter().try_fold(whole, |value, step| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    });
    let object = inner?.as_object()?;
    let unknown: Vec<&str> = ignored
        .iter()
        .filter_map(|path| path.split_last())
        .filter(|(_, parent)| *parent == around)
        .map(|(name, _)| name.as_str())
        .collect();
    meaning::deciding(name, object.get(name)?, meaning::known(object, &unknown))
}

/// The accounts of an authenticator's list: one in each member.
pub(super) fn accounts<T>(
    list: &[Member<T>],
    format: ImportFormat,
    read: impl Fn(&T) -> ImportEntry,
) -> Vec<ImportEntry> {
    let mut found = Vec::new();
    for (number, member) in (1..).zip(list) {
        let Some(kept) = member.read() else {
            found.push(member.refused(number, format));
            continue;
        };
        let mut entry = read(kept);
        if entry.name.is_empty() && entry.content.is_err() {
            entry.name = member.name(number);
        }
        let texts = further::beside(&entry, member.tree.value());
        let entries = with_further(
            (vec![entry], texts),
            Item::default(),
            member,
            member.unknown(),
        );
        found.extend(entries);
    }
    found
}

/// The accounts of a password manager's list: any number in each item. `check` says what keeps an
/// item's codes from being taken.
pub(super) fn items<T>(
    list: &[Member<T>],
    format: ImportFormat,
    read: impl Fn(&T) -> Vec<ImportEntry>,
    check: impl Fn(&Member<T>, &T) -> Result<(), InputProblem>,
) -> Vec<ImportEntry> {
    let mut found = Vec::new();
    for (number, member) in (1..).zip(list) {
        let Some(kept) = member.read() else {
            found.push(member.refused(number, format));
            continue;
        };
        let shown = member.shown();
        let item = Item {
            title: &shown.title,
            account_name: &shown.user,
            code: "",
        };
        let checked = check(member, kept);
        let mut texts = Vec::new();
        further::collect(member.tree.value(), &mut texts);
        found.extend(with_further((read(kept), texts), item, member, checked));
    }
    found
}

/// The accounts that a reader has found in a member, as far as nothing speaks against them, and
/// those that are elsewhere in it, in these texts.
fn with_further<T>(
    (own, texts): (Vec<ImportEntry>, Vec<&str>),
    item: Item<'_>,
    member: &Member<T>,
    checked: Result<(), InputProblem>,
) -> Vec<ImportEntry> {
    let is_binned = checked == unless_binned(true);
    let mut entries = checked_entries(own, item, texts, checked);
    if !is_binned {
        further::name_strays(&mut entries, &member.shown().name(), member.tree.value());
    }
    entries
}

/// As members of a list are read, of an entry in another kind of document, which has these texts.
pub(super) fn checked_entries<'t>(
    own: Vec<ImportEntry>,
    item: Item<'_>,
    texts: impl IntoIterator<Item = &'t str>,
    checked: Result<(), InputProblem>,
) -> Vec<ImportEntry> {
    let count = own.len();
    let mut entries = own;
    further::add_texts(&mut entries, item, texts);
    if let Err(problem) = checked {
        // What is not there cannot be refused, but what could be is named.
        if entries.is_empty() && matches!(problem, InputProblem::EntryMalformed { .. }) {
            let name = joined_name(item.title, item.account_name);
            return vec![ImportEntry::refused(&name, problem)];
        }
        // What is in the bin is there with all that is in it.
        let is_binned = problem == InputProblem::EntryInBin;
        let doubted = if is_binned { entries.len() } else { count };
        for entry in entries.iter_mut().take(doubted) {
            if is_binned || entry.content.is_ok() {
                entry.content = Err(problem.clone());
            }
        }
    }
    entries
}

/// That an item is in the bin of its app, if it is.
pub(super) const fn unless_binned(is_binned: bool) -> Result<(), InputProblem> {
    if is_binned {
        Err(InputProblem::EntryInBin)
    } else {
        Ok(())
    }
}
