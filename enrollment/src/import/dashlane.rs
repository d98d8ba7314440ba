//! Dashlane's JSON export of earlier versions; its CSV is read as a table.

use serde::Deserialize;

use super::item::Item;
use super::shapes::{Member, SecretText};
use super::{CodesBeside, ImportEntry, damaged, parse};
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
    Ok(export.logins.iter().flat_map(entries).collect())
}

fn entries(member: &Member<Login>) -> Vec<ImportEntry> {
    let Member::Read(login) = member else {
        return vec![damaged(FORMAT)];
    };
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
