//! What can be seen of a document without reading it: enough to tell who wrote it, and also whether
//! one that is damaged is an export at all.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The names in a document.
#[derive(Default)]
pub(super) struct Outline {
    /// The names of its members, in lower case; empty for what is not an object.
    pub(super) names: BTreeSet<String>,
    /// Of each member that is a list or an object: the names in its first object.
    pub(super) inside: Vec<(String, BTreeSet<String>)>,
}

impl Outline {
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.names.contains(*name))
    }

    /// Whether the first object in a member has one of these names.
    pub(super) fn has_inside(&self, member: &str, names: &[&str]) -> bool {
        let inside = self.inside.iter().find(|(name, _)| name == member);
        inside.is_some_and(|(_, found)| names.iter().any(|name| found.contains(*name)))
    }
}

/// One object's names, or those of a list's first object.
#[derive(Default)]
struct Names {
    names: BTreeSet<String>,
    inside: Vec<(String, BTreeSet<String>)>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seen = deserializer.deserialize_any(Look { depth: 2 })?;
        Ok(Self {
            names: seen.names,
            inside: seen.inside,
        })
    }
}

struct Look {
    depth: u8,
}

impl<'de> serde::de::DeserializeSeed<'de> for Look {
    type Value = Names;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Names, D::Error> {
        if self.depth == 0 {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Names::default());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look {
    type Value = Names;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut seen = Names::default();
        while let Some(name) = map.next_key::<String>()? {
            let name = name.to_lowercase();
            let inside = map.next_value_seed(Look {
                depth: self.depth - 1,
            })?;
            seen.names.insert(name.clone());
            seen.inside.push((name, inside.names));
        }
        Ok(seen)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let first = list.next_element_seed(Look { depth: self.depth })?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.unwrap_or_default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_unit<E>(self) -> Result<Names, E> {
        Ok(Names::default())
    }
}

/// What a damaged document seems to be.
pub(super) struct Sketch {
    pub(super) outline: Outline,
    pub(super) is_list: bool,
    /// Whether its first name is not in double quotes, as Python and JavaScript write it.
    pub(super) is_code: bool,
}

/// The most names of a damaged document that are looked at.
const MAX_NAMES: usize = 10_000;

/// Looks for names in a text that begins like a document and is none; nothing if it has no names.
pub(super) fn sketch(text: &str) -> Option<Sketch> {
    let mut seen = Sketcher::default();
    let mut rest = text;
    let is_list = text.starts_with('[');
    let mut count = 0;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' | '[' => seen.open(c == '['),
            '}' | ']' => seen.close(),
            '"' | '\'' => {
                let (inside, after) = quoted(&rest[1..], c);
                if after.trim_start().starts_with(':') {
                    seen.name(inside, c == '\'');
                    count += 1;
                }
                rest = after;
                continue;
            }
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let is_name = after.trim_start().starts_with(':') && !after.starts_with("://");
                if is_name {
                    seen.name(word, true);
                    count += 1;
                }
                rest = after;
                continue;
            }
            _ => {}
        }
        if count >= MAX_NAMES {
            break;
        }
        rest = &rest[c.len_utf8()..];
    }
    (count > 0).then_some(Sketch {
        outline: seen.outline,
        is_list,
        is_code: seen.is_code.unwrap_or_default(),
    })
}

/// What stands before the quote that closes a text, and what follows it.
fn quoted(text: &str, quote: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// Where in a damaged document names are found.
#[derive(Default)]
struct Sketcher {
    outline: Outline,
    /// For every object and list that is open: whether it is a list.
    open: Vec<bool>,
    /// The last name of the outermost object.
    last: String,
    is_code: Option<bool>,
}

impl Sketcher {
    fn open(&mut self, is_list: bool) {
        self.open.push(is_list);
    }

    fn close(&mut self) {
        self.open.pop();
    }

    fn name(&mut self, name: &str, is_code: bool) {
        self.is_code.get_or_insert(is_code);
        let objects = self.open.iter().filter(|is_list| !**is_list).count();
        let name = name.to_lowercase();
        match objects {
            1 => {
                self.outline.names.insert(name.clone());
                self.last = name;
            }
            2 => {
                let last = &self.last;
                let mut inside = self.outline.inside.iter_mut();
                match inside.find(|(member, _)| member == last) {
                    Some((_, names)) => {
                        names.insert(name);
                    }
                    None => {
                        let names = BTreeSet::from([name]);
                        self.outline.inside.push((last.clone(), names));
                    }
                }
            }
            _ => {}
        }
    }
}
