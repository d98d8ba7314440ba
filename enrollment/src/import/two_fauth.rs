//! 2FAuth's JSON export, in both of its forms: field by field, and as URIs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::TwoFAuth;

#[derive(Deserialize)]
struct Export {
    data: Vec<Member<Account>>,
}

#[derive(Deserialize)]
struct Account {
    otp_type: Option<String>,
    account: Option<String>,
    service: Option<String>,
    #[serde(default)]
    secret: SecretText,
    #[serde(default)]
    digits: Number,
    algorithm: Option<String>,
    #[serde(default)]
    period: Number,
    #[serde(default)]
    uri: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(member::accounts(&export.data, FORMAT, entry))
}

fn entry(account: &Account) -> ImportEntry {
    let issuer = account.service.as_deref().unwrap_or_default();
    let account_name = account.account.as_deref().unwrap_or_default();
    if !account.uri.expose().is_empty() {
        let uri = escaped(account.uri.expose());
        let item = Item {
            code: uri.as_deref().map_or(account.uri.expose(), String::as_str),
            ..Item::default()
        };
        if let Some(entry) = item.entry() {
            return entry;
        }
    }
    let kind = account.otp_type.as_deref().unwrap_or_default();
    let fields = Fields {
        kind: if kind.eq_ignore_ascii_case("steamtotp") {
            "steam"
        } else {
            kind
        },
        issuer,
        account_name,
        secret: account.secret.expose(),
        algorithm: account.algorithm.as_deref().unwrap_or_default(),
        digits: account.digits.0,
        period: account.period.0,
    };
    ImportEntry::fields(&joined_name(issuer, account_name), &fields)
}

/// The parameters that 2FAuth writes.
const PARAMETERS: [&str; 7] = [
    "algorithm",
    "counter",
    "digits",
    "image",
    "issuer",
    "period",
    "secret",
];
/// What is escaped in names and values.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'@')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// A URI with its names escaped, since 2FAuth writes them as they are, with spaces, plus signs and
/// what else separates the parts of a URI; nothing if there is nothing of that kind in it.
fn escaped(uri: &str) -> Option<Zeroizing<String>> {
    let begins = |mark: char, from: usize| {
        let places = uri[from..]
            .match_indices(mark)
            .map(move |(at, _)| from + at);
        places.filter(|at| {
            let pair = uri[at + 1..].split_once('=');
            pair.is_some_and(|(name, _)| PARAMETERS.contains(&name))
        })
    };
    let query = begins('?', 0).next()?;
    let label = uri[..query].match_indices('/').nth(2)?.0 + 1;
    let mut marks: Vec<usize> = begins('&', query).collect();
    let is_plain = !uri.contains([' ', '#', '+'])
        && uri.matches('?').count() == 1
        && uri.matches('&').count() == marks.len();
    if is_plain {
        return None;
    }
    marks.insert(0, query);
    let mut whole = Zeroizing::new(String::with_capacity(uri.len() * 3));
    whole.push_str(&uri[..label]);
    whole.extend(utf8_percent_encode(&uri[label..query], ESCAPED));
    for (number, at) in marks.iter().enumerate() {
        let end = marks.get(number + 1).copied().unwrap_or(uri.len());
        let (name, value) = uri[*at..end].split_once('=')?;
        whole.push_str(name);
        whole.push('=');
        whole.extend(utf8_percent_encode(value, ESCAPED));
    }
    Some(whole)
}
