//! Google Authenticator's "Transfer accounts": `otpauth-migration://offline?data=...`.
//!
//! The format is not documented by its maker; what is known of it comes from reading
//! exports (alexbakker.me, "Parsing Google Authenticator export QR codes"). The data is a
//! protobuf in base64. About ten accounts fit into one QR code; a longer export is a batch
//! of several codes that share an id.

use std::collections::BTreeMap;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::account::display_name;
use crate::foreign;
use crate::otpauth::{self, Fields, MAX_URI_BYTES, Parsed};
use crate::problem::InputProblem;

/// More codes than anyone scans.
const MAX_PARTS: i32 = 100;

/// One QR code of an export.
#[derive(Debug)]
pub struct ExportPart {
    /// The batch's id, the same in all its parts.
    batch: i32,
    /// How many parts the batch has, 1 to 100.
    of: u32,
    /// Which one this is, counted from 0.
    index: u32,
    /// Of its bytes, to tell the same part from another one.
    digest: [u8; 32],
    accounts: Vec<ExportedAccount>,
}

/// An account of an export.
#[derive(Clone, Debug)]
pub struct ExportedAccount {
    /// Its name in the export, which may be empty; public metadata.
    pub name: String,
    /// The account, or why it cannot be enrolled.
    pub parsed: Result<Parsed, InputProblem>,
}

impl ExportPart {
    /// Reads the text of one QR code.
    ///
    /// # Errors
    ///
    /// [`InputProblem::GoogleExportMalformed`] when it is none or is damaged;
    /// [`InputProblem::OtpauthTooLong`] when it is longer than any.
    pub fn parse(text: &str) -> Result<Self, InputProblem> {
        if text.len() > MAX_URI_BYTES {
            return Err(InputProblem::OtpauthTooLong {
                limit: u32::try_from(MAX_URI_BYTES).unwrap_or(u32::MAX),
            });
        }
        let malformed = InputProblem::GoogleExportMalformed;
        if !foreign::is_google_export(text) {
            return Err(malformed);
        }
        let bytes = data(text).ok_or(InputProblem::GoogleExportMalformed)?;
        let payload = Payload::decode(bytes.as_slice()).map_err(|_| malformed.clone())?;
        // A lone export may leave the batch out.
        let of = payload.batch_size.max(1);
        if of > MAX_PARTS || !(0..of).contains(&payload.batch_index) {
            return Err(malformed);
        }
        Ok(Self {
            batch: payload.batch_id,
            of: of.unsigned_abs(),
            index: payload.batch_index.unsigned_abs(),
            digest: Sha256::digest(&*bytes).into(),
            accounts: payload.accounts.into_iter().map(read_account).collect(),
        })
    }
}

/// The parts of one export, as far as they are there.
#[derive(Debug)]
pub struct Export {
    /// How many parts it has.
    pub of: u32,
    /// Which are missing, counted from 1.
    pub missing: Vec<u32>,
    /// Whether nothing tells which parts belong together: they have no id, so that parts of
    /// different exports look like those of one.
    pub unsure: bool,
    /// The accounts of the parts that are there, in the export's order.
    pub accounts: Vec<ExportedAccount>,
}

/// Puts parts together, in whatever order they came; a part that came twice counts once.
/// Exports are in the order in which their first part came.
///
/// Parts of different exports can have the same id, or none. A second part at the same place
/// that says something else is one of another export; so as many of each place are expected
/// as there are of the most frequent.
#[must_use]
pub fn gather(parts: Vec<ExportPart>) -> Vec<Export> {
    let mut batches: Vec<Batch> = Vec::new();
    for part in parts {
        let same = |batch: &&mut Batch| batch.id == part.batch && batch.of == part.of;
        match batches.iter_mut().find(same) {
            Some(batch) => batch.add(part),
            None => {
                let mut batch = Batch {
                    id: part.batch,
                    of: part.of,
                    parts: BTreeMap::new(),
                };
                batch.add(part);
                batches.push(batch);
            }
        }
    }
    batches.into_iter().map(Batch::export).collect()
}

