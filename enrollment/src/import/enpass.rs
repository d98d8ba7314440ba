//! Enpass's exports: JSON, and CSV, whose rows have a title and then names and values in turn.

use csv::StringRecord;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::item::Item;
use super::member::{self, Member};
use super::recovery_codes::attach;
use super::shapes::{Number, SecretText};
use super::{CodesBeside, ImportEntry, joined_name, loose, parse};
use crate::otpauth;
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
    fields: Vec<Member<Field>>,
    #[serde(default)]
    note: SecretText,
    #[serde(default)]
    trashed: Number,
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
    let check = |_: &Member<Entry>, entry: &Entry| {
        member::unless_binned(entry.trashed.0.is_some_and(|trashed| trashed != 0))?;
        entry.codes().try_for_each(|(member, _)| member.unknown())
    };
    Ok(member::items(&export.items, FORMAT, entries, check))
}

impl Entry {
    /// Its fields, without those that were deleted.
    fn shown(&self) -> impl Iterator<Item = (&Member<Field>, &Field)> {
        let read = self.fields.iter().map(|field| (field, field.read()));
        let read = read.filter_map(|(member, field)| Some((member, field?)));
        read.filter(|(_, field)| !matches!(field.deleted.0, Some(1)))
    }

    fn codes(&self) -> impl Iterator<Item = (&Member<Field>, &Field)> {
        self.shown()
            .filter(|(_, field)| field.r#type.as_deref() == Some("totp"))
    }
}

fn entries(entry: &Entry) -> Vec<ImportEntry> {
    let said = |kind| {
        let fields = entry.shown().map(|(_, field)| field);
        fields
            .filter(|field| field.r#type.as_deref() == Some(kind))
            .map(|field| field.value.expose())
            .find(|value| !value.trim().is_empty())
    };
    let account_name = said("username")
        .or_else(|| said("email"))
        .or(entry.subtitle.as_deref())
        .unwrap_or_default();
    let mut beside = CodesBeside::default();
    beside.note(entry.note.expose());
    for (_, field) in entry.shown() {
        let label = field.label.as_deref().unwrap_or_default();
        beside.field(label, field.value.expose());
    }
    let item = Item {
        title: entry.title.as_deref().unwrap_or_default(),
        account_name,
        code: "",
    };
    let mut found = item.entries(entry.codes().map(|(_, field)| field.value.expose()), beside);
    if entry.fields.iter().any(|field| field.read().is_none()) {
        let name = joined_name(item.title, item.account_name);
        let problem = InputProblem::EntryMalformed { format: FORMAT };
        found.push(ImportEntry::refused(&name, problem));
    }
    found
}

/// What a field's name is called in a table, which puts a mark in front of what is secret.
fn folded(name: &str) -> String {
    let name = name.trim().trim_start_matches('*');
    name.to_lowercase().replace(['-', ' '], "")
}

fn is_code(name: &str) -> bool {
    ["totp", "onetimecode", "onetimepassword"].contains(&folded(name).as_str())
}

/// The names and values that follow a row's title.
fn pairs(row: &StringRecord) -> impl Iterator<Item = (&str, &str)> {
    let names = row.iter().skip(1).step_by(2);
    names.zip(row.iter().skip(2).step_by(2))
}

/// Whether rows are Enpass's: a name and a code stand next to one another.
pub(super) fn is_table<'a>(rows: impl IntoIterator<Item = &'a StringRecord>) -> bool {
    /// The shortest secret that no other cell is taken for.
    const SHORTEST: usize = 16;
    rows.into_iter().any(|row| {
        let mut pairs = pairs(row);
        pairs.any(|(name, value)| {
            is_code(name)
                && (otpauth::is_meant(value) || crate::text::may_be_secret(value, SHORTEST))
        })
    })
}

/// The accounts of a row of a table. A note follows the last value.
pub(super) fn row(row: &StringRecord) -> Vec<ImportEntry> {
    let said = |wanted: &[&str]| {
        let mut found = pairs(row).filter(|(name, _)| wanted.contains(&folded(name).as_str()));
        found
            .find(|(_, value)| !value.is_empty())
            .map(|(_, value)| value)
    };
    let mut beside = CodesBeside::default();
    let note = row
        .iter()
        .next_back()
        .filter(|_| row.len().is_multiple_of(2));
    beside.note(note.unwrap_or_default());
    for (name, value) in pairs(row) {
        beside.field(name.trim_start_matches('*'), value);
    }
    let item = Item {
        title: row.get(0).unwrap_or_default(),
        account_name: said(&["username"])
            .or_else(|| said(&["email"]))
            .unwrap_or_default(),
        code: "",
    };
    let codes = pairs(row).filter(|(name, _)| is_code(name));
    let mut found = item.entries(codes.map(|(_, value)| value), CodesBeside::default());
    let others = pairs(row).filter(|(name, _)| !is_code(name));
    let named: Vec<Zeroizing<String>> = others
        .map(|(name, value)| {
            let name = name.trim_start_matches('*');
            Zeroizing::new(format!("{name}: {value}"))
        })
        .collect();
    let texts = named.iter().map(|text| text.as_str());
    loose::add_entries(&mut found, item, texts.chain(note));
    attach(found, beside, &joined_name(item.title, item.account_name))
}
