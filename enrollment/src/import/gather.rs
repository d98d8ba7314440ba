//! A document of a kind that is not known: every text in it that is a URI of an account is
//! one, wherever it stands.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{ImportEntry, MAX_ENTRIES};
use crate::otpauth;
use crate::problem::InputProblem;

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let Texts(found) = serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    if found.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    if found.len() > MAX_ENTRIES {
        return Err(super::too_many());
    }
    Ok(found.iter().map(|text| ImportEntry::text(text)).collect())
}

#[derive(Default)]
struct Texts(Vec<Zeroizing<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut texts = Self::default();
        Walk(&mut texts).deserialize(deserializer)?;
        Ok(texts)
    }
}

struct Walk<'a>(&'a mut Texts);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let text = crate::text::trim(text);
        let head: String = text.chars().take(20).collect();
        if otpauth::is_meant(&head) && self.0.0.len() <= MAX_ENTRIES {
            self.0.0.push(Zeroizing::new(text.to_owned()));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            map.next_value_seed(Walk(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Walk(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
