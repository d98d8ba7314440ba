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
struct Data {
    metadata: Option<Metadata>,
    content: Option<Content>,
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
    Ok(items.filter_map(entry).collect())
}

fn entry(member: &Member<Entry>) -> Option<ImportEntry> {
    let Member::Read(Entry { data }) = member else {
        return Some(damaged(FORMAT));
    };
    let content = data.content.as_ref()?;
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let account_name = said(&content.item_username)
        .or_else(|| said(&content.username))
        .or_else(|| said(&content.item_email))
        .unwrap_or_default();
    let metadata = data.metadata.as_ref();
    let item = Item {
        title: metadata
            .and_then(|it| it.name.as_deref())
            .unwrap_or_default(),
        account_name: &account_name,
        code: content.totp_uri.expose(),
    };
    item.entry()
}
