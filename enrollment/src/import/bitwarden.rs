//! Bitwarden's JSON export, not encrypted. Items without a TOTP field are no accounts.

use serde::Deserialize;

use super::{ImportEntry, SecretText, display_name, is_otpauth, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

#[derive(Deserialize)]
struct Export {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: Option<String>,
    login: Option<Login>,
}

#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    #[serde(default)]
    totp: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, ImportFormat::Bitwarden)?;
    Ok(export.items.iter().filter_map(entry).collect())
}

fn entry(item: &Item) -> Option<ImportEntry> {
    let login = item.login.as_ref()?;
    let totp = login.totp.expose().trim();
    if totp.is_empty() {
        return None;
    }
    let issuer = item.name.as_deref().unwrap_or_default();
    let account_name = login.username.as_deref().unwrap_or_default();
    let name = joined_name(issuer, account_name);
    // The field holds a URI, a bare secret, or a secret of Steam's.
    if is_otpauth(totp) {
        return Some(ImportEntry {
            name: display_name(&name),
            ..ImportEntry::text(totp)
        });
    }
    let steam = totp
        .get(..8)
        .filter(|head| head.eq_ignore_ascii_case("steam://"))
        .map(|head| &totp[head.len()..]);
    let fields = Fields {
        kind: if steam.is_some() { "steam" } else { "totp" },
        issuer,
        account_name,
        secret: steam.unwrap_or(totp),
        ..Fields::default()
    };
    Some(ImportEntry::fields(&name, &fields))
}