struct Batch {
    id: i32,
    of: u32,
    /// At each place, the parts that differ.
    parts: BTreeMap<u32, Vec<Part>>,
}

struct Part {
    digest: [u8; 32],
    accounts: Vec<ExportedAccount>,
}

impl Batch {
    fn add(&mut self, part: ExportPart) {
        let place = self.parts.entry(part.index).or_default();
        if !place.iter().any(|known| known.digest == part.digest) {
            place.push(Part {
                digest: part.digest,
                accounts: part.accounts,
            });
        }
    }

    fn export(self) -> Export {
        let expected = self.parts.values().map(Vec::len).max().unwrap_or_default();
        let count = |index: &u32| self.parts.get(index).map_or(0, Vec::len);
        let missing = if self.of == 1 {
            Vec::new()
        } else {
            let short = (0..self.of).filter(|index| count(index) < expected);
            short.map(|index| index + 1).collect()
        };
        let unsure = self.of > 1 && (self.id == 0 || expected > 1);
        Export {
            of: self.of,
            missing,
            unsure,
            accounts: self
                .parts
                .into_values()
                .flatten()
                .flat_map(|part| part.accounts)
                .collect(),
        }
    }
}

/// The bytes of the parameter `data`.
///
/// Only percent escapes are resolved: `+` is a character of base64, and where a form
/// decoder has made a space of it, it is one again. The URL alphabet and missing padding
/// are read too.
fn data(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, query) = text.trim().split_once('?')?;
    let encoded = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("data="))?;
    let mut base64 = Zeroizing::new(Vec::with_capacity(encoded.len()));
    for byte in percent_encoding::percent_decode_str(encoded) {
        match byte {
            b'-' | b' ' => base64.push(b'+'),
            b'_' => base64.push(b'/'),
            b'\r' | b'\n' | b'\t' => {}
            byte => base64.push(byte),
        }
    }
    while base64.last() == Some(&b'=') {
        base64.pop();
    }
    BASE64_NOPAD.decode(&base64).ok().map(Zeroizing::new)
}

fn read_account(mut entry: Entry) -> ExportedAccount {
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&entry.secret));
    entry.secret.zeroize();
    let parsed = entry.fields().and_then(|(kind, algorithm, digits)| {
        otpauth::from_fields(&Fields {
            kind,
            issuer: &entry.issuer,
            account_name: &entry.name,
            secret: &secret,
            algorithm,
            digits: Some(digits),
            // The export does not say; the app knows no other.
            period: None,
        })
    });
    let name = match (entry.issuer.is_empty(), entry.name.is_empty()) {
        (false, false) if !entry.name.starts_with(&entry.issuer) => {
            format!("{}: {}", entry.issuer, entry.name)
        }
        (false, true) => entry.issuer,
        _ => entry.name,
    };
    ExportedAccount {
        name: display_name(&name),
        parsed,
    }
}

impl Entry {
    /// Type, hash function and digits, where they are known ones.
    fn fields(&self) -> Result<(&'static str, &'static str, u64), InputProblem> {
        let kind = match self.kind {
            // What is not said is the usual.
            0 | 2 => "totp",
            1 => "hotp",
            _ => return Err(InputProblem::TypeUnsupported),
        };
        let algorithm = match self.algorithm {
            0 | 1 => "SHA1",
            2 => "SHA256",
            3 => "SHA512",
            4 => "MD5",
            _ => return Err(InputProblem::AlgorithmUnsupported { name: None }),
        };
        let digits = match self.digits {
            0 | 1 => 6,
            2 => 8,
            _ => return Err(InputProblem::DigitsUnsupported),
        };
        Ok((kind, algorithm, digits))
    }
}

// The message as it is known. Fields that are not, are skipped.

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<Entry>,
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    #[prost(int32, tag = "4")]
    algorithm: i32,
    /// An enumeration, not a number of digits.
    #[prost(int32, tag = "5")]
    digits: i32,
    #[prost(int32, tag = "6")]
    kind: i32,
}
