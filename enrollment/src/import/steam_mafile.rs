//! Steam's own account of an authenticator, as a maFile of Steam Desktop Authenticator has it, not
//! encrypted. The secret is in base64.

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
    let account_name = file.account_name.as_deref().unwrap_or_default();
    let secrets = (file.shared_secret.expose(), file.revocation_code.expose());
    entry(account_name, secrets).map(|entry| vec![entry])
}

/// An account whose secret is in base64, with its recovery code.
pub(super) fn entry(
    account_name: &str,
    (shared_secret, revocation_code): (&str, &str),
) -> Result<ImportEntry, InputProblem> {
    let bytes = base64(shared_secret).ok_or(malformed(FORMAT))?;
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let fields = Fields {
        kind: "steam",
        issuer: "Steam",
        account_name,
        secret: &secret,
        ..Fields::default()
    };
    let mut entry = ImportEntry::fields(&joined_name("Steam", account_name), &fields);
    entry.beside.codes_in(revocation_code);
    Ok(entry)
}
