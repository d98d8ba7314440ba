//! Enpass's JSON export.

use serde::Deserialize;

use super::item::Item;
use super::shapes::{Member, Number, SecretText};
use super::{CodesBeside, ImportEntry, damaged, parse};
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
    #[serde(default)]
    note: SecretText,
}

#[derive(Deserialize)]
struct Field {
    label: Option<String>,
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
    let mut beside = CodesBeside::default();
    beside.note(entry.note.expose());
    for field in &entry.fields {
        if !matches!(field.deleted.0, Some(1)) {
            let label = field.label.as_deref().unwrap_or_default();
            beside.field(label, field.value.expose());
        }
    }
    let item = Item {
        title: entry.title.as_deref().unwrap_or_default(),
        account_name,
        code: "",
    };
    item.entries(of_type("totp").map(|field| field.value.expose()), beside)
}
