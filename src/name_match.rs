//! How people refer to things: an id, its beginning, or an account's name.

use serde_json::Value;

/// The shortest beginning of an id that is accepted, in characters.
const SHORTEST: usize = 4;

/// How well something matches; a better match hides the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    Beginning,
    Whole,
}

/// The `rows` that match best, each with the value that names its account.
pub(crate) fn best_matches<'a>(
    wanted: &str,
    rows: impl Iterator<Item = (&'a Value, &'a Value)>,
) -> Vec<(&'a Value, &'a Value)> {
    let found: Vec<_> = rows
        .filter_map(|(row, account)| Some((fit(wanted, row, account)?, row, account)))
        .collect();
    let best = found.iter().map(|(fit, ..)| *fit).max();
    found
        .into_iter()
        .filter(|(fit, ..)| Some(*fit) == best)
        .map(|(_, row, account)| (row, account))
        .collect()
}

/// Those of `rows` whose service and account, written together, begin with `wanted`: what may be
/// meant where nothing has that name.
pub(crate) fn names_that_begin_with<'a>(wanted: &str, rows: &'a [Value]) -> Vec<&'a Value> {
    let wanted = wanted.to_lowercase();
    let begins = |row: &&Value| {
        let [_, _, named, ..] = names(row);
        wanted.contains(": ") && named.starts_with(&wanted)
    };
    rows.iter().filter(begins).collect()
}

/// The accounts of a caller's own grants that give no more codes, as rows of accounts.
pub(crate) fn used_up(own: &Value) -> Vec<Value> {
    let grants = own["grants"].as_array().into_iter().flatten();
    let mut rows: Vec<Value> = Vec::new();
    // One row for each account, however many of its groups were granted it too.
    for grant in grants.filter(|grant| grant["state"] != "active") {
        if rows.iter().all(|row| row["id"] != grant["account"]) {
            let mut row = grant.clone();
            row["id"] = grant["account"].clone();
            rows.push(row);
        }
    }
    rows
}

/// The text to search names for on the server: a word of it, which is in the service's
/// name or in the account's; empty for the beginning of an id.
pub(crate) fn search_term(wanted: &str) -> &str {
    if wanted.starts_with("totp-") {
        return "";
    }
    let words = wanted.split([' ', ':']);
    words.max_by_key(|word| word.len()).unwrap_or(wanted)
}

/// Whether it can be the beginning of an id.
pub(crate) fn may_begin_id(wanted: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    wanted.len() >= SHORTEST && wanted.bytes().all(hexadecimal)
}

fn fit(wanted: &str, row: &Value, account: &Value) -> Option<Fit> {
    let id = row["id"].as_str().unwrap_or_default();
    let wanted = wanted.to_lowercase();
    let called = names(account);
    if called.contains(&wanted) {
        return Some(Fit::Whole);
    }
    // Someone who names service and account means exactly this account: if it is gone, no other that
    // begins with the same letters is meant.
    if wanted.contains(": ") {
        return None;
    }
    let after = id.split_once('-').map_or(id, |(_, rest)| rest);
    let begins = called.iter().any(|name| name.starts_with(&wanted))
        || (wanted.len() >= SHORTEST && (id.starts_with(&wanted) || after.starts_with(&wanted)));
    (!wanted.is_empty() && begins).then_some(Fit::Beginning)
}

/// What an account is called, in lower case.
fn names(account: &Value) -> [String; 5] {
    let (issuer, name) = (
        account["issuer"].as_str().unwrap_or_default(),
        account["accountName"].as_str().unwrap_or_default(),
    );
    [
        name.to_owned(),
        issuer.to_owned(),
        format!("{issuer}: {name}"),
        format!("{issuer}:{name}"),
        format!("{issuer} {name}"),
    ]
    .map(|name| name.trim_matches([':', ' ']).to_lowercase())
}
