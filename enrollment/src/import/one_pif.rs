//! 1Password's earlier interchange format (1PIF): one JSON object a line for each item, and
//! between them lines with a mark that is always the same.

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::OnePassword;
/// What stands between two items.
const MARK: &str = "***5642bee8-a5ff-11dc-8314-0800200c9a66***";
/// How the names of fields begin that hold what codes are made of.
const CODES: &str = "TOTP_";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    title: Option<String>,
    secure_contents: Option<Contents>,
    #[serde(default)]
    trashed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contents {
    #[serde(default)]
    fields: Vec<Member<LoginField>>,
    #[serde(default)]
    sections: Vec<Section>,
    #[serde(default)]
    notes_plain: SecretText,
}

#[derive(Deserialize)]
struct LoginField {
    #[serde(default)]
    value: SecretText,
    designation: Option<String>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(default)]
    fields: Vec<Member<Field>>,
}

#[derive(Deserialize)]
struct Field {
    #[serde(rename = "n", default)]
    name: String,
    #[serde(rename = "t", default)]
    title: String,
    #[serde(rename = "v", default)]
    value: SecretText,
}

/// Whether a text is such a file.
pub(super) fn is_document(text: &str) -> bool {
    text.starts_with('{') && text.lines().any(|line| line.trim() == MARK)
}

pub(super) fn read(text: &str) -> Vec<ImportEntry> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && *line != MARK);
    let check = |_: &Member<Entry>, entry: &Entry| {
        member::unless_binned(entry.trashed)?;
        let contents = entry.secure_contents.iter();
        let mut fields = contents
            .flat_map(|contents| &contents.sections)
            .flat_map(|section| &section.fields);
        fields.try_for_each(|field| match field.read() {
            Some(read) if read.name.starts_with(CODES) => field.unknown(),
            _ => Ok(()),
        })
    };
    let mut found = Vec::new();
    for (number, line) in (1..).zip(lines) {
        match serde_json::from_str::<Member<Entry>>(line) {
            Ok(item) => found.extend(member::items(&[item], FORMAT, entries, check)),
            Err(_) => found.push(ImportEntry::refused(
                &format!("entry {number}"),
                InputProblem::EntryMalformed { format: FORMAT },
            )),
        }
    }
    found
}

/// An item can have several codes.
fn entries(entry: &Entry) -> Vec<ImportEntry> {
    let Some(contents) = &entry.secure_contents else {
        return Vec::new();
    };
    let user = contents.fields.iter().find_map(|field| match field.read() {
        Some(field) if field.designation.as_deref() == Some("username") => Some(field),
        _ => None,
    });
    let mut beside = CodesBeside::default();
    beside.note(contents.notes_plain.expose());
    let mut codes = Vec::new();
    for field in contents.sections.iter().flat_map(|section| &section.fields) {
        // Another kind of value is passed over.
        let Some(field) = field.read() else {
            continue;
        };
        if field.name.starts_with(CODES) {
            codes.push(field.value.expose());
        } else {
            beside.field(&field.title, field.value.expose());
        }
    }
    let item = Item {
        title: entry.title.as_deref().unwrap_or_default(),
        account_name: user.map_or("", |user| user.value.expose()),
        code: "",
    };
    item.entries(codes, beside)
}
