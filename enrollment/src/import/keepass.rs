//! KeePass's XML, as KeePass and KeePassXC write it, not encrypted. The codes of KeePass
//! itself, of KeePassXC, and of the plugins KeeOtp and TrayTOTP have their own fields.
//! Earlier states of an entry are not looked at.

use std::collections::BTreeMap;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use quick_xml::Reader;
use quick_xml::events::Event;
use zeroize::Zeroizing;

use super::item::Item;
use super::member::checked_entries;
use super::opening::{base64, malformed};
use super::recovery_codes::attach;
use super::settings::Settings;
use super::shapes::number_in;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, joined_name};
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::KeePass;
/// How deeply groups may be nested.
const MAX_DEPTH: usize = 64;
/// What KeePassXC calls the recycle bin in its languages, in small letters.
const BINS: [&str; 34] = [
    "recycle bin",
    "papirkurv",
    "koš",
    "corbeille",
    "휴지통",
    "回收站",
    "回收桶",
    "ゴミ箱",
    "ធុងសំរាម",
    "အမှိုက်ပုံး",
    "ถังขยะ",
    "ප්‍රතිචක්‍රීකරණ බඳුන",
    "سلة المهملات",
    "סל־מחזור",
    "смітник",
    "кошче",
    "корпа за отпатке",
    "корзина",
    "κάδος ανακύκλωσης",
    "šiukšlinė",
    "çöp kutusu",
    "roskakori",
    "reciclagem",
    "prügikast",
    "prullenbak",
    "papperskorg",
    "papierkorb",
    "paperera",
    "papelera",
    "lixeira",
    "kôš",
    "kosz",
    "coș de gunoi",
    "cestino",
];

type Entry = BTreeMap<String, Zeroizing<String>>;

