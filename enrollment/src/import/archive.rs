//! ZIP archives and gzip files of anything that can be imported. Each file in one is read as
//! if it had been sent on its own; one that cannot be read is named, and takes no other with
//! it.

use std::collections::BTreeSet;
use std::io::Cursor;

use flate2::read::MultiGzDecoder;
use zeroize::Zeroizing;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::opening::{Opening, wrong};
use super::{Cost, ImportEntry, ImportFile, ImportImage, ImportList, MAX_ENTRIES};
use super::{MAX_IMAGES, display_name, joined_name};
use crate::problem::{ArchiveFault, ImportFormat, InputProblem, kinds};

/// The most bytes that come out of one upload's archives together.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;
/// The most files in them together.
const MAX_FILES: usize = 4_096;
/// How deeply archives may be nested.
const MAX_DEPTH: usize = 3;
const BUFFER: usize = 64 * 1024;
/// What Raivo's archive holds: its accounts, and the same ones as a page with images.
const RAIVO_LIST: &str = "raivo-otp-export.json";
const RAIVO_PAGE: &str = "raivo-otp-export.html";

/// How far into archives one file is, and what is left of the bounds.
pub(super) struct Nesting {
    depth: usize,
    bytes: u64,
    files: usize,
}

impl Nesting {
    pub(super) const fn new() -> Self {
        Self {
            depth: 0,
            bytes: MAX_UNPACKED,
            files: MAX_FILES,
        }
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Goes back to where a file was that could not be read.
    pub(super) const fn return_to(&mut self, depth: usize) {
        self.depth = depth;
    }

    fn deeper(&mut self) -> Result<(), InputProblem> {
        if self.depth == MAX_DEPTH {
            return Err(too_much());
        }
        self.depth += 1;
        Ok(())
    }
}

fn too_much() -> InputProblem {
    InputProblem::ArchiveTooLarge {
        files: u32::try_from(MAX_FILES).unwrap_or(u32::MAX),
        bytes: MAX_UNPACKED,
        depth: u32::try_from(MAX_DEPTH).unwrap_or(u32::MAX),
    }
}

const MALFORMED: InputProblem = InputProblem::ImportMalformed {
    format: ImportFormat::Archive,
};

const fn fault(fault: ArchiveFault) -> InputProblem {
    InputProblem::ArchiveFile { fault }
}

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b\x08")
}

/// Reads the one file in a gzip file.
pub(super) fn read_gzip(
    bytes: &[u8],
    opening: &Opening<'_>,
    nesting: &mut Nesting,
) -> Result<ImportFile, InputProblem> {
    nesting.deeper()?;
    let inner = unpack(&mut MultiGzDecoder::new(bytes), opening, nesting)?;
    let file = ImportFile::read_nested(&inner, opening, nesting);
    nesting.depth -= 1;
    file
}

/// Reads every file in a ZIP archive.
pub(super) fn read_zip(
    bytes: &[u8],
    opening: &Opening<'_>,
    nesting: &mut Nesting,
) -> Result<ImportFile, InputProblem> {
    nesting.deeper()?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| MALFORMED)?;
    let mut whole = Contents::default();
    if listed(bytes).is_some_and(|listed| listed != archive.len()) {
        // Of files with the same name only the last is read.
        for name in repeated(bytes).ok_or(MALFORMED)? {
            whole.report(&name, fault(ArchiveFault::Repeated))?;
        }
    }
    nesting.files = nesting
        .files
        .checked_sub(archive.len())
        .ok_or_else(too_much)?;
    let is_office = [
        "[Content_Types].xml",
        "META-INF/manifest.xml",
        "Index/Document.iwa",
    ]
    .iter()
    .any(|name| archive.index_for_name(name).is_some());
    if is_office {
        return Err(InputProblem::ImportUnsupported {
            what: kinds::OFFICE_DOCUMENT.to_owned(),
        });
    }
    for index in 0..archive.len() {
        opening.budget.check()?;
        whole.add(&mut archive, index, opening, nesting)?;
    }
    nesting.depth -= 1;
    whole.into_file()
}

