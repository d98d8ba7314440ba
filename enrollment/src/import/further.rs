//! Further accounts of an entry: people keep their URIs in notes and in fields that they have
//! added, where an app itself looks for none.

use data_encoding::BASE32_NOPAD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::item::Item;
use super::{ImportEntry, lines};
use crate::otpauth;

/// The most texts that are looked at in one entry.
const MAX_TEXTS: usize = 1_000;

/// Adds the accounts whose URIs stand in any text of an entry and are not among those that were
/// read, under the item's names as far as it has any.
pub(super) fn add(found: &mut Vec<ImportEntry>, item: Item<'_>, entry: &Value) {
    let mut texts = Vec::new();
    collect(entry, &mut texts);
    add_texts(found, item, texts);
}

/// As [`add`], of these texts.
pub(super) fn add_texts<'t>(
    found: &mut Vec<ImportEntry>,
    item: Item<'_>,
    texts: impl IntoIterator<Item = &'t str>,
) {
    for line in texts
        .into_iter()
        .flat_map(|text| text.split(lines::ends_line))
    {
        let line = crate::text::trim(line);
        if !lines::begins_with_uri(line) || is_among(found, line) {
            continue;
        }
        let item = Item { code: line, ..item };
        let is_named = !item.title.is_empty() || !item.account_name.is_empty();
        let further = match item.entry() {
            Some(entry) if is_named => entry,
            _ => ImportEntry::text(line),
        };
        found.push(further);
    }
}

/// Whether the account of a URI was read already, or refused for the same reason.
fn is_among(found: &[ImportEntry], uri: &str) -> bool {
    let parsed = otpauth::parse(uri);
    // Steam's own scheme also opens pages.
    if !uri.to_ascii_lowercase().contains("otpauth") && parsed.is_err() {
        return true;
    }
    let upper = Zeroizing::new(uri.to_ascii_uppercase());
    found.iter().any(|entry| match &entry.content {
        Ok(text) => {
            let secret = otpauth::parse(text)
                .ok()
                .map(|read| Zeroizing::new(BASE32_NOPAD.encode(read.account.secret().expose())));
            secret.is_some_and(|secret| upper.contains(secret.as_str()))
        }
        Err(problem) => parsed.as_ref().err() == Some(problem),
    })
}

/// The texts of an entry in which a URI may be.
pub(super) fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    if texts.len() >= MAX_TEXTS {
        return;
    }
    match value {
        Value::String(text) if otpauth::is_meant(text) => texts.push(text),
        Value::Array(list) => list.iter().for_each(|value| collect(value, texts)),
        Value::Object(object) => object.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}
