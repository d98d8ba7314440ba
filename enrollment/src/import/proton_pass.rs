//! Proton Pass's JSON (`data.json` in its archive), not encrypted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::item::Item;
use super::shapes::{Member, SecretText};
use super::{ImportEntry, damaged, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::ProtonPass;

#[derive(Deserialize)]
struct Export {
    vaults: BTreeMap<String, Vault>,
}

#[derive(Deserialize)]
struct Vault {
    #[serde(default)]
    items: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    metadata: Option<Metadata>,
    content: Option<Content>,
    extra_fields: Option<Vec<Member<ExtraField>>>,
}

/// A field that the person has added. One kind of them is a code.
#[derive(Deserialize)]
struct ExtraField {
    data: Option<ExtraData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtraData {
    #[serde(default)]
    totp_uri: SecretText,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    totp_uri: SecretText,
    item_username: Option<String>,
    item_email: Option<String>,
    username: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    let items = export.vaults.values().flat_map(|vault| &vault.items);
    Ok(items.flat_map(entries).collect())
}

/// An item can have several codes.
fn entries(member: &Member<Entry>) -> Vec<ImportEntry> {
    let Member::Read(Entry { data }) = member else {
        return vec![damaged(FORMAT)];
    };
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let content = data.content.as_ref();
    let account_name = content
        .and_then(|content| {
            said(&content.item_username)
                .or_else(|| said(&content.username))
                .or_else(|| said(&content.item_email))
        })
        .unwrap_or_default();
    let metadata = data.metadata.as_ref();
    let title = metadata.and_then(|it| it.name.as_deref());
    let own = content.map(|content| content.totp_uri.expose());
    let added = data
        .extra_fields
        .iter()
        .flatten()
        .filter_map(|field| match field {
            Member::Read(field) => field.data.as_ref().map(|data| data.totp_uri.expose()),
            // Another kind of field.
            Member::Damaged(_) => None,
        });
    own.into_iter()
        .chain(added)
        .filter_map(|code| {
            Item {
                title: title.unwrap_or_default(),
                account_name: &account_name,
                code,
            }
            .entry()
        })
        .collect()
}
