//! Reading accounts in bulk: what other programs export, lists of otpauth URIs, and the
//! texts of QR codes.
//!
//! A file becomes an [`ImportList`], which can be sealed; nothing in it is enrolled yet.
//! One entry that cannot be read takes no other with it.

mod aegis;
mod bitwarden;
mod budget;
mod found;
pub mod job;
mod key_vault;
mod two_fas;

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::account::{MAX_LABEL_CHARS, clean};
use crate::google_export;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};
use crate::sealed::Sealable;

pub use budget::{Budget, Canceller, Cost, Exceeded};
pub use found::{Found, expand, not_there};

/// The most accounts that are imported at once.
pub const MAX_ACCOUNTS: usize = 500;

/// What is to be imported, in order. Holds secrets: wiped when dropped, silent in `Debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportList {
    /// Accounts, and exports that hold several.
    pub entries: Vec<ImportEntry>,
}

/// One thing to import.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportEntry {
    /// What it is called where it comes from; public metadata, may be empty.
    pub name: String,
    /// The text of an otpauth URI or of Google Authenticator's export, unchecked; or why
    /// the entry cannot be enrolled.
    pub content: Result<Zeroizing<String>, InputProblem>,
}

impl ImportEntry {
    /// An entry without a name of its own.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self {
            name: String::new(),
            content: Ok(Zeroizing::new(text.to_owned())),
        }
    }

    /// An entry from fields, called `name` if that says more than they do.
    fn fields(name: &str, fields: &Fields<'_>) -> Self {
        let content = otpauth::from_fields(fields).map(|parsed| parsed.account.to_uri());
        Self {
            name: display_name(name),
            content,
        }
    }
}

impl fmt::Debug for ImportEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportEntry")
            .field("name", &self.name)
            .field("refused", &self.content.as_ref().err())
            .finish()
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFile {
    /// What it is.
    pub format: ImportFormat,
    /// What is in it, at least one entry.
    pub list: ImportList,
}

impl ImportFile {
    /// Reads a file that comes alone, with a budget of its own. See [`Self::read_within`].
    ///
    /// # Errors
    ///
    /// As [`Self::read_within`].
    pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, InputProblem> {
        Self::read_within(bytes, password, &Budget::new())
    }

    /// Reads a file of any known kind, told by its content. `password` opens an encrypted
    /// one. Blocks for as long as the password's derivation takes, which `budget` bounds
    /// for all files of a request together.
    ///
    /// # Errors
    ///
    /// A problem of the file as a whole: its kind, encryption or size, or what it costs.
    /// Problems of single entries are in the list.
    pub fn read_within(
        bytes: &[u8],
        password: Option<&str>,
        budget: &Budget,
    ) -> Result<Self, InputProblem> {
        budget.check()?;
        let text = std::str::from_utf8(bytes).map_err(|_| InputProblem::ImportUnknown)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let (format, entries) = if text.starts_with(['{', '[']) {
            read_json(text, password, budget)?
        } else {
            (ImportFormat::UriList, read_lines(text)?)
        };
        if entries.is_empty() {
            return Err(InputProblem::ImportEmpty);
        }
        if entries.len() > MAX_ACCOUNTS {
            return Err(too_many());
        }
        let list = ImportList { entries };
        Ok(Self { format, list })
    }
}

/// That there are more accounts than [`MAX_ACCOUNTS`].
#[must_use]
pub fn too_many() -> InputProblem {
    InputProblem::ImportTooMany {
        limit: u32::try_from(MAX_ACCOUNTS).unwrap_or(u32::MAX),
    }
}

/// A name from elsewhere, fit to be kept and shown.
pub(crate) fn display_name(text: &str) -> String {
    let kept: String = clean(text).chars().take(MAX_LABEL_CHARS).collect();
    clean(&kept)
}

/// `issuer: account`, as far as they are there.
fn joined_name(issuer: &str, account_name: &str) -> String {
    match (issuer.trim(), account_name.trim()) {
        ("", name) => name.to_owned(),
        (issuer, "") => issuer.to_owned(),
        (issuer, name) => format!("{issuer}: {name}"),
    }
}

/// One URI a line; empty lines and those that begin with `#` don't count. A text without
/// any URI is no such list.
fn read_lines(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries: Vec<ImportEntry> = lines
        .take(MAX_ACCOUNTS + 1)
        .map(ImportEntry::text)
        .collect();
    let is_uri = |entry: &ImportEntry| entry.content.as_ref().is_ok_and(|text| is_otpauth(text));
    if entries.iter().any(is_uri) || entries.is_empty() {
        Ok(entries)
    } else {
        Err(InputProblem::ImportUnknown)
    }
}

