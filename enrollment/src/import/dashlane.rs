//! Dashlane's JSON export of earlier versions; its CSV is read as a table.

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Dashlane;

#[derive(Deserialize)]
struct Export {
    #[serde(rename = "AUTHENTIFIANT")]
    logins: Vec<Member<Login>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    title: Option<String>,
    login: Option<String>,
    email: Option<String>,
    #[serde(default)]
    otp_url: SecretText,
    #[serde(default)]
    otp_secret: SecretText,
    #[serde(default)]
    note: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    let unknown = |login: &Member<Login>, _: &Login| login.unknown();
    Ok(member::items(&export.logins, FORMAT, entries, unknown))
}

fn entries(login: &Login) -> Vec<ImportEntry> {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let account_name = said(&login.login).or_else(|| said(&login.email));
    let code = match login.otp_url.expose().trim() {
        "" => login.otp_secret.expose(),
        url => url,
    };
    let item = Item {
        title: login.title.as_deref().unwrap_or_default(),
        account_name: account_name.as_deref().unwrap_or_default(),
        code: "",
    };
    let mut beside = CodesBeside::default();
    beside.note(login.note.expose());
    item.entries([code], beside)
}
