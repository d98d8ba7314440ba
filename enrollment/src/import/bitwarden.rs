//! Bitwarden's JSON export, plain or protected with a password. Items without a TOTP field
//! are not accounts.
//!
//! A protected one is AES-256-CBC with HMAC-SHA-256 under two keys, which HKDF makes of what
//! PBKDF2 or Argon2id make of the password. A value that is encrypted the same way tells a
//! wrong password from damage.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::item::Item;
use super::member::{self, Member};
use super::opening::{Key, Opening, base64, cbc, malformed, wrong, wrong_for_certain};
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, lines, parse};
use crate::otpauth;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Bitwarden;
/// How a value begins that is encrypted as described above.
const ENCRYPTION: &str = "2.";

#[derive(Deserialize)]
struct Export {
    items: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    login: Option<Member<Login>>,
    #[serde(default)]
    notes: SecretText,
    fields: Option<Vec<Member<Field>>>,
    /// When it was put into the bin.
    #[serde(rename = "deletedDate")]
    deleted: Option<String>,
}

/// A field that the person has added.
#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    #[serde(default)]
    value: SecretText,
}

#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    #[serde(default)]
    totp: SecretText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    encrypted: Option<bool>,
    password_protected: Option<bool>,
    #[serde(rename = "encKeyValidation_DO_NOT_EDIT")]
    validation: Option<String>,
    salt: Option<String>,
    kdf_type: Option<u32>,
    kdf_iterations: Option<u32>,
    /// In MiB.
    kdf_memory: Option<u32>,
    kdf_parallelism: Option<u32>,
    data: Option<String>,
}

pub(super) fn read(text: &str, opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let outline: Outline = parse(text, FORMAT)?;
    if outline.encrypted != Some(true) && outline.validation.is_none() {
        return plain(text);
    }
    if outline.password_protected != Some(true) {
        // Only the account that has exported it opens it.
        return Err(InputProblem::ImportEncrypted { format: FORMAT });
    }
    let password = opening.password(FORMAT)?;
    let (Some(data), Some(salt)) = (&outline.data, &outline.salt) else {
        return Err(malformed(FORMAT));
    };
    let key = derive(&outline, password, salt, opening)?;
    let keys = (expand(&key, b"enc")?, expand(&key, b"mac")?);
    let opened = match open(data, &keys) {
        Some(opened) => opened,
        None => {
            return Err(match outline.validation.as_deref() {
                Some(value) if open(value, &keys).is_some() => malformed(FORMAT),
                Some(value) if is_sealed(value) => wrong_for_certain(FORMAT),
                Some(_) => malformed(FORMAT),
                None => wrong(FORMAT),
            });
        }
    };
    let text = std::str::from_utf8(&opened).map_err(|_| malformed(FORMAT))?;
    plain(text)
}

fn plain(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(entries_of(&export.items))
}

/// Items as Bitwarden's command line lists them: in an array, or one alone.
pub(super) fn read_items(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let items: Vec<Member<Entry>> = match text.starts_with('[') {
        true => parse(text, FORMAT)?,
        false => vec![parse(text, FORMAT)?],
    };
    Ok(entries_of(&items))
}

fn entries_of(items: &[Member<Entry>]) -> Vec<ImportEntry> {
    let check = |_: &Member<Entry>, entry: &Entry| {
        member::unless_binned(entry.deleted.is_some())?;
        let login = entry.login.as_ref();
        login.map_or(Ok(()), |login| login.checked(FORMAT).map(|_| ()))
    };
    member::items(items, FORMAT, entries, check)
}

/// An item has one code of its own; people keep further ones as URIs in fields and notes, and
/// recovery codes.
fn entries(entry: &Entry) -> Vec<ImportEntry> {
    let login = entry.login.as_ref().and_then(Member::read);
    let own = login.map(|login| login.totp.expose()).unwrap_or_default();
    let mut beside = CodesBeside::default();
    let mut added = Vec::new();
    for field in entry.fields.iter().flatten() {
        if let Some(field) = field.read() {
            added.push(field.value.expose());
            beside.field(
                field.name.as_deref().unwrap_or_default(),
                field.value.expose(),
            );
        }
    }
    let notes = entry.notes.expose();
    beside.note(notes);
    // A URI that was wrapped is one.
    let lines = lines::joined(notes);
    let uris = lines.iter().flat_map(|line| lines::apart(line));
    let uris = uris.filter(|line| line.to_ascii_lowercase().contains("otpauth"));
    let kept = added
        .into_iter()
        .chain(uris)
        .filter(|text| otpauth::is_meant(text) && crate::text::trim(text) != own);
    let item = Item {
        title: entry.name.as_deref().unwrap_or_default(),
        account_name: login
            .and_then(|login| login.username.as_deref())
            .unwrap_or_default(),
        code: "",
    };
    item.entries(std::iter::once(own).chain(kept), beside)
}

fn derive(
    outline: &Outline,
    password: &str,
    salt: &str,
    opening: &Opening<'_>,
) -> Result<Key, InputProblem> {
    let rounds = outline.kdf_iterations.ok_or(malformed(FORMAT))?;
    match outline.kdf_type {
        Some(0) => opening.pbkdf2_sha256(password.as_bytes(), salt.as_bytes(), rounds, FORMAT),
        Some(1) => {
            let (Some(mib), Some(lanes)) = (outline.kdf_memory, outline.kdf_parallelism) else {
                return Err(malformed(FORMAT));
            };
            let salt = Sha256::digest(salt.as_bytes());
            let cost = (u64::from(mib) * 1024, rounds, lanes);
            opening.argon2id(password.as_bytes(), &salt, cost, FORMAT)
        }
        _ => Err(malformed(FORMAT)),
    }
}

/// One block of HKDF's second step, which is all that a key of 256 bits takes.
fn expand(key: &Key, purpose: &[u8]) -> Result<Key, InputProblem> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).map_err(|_| malformed(FORMAT))?;
    mac.update(purpose);
    mac.update(&[1]);
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// Whether a value is complete, whatever it was sealed with.
fn is_sealed(value: &str) -> bool {
    let parts = value.strip_prefix(ENCRYPTION).unwrap_or_default();
    let lengths: Vec<usize> = parts
        .split('|')
        .filter_map(|part| Some(base64(part)?.len()))
        .collect();
    matches!(lengths.as_slice(), [16, sealed, 32] if *sealed > 0 && sealed.is_multiple_of(16))
}

/// Opens `2.iv|ciphertext|mac`; nothing if the keys are others.
fn open(value: &str, (key, mac_key): &(Key, Key)) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = value.strip_prefix(ENCRYPTION)?.split('|').map(base64);
    let (iv, ciphertext, tag) = (parts.next()??, parts.next()??, parts.next()??);
    let mut mac = Hmac::<Sha256>::new_from_slice(mac_key.as_slice()).ok()?;
    mac.update(&iv);
    mac.update(&ciphertext);
    mac.verify_slice(&tag).ok()?;
    cbc(key.as_slice(), &iv, &ciphertext)
}
