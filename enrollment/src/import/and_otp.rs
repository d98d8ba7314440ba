//! andOTP's backup, plain or encrypted with a password. Nothing in an encrypted one says what
//! it is: it begins with the rounds of PBKDF2 (random, about 150,000), or, of earlier
//! versions, with the nonce.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::member::{self, Member};
use super::opening::{Opening, gcm, malformed, wrong};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::AndOtp;
const ROUNDS: usize = 4;
const SALT: usize = 12;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Rounds that the app has written.
const USUAL_ROUNDS: std::ops::RangeInclusive<u32> = 1_000..=1_000_000;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    secret: SecretText,
    issuer: Option<String>,
    label: Option<String>,
    r#type: Option<String>,
    algorithm: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let entries: Vec<Member<Entry>> = parse(text, FORMAT)?;
    Ok(member::accounts(&entries, FORMAT, entry))
}

fn entry(entry: &Entry) -> ImportEntry {
    let label = entry.label.as_deref().unwrap_or_default();
    // Early versions wrote both into the label.
    let (issuer, account_name) = match &entry.issuer {
        Some(issuer) => (issuer.as_str(), label),
        None => label.split_once(" - ").unwrap_or(("", label)),
    };
    let fields = Fields {
        kind: entry.r#type.as_deref().unwrap_or_default(),
        issuer,
        account_name,
        secret: entry.secret.expose(),
        algorithm: entry.algorithm.as_deref().unwrap_or_default(),
        digits: entry.digits.0,
        period: entry.period.0,
    };
    ImportEntry::fields(&joined_name(issuer, account_name), &fields)
}

/// Whether bytes can be an encrypted backup.
pub(super) fn may_be_encrypted(bytes: &[u8]) -> bool {
    rounds(bytes).is_some_and(|rounds| USUAL_ROUNDS.contains(&rounds))
        && bytes.len() > ROUNDS + SALT + NONCE + TAG
}

fn rounds(bytes: &[u8]) -> Option<u32> {
    let first = bytes.first_chunk::<ROUNDS>()?;
    Some(u32::from_be_bytes(*first))
}

pub(super) fn open(bytes: &[u8], opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let password = opening.password(FORMAT)?.as_bytes();
    let rounds = rounds(bytes).ok_or(malformed(FORMAT))?;
    let (salt, rest) = bytes[ROUNDS..]
        .split_at_checked(SALT)
        .ok_or(malformed(FORMAT))?;
    let (nonce, sealed) = rest.split_at_checked(NONCE).ok_or(malformed(FORMAT))?;
    let key = opening.pbkdf2_sha1(password, salt, rounds, FORMAT)?;
    let opened = gcm(&*key, nonce, sealed, b"").or_else(|| open_earlier(bytes, password));
    plain(&opened.ok_or(wrong(FORMAT))?)
}

/// Opens a backup of an earlier version, if the password fits: nothing else tells that it is
/// one.
pub(super) fn try_earlier(
    bytes: &[u8],
    opening: &Opening<'_>,
) -> Option<Result<Vec<ImportEntry>, InputProblem>> {
    let password = opening.password?.as_bytes();
    open_earlier(bytes, password).map(|opened| plain(&opened))
}

fn open_earlier(bytes: &[u8], password: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
    let key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
    gcm(&*key, nonce, sealed, b"")
}

fn plain(opened: &[u8]) -> Result<Vec<ImportEntry>, InputProblem> {
    let text = std::str::from_utf8(opened).map_err(|_| malformed(FORMAT))?;
    read(text)
}
