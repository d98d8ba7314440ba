//! Further accounts of an entry: people keep their URIs in notes and in fields that they have
//! added, where an app itself looks for none.

use std::collections::BTreeSet;

use data_encoding::BASE32_NOPAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::item::Item;
use super::meaning::folded;
use super::{ImportEntry, MAX_ACCOUNTS, joined_name, lines, loose, secret_names};
use crate::foreign::ForeignKind;
use crate::otpauth::{self, Fields, Parsed};
use crate::problem::InputProblem;

/// The most texts of an entry that are looked at, and the most accounts that are added to it.
const MAX_TEXTS: usize = MAX_ACCOUNTS;

/// What was read of an entry already.
struct Known {
    /// Secrets in base32.
    secrets: Vec<Zeroizing<String>>,
    /// Why accounts were refused.
    problems: Vec<InputProblem>,
}

impl Known {
    fn of(found: &[ImportEntry]) -> Self {
        let mut known = Self {
            secrets: Vec::new(),
            problems: Vec::new(),
        };
        for entry in found {
            match &entry.content {
                Ok(text) => match otpauth::parse(text) {
                    Ok(read) => known.secrets.push(in_base32(&read)),
                    Err(problem) => known.problems.push(problem),
                },
                Err(problem) => known.problems.push(problem.clone()),
            }
        }
        known
    }

    /// Whether a URI is one of an account that was read, or that was refused as it is; each that
    /// was refused stands for one.
    fn has(&mut self, uri: &str, parsed: &Result<Parsed, InputProblem>) -> bool {
        let problem = match parsed {
            Ok(read) => return self.secrets.contains(&in_base32(read)),
            Err(problem) => problem,
        };
        let upper = Zeroizing::new(uri.to_ascii_uppercase());
        let is_secret = |secret: &Zeroizing<String>| {
            let mut values = upper.split("SECRET=").skip(1);
            values.any(|value| value.split(['&', '#', '=']).next() == Some(secret.as_str()))
        };
        if self.secrets.iter().any(is_secret) {
            return true;
        }
        let place = self.problems.iter().position(|known| known == problem);
        place.map(|place| self.problems.remove(place)).is_some()
    }
}

fn in_base32(read: &Parsed) -> Zeroizing<String> {
    Zeroizing::new(BASE32_NOPAD.encode(read.account.secret().expose()))
}

/// The texts of an authenticator's entry in which further accounts may be. Of one that was refused,
/// those are its notes alone: the others can say the same account in another way.
pub(super) fn beside<'v>(own: &ImportEntry, entry: &'v Value) -> Vec<&'v str> {
    let mut texts = Vec::new();
    if own.content.is_ok() {
        collect(entry, &mut texts);
    } else if let Value::Object(object) = entry {
        let notes = object.iter().filter(|(name, _)| {
            let name = folded(name);
            name.contains("note") || name.contains("comment")
        });
        notes.for_each(|(_, note)| collect(note, &mut texts));
    }
    texts
}

/// Adds the accounts whose URIs stand in these texts and are not among those that were read, under
/// the item's names where they have none of their own.
pub(super) fn add_texts<'t>(
    found: &mut Vec<ImportEntry>,
    item: Item<'_>,
    texts: impl IntoIterator<Item = &'t str>,
) {
    let name = joined_name(item.title, item.account_name);
    let mut known = Known::of(found);
    let mut seen = BTreeSet::new();
    // A URI that was wrapped is one.
    let lines: Vec<Zeroizing<String>> = texts.into_iter().flat_map(lines::joined).collect();
    let lines = lines.iter().flat_map(|line| lines::apart(line));
    let lines = lines.filter(|line| lines::begins_with_uri(line));
    for (count, line) in lines.enumerate() {
        if count >= MAX_TEXTS {
            found.push(ImportEntry::refused(&name, super::too_many()));
            return;
        }
        let parsed = otpauth::parse(line);
        // Steam's own scheme also opens pages.
        let is_page = parsed.is_err() && !line.to_ascii_lowercase().contains("otpauth");
        if is_page || !seen.insert(line) || known.has(line, &parsed) {
            continue;
        }
        // What says whose account it is keeps its names, and is found by those of the item.
        let is_named = parsed
            .as_ref()
            .is_ok_and(|read| read.account.issuer().is_some() && read.account.has_account_name());
        if let Ok(read) = &parsed {
            known.secrets.push(in_base32(read));
        }
        let item = Item { code: line, ..item };
        found.push(match item.entry() {
            Some(entry) if !is_named => entry,
            _ => ImportEntry::new(&name, Ok(Zeroizing::new(line.to_owned()))),
        });
    }
}

/// Names the entry if there are secrets in it under names that no reader looks for: in members, or
/// in fields or lines of notes that have a name and a value.
pub(super) fn name_strays(found: &mut Vec<ImportEntry>, name: &str, entry: &Value) {
    let mut secrets = Vec::new();
    strays(entry, &mut secrets);
    let known = Known::of(found);
    // What was refused is named already.
    let is_known = |secret: &str| {
        let fields = Fields {
            secret,
            ..Fields::default()
        };
        let read = otpauth::from_fields(&fields);
        !known.problems.is_empty()
            || read.is_ok_and(|read| known.secrets.contains(&in_base32(&read)))
    };
    if secrets.iter().any(|secret| !is_known(secret)) {
        let kind = ForeignKind::BareSecret;
        found.push(ImportEntry::refused(
            name,
            InputProblem::NotOtpauth { kind },
        ));
    }
}

/// Whether an object was not deleted, as fields of an item can be.
fn is_there(object: &Map<String, Value>) -> bool {
    let deleted = object.get("deleted");
    !deleted.is_some_and(|deleted| *deleted == 1 || *deleted == true)
}

/// What is in an object now, without what was there earlier.
fn present(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let now = object
        .iter()
        .filter(|(name, _)| !folded(name).contains("history"));
    now.map(|(_, value)| value)
}

fn strays(value: &Value, secrets: &mut Vec<Zeroizing<String>>) {
    let mut keep = |name: &str, text: &str| {
        if secrets.len() >= MAX_TEXTS {
            return;
        }
        if secret_names::is_of_codes(name) && secret_names::is_shown(text) {
            secrets.push(Zeroizing::new(text.to_owned()));
        } else {
            // A line of a note can have a name and a value as well.
            secrets.extend(loose::named_secrets(text));
        }
    };
    match value {
        Value::Array(list) => list.iter().for_each(|value| strays(value, secrets)),
        Value::Object(object) if is_there(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let name = ["name", "label", "title", "fieldName"].iter();
            if let (Some(name), Some(value)) = (name.copied().find_map(text), text("value")) {
                keep(name, value);
            }
            for (name, value) in object {
                if let Value::String(text) = value {
                    keep(name, text);
                }
            }
            present(object).for_each(|value| strays(value, secrets));
        }
        _ => {}
    }
}

/// The texts of an entry in which a URI may be.
pub(super) fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    if texts.len() >= MAX_TEXTS {
        return;
    }
    match value {
        Value::String(text) if otpauth::is_meant(text) => texts.push(text),
        Value::Array(list) => list.iter().for_each(|value| collect(value, texts)),
        Value::Object(object) if is_there(object) => {
            present(object).for_each(|value| collect(value, texts));
        }
        _ => {}
    }
}
