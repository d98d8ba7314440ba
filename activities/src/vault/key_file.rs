//! The master key's file: next to the database, never in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::crypter::{Crypter, MasterKey};

/// What the line of a key begins with.
const MARK: &str = "countersign-vault-key-1";

/// Why the key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {action} the key file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read it.
    #[error(
        "{} can be read by other users: run `chmod 600 {}`; if they might have read it, enroll all accounts again",
        .0.display(), .0.display()
    )]
    Exposed(PathBuf),
    /// It does not hold keys.
    #[error("line {line} of {} is not a key that this release understands", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// It holds no key at all.
    #[error("{} contains no key; restore it from a backup", .0.display())]
    Empty(PathBuf),
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
}

/// The keys in the file at `path`; nothing if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Crypter>, KeyFileError> {
    let failed = |source| KeyFileError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed(path.to_owned()));
    }
    // Room for all of it, so that no copy stays behind when the text grows.
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    file.read_to_string(&mut text).map_err(failed)?;
    parse(&text, path).map(Some)
}

/// What reads the file at `path` once more: nothing where that cannot be done, which is logged.
pub(super) fn again(path: &Path) -> impl Fn() -> Option<Crypter> + Send + Sync + use<> {
    let path = path.to_owned();
    move || {
        read(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "the vault's key file cannot be read");
            None
        })
    }
}

/// The keys in the text of a key file, which is or was at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Crypter, KeyFileError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let key = read_line(line).ok_or_else(|| KeyFileError::Malformed {
            path: path.to_owned(),
            line: index + 1,
        })?;
        keys.push(key);
    }
    Crypter::new(keys).ok_or_else(|| KeyFileError::Empty(path.to_owned()))
}

/// Makes a file with one new key, unless another process was faster. It appears with
/// its full content or not at all.
pub(super) fn create(path: &Path) -> Result<(), KeyFileError> {
    let line = new_line()?;
    // A link, unlike a rename, does not replace a key that is there already.
    write(path, &line, |temporary| {
        match fs::hard_link(temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(temporary),
        }
    })
}

/// Puts a new key before those in the file. Answers its id.
pub(super) fn add(path: &Path) -> Result<String, KeyFileError> {
    let line = new_line()?;
    let id = read_line(line.trim_end())
        .map(|key| key.id().to_owned())
        .ok_or(KeyFileError::Random)?;
    let text = Zeroizing::new([line.as_str(), lines(path)?.as_str()].concat());
    write(path, &text, |temporary| fs::rename(temporary, path))?;
    Ok(id)
}

/// Leaves the first key of the file only.
pub(super) fn keep_first(path: &Path) -> Result<(), KeyFileError> {
    let text = lines(path)?;
    let first = text
        .lines()
        .find(|line| read_line(line).is_some())
        .ok_or_else(|| KeyFileError::Empty(path.to_owned()))?;
    let text = Zeroizing::new(format!("{first}\n"));
    write(path, &text, |temporary| fs::rename(temporary, path))
}

fn lines(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| KeyFileError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })
}

/// The line of a new key.
fn new_line() -> Result<Zeroizing<String>, KeyFileError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(&mut *bytes)
        .map_err(|_| KeyFileError::Random)?;
    let key = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
    Ok(Zeroizing::new([MARK, " ", &key, "\n"].concat()))
}

/// Writes a file beside the one at `path`, which `place` puts into its place, and flushes both.
fn write(
    path: &Path,
    text: &str,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".vault.key.{}.tmp", Uuid::new_v4().simple()));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    let placed = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| place(&temporary));
    if let Err(error) = placed {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(failed(error));
    }
    // Secrets must not outlive the key that they are sealed with.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

fn read_line(line: &str) -> Option<MasterKey> {
    let encoded = line.trim().strip_prefix(MARK)?.strip_prefix(' ')?;
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(MasterKey::new(key))
}
