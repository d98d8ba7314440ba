//! A document of a kind that is not known: every text in it that is a URI of an account is
//! one, wherever it stands, and so is every object that has a secret and says what codes are
//! made of it.

use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::item::Item;
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
const ALGORITHMS: [&str; 3] = ["algorithm", "algo", "hashalgorithm"];
const DIGITS: [&str; 3] = ["digits", "digit", "length"];
const PERIODS: [&str; 5] = ["period", "interval", "timestep", "timer", "step"];

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut document: Value =
        serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    let mut found = Vec::new();
    walk(&document, Names::default(), &mut found);
    wipe(&mut document);
    if found.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    if found.len() > MAX_ENTRIES {
        return Err(super::too_many());
    }
    Ok(found)
}

/// What the object around a code is called and whose it is, as far as it says.
#[derive(Clone, Copy, Default)]
struct Names<'a> {
    title: &'a str,
    user: &'a str,
}

impl<'a> Names<'a> {
    /// Those of an object, or of the one around it if it has none.
    fn of(object: &'a Map<String, Value>, around: Self) -> Self {
        let text = |names: &[&str]| {
            let mut members = object.iter();
            let member = members.find(|(name, _)| names.contains(&folded(name).as_str()));
            member
                .and_then(|(_, value)| value.as_str())
                .unwrap_or("")
                .trim()
        };
        let names = Self {
            title: text(&["title", "name", "service", "site", "issuer"]),
            user: text(&["username", "login", "user", "account", "email"]),
        };
        if names.title.is_empty() && names.user.is_empty() {
            around
        } else {
            names
        }
    }

    /// A URI under these names if it has none of its own.
    fn entry(self, uri: &str) -> ImportEntry {
        let nameless = otpauth::parse(uri).is_ok_and(|parsed| {
            parsed.account.issuer().is_none() && parsed.account.account_name() == "Account"
        });
        let item = Item {
            title: self.title,
            account_name: self.user,
            code: uri,
        };
        let named = nameless.then(|| item.entry()).flatten();
        named.unwrap_or_else(|| ImportEntry::text(uri))
    }
}

fn walk(value: &Value, names: Names<'_>, found: &mut Vec<ImportEntry>) {
    if found.len() > MAX_ENTRIES {
        return;
    }
    match value {
        Value::String(text) => {
            let text = crate::text::trim(text);
            let head: String = text.chars().take(20).collect();
            if otpauth::is_meant(&head) {
                found.push(names.entry(text));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, names, found)),
        Value::Object(object) => match account(object) {
            Some(entry) => found.push(entry),
            None => {
                let names = Names::of(object, names);
                object.values().for_each(|value| walk(value, names, found));
            }
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
    let (digits, period) = (number(&DIGITS), number(&PERIODS));
    // A hash can also be what an account is found by.
    let algorithm = match text(&ALGORITHMS) {
        "" => said_hash(text(&["hash"])),
        algorithm => algorithm,
    };
    let says_more = !issuer.is_empty() || !algorithm.is_empty() || digits.or(period).is_some();
    if secret.is_empty() || otpauth::is_meant(secret) || !says_more {
        return None;
    }
    let account_name = text(&NAMES);
    if member(&["encrypted"]) == Some(&Value::Bool(true)) {
        return Some(ImportEntry {
            name: super::display_name(&joined_name(issuer, account_name)),
            content: Err(InputProblem::ImportUnsupported {
                what: "a backup whose secrets are encrypted".to_owned(),
            }),
        });
    }
    let mut members = object.iter();
    let elsewhere = members.any(|(name, value)| {
        let said = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        otpauth::is_start(name) && !otpauth::is_zero(&said)
    });
    if elsewhere {
        return Some(ImportEntry {
            name: super::display_name(&joined_name(issuer, account_name)),
            content: Err(InputProblem::StartUnsupported),
        });
    }
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

/// A text that names a hash function; nothing otherwise.
fn said_hash(text: &str) -> &str {
    let folded = folded(text);
    let is_name = ["sha", "hmac", "md5"]
        .iter()
        .any(|name| folded.starts_with(name));
    if is_name { text } else { "" }
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
