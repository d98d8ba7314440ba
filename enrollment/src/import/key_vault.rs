//! Secrets of a Key Vault as `az keyvault secret show` prints them: one, several in an array,
//! or several in a row. An account's name is `totp-<uuid>` or its tag `type` is
//! `totp-secret`, its value is base32, and the tags `accountName` and `issuer` say what it is
//! called; or its value is an otpauth URI. Other secrets are not looked at.

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, display_name, gather, joined_name};
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::KeyVault;

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Several(Vec<Member<Secret>>),
    One(Box<Member<Secret>>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    // PowerShell's modules for Azure begin names with a capital.
    #[serde(alias = "Id")]
    id: Option<String>,
    #[serde(alias = "Name")]
    name: Option<String>,
    #[serde(default, alias = "SecretValueText")]
    value: SecretText,
    #[serde(alias = "Tags")]
    tags: Option<Member<Tags>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tags {
    account_name: Option<String>,
    issuer: Option<String>,
    r#type: Option<String>,
    algorithm: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut secrets = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Document>() {
        match document {
            Ok(Document::Several(several)) => secrets.extend(several),
            Ok(Document::One(one)) => secrets.push(*one),
            // The error's own text can quote the document.
            Err(_) => {
                return Err(InputProblem::ImportMalformed { format: FORMAT });
            }
        }
    }
    let is_empty = |secret: &Member<Secret>| {
        let value = secret.read().map(|secret| secret.value.expose());
        value.is_some_and(str::is_empty)
    };
    if !secrets.is_empty() && secrets.iter().all(is_empty) {
        return Err(InputProblem::ImportValuesMissing);
    }
    let check = |_: &Member<Secret>, secret: &Secret| {
        let is_whole = otpauth::is_meant(secret.value.expose()) || secret.document().is_some();
        match &secret.tags {
            Some(tags) if !is_whole => tags.checked(FORMAT).map(|_| ()),
            _ => Ok(()),
        }
    };
    Ok(member::items(&secrets, FORMAT, entries, check))
}

impl Secret {
    /// The value, if it is a document of an account.
    fn document(&self) -> Option<&str> {
        let value = crate::text::trim(self.value.expose());
        value.starts_with('{').then_some(value)
    }
}

fn entries(secret: &Secret) -> Vec<ImportEntry> {
    entry(secret).into_iter().collect()
}

fn entry(secret: &Secret) -> Option<ImportEntry> {
    let tags = secret.tags.as_ref().and_then(Member::read);
    let tag = |get: fn(&Tags) -> &Option<String>| {
        tags.and_then(|tags| get(tags).as_deref())
            .map(str::trim)
            // What the program that wrote them put where there was nothing.
            .filter(|text| !text.is_empty() && *text != "undefined")
    };
    let secret_name = secret
        .name
        .as_deref()
        .or_else(|| name_in(secret.id.as_deref()?));
    let value = crate::text::trim(secret.value.expose());
    let is_uri = otpauth::is_meant(value);
    let ours = is_uri
        || tag(|tags| &tags.r#type) == Some("totp-secret")
        || secret_name.is_some_and(|name| name.starts_with("totp-"));
    if !ours {
        return None;
    }
    let issuer = tag(|tags| &tags.issuer).unwrap_or_default();
    let account_name = tag(|tags| &tags.account_name).unwrap_or_default();
    let name = match joined_name(issuer, account_name) {
        name if name.is_empty() => secret_name.unwrap_or_default().to_owned(),
        name => name,
    };
    if is_uri {
        let item = Item {
            title: issuer,
            account_name,
            code: value,
        };
        let entry = item.entry()?;
        return Some(ImportEntry {
            name: display_name(&name),
            ..entry
        });
    }
    // This program keeps the whole account in the value.
    if let Some(document) = secret.document() {
        let problem = InputProblem::EntryMalformed { format: FORMAT };
        let read = gather::read(document)
            .ok()
            .and_then(|read| read.into_iter().next());
        return Some(match read {
            Some(entry) => ImportEntry {
                name: display_name(&name),
                ..entry
            },
            None => ImportEntry::refused(&name, problem),
        });
    }
    // An account has a name other than its id.
    let account_name = match secret_name {
        Some(secret_name) if issuer.is_empty() && account_name.is_empty() => {
            Some(secret_name).filter(|name| !name.starts_with("totp-"))
        }
        _ => None,
    }
    .unwrap_or(account_name);
    // Other programs say in the same tag what the code is.
    let kind = tag(|tags| &tags.r#type).filter(|kind| *kind != "totp-secret");
    let fields = Fields {
        kind: kind.unwrap_or_default(),
        issuer,
        account_name,
        secret: value,
        algorithm: tag(|tags| &tags.algorithm).unwrap_or_default(),
        digits: tags.and_then(|tags| tags.digits.0),
        period: tags.and_then(|tags| tags.period.0),
    };
    Some(ImportEntry::fields(&name, &fields))
}

/// The name in `https://<vault>/secrets/<name>/<version>`.
fn name_in(id: &str) -> Option<&str> {
    id.split_once("/secrets/")?.1.split('/').next()
}
