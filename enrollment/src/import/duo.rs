//! The accounts of Duo Mobile, as its app keeps them on a phone. Duo itself exports nothing.

use serde::Deserialize;

use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, parse};
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
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let accounts: Vec<Member<Account>> = parse(text, FORMAT)?;
    Ok(member::accounts(&accounts, FORMAT, entry))
}

fn entry(account: &Account) -> ImportEntry {
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
    ImportEntry::fields(name, &fields)
}
