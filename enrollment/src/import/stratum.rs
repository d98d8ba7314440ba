//! Stratum's backup (Authenticator Pro before), plain or encrypted. An encrypted one begins
//! with the app's name: in capitals with Argon2id and AES-256-GCM, otherwise, of earlier
//! versions, with PBKDF2 and AES-256-CBC.

use serde::Deserialize;

use super::member::{self, Member};
use super::opening::{Opening, cbc, gcm, malformed, wrong};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Stratum;
const HEADER: &[u8] = b"AUTHENTICATORPRO";
const EARLIER_HEADER: &[u8] = b"AuthenticatorPro";
/// KiB of memory, passes and lanes.
const ARGON2: (u64, u32, u32) = (64 * 1024, 3, 4);
const EARLIER_ROUNDS: u32 = 64_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Backup {
    authenticators: Vec<Member<Authenticator>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Authenticator {
    #[serde(default)]
    r#type: Number,
    issuer: Option<String>,
    username: Option<String>,
    #[serde(default)]
    secret: SecretText,
    #[serde(default)]
    algorithm: Number,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

/// Whether bytes begin like an encrypted backup.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER) || bytes.starts_with(EARLIER_HEADER)
}

pub(super) fn open(bytes: &[u8], opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let password = opening.password(FORMAT)?.as_bytes();
    let part = |bytes: &[u8], length: usize| -> Result<(Vec<u8>, Vec<u8>), InputProblem> {
        let (one, rest) = bytes.split_at_checked(length).ok_or(malformed(FORMAT))?;
        Ok((one.to_vec(), rest.to_vec()))
    };
    let opened = if let Some(rest) = bytes.strip_prefix(HEADER) {
        let (salt, rest) = part(rest, 16)?;
        let (nonce, sealed) = part(&rest, 12)?;
        let key = opening.argon2id(password, &salt, ARGON2, FORMAT)?;
        gcm(&*key, &nonce, &sealed, b"")
    } else {
        let rest = bytes
            .strip_prefix(EARLIER_HEADER)
            .ok_or(malformed(FORMAT))?;
        let (salt, rest) = part(rest, 20)?;
        let (iv, sealed) = part(&rest, 16)?;
        let key = opening.pbkdf2_sha1(password, &salt, EARLIER_ROUNDS, FORMAT)?;
        cbc(&*key, &iv, &sealed)
    };
    let opened = opened.ok_or(wrong(FORMAT))?;
    // Without a tag, a wrong password can seem to fit.
    let text = std::str::from_utf8(&opened).map_err(|_| wrong(FORMAT))?;
    read(text)
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let backup: Backup = parse(text, FORMAT)?;
    Ok(member::accounts(&backup.authenticators, FORMAT, entry))
}

fn entry(kept: &Authenticator) -> ImportEntry {
    let kind = match kept.r#type.0 {
        Some(1) => "hotp",
        Some(2) => "totp",
        Some(4) => "steam",
        _ => "other",
    };
    let algorithm = match kept.algorithm.0 {
        None | Some(0) => "SHA1",
        Some(1) => "SHA256",
        Some(2) => "SHA512",
        Some(_) => "unknown",
    };
    let issuer = kept.issuer.as_deref().unwrap_or_default();
    let account_name = kept.username.as_deref().unwrap_or_default();
    let fields = Fields {
        kind,
        issuer,
        account_name,
        secret: kept.secret.expose(),
        algorithm,
        digits: kept.digits.0,
        period: kept.period.0,
    };
    ImportEntry::fields(&joined_name(issuer, account_name), &fields)
}
