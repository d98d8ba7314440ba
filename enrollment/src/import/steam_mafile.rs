//! Steam Desktop Authenticator's maFile, not encrypted. The secret is in base64.

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::opening::{base64, malformed};
use super::shapes::SecretText;
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::SteamMaFile;

#[derive(Deserialize)]
struct MaFile {
    #[serde(default)]
    shared_secret: SecretText,
    account_name: Option<String>,
    /// What takes the authenticator off the account: its recovery code.
    #[serde(default)]
    revocation_code: SecretText,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let file: MaFile = parse(text, FORMAT)?;
    let bytes = base64(file.shared_secret.expose()).ok_or(malformed(FORMAT))?;
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let account_name = file.account_name.as_deref().unwrap_or_default();
    let fields = Fields {
        kind: "steam",
        issuer: "Steam",
        account_name,
        secret: &secret,
        ..Fields::default()
    };
    let mut entry = ImportEntry::fields(&joined_name("Steam", account_name), &fields);
    entry.beside.codes_in(file.revocation_code.expose());
    Ok(vec![entry])
}
