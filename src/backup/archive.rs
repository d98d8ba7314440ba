//! The backup file: a manifest, then each part that it names, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use super::contents::Contents;
use super::parts::{DATABASES, FILES, MAX_FILE, database_in, is_known};
use crate::data_dir::UNFINISHED;
use crate::private_file;

/// The format that this release writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// The first entry's name.
const MANIFEST: &str = "countersign-backup.json";
/// The largest manifest, in bytes.
const MAX_MANIFEST: u64 = 256 * 1024;
/// How much is read and written at a time.
const CHUNK: usize = 64 * 1024;

/// A backup's manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The moment whose state it is.
    pub created_at: DateTime<Utc>,
    /// The release that made it.
    pub release: String,
    /// What was in it when it was created.
    pub contents: Contents,
    /// Its parts, in order.
    parts: Vec<ArchivePart>,
}

/// One part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchivePart {
    name: String,
    bytes: u64,
    /// SHA-256, in hexadecimal.
    digest: String,
}

/// An installation at one moment: databases as files, everything else in memory, so that keys are
/// written only where they belong.
pub(super) struct Staged {
    pub(super) folder: PathBuf,
    pub(super) files: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
    pub(super) at: DateTime<Utc>,
}

impl Staged {
    /// The database with this name, if it is part of the installation.
    pub(super) fn database(&self, name: &str) -> Option<PathBuf> {
        database_in(&self.folder, name)
    }

    /// A small file as text, trimmed.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, BackupError> {
        self.files
            .get(name)
            .map(|bytes| {
                std::str::from_utf8(bytes)
                    .map(str::trim)
                    .map_err(|_| BackupError::Malformed {
                        name,
                        reason: "it is not text",
                    })
            })
            .transpose()
    }
}

/// Writes an installation, with a summary of its contents.
pub(super) fn write(
    staged: &Staged,
    contents: &Contents,
    out: &mut dyn Write,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::folder("read", &staged.folder, source);
    let mut parts = Vec::new();
    let databases: Vec<(&str, PathBuf)> = DATABASES
        .iter()
        .filter_map(|name| Some((*name, staged.database(name)?)))
        .collect();
    for (name, path) in &databases {
        let (bytes, digest) = digest(&mut File::open(path).map_err(failed)?).map_err(failed)?;
        parts.push(ArchivePart {
            name: (*name).to_owned(),
            bytes,
            digest,
        });
    }
    for (name, content) in &staged.files {
        parts.push(ArchivePart {
            name: (*name).to_owned(),
            bytes: content.len() as u64,
            digest: HEXLOWER.encode(&Sha256::digest(&**content)),
        });
    }
    let manifest = Manifest {
        format: FORMAT,
        created_at: staged.at,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        contents: contents.clone(),
        parts,
    };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| failed(e.into()))?;
    let mut archive = tar::Builder::new(out);
    let moment = u64::try_from(staged.at.timestamp()).unwrap_or(0);
    let mut put = |name: &str, bytes: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(moment);
        archive.append_data(&mut header, name, content)
    };
    put(MANIFEST, manifest.len() as u64, &mut &manifest[..]).map_err(failed)?;
    for (name, path) in &databases {
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        put(name, bytes, &mut file).map_err(failed)?;
    }
    for (name, content) in &staged.files {
        put(name, content.len() as u64, &mut &content[..]).map_err(failed)?;
    }
    archive.finish().map_err(failed)
}

/// Reads the archive of the backup at `path`: databases into `folder`, everything else into
/// memory.
pub(super) fn read(
    path: &Path,
    archive: impl Read,
    folder: &Path,
) -> Result<(Manifest, Staged), BackupError> {
    let spoilt = |reason: &dyn ToString| BackupError::spoilt(path, reason.to_string());
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().map_err(|e| spoilt(&e))?;
    let mut next = || entries.next().transpose().map_err(|e| spoilt(&e));
    let first = next()?.ok_or_else(|| spoilt(&"it is empty"))?;
    if name_of(&first).as_deref() != Some(MANIFEST) {
        return Err(spoilt(&"it does not begin with a manifest"));
    }
    let mut text = Vec::new();
    first
        .take(MAX_MANIFEST)
        .read_to_end(&mut text)
        .map_err(|e| spoilt(&e))?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let format: Format = serde_json::from_slice(&text).map_err(|e| spoilt(&e))?;
    if format.format > FORMAT {
        return Err(BackupError::Newer {
            path: path.to_owned(),
            format: format.format,
            known: FORMAT,
        });
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| spoilt(&e))?;
    let mut files = BTreeMap::new();
    for expected in &manifest.parts {
        let mut entry =
            next()?.ok_or_else(|| spoilt(&format!("it ends before {}", expected.name)))?;
        let is_it = name_of(&entry).as_deref() == Some(&expected.name)
            && entry.header().entry_type().is_file()
            && entry.size() == expected.bytes;
        let known = |list: &[&'static str]| list.iter().copied().find(|it| *it == expected.name);
        let found = match (is_it, known(&DATABASES), known(&FILES)) {
            (true, Some(name), _) => {
                let place = folder.join(name);
                let failed = |source| BackupError::folder("write", &place, source);
                let mut file = private_file::create(&place).map_err(failed)?;
                let mut both = Digesting::new(&mut file);
                // A full disk is not a damaged file.
                copy(&mut entry, &mut both, |e| spoilt(&e), failed)?;
                let digest = both.end();
                file.sync_all().map_err(failed)?;
                digest
            }
            (true, None, Some(name)) if expected.bytes <= MAX_FILE => {
                let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
                entry.read_to_end(&mut content).map_err(|e| spoilt(&e))?;
                let digest = HEXLOWER.encode(&Sha256::digest(&*content));
                if files.insert(name, content).is_some() {
                    return Err(spoilt(&format!("{name} is in it twice")));
                }
                digest
            }
            _ => {
                let reason = format!("{} is not a known part", expected.name);
                return Err(spoilt(&reason));
            }
        };
        if found != expected.digest {
            return Err(spoilt(&format!("{} was changed", expected.name)));
        }
    }
    if next()?.is_some() {
        return Err(spoilt(&"it contains more than its manifest names"));
    }
    let staged = Staged {
        folder: folder.to_owned(),
        files,
        at: manifest.created_at,
    };
    Ok((manifest, staged))
}

/// Removes an installation's parts from a folder, and the files that processes leave beside them.
pub(super) fn remove_from(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name != UNFINISHED && name.to_str().is_some_and(is_known) {
            // Best effort: the earlier error matters more.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Option<String> {
    entry.path().ok()?.to_str().map(str::to_owned)
}

fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    unread: impl Fn(io::Error) -> BackupError,
    unwritten: impl Fn(io::Error) -> BackupError,
) -> Result<(), BackupError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read]).map_err(&unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
}

/// The length so far, and the digest.
pub(super) fn digest(content: &mut dyn Read) -> io::Result<(u64, String)> {
    let mut nowhere = Digesting::new(io::sink());
    let bytes = io::copy(content, &mut nowhere)?;
    Ok((bytes, nowhere.end()))
}

/// Passes writes on, and computes their digest.
pub(super) struct Digesting<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Digesting<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    pub(super) fn end(self) -> String {
        HEXLOWER.encode(&self.hash.finalize())
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
