//! The master key's file: next to the database, never in it.
//!
//! A line has a key in clear, or wrapped by a key that never leaves another system:
//!
//! ```text
//! countersign-vault-key-1 KEY
//! countersign-vault-key-wrapped-1 ID WRAPPED-BY WRAPPED
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::crypter::{Crypter, MasterKey};
use super::wrapping::{KeyWrapping, WrapError, WrappedKey};

/// What the line of a key begins with.
const MARK: &str = "countersign-vault-key-1";
/// The same of a key that another one has wrapped.
const WRAPPED: &str = "countersign-vault-key-wrapped-1";

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
    /// The key that would unwrap it is not named.
    #[error(
        "the key in {} is wrapped by {by}: set --vault-key-wrapped-by to that key", path.display()
    )]
    Wrapped {
        /// The file.
        path: PathBuf,
        /// The other key.
        by: String,
    },
    /// Another key would unwrap it than the one that is named.
    #[error(
        "the key in {} is wrapped by {by}, but --vault-key-wrapped-by is {named}: name the key \
         that has wrapped it", path.display()
    )]
    WrappedByAnother {
        /// The file.
        path: PathBuf,
        /// The key that has wrapped it.
        by: String,
        /// The one that is named.
        named: String,
    },
    /// It cannot be wrapped or unwrapped.
    #[error("the key in {} cannot be wrapped or unwrapped: {reason}", path.display())]
    Wrapping {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

/// The file with a vault's keys, and what wraps them.
#[derive(Clone)]
pub struct KeyFile {
    path: PathBuf,
    wrapping: Option<Arc<dyn KeyWrapping>>,
    /// New keys are written in clear although others may be wrapped.
    clear: bool,
}

impl<P: Into<PathBuf>> From<P> for KeyFile {
    /// A file with keys in clear.
    fn from(path: P) -> Self {
        Self {
            path: path.into(),
            wrapping: None,
            clear: false,
        }
    }
}

/// What is in a key file, as far as that can be seen without unwrapping it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFileContents {
    /// How many keys are in clear.
    pub clear: usize,
    /// By which keys the others are wrapped.
    pub wrapped_by: Vec<String>,
}

impl KeyFile {
    /// The same file, whose keys `wrapping` wraps and unwraps; those in clear are read too.
    #[must_use]
    pub fn wrapped_by(mut self, wrapping: Option<Arc<dyn KeyWrapping>>) -> Self {
        self.wrapping = wrapping;
        self
    }

