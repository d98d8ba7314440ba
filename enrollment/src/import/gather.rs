//! A document of a kind that is not known: every text in it that is a URI of an account is
//! one, wherever it stands, and so is every object that has a secret and says what codes are
//! made of it.

use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::shapes::number_in;
use super::{ImportEntry, MAX_ENTRIES, joined_name};
use crate::otpauth::{self, Fields};
use crate::problem::InputProblem;

/// Members with a secret in base32.
const SECRETS: [&str; 4] = ["secret", "seed", "totpsecret", "otpsecret"];
const ISSUERS: [&str; 5] = ["issuer", "service", "servicename", "provider", "issuername"];
const NAMES: [&str; 7] = [
    "account",
    "accountname",
    "username",
    "user",
    "label",
    "name",
    "email",
];
const KINDS: [&str; 4] = ["type", "kind", "otptype", "tokentype"];
const ALGORITHMS: [&str; 4] = ["algorithm", "algo", "hash", "hashalgorithm"];
const DIGITS: [&str; 3] = ["digits", "digit", "length"];
const PERIODS: [&str; 5] = ["period", "interval", "timestep", "timer", "step"];

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut document: Value =
        serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    let mut found = Vec::new();
    walk(&document, &mut found);
    wipe(&mut document);
    if found.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    if found.len() > MAX_ENTRIES {
        return Err(super::too_many());
    }
    Ok(found)
}

fn walk(value: &Value, found: &mut Vec<ImportEntry>) {
    if found.len() > MAX_ENTRIES {
        return;
    }
    match value {
        Value::String(text) => {
            let text = crate::text::trim(text);
            let head: String = text.chars().take(20).collect();
            if otpauth::is_meant(&head) {
                found.push(ImportEntry::text(text));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
        Value::Object(object) => match account(object) {
            Some(entry) => found.push(entry),
            None => object.values().for_each(|value| walk(value, found)),
        },
        _ => {}
    }
}

/// The account that an object's members say; nothing if there is no secret or nothing beside
/// it that only accounts have.
fn account(object: &Map<String, Value>) -> Option<ImportEntry> {
    let member = |names: &[&str]| {
        names.iter().find_map(|wanted| {
            let named = |name: &String| folded(name) == **wanted;
            object
                .iter()
                .find(|(name, _)| named(name))
                .map(|(_, value)| value)
        })
    };
    let text = |names: &[&str]| match member(names) {
        Some(Value::String(text)) => text.trim(),
        _ => "",
    };
    let number = |names: &[&str]| match member(names) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => number_in(text),
        Some(value) => Some(value.as_u64().unwrap_or(u64::MAX)),
    };
    let secret = text(&SECRETS);
    let issuer = text(&ISSUERS);
    let (algorithm, digits, period) = (text(&ALGORITHMS), number(&DIGITS), number(&PERIODS));
    let says_more = !issuer.is_empty() || !algorithm.is_empty() || digits.or(period).is_some();
    if secret.is_empty() || otpauth::is_meant(secret) || !says_more {
        return None;
    }
    let account_name = text(&NAMES);
    let fields = Fields {
        kind: text(&KINDS),
        issuer,
        account_name,
        secret,
        algorithm,
        digits,
        period,
    };
    Some(ImportEntry::fields(
        &joined_name(issuer, account_name),
        &fields,
    ))
}

/// Letters and digits only, in lower case.
fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}
