//! 2FAuth's JSON export, in both of its forms: field by field, and as URIs.

use serde::Deserialize;

use super::item::Item;
use super::shapes::{Member, Number, SecretText};
use super::{ImportEntry, damaged, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::TwoFAuth;

#[derive(Deserialize)]
struct Export {
    data: Vec<Member<Account>>,
}

#[derive(Deserialize)]
struct Account {
    otp_type: Option<String>,
    account: Option<String>,
    service: Option<String>,
    #[serde(default)]
    secret: SecretText,
    #[serde(default)]
    digits: Number,
    algorithm: Option<String>,
    #[serde(default)]
    period: Number,
    #[serde(default)]
    uri: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(export.data.iter().filter_map(entry).collect())
}

fn entry(member: &Member<Account>) -> Option<ImportEntry> {
    let Member::Read(account) = member else {
        return Some(damaged(FORMAT));
    };
    let issuer = account.service.as_deref().unwrap_or_default();
    let account_name = account.account.as_deref().unwrap_or_default();
    if !account.uri.expose().is_empty() {
        let item = Item {
            code: account.uri.expose(),
            ..Item::default()
        };
        return item.entry();
    }
    let kind = account.otp_type.as_deref().unwrap_or_default();
    let fields = Fields {
        kind: if kind.eq_ignore_ascii_case("steamtotp") {
            "steam"
        } else {
            kind
        },
        issuer,
        account_name,
        secret: account.secret.expose(),
        algorithm: account.algorithm.as_deref().unwrap_or_default(),
        digits: account.digits.0,
        period: account.period.0,
    };
    Some(ImportEntry::fields(
        &joined_name(issuer, account_name),
        &fields,
    ))
}
