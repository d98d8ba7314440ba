//! Shapes that documents of several programs share: numbers that are written as texts, lists
//! of which one member may be damaged, texts that are wiped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize as _;

use crate::otpauth;
use crate::problem::InputProblem;

/// Text that is wiped when it is dropped; empty where a document has none.
#[derive(Default, Deserialize)]
#[serde(from = "Option<String>")]
pub(super) struct SecretText(String);

impl SecretText {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Option<String>> for SecretText {
    fn from(text: Option<String>) -> Self {
        Self(text.unwrap_or_default())
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A number as programs write it: as one, or as a text. What is no number is one that no
/// account can have, so that it is refused by name.
#[derive(Clone, Copy, Default)]
pub(super) struct Number(pub(super) Option<u64>);

impl From<Written> for Number {
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Number(number) => Some(number),
            Written::Float(number) if number >= 0.0 && number.fract() == 0.0 && number < 1e9 => {
                format!("{number:.0}").parse().ok().or(Some(u64::MAX))
            }
            Written::Text(text) => number_in(&text),
            Written::Nothing(()) => None,
            Written::Float(_) | Written::Other(_) => Some(u64::MAX),
        })
    }
}

/// As [`Number`], of a text; nothing if it is empty.
pub(super) fn number_in(text: &str) -> Option<u64> {
    match text.trim() {
        "" => None,
        text => Some(otpauth::whole_number(text).parse().unwrap_or(u64::MAX)),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Float(f64),
    Text(String),
    Nothing(()),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer).map(Self::from)
    }
}

/// The members of an object that are none of the known ones.
pub(super) type Others = BTreeMap<String, IgnoredAny>;

/// That one of them means a parameter of the codes.
pub(super) fn meant_among(others: &Others) -> Result<(), InputProblem> {
    let mut names = others.keys();
    match names.find_map(|name| otpauth::meant_by_member(name, "")) {
        Some(parameter) => Err(InputProblem::ParamDamaged { parameter }),
        None => Ok(()),
    }
}

/// A member of a list, or that it could not be read: it takes no other with it.
#[derive(Deserialize)]
#[serde(untagged, bound = "T: DeserializeOwned")]
pub(super) enum Member<T> {
    /// It was read.
    Read(T),
    /// It could not be.
    Damaged(IgnoredAny),
}

/// What can be seen of a document without reading it: enough to tell who wrote it.
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