/// How many files an archive says that it has, in the record at its end; nothing if there are
/// more than that record can say.
fn listed(bytes: &[u8]) -> Option<usize> {
    const RECORD: usize = 22;
    let last = bytes.len().checked_sub(RECORD)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let at = (first..=last)
        .rev()
        .find(|at| bytes[*at..].starts_with(b"PK\x05\x06"))?;
    let count = u16::from_le_bytes([bytes[at + 10], bytes[at + 11]]);
    (count != u16::MAX).then_some(usize::from(count))
}

/// The names that several files of an archive have, from the directory at its end; nothing if that
/// cannot be read.
fn repeated(bytes: &[u8]) -> Option<Vec<String>> {
    const ENTRY: usize = 46;
    let end = bytes.windows(4).rposition(|four| four == b"PK\x05\x06")?;
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = bytes.get(at..at + length)?;
        let folded = bytes.iter().rev();
        Some(folded.fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let (count, size) = (number(end + 10, 2)?, number(end + 12, 4)?);
    let mut at = end.checked_sub(size)?;
    let mut seen = BTreeSet::new();
    let mut repeated = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let lengths = [
            number(at + 28, 2)?,
            number(at + 30, 2)?,
            number(at + 32, 2)?,
        ];
        let name = bytes.get(at + ENTRY..at + ENTRY + lengths[0])?;
        if !seen.insert(name) {
            repeated.push(String::from_utf8_lossy(name).into_owned());
        }
        at += ENTRY + lengths.iter().sum::<usize>();
    }
    Some(repeated)
}

#[derive(Default)]
struct Contents {
    formats: Vec<ImportFormat>,
    entries: Vec<ImportEntry>,
    images: Vec<ImportImage>,
    /// The names of files that a password would open, and the request for it.
    locked: Vec<(String, InputProblem)>,
    /// The first problem of a file as a whole.
    problem: Option<InputProblem>,
}

impl Contents {
    fn add(
        &mut self,
        archive: &mut ZipArchive<Cursor<&[u8]>>,
        index: usize,
        opening: &Opening<'_>,
        nesting: &mut Nesting,
    ) -> Result<(), InputProblem> {
        let is_one_password = archive.index_for_name("export.attributes").is_some();
        let is_raivo = archive.index_for_name(RAIVO_LIST).is_some();
        let (name, is_encrypted) = {
            let file = archive.by_index_raw(index).map_err(|_| MALFORMED)?;
            let name = String::from_utf8_lossy(file.name_raw()).into_owned();
            let is_said_twice = is_raivo && name == RAIVO_PAGE;
            if file.is_dir() || is_by_the_way(&name, is_one_password) || is_said_twice {
                return Ok(());
            }
            if !matches!(
                file.compression(),
                CompressionMethod::Stored | CompressionMethod::Deflated
            ) {
                return self.report(&name, fault(ArchiveFault::Method));
            }
            (name, file.encrypted())
        };
        let inner = match inner(archive, index, (&name, is_encrypted), opening, nesting) {
            Ok(inner) => inner,
            Err(problem @ InputProblem::ImportPasswordMissing { .. }) => {
                self.locked.push((name, problem));
                return Ok(());
            }
            Err(problem) => return self.report(&name, problem),
        };
        match ImportFile::read_nested(&inner, opening, nesting) {
            Ok(file) => {
                self.formats.push(file.format);
                self.entries.extend(file.list.entries);
                self.images
                    .extend(file.images.into_iter().map(|picture| ImportImage {
                        // Its place in a page or in an archive inside of this one counts, too.
                        name: display_name(&joined_name(&name, &picture.name)),
                        ..picture
                    }));
                if self.entries.len() > MAX_ENTRIES {
                    return Err(super::too_many());
                }
                if self.images.len() > MAX_IMAGES {
                    return Err(super::too_many_pictures());
                }
                Ok(())
            }
            // There is nothing in it that could be lost.
            Err(InputProblem::ImportEmpty) if is_blank(&inner) => Ok(()),
            Err(problem) => self.report(&name, problem),
        }
    }

