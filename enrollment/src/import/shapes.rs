//! Shapes that documents of several programs share: numbers that are written as texts, and texts
//! that are wiped.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize as _;

use crate::otpauth;

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