/// Whether a text begins as an account's URI or an export's.
fn is_otpauth(text: &str) -> bool {
    google_export::is_export(text)
        || text
            .get(..8)
            .is_some_and(|head| head.eq_ignore_ascii_case("otpauth:"))
}

/// Tells which program has written a JSON document by the members that it has.
#[derive(Deserialize)]
struct Probe {
    header: Option<IgnoredAny>,
    db: Option<IgnoredAny>,
    services: Option<IgnoredAny>,
    #[serde(rename = "servicesEncrypted")]
    services_encrypted: Option<IgnoredAny>,
    items: Option<IgnoredAny>,
    encrypted: Option<bool>,
    #[serde(rename = "encKeyValidation_DO_NOT_EDIT")]
    bitwarden_key: Option<IgnoredAny>,
    id: Option<IgnoredAny>,
    value: Option<IgnoredAny>,
}

fn read_json(
    text: &str,
    password: Option<&str>,
    budget: &Budget,
) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
    if text.starts_with('[') {
        if let Ok(uris) = serde_json::from_str::<Vec<SecretText>>(text) {
            let entries = uris.iter().map(|uri| ImportEntry::text(uri.expose()));
            return Ok((ImportFormat::UriList, entries.collect()));
        }
        return Ok((ImportFormat::KeyVault, key_vault::read_array(text)?));
    }
    let probe: Probe = serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    if probe.db.is_some() && probe.header.is_some() {
        return Ok((ImportFormat::Aegis, aegis::read(text, password, budget)?));
    }
    if probe.services_encrypted.is_some() {
        return Err(InputProblem::ImportEncrypted {
            format: ImportFormat::TwoFas,
        });
    }
    if probe.services.is_some() {
        return Ok((ImportFormat::TwoFas, two_fas::read(text)?));
    }
    if probe.encrypted == Some(true) || probe.bitwarden_key.is_some() {
        return Err(InputProblem::ImportEncrypted {
            format: ImportFormat::Bitwarden,
        });
    }
    if probe.items.is_some() {
        return Ok((ImportFormat::Bitwarden, bitwarden::read(text)?));
    }
    if probe.id.is_some() && probe.value.is_some() {
        return Ok((ImportFormat::KeyVault, key_vault::read_one(text)?));
    }
    Err(InputProblem::ImportUnknown)
}

/// A document of a known kind.
fn parse<'a, T: Deserialize<'a>>(text: &'a str, format: ImportFormat) -> Result<T, InputProblem> {
    // The error's own text can quote the document.
    serde_json::from_str(text).map_err(|_| InputProblem::ImportMalformed { format })
}

/// Text that is wiped when it is dropped; empty where a document has none.
#[derive(Default, Deserialize)]
#[serde(from = "Option<String>")]
struct SecretText(String);

impl SecretText {
    fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Option<String>> for SecretText {
    fn from(text: Option<String>) -> Self {
        Self(text.unwrap_or_default())
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The form in an envelope.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<Text> {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    text: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<InputProblem>,
}

fn none<T>() -> Option<T> {
    None
}

impl Sealable for ImportList {
    const PURPOSE: &'static str = "import-list";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let kept: Vec<Kept<&str>> = self
            .entries
            .iter()
            .map(|entry| Kept {
                name: entry.name.clone(),
                text: entry.content.as_ref().ok().map(|text| text.as_str()),
                problem: entry.content.as_ref().err().cloned(),
            })
            .collect();
        // Room for everything, so that no copy stays behind when it grows: an escaped
        // character takes at most six times its length.
        let room: usize = kept
            .iter()
            .map(|entry| 256 + 6 * (entry.name.len() + entry.text.map_or(0, str::len)))
            .sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        // Strings and enums always have a JSON form.
        let written = serde_json::to_writer(&mut *bytes, &kept);
        debug_assert!(written.is_ok(), "a list has a JSON form");
        bytes
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let kept: Vec<Kept<SecretText>> = serde_json::from_slice(&bytes).ok()?;
        let entries = kept
            .into_iter()
            .map(|entry| {
                let content = match (entry.text, entry.problem) {
                    (_, Some(problem)) => Err(problem),
                    (Some(text), None) => Ok(Zeroizing::new(text.expose().to_owned())),
                    (None, None) => return None,
                };
                let name = entry.name;
                Some(ImportEntry { name, content })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { entries })
    }
}