    /// Keeps a file's problem under its name, unless it ends everything: a bound that is
    /// reached, or a password that is requested.
    fn report(&mut self, name: &str, problem: InputProblem) -> Result<(), InputProblem> {
        if problem.ends_import() {
            return Err(problem);
        }
        self.problem.get_or_insert_with(|| problem.clone());
        self.entries.push(ImportEntry::new(name, Err(problem)));
        Ok(())
    }

    fn into_file(mut self) -> Result<ImportFile, InputProblem> {
        if self.formats.is_empty() {
            // With a password, there may be more in it.
            if let Some((_, problem)) = self.locked.into_iter().next() {
                return Err(problem);
            }
            // Nothing was read: the first reason says more than a list of them.
            return Err(self.problem.unwrap_or(InputProblem::ImportEmpty));
        }
        for (name, _) in std::mem::take(&mut self.locked) {
            self.report(&name, fault(ArchiveFault::Encrypted))?;
        }
        let format = match self.formats.as_slice() {
            [format] => *format,
            _ => ImportFormat::Archive,
        };
        Ok(ImportFile {
            format,
            list: ImportList {
                entries: self.entries,
                ..ImportList::default()
            },
            images: self.images,
        })
    }
}

/// What one file of an archive holds.
fn inner(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    (name, is_encrypted): (&str, bool),
    opening: &Opening<'_>,
    nesting: &mut Nesting,
) -> Result<Zeroizing<Vec<u8>>, InputProblem> {
    let format = if name.to_ascii_lowercase().contains("raivo") {
        ImportFormat::Raivo
    } else {
        ImportFormat::Archive
    };
    let opened = if is_encrypted {
        let password = opening.password(format)?;
        // A thousand rounds of PBKDF2 with SHA-1 and 66 bytes of keys.
        opening.budget.spend(Cost::pbkdf2(1_000, 4))?;
        archive.by_index_decrypt(index, password.as_bytes())
    } else {
        archive.by_index(index)
    };
    match opened {
        Ok(mut file) => unpack(&mut file, opening, nesting).map_err(|problem| match problem {
            // A password of the old kind fits one time in 256 by chance.
            InputProblem::ImportMalformed { .. } if format != ImportFormat::Archive => {
                InputProblem::ImportMalformed { format }
            }
            InputProblem::ImportMalformed { .. } => fault(ArchiveFault::Damaged),
            problem => problem,
        }),
        Err(ZipError::InvalidPassword) => Err(wrong(format)),
        Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) => {
            Err(fault(ArchiveFault::Method))
        }
        Err(_) => Err(fault(ArchiveFault::Damaged)),
    }
}

/// Everything that comes out, within the bounds.
fn unpack(
    packed: &mut dyn std::io::Read,
    opening: &Opening<'_>,
    nesting: &mut Nesting,
) -> Result<Zeroizing<Vec<u8>>, InputProblem> {
    let mut unpacked = Zeroizing::new(Vec::new());
    let mut buffer = Zeroizing::new(vec![0_u8; BUFFER]);
    loop {
        let read = packed.read(&mut buffer).map_err(|_| MALFORMED)?;
        if read == 0 {
            return Ok(unpacked);
        }
        let length = u64::try_from(read).unwrap_or(u64::MAX);
        nesting.bytes = nesting.bytes.checked_sub(length).ok_or_else(too_much)?;
        opening.budget.spend(Cost::bytes(length))?;
        unpacked.extend_from_slice(&buffer[..read]);
    }
}

/// Whether nothing is in a file.
fn is_blank(bytes: &[u8]) -> bool {
    crate::text::decode(bytes).is_ok_and(|text| crate::text::trim(&text).is_empty())
}

/// What archives hold beside what is exported.
fn is_by_the_way(name: &str, is_one_password: bool) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.starts_with("__MACOSX/")
        || matches!(file, ".DS_Store" | "Thumbs.db" | "desktop.ini")
        // 1Password's archive: what wrote it, and files that were attached to items.
        || is_one_password && (name == "export.attributes" || name.starts_with("files/"))
}
