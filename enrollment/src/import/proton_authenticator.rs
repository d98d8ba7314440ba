//! Proton Authenticator's export, plain or encrypted: AES-256-GCM under a key that Argon2id
//! makes of the password, with parameters that the format fixes.

use serde::Deserialize;

use super::item::Item;
use super::member::{self, Member};
use super::opening::{Opening, base64, gcm, malformed, wrong};
use super::shapes::SecretText;
use super::{ImportEntry, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::ProtonAuthenticator;
/// KiB of memory, passes and lanes.
const ARGON2: (u64, u32, u32) = (19 * 1024, 2, 1);
const ASSOCIATED: &[u8] = b"proton.authenticator.export.v1";
const NONCE: usize = 12;

#[derive(Deserialize)]
struct Export {
    entries: Vec<Member<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    content: Content,
    #[serde(default)]
    note: SecretText,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    uri: SecretText,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Encrypted {
    salt: String,
    content: String,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(member::accounts(&export.entries, FORMAT, entry))
}

fn entry(Entry { content, note }: &Entry) -> ImportEntry {
    // The name is the account's; its issuer is only in the URI.
    let item = Item {
        title: "",
        account_name: content.name.as_deref().unwrap_or_default(),
        code: content.uri.expose(),
    };
    let mut entry = item.entry().unwrap_or_else(|| {
        let problem = InputProblem::EntryMalformed { format: FORMAT };
        ImportEntry::refused(item.account_name, problem)
    });
    entry.beside.note(note.expose());
    entry
}

pub(super) fn open(text: &str, opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let encrypted: Encrypted = parse(text, FORMAT)?;
    let password = opening.password(FORMAT)?;
    let bytes = |text: &str| base64(text).ok_or(malformed(FORMAT));
    let (salt, sealed) = (bytes(&encrypted.salt)?, bytes(&encrypted.content)?);
    let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(malformed(FORMAT))?;
    let key = opening.argon2id(password.as_bytes(), &salt, ARGON2, FORMAT)?;
    let opened = gcm(&*key, nonce, sealed, ASSOCIATED).ok_or(wrong(FORMAT))?;
    let text = std::str::from_utf8(&opened).map_err(|_| malformed(FORMAT))?;
    read(text)
}
