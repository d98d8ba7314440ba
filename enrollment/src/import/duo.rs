//! The accounts of Duo Mobile, as its app keeps them on a phone. Duo itself exports nothing.

use serde::Deserialize;

use super::shapes::{Member, Number, Others, SecretText, meant_among};
use super::{ImportEntry, damaged, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Duo;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    name: Option<String>,
    otp_generator: Option<Generator>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generator {
    #[serde(default)]
    otp_secret: SecretText,
    #[serde(default)]
    counter: Number,
    #[serde(flatten)]
    others: Others,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let accounts: Vec<Member<Account>> = parse(text, FORMAT)?;
    Ok(accounts.iter().map(entry).collect())
}

fn entry(member: &Member<Account>) -> ImportEntry {
    let Member::Read(account) = member else {
        return damaged(FORMAT);
    };
    let name = account.name.as_deref().unwrap_or_default();
    let Some(generator) = &account.otp_generator else {
        // It only confirms logins in the app.
        return ImportEntry::refused(name, InputProblem::TypeUnsupported);
    };
    if generator.counter.0.is_some() {
        return ImportEntry::refused(name, InputProblem::HotpUnsupported);
    }
    let fields = Fields {
        account_name: name,
        secret: generator.otp_secret.expose(),
        ..Fields::default()
    };
    match meant_among(&generator.others) {
        Ok(()) => ImportEntry::fields(name, &fields),
        Err(problem) => ImportEntry::refused(name, problem),
    }
}
