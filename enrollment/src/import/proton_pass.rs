//! Proton Pass's JSON (`data.json` in its archive), not encrypted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{CodesBeside, ImportEntry, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::ProtonPass;
/// The state of an item that is in the bin.
const IN_BIN: u64 = 2;

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
    #[serde(default)]
    state: Number,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    metadata: Option<Metadata>,
    content: Option<Member<Content>>,
    extra_fields: Option<Vec<Member<ExtraField>>>,
}

/// A field that the person has added. One kind of them is a code.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtraField {
    field_name: Option<String>,
    data: Option<Member<ExtraData>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtraData {
    #[serde(default)]
    totp_uri: SecretText,
    #[serde(default)]
    content: SecretText,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    #[serde(default)]
    note: SecretText,
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
    let check = |_: &Member<Entry>, Entry { data, state }: &Entry| {
        member::unless_binned(state.0 == Some(IN_BIN))?;
        let added = data.extra_fields.iter().flatten().filter_map(Member::read);
        let mut added = added.filter_map(|field| field.data.as_ref());
        let own = data.content.as_ref();
        own.map_or(Ok(()), |own| own.checked(FORMAT).map(|_| ()))?;
        added.try_for_each(|added| added.checked(FORMAT).map(|_| ()))
    };
    let vaults = export.vaults.values();
    Ok(vaults
        .flat_map(|vault| member::items(&vault.items, FORMAT, entries, check))
        .collect())
}

/// An item can have several codes.
fn entries(Entry { data, .. }: &Entry) -> Vec<ImportEntry> {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let content = data.content.as_ref().and_then(Member::read);
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
    let mut beside = CodesBeside::default();
    beside.note(metadata.map_or("", |it| it.note.expose()));
    let mut codes: Vec<&str> = own.into_iter().collect();
    for field in data.extra_fields.iter().flatten() {
        // Another kind of field is passed over.
        let Some(ExtraField { field_name, data }) = field.read() else {
            continue;
        };
        let Some(data) = data.as_ref().and_then(Member::read) else {
            continue;
        };
        codes.push(data.totp_uri.expose());
        let name = field_name.as_deref().unwrap_or_default();
        beside.field(name, data.content.expose());
    }
    let item = Item {
        title: title.unwrap_or_default(),
        account_name: &account_name,
        code: "",
    };
    item.entries(codes, beside)
}
