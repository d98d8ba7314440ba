//! Enpass's JSON export.

use serde::Deserialize;

use super::item::Item;
use super::shapes::{Member, Number, SecretText};
use super::{ImportEntry, damaged, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Enpass;

#[derive(Deserialize)]
struct Export {
    items: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    title: Option<String>,
    subtitle: Option<String>,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    r#type: Option<String>,
    #[serde(default)]
    value: SecretText,
    #[serde(default)]
    deleted: Number,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(export.items.iter().flat_map(entries).collect())
}

fn entries(member: &Member<Entry>) -> Vec<ImportEntry> {
    let Member::Read(entry) = member else {
        return vec![damaged(FORMAT)];
    };
    let of_type = |kind: &'static str| {
        entry.fields.iter().filter(move |field| {
            field.r#type.as_deref() == Some(kind) && !matches!(field.deleted.0, Some(1))
        })
    };
    let said = |kind| {
        of_type(kind)
            .map(|field| field.value.expose())
            .find(|value| !value.trim().is_empty())
    };
    let account_name = said("username")
        .or_else(|| said("email"))
        .or(entry.subtitle.as_deref())
        .unwrap_or_default();
    of_type("totp")
        .filter_map(|field| {
            Item {
                title: entry.title.as_deref().unwrap_or_default(),
                account_name,
                code: field.value.expose(),
            }
            .entry()
        })
        .collect()
}
