//! Plain lists of accounts whose programs differ in the names of the members only: Raivo,
//! OTPClient, LastPass Authenticator.

use serde::Deserialize;

use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

/// An account of any of them; each has some of the members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    secret: SecretText,
    #[serde(alias = "kind")]
    r#type: Option<String>,
    issuer: Option<String>,
    issuer_name: Option<String>,
    original_issuer_name: Option<String>,
    #[serde(alias = "label")]
    account: Option<String>,
    user_name: Option<String>,
    original_user_name: Option<String>,
    #[serde(alias = "algo")]
    algorithm: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default, alias = "timer", alias = "timeStep")]
    period: Number,
}

#[derive(Deserialize)]
struct LastPass {
    accounts: Vec<Member<Listed>>,
}

/// LastPass Authenticator's file of accounts.
pub(super) fn read_last_pass(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let format = ImportFormat::LastPassAuthenticator;
    let export: LastPass = parse(text, format)?;
    let accounts = &export.accounts;
    Ok(member::accounts(accounts, format, |it| entry(it, format)))
}

/// A list of Raivo or OTPClient.
pub(super) fn read(text: &str, format: ImportFormat) -> Result<Vec<ImportEntry>, InputProblem> {
    let list: Vec<Member<Listed>> = parse(text, format)?;
    Ok(member::accounts(&list, format, |it| entry(it, format)))
}

fn entry(listed: &Listed, format: ImportFormat) -> ImportEntry {
    // The first is what the person has changed it to.
    let first = |texts: [&Option<String>; 3]| {
        let said = texts.into_iter().flatten();
        said.map(|text| text.trim())
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let issuer = first([
        &listed.issuer,
        &listed.issuer_name,
        &listed.original_issuer_name,
    ]);
    let account_name = first([
        &listed.account,
        &listed.user_name,
        &listed.original_user_name,
    ]);
    let kind = listed.r#type.as_deref().unwrap_or_default();
    // OTPClient makes Steam's codes for everything whose issuer is called so.
    let is_steam = format == ImportFormat::OtpClient && issuer.eq_ignore_ascii_case("steam");
    let fields = Fields {
        kind: if is_steam && kind.eq_ignore_ascii_case("totp") {
            "steam"
        } else {
            kind
        },
        issuer: &issuer,
        account_name: &account_name,
        secret: listed.secret.expose(),
        algorithm: listed.algorithm.as_deref().unwrap_or_default(),
        digits: listed.digits.0,
        period: listed.period.0,
    };
    ImportEntry::fields(&joined_name(&issuer, &account_name), &fields)
}
