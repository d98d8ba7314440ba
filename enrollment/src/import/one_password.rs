//! 1Password's `export.data`, the document in its 1PUX archive.

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::OnePassword;

#[derive(Deserialize)]
struct Export {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    vaults: Vec<Vault>,
}

#[derive(Deserialize)]
struct Vault {
    #[serde(default)]
    items: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    overview: Option<Overview>,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Overview {
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    login_fields: Vec<LoginField>,
    #[serde(default)]
    sections: Vec<Section>,
    #[serde(default)]
    notes_plain: SecretText,
}

#[derive(Deserialize)]
struct LoginField {
    value: Option<String>,
    designation: Option<String>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(default)]
    fields: Vec<Member<Field>>,
}

#[derive(Deserialize)]
struct Field {
    title: Option<String>,
    value: Member<Value>,
}

/// Of the kinds of values only these matter.
#[derive(Deserialize)]
struct Value {
    #[serde(default)]
    totp: SecretText,
    #[serde(default)]
    string: SecretText,
    #[serde(default)]
    concealed: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    let vaults = export.accounts.iter().flat_map(|account| &account.vaults);
    let check = |_: &Member<Entry>, entry: &Entry| {
        let mut values = entry.fields().map(|field| &field.value);
        // In another kind of value nothing is a code.
        values.try_for_each(|value| match value.has("totp") {
            true => value.checked(FORMAT).map(|_| ()),
            false => Ok(()),
        })
    };
    Ok(vaults
        .flat_map(|vault| member::items(&vault.items, FORMAT, entries, check))
        .collect())
}

impl Entry {
    /// The fields of its sections. Another kind of field is passed over.
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let sections = self.details.iter().flat_map(|details| &details.sections);
        sections
            .flat_map(|section| &section.fields)
            .filter_map(Member::read)
    }
}

/// An item can have several codes.
fn entries(entry: &Entry) -> Vec<ImportEntry> {
    let Some(details) = &entry.details else {
        return Vec::new();
    };
    let overview = entry.overview.as_ref();
    let title = overview.and_then(|it| it.title.as_deref());
    let user = details
        .login_fields
        .iter()
        .find(|field| field.designation.as_deref() == Some("username"))
        .and_then(|field| field.value.as_deref());
    let mut beside = CodesBeside::default();
    beside.note(details.notes_plain.expose());
    let mut codes = Vec::new();
    for Field { title, value } in entry.fields() {
        // Another kind of value is passed over.
        let Some(value) = value.read() else {
            continue;
        };
        codes.push(value.totp.expose());
        for text in [&value.string, &value.concealed] {
            beside.field(title.as_deref().unwrap_or_default(), text.expose());
        }
    }
    let item = Item {
        title: title.unwrap_or_default(),
        account_name: user.unwrap_or_default(),
        code: "",
    };
    item.entries(codes, beside)
}