    /// The same file, to which new keys are added in clear.
    #[must_use]
    pub const fn adding_in_clear(mut self) -> Self {
        self.clear = true;
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, without unwrapping anything; nothing if there is no file. Blocks.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn contents(&self) -> Result<Option<KeyFileContents>, KeyFileError> {
        self.text()?.map(|text| self.contents_of(&text)).transpose()
    }

    /// Whether there is a key in it, without unwrapping it. Blocks.
    pub(super) fn holds_keys(&self) -> Result<bool, KeyFileError> {
        let contents = self.contents()?;
        Ok(contents.is_some_and(|it| it.clear > 0 || !it.wrapped_by.is_empty()))
    }

    /// Whether there is a key in clear in it. Blocks.
    #[must_use]
    pub fn holds_clear_keys(&self) -> bool {
        let contents = self.contents().ok().flatten();
        contents.is_some_and(|contents| contents.clear > 0)
    }

    /// What is in the text of a file, without unwrapping anything.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Malformed`].
    pub fn contents_of(&self, text: &str) -> Result<KeyFileContents, KeyFileError> {
        let mut contents = KeyFileContents::default();
        for line in self.keys(text)? {
            match line {
                Line::Clear(_) => contents.clear += 1,
                Line::Wrapped(_, wrapped) => contents.wrapped_by.push(wrapped.by),
            }
        }
        Ok(contents)
    }

    /// The keys in the file; nothing if there is no file. Blocks, also for what unwraps them.
    pub(super) fn read(&self) -> Result<Option<Crypter>, KeyFileError> {
        self.text()?.map(|text| self.parse(&text)).transpose()
    }

    fn text(&self) -> Result<Option<Zeroizing<String>>, KeyFileError> {
        let path = &self.path;
        let failed = |source| KeyFileError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed(path.clone()));
        }
        // Room for all of it, so that no copy stays behind when the text grows.
        let size = usize::try_from(metadata.len()).unwrap_or(0);
        let mut text = Zeroizing::new(String::with_capacity(size + 1));
        file.read_to_string(&mut text).map_err(failed)?;
        Ok(Some(text))
    }

    /// What reads the file once more: nothing where that cannot be done, which is logged.
    pub(super) fn again(&self) -> impl Fn() -> Option<Crypter> + Send + Sync + use<> {
        let file = self.clone();
        move || {
            file.read().unwrap_or_else(|error| {
                tracing::warn!(%error, "the vault's key file cannot be read");
                None
            })
        }
    }

    /// The keys in the text of a key file.
    pub(super) fn parse(&self, text: &str) -> Result<Crypter, KeyFileError> {
        let mut keys = Vec::new();
        for line in self.keys(text)? {
            keys.push(match line {
                Line::Clear(key) => key,
                Line::Wrapped(id, wrapped) => self.unwrap(&id, &wrapped)?,
            });
        }
        Crypter::new(keys).ok_or_else(|| KeyFileError::Empty(self.path.clone()))
    }

    fn keys(&self, text: &str) -> Result<Vec<Line>, KeyFileError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(read_line(line).ok_or_else(|| KeyFileError::Malformed {
                path: self.path.clone(),
                line: index + 1,
            })?);
        }
        Ok(keys)
    }

    fn unwrap(&self, id: &str, wrapped: &WrappedKey) -> Result<MasterKey, KeyFileError> {
        let Some(wrapping) = &self.wrapping else {
            return Err(KeyFileError::Wrapped {
                path: self.path.clone(),
                by: wrapped.by.clone(),
            });
        };
        if !wrapping.has_wrapped(&wrapped.by) {
            return Err(KeyFileError::WrappedByAnother {
                path: self.path.clone(),
                by: wrapped.by.clone(),
                named: wrapping.name(),
            });
        }
        let bytes = wrapping
            .unwrap(wrapped)
            .map_err(|error| self.failed(&error))?;
        let key = MasterKey::new(bytes);
        if key.id() != id {
            let error = "it is not the key that its line names; restore the file from a backup";
            return Err(self.failed(&error.into()));
        }
        Ok(key)
    }

    fn failed(&self, error: &WrapError) -> KeyFileError {
        KeyFileError::Wrapping {
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }

    /// Makes a file with one new key, unless another process was faster. It appears with
    /// its full content or not at all.
    pub(super) fn create(&self) -> Result<(), KeyFileError> {
        let path = &self.path;
        let (_, line) = self.new_line()?;
        // A link, unlike a rename, does not replace a key that is there already.
        write(path, &line, |temporary| {
            match fs::hard_link(temporary, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => fs::remove_file(temporary),
            }
        })
    }

    /// Puts a new key before those in the file. Answers its id.
    pub(super) fn add(&self) -> Result<String, KeyFileError> {
        let path = &self.path;
        let (id, line) = self.new_line()?;
        let text = Zeroizing::new([line.as_str(), lines(path)?.as_str()].concat());
        write(path, &text, |temporary| fs::rename(temporary, path))?;
        Ok(id)
    }

    /// Leaves the first key of the file only.
    pub(super) fn keep_first(&self) -> Result<(), KeyFileError> {
        let path = &self.path;
        let text = lines(path)?;
        let first = text
            .lines()
            .find(|line| read_line(line).is_some())
            .ok_or_else(|| KeyFileError::Empty(path.clone()))?;
        let text = Zeroizing::new(format!("{first}\n"));
        write(path, &text, |temporary| fs::rename(temporary, path))
    }

    /// The id and the line of a new key.
    fn new_line(&self) -> Result<(String, Zeroizing<String>), KeyFileError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng
            .try_fill_bytes(&mut *bytes)
            .map_err(|_| KeyFileError::Random)?;
        let id = MasterKey::new(bytes.clone()).id().to_owned();
        let wrapping = self.wrapping.as_ref().filter(|_| !self.clear);
        let Some(wrapping) = wrapping else {
            let key = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
            return Ok((id, Zeroizing::new([MARK, " ", &key, "\n"].concat())));
        };
        let wrapped = wrapping.wrap(&bytes).map_err(|error| self.failed(&error))?;
        let key = BASE64URL_NOPAD.encode(&wrapped.bytes);
        let line = format!("{WRAPPED} {id} {} {key}\n", wrapped.by);
        Ok((id, Zeroizing::new(line)))
    }
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

/// A line with a key.
enum Line {
    Clear(MasterKey),
    /// By its id.
    Wrapped(String, WrappedKey),
}

fn read_line(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match *words {
        [MARK, encoded] => {
            let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
            let mut key = Zeroizing::new([0; 32]);
            if bytes.len() != key.len() {
                return None;
            }
            key.copy_from_slice(&bytes);
            Some(Line::Clear(MasterKey::new(key)))
        }
        [WRAPPED, id, by, encoded] => {
            let wrapped = WrappedKey {
                by: by.to_owned(),
                bytes: BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?,
            };
            Some(Line::Wrapped(id.to_owned(), wrapped))
        }
        _ => None,
    }
}
