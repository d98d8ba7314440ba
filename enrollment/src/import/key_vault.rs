//! TOTP secrets of a Key Vault, as `az keyvault secret show` prints one; several in an
//! array. The name is `totp-<uuid>` or the tag `type` is `totp-secret`, the value is
//! base32, and the tags `accountName` and `issuer` say what it is called. Other secrets
//! are not looked at.

use serde::Deserialize;

use super::{ImportEntry, SecretText, display_name, is_otpauth, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    id: Option<String>,
    name: Option<String>,
    #[serde(default)]
    value: SecretText,
    tags: Option<Tags>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tags {
    account_name: Option<String>,
    issuer: Option<String>,
    r#type: Option<String>,
}

pub(super) fn read_one(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let secret: Secret = parse(text, ImportFormat::KeyVault)?;
    Ok(entry(&secret).into_iter().collect())
}

pub(super) fn read_array(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let secrets: Vec<Secret> = parse(text, ImportFormat::KeyVault)?;
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
    let ours = tag(|tags| &tags.r#type) == Some("totp-secret")
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
    let value = secret.value.expose().trim();
    if is_otpauth(value) {
        return Some(ImportEntry {
            name: display_name(&name),
            ..ImportEntry::text(value)
        });
    }
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
