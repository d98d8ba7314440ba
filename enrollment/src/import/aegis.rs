//! Aegis Authenticator's vault, plain or encrypted with a password.
//!
//! An encrypted one holds its master key in slots. A password's slot is opened with
//! AES-256-GCM under a key that scrypt makes of the password; the master key then opens
//! the database, AES-256-GCM as well (the project's own docs/vault.md).

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::budget::MAX_SALT;
use super::member::{self, Member};
use super::opening::{Opening, wrong_for_certain};
use super::shapes::{Number, SecretText};
use super::{Cost, ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const MALFORMED: InputProblem = InputProblem::ImportMalformed {
    format: ImportFormat::Aegis,
};
/// The type of a slot that a password opens.
const PASSWORD_SLOT: u32 = 1;

/// Which of the two it is.
#[derive(Deserialize)]
struct Outline {
    header: Header,
}

#[derive(Deserialize)]
struct Plain {
    db: Database,
}

#[derive(Deserialize)]
struct Encrypted {
    db: String,
}

#[derive(Deserialize)]
struct Header {
    slots: Option<Vec<Slot>>,
    params: Option<Sealing>,
}

/// Nonce and tag of AES-GCM, in hexadecimal.
#[derive(Deserialize)]
struct Sealing {
    nonce: String,
    tag: String,
}

#[derive(Deserialize)]
struct Slot {
    r#type: u32,
    key: Option<String>,
    key_params: Option<Sealing>,
    n: Option<u64>,
    r: Option<u32>,
    p: Option<u32>,
    salt: Option<String>,
}

#[derive(Deserialize)]
struct Database {
    entries: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    r#type: Option<String>,
    name: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    note: SecretText,
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    secret: SecretText,
    algo: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

pub(super) fn read(text: &str, opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let outline: Outline = parse(text, ImportFormat::Aegis)?;
    let database: Database = match (&outline.header.slots, &outline.header.params) {
        (Some(slots), Some(params)) => {
            let password = opening.password(ImportFormat::Aegis)?;
            let vault: Encrypted = parse(text, ImportFormat::Aegis)?;
            let encrypted = BASE64.decode(vault.db.as_bytes()).map_err(|_| MALFORMED)?;
            let master = master_key(slots, password, opening)?;
            // A slot has opened, so the password is right.
            let database = open(&master, params, &encrypted)?.ok_or(MALFORMED)?;
            serde_json::from_slice(&database).map_err(|_| MALFORMED)?
        }
        (None, None) => {
            let vault: Plain = parse(text, ImportFormat::Aegis)?;
            vault.db
        }
        _ => return Err(MALFORMED),
    };
    Ok(member::accounts(
        &database.entries,
        ImportFormat::Aegis,
        entry,
    ))
}

fn entry(entry: &Entry) -> ImportEntry {
    let issuer = entry.issuer.as_deref().unwrap_or_default();
    let account_name = entry.name.as_deref().unwrap_or_default();
    let fields = Fields {
        kind: entry.r#type.as_deref().unwrap_or_default(),
        issuer,
        account_name,
        secret: entry.info.secret.expose(),
        algorithm: entry.info.algo.as_deref().unwrap_or_default(),
        digits: entry.info.digits.0,
        period: entry.info.period.0,
    };
    let mut read = ImportEntry::fields(&joined_name(issuer, account_name), &fields);
    read.beside.note(entry.note.expose());
    read
}

/// The master key, from the first slot that the password opens.
fn master_key(
    slots: &[Slot],
    password: &str,
    opening: &Opening<'_>,
) -> Result<Zeroizing<Vec<u8>>, InputProblem> {
    let of_passwords = || slots.iter().filter(|slot| slot.r#type == PASSWORD_SLOT);
    if of_passwords().next().is_none() {
        // Only a phone's fingerprint sensor opens it.
        return Err(InputProblem::ImportEncrypted {
            format: ImportFormat::Aegis,
        });
    }
    for slot in of_passwords() {
        let (Some(key), Some(params)) = (&slot.key, &slot.key_params) else {
            return Err(MALFORMED);
        };
        let derived = derive(slot, password, opening)?;
        if let Some(master) = open(derived.as_slice(), params, &hex(key)?)? {
            return Ok(master);
        }
    }
    Err(wrong_for_certain(ImportFormat::Aegis))
}

fn derive(
    slot: &Slot,
    password: &str,
    opening: &Opening<'_>,
) -> Result<Zeroizing<[u8; 32]>, InputProblem> {
    let (Some(n), Some(r), Some(p), Some(salt)) = (slot.n, slot.r, slot.p, &slot.salt) else {
        return Err(MALFORMED);
    };
    let salt = hex(salt)?;
    if !n.is_power_of_two() || n < 2 || salt.len() > MAX_SALT {
        return Err(MALFORMED);
    }
    opening.budget.spend(Cost::scrypt(n, r, p))?;
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| MALFORMED)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| MALFORMED)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), &salt, &params, &mut *key).map_err(|_| MALFORMED)?;
    Ok(key)
}

/// Opens AES-256-GCM; nothing if the key is another one.
fn open(
    key: &[u8],
    params: &Sealing,
    ciphertext: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, InputProblem> {
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| MALFORMED)?;
    let nonce: [u8; 12] = hex(&params.nonce)?.try_into().map_err(|_| MALFORMED)?;
    let mut sealed = ciphertext.to_vec();
    sealed.extend(hex(&params.tag)?);
    let opened = cipher.decrypt(&Nonce::from(nonce), sealed.as_slice());
    Ok(opened.ok().map(Zeroizing::new))
}

fn hex(text: &str) -> Result<Vec<u8>, InputProblem> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|_| MALFORMED)
}