pub(super) fn is_document(text: &str) -> bool {
    text.get(..text.len().min(1_024))
        .unwrap_or(text)
        .contains("<KeePassFile")
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut found = Vec::new();
    let (mut entry, mut key) = (Entry::new(), String::new());
    let mut value = Zeroizing::new(String::new());
    let mut bin = Bin::default();
    loop {
        // The error's own text can quote the document.
        match reader.read_event().map_err(|_| malformed(FORMAT))? {
            Event::Eof if path.is_empty() => break,
            Event::Eof => return Err(malformed(FORMAT)),
            Event::Start(tag) => {
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                match name.as_str() {
                    "Entry" if !in_history(&path) => entry = Entry::new(),
                    "Key" => key.clear(),
                    "Value" => value = Zeroizing::new(String::new()),
                    _ => {}
                }
                if name == "Group" {
                    bin.groups.push(String::new());
                }
                path.push(name);
                if path.len() > MAX_DEPTH {
                    return Err(malformed(FORMAT));
                }
            }
            Event::End(_) => {
                let name = path.pop().unwrap_or_default();
                if in_history(&path) || name == "History" {
                    continue;
                }
                match name.as_str() {
                    "String" => {
                        let value = std::mem::take(&mut *value);
                        entry.insert(std::mem::take(&mut key), Zeroizing::new(value));
                    }
                    "Group" => {
                        bin.groups.pop();
                    }
                    "Entry" => {
                        let entry = std::mem::take(&mut entry);
                        found.extend(accounts(&entry, bin.is_open()));
                    }
                    _ => {}
                }
                if found.len() > MAX_ENTRIES {
                    return Err(super::too_many());
                }
            }
            Event::Text(text) if !in_history(&path) => {
                let text = text.decode().map_err(|_| malformed(FORMAT))?;
                bin.read(&path, &text);
                add(&path, &text, &mut key, &mut value);
            }
            Event::CData(text) if !in_history(&path) => {
                let text = text.decode().map_err(|_| malformed(FORMAT))?;
                add(&path, &text, &mut key, &mut value);
            }
            Event::GeneralRef(reference) if !in_history(&path) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    _ => {
                        let name = reference.decode().map_err(|_| malformed(FORMAT))?;
                        quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or(malformed(FORMAT))?
                            .to_owned()
                    }
                };
                add(&path, &character, &mut key, &mut value);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Whether the path of a group, as KeePassXC's tables have it, is that of the recycle bin or of a
/// group in it.
pub(super) fn is_binned(group: &str) -> bool {
    let second = group.split('/').nth(1).unwrap_or_default();
    BINS.contains(&second.trim().to_lowercase().as_str())
}

fn in_history(path: &[String]) -> bool {
    path.iter().any(|name| name == "History")
}

/// Which groups are open, and which of all is the bin.
#[derive(Default)]
struct Bin {
    /// Its identifier; empty if there is none.
    id: String,
    /// The identifiers of the groups that are open.
    groups: Vec<String>,
}

impl Bin {
    fn read(&mut self, path: &[String], text: &str) {
        match path {
            [.., parent, last] if parent == "Meta" && last == "RecycleBinUUID" => {
                text.trim().clone_into(&mut self.id);
            }
            [.., parent, last] if parent == "Group" && last == "UUID" => {
                if let Some(group) = self.groups.last_mut() {
                    text.trim().clone_into(group);
                }
            }
            _ => {}
        }
    }

    fn is_open(&self) -> bool {
        !self.id.is_empty() && self.groups.contains(&self.id)
    }
}

/// The accounts of an entry.
fn accounts(entry: &Entry, is_binned: bool) -> Vec<ImportEntry> {
    let text = |name: &str| entry.get(name).map_or("", |text| text.as_str());
    let own: Vec<ImportEntry> = code(entry).into_iter().collect();
    let has_fields =
        own.iter().any(|entry| entry.content.is_ok()) && !text("otp").contains("otpauth");
    let item = Item {
        title: text("Title"),
        account_name: text("UserName"),
        code: "",
    };
    let unknown = || {
        let mut others = entry.iter().filter(|(key, _)| !is_known(key));
        others.find_map(|(key, value)| {
            let parameter = otpauth::meant_by_field(key, value)?;
            Some(InputProblem::ParamDamaged { parameter })
        })
    };
    let checked = match is_binned {
        true => Err(InputProblem::EntryInBin),
        false => has_fields.then(unknown).flatten().map_or(Ok(()), Err),
    };
    let texts = entry.values().map(|text| text.as_str());
    attach(
        checked_entries(own, item, texts, checked),
        beside(entry),
        name_of(entry),
    )
}

/// Whether a field is one that KeePass itself or a reader here knows.
fn is_known(key: &str) -> bool {
    let is = |name: &&str| key.eq_ignore_ascii_case(name);
    ["Title", "UserName", "Password", "URL", "Notes", "otp"]
        .iter()
        .chain(&["TOTP Seed", "TOTP Settings"])
        .chain(&["TimeOtp-Algorithm", "TimeOtp-Length", "TimeOtp-Period"])
        .any(is)
        || key.to_ascii_lowercase().starts_with("timeotp-secret")
        || key.to_ascii_lowercase().starts_with("hmacotp-")
}

/// Adds text to the key or the value that is open.
fn add(path: &[String], text: &str, key: &mut String, value: &mut Zeroizing<String>) {
    match path {
        [.., parent, last] if parent == "String" && last == "Key" => key.push_str(text),
        [.., parent, last] if parent == "String" && last == "Value" => value.push_str(text),
        _ => {}
    }
}

/// The recovery codes of an entry.
fn beside(entry: &Entry) -> CodesBeside {
    let mut beside = CodesBeside::default();
    for (key, value) in entry {
        if key.eq_ignore_ascii_case("Notes") {
            beside.note(value);
        } else {
            beside.field(key, value);
        }
    }
    beside
}

fn name_of(entry: &Entry) -> &str {
    entry.get("Title").map_or("", |title| title.as_str())
}

/// The account of a row of a table whose columns are called as KeePass's own fields are; nothing
/// if it has no code.
pub(super) fn row<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Option<ImportEntry> {
    let cells = cells.map(|(name, cell)| (name.to_owned(), Zeroizing::new(cell.to_owned())));
    let entry: Entry = cells.collect();
    own_secret(&entry).is_some().then(|| code(&entry)).flatten()
}

/// The account of an entry; nothing if it has no code.
fn code(entry: &Entry) -> Option<ImportEntry> {
    let field = |name: &str| {
        let found = entry.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    };
    let title = field("Title").unwrap_or_default();
    let account_name = field("UserName").unwrap_or_default();
    if let Some(code) = field("otp") {
        let item = Item {
            title,
            account_name,
            code,
        };
        return item.entry();
    }
    let name = joined_name(title, account_name);
    let fields = Fields {
        issuer: title,
        account_name,
        ..Fields::default()
    };
    if let Some(secret) = own_secret(entry) {
        let algorithm = field("TimeOtp-Algorithm").unwrap_or_default();
        return Some(match secret {
            Ok(secret) => ImportEntry::fields(
                &name,
                &Fields {
                    secret: &secret,
                    algorithm,
                    digits: field("TimeOtp-Length").and_then(number_in),
                    period: field("TimeOtp-Period").and_then(number_in),
                    ..fields
                },
            ),
            Err(problem) => ImportEntry::new(&name, Err(problem)),
        });
    }
    if let Some(secret) = field("TOTP Seed") {
        let settings = Settings::of_tray_totp(field("TOTP Settings").unwrap_or("30;6"));
        return Some(ImportEntry::fields(
            &name,
            &Fields {
                kind: if settings.is_steam { "steam" } else { "totp" },
                secret,
                digits: settings.digits,
                period: settings.period,
                ..fields
            },
        ));
    }
    let counted = entry.keys().any(|key| key.starts_with("HmacOtp-Secret"));
    counted.then(|| ImportEntry::new(&name, Err(InputProblem::HotpUnsupported)))
}

/// The secret in KeePass's own fields, in base32.
fn own_secret(entry: &Entry) -> Option<Result<Zeroizing<String>, InputProblem>> {
    let field = |name: &str| {
        let value = entry.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    };
    if let Some(secret) = field("TimeOtp-Secret-Base32") {
        return Some(Ok(Zeroizing::new(secret.to_owned())));
    }
    let bytes = if let Some(text) = field("TimeOtp-Secret") {
        Some(Zeroizing::new(text.as_bytes().to_vec()))
    } else if let Some(hex) = field("TimeOtp-Secret-Hex") {
        let compact: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
        let bytes = HEXLOWER_PERMISSIVE.decode(compact.as_bytes()).ok();
        bytes.map(Zeroizing::new)
    } else {
        base64(field("TimeOtp-Secret-Base64")?)
    };
    let not_read = InputProblem::SecretNotBase32 { lookalike: false };
    Some(
        bytes
            .map(|bytes| Zeroizing::new(BASE32_NOPAD.encode(&bytes)))
            .ok_or(not_read),
    )
}
