//! TOTP Authenticator's backup (BinaryBoot), encrypted, and the list that its app keeps on a
//! phone. A backup is AES-256-CBC under the password's hash, in base64; nothing else says what
//! it is.

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::member::{self, Member};
use super::opening::{Opening, base64, cbc, malformed, wrong};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::TotpAuthenticator;
/// What the app takes where a person has set no password.
const USUAL_PASSWORD: &str = "TotpAuthenticator";
/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// The fewest blocks that one account takes.
const FEWEST_BLOCKS: usize = 8;

#[derive(Deserialize)]
struct Account {
    issuer: Option<String>,
    name: Option<String>,
    #[serde(default)]
    key: SecretText,
    /// How the key is written: 16, 32 or 64.
    #[serde(default)]
    base: Number,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

/// What a text can be a backup of: whole blocks in base64, and no secret.
pub(super) fn sealed_in(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if crate::text::may_be_secret(text, 1) {
        return None;
    }
    let sealed = base64(text)?;
    let is_whole = sealed.len() % BLOCK == 0 && sealed.len() >= FEWEST_BLOCKS * BLOCK;
    (is_whole && std::str::from_utf8(&sealed).is_err()).then_some(sealed)
}

pub(super) fn open(sealed: &[u8], opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let given = opening.password.filter(|password| !password.is_empty());
    let opened = given
        .and_then(|password| list_in(sealed, password))
        .or_else(|| list_in(sealed, USUAL_PASSWORD));
    match (opened, given) {
        (Some(list), _) => read(&list),
        (None, Some(_)) => Err(wrong(FORMAT)),
        (None, None) => opening.password(FORMAT).and(Err(malformed(FORMAT))),
    }
}

/// The list of accounts in a backup, which is the name of its only member; nothing if the
/// password is another one.
fn list_in(sealed: &[u8], password: &str) -> Option<Zeroizing<String>> {
    let key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
    let opened = cbc(&*key, &[0; BLOCK], sealed)?;
    let document: Map<String, Value> = serde_json::from_slice(&opened).ok()?;
    let (list, _) = document.into_iter().next()?;
    Some(Zeroizing::new(list))
}

/// The list as the app keeps it.
pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let accounts: Vec<Member<Account>> = parse(text, FORMAT)?;
    Ok(member::accounts(&accounts, FORMAT, entry))
}

fn entry(account: &Account) -> ImportEntry {
    let issuer = account.issuer.as_deref().unwrap_or_default().trim();
    let issuer = if issuer == "Unknown" { "" } else { issuer };
    let account_name = account.name.as_deref().unwrap_or_default();
    let name = joined_name(issuer, account_name);
    let damaged = || ImportEntry::refused(&name, InputProblem::EntryMalformed { format: FORMAT });
    let key = account.key.expose().trim();
    let bytes = match account.base.0 {
        Some(16) => HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok(),
        Some(64) => base64(key).map(|bytes| bytes.to_vec()),
        Some(32) => None,
        _ => return damaged(),
    };
    let secret = match bytes.map(Zeroizing::new) {
        Some(bytes) => Zeroizing::new(BASE32_NOPAD.encode(&bytes)),
        None if account.base.0 == Some(32) => Zeroizing::new(key.to_owned()),
        None => return damaged(),
    };
    let fields = Fields {
        issuer,
        account_name,
        secret: &secret,
        digits: account.digits.0,
        period: account.period.0,
        ..Fields::default()
    };
    ImportEntry::fields(&name, &fields)
}
