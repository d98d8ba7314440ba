//! Secrets of a Key Vault as `az keyvault secret show` prints them: one, several in an array,
//! or several in a row. An account's name is `totp-<uuid>` or its tag `type` is
//! `totp-secret`, its value is base32, and the tags `accountName` and `issuer` say what it is
//! called; or its value is an otpauth URI. Other secrets are not looked at.

use serde::Deserialize;

use super::item::Item;
use super::shapes::SecretText;
use super::{ImportEntry, display_name, joined_name};
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Several(Vec<Secret>),
    One(Box<Secret>),
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
    tags: Option<Tags>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tags {
    account_name: Option<String>,
    issuer: Option<String>,
    r#type: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut secrets = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Document>() {
        match document {
            Ok(Document::Several(several)) => secrets.extend(several),
            Ok(Document::One(one)) => secrets.push(*one),
            // The error's own text can quote the document.
            Err(_) => {
                return Err(InputProblem::ImportMalformed {
                    format: ImportFormat::KeyVault,
                });
            }
        }
    }
    let is_empty = |secret: &Secret| secret.value.expose().is_empty();
    if !secrets.is_empty() && secrets.iter().all(is_empty) {
        return Err(InputProblem::ImportValuesMissing);
    }
    Ok(secrets.iter().filter_map(entry).collect())
}

fn entry(secret: &Secret) -> Option<ImportEntry> {
    let tags = secret.tags.as_ref();
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
    // An account has a name other than its id.
    let account_name = match secret_name {
        Some(secret_name) if issuer.is_empty() && account_name.is_empty() => {
            Some(secret_name).filter(|name| !name.starts_with("totp-"))
        }
        _ => None,
    }
    .unwrap_or(account_name);
    let fields = Fields {
        issuer,
        account_name,
        secret: value,
        ..Fields::default()
    };
    Some(ImportEntry::fields(&name, &fields))
}

/// The name in `https://<vault>/secrets/<name>/<version>`.
fn name_in(id: &str) -> Option<&str> {
    id.split_once("/secrets/")?.1.split('/').next()
}
