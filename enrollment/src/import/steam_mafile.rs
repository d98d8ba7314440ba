//! Steam's own account of an authenticator, as a maFile of Steam Desktop Authenticator or of
//! steamguard-cli has it, not encrypted; also several in an array. The secret is in base64.

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::member::{self, Member};
use super::opening::base64;
use super::shapes::SecretText;
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::SteamMaFile;

/// How long every secret of Steam's is. Other texts can look like base64.
const SECRET_BYTES: usize = 20;

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
    let files: Vec<Member<MaFile>> = match text.starts_with('[') {
        true => parse(text, FORMAT)?,
        false => vec![parse(text, FORMAT)?],
    };
    Ok(member::accounts(&files, FORMAT, |file| {
        let account_name = file.account_name.as_deref().unwrap_or_default();
        let secrets = (file.shared_secret.expose(), file.revocation_code.expose());
        entry(account_name, secrets)
    }))
}

/// An account whose secret is in base64, with its recovery code.
pub(super) fn entry(
    account_name: &str,
    (shared_secret, revocation_code): (&str, &str),
) -> ImportEntry {
    let name = joined_name("Steam", account_name);
    let bytes = base64(shared_secret).filter(|bytes| bytes.len() == SECRET_BYTES);
    let Some(bytes) = bytes else {
        let problem = InputProblem::EntryMalformed { format: FORMAT };
        return ImportEntry::refused(&name, problem);
    };
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let fields = Fields {
        kind: "steam",
        issuer: "Steam",
        account_name,
        secret: &secret,
        ..Fields::default()
    };
    let mut entry = ImportEntry::fields(&name, &fields);
    entry.beside.codes_in(revocation_code);
    entry
}
