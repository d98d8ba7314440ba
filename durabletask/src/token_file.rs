//! A static token in a file, read again when the file changes.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tonic::codegen::http::HeaderValue;
use zeroize::Zeroizing;

/// The largest file that is read, in bytes: far more than a few tokens need.
const MAX_FILE: u64 = 64 * 1024;
/// A file that was written less than this before it was read is read again: another write
/// may have left the same time behind.
const TIME_GRAIN: Duration = Duration::from_secs(1);

/// How often the file is looked at, at most: a busy worker presents the token thousands of
/// times a second.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(1);

/// Why there is no token in a token file.
///
/// ```
/// use durabletask::connection::TokenFileFault;
///
/// assert!(TokenFileFault::Empty.to_string().contains("no token"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileFault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Its permissions let other users read it.
    #[error(
        "can be read by other users; allow its owner only (`chmod 600`) and, if they might have read it, replace the token"
    )]
    Exposed,
    /// There is nothing in it but empty lines and comments.
    #[error("has no token in it; write one on a line by itself")]
    Empty,
    /// It holds something that cannot be a token.
    #[error("does not begin with a token: that is one line of visible ASCII characters")]
    NotAToken,
}

/// The token of a file, shared by all calls of a channel.
#[derive(Clone)]
pub(crate) struct TokenFile {
    path: Arc<Path>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    /// When the file was looked at last.
    looked: Instant,
    header: HeaderValue,
    stamp: Stamp,
    /// Why the file of now is not in use; logged once.
    fault: Option<TokenFileFault>,
}

/// What differs once a file was replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    place: (u64, u64),
    /// Whether a later write could look the same.
    fresh: bool,
}

impl TokenFile {
    /// Reads the file for the first time.
    pub(crate) fn open(path: &Path) -> Result<Self, TokenFileFault> {
        let (header, stamp) = read(path)?;
        Ok(Self {
            path: path.into(),
            kept: Arc::new(Mutex::new(Kept {
                looked: Instant::now(),
                header,
                stamp,
                fault: None,
            })),
        })
    }

    /// The value of the header `authorization`. A file that cannot be used now changes
    /// nothing: the last read token is presented, and the log says why.
    ///
    /// The file is small and local, so looking at it keeps no thread.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.looked.elapsed() < LOOKED_AT_EVERY {
            return kept.header.clone();
        }
        kept.looked = Instant::now();
        let seen = std::fs::metadata(&self.path).map(|about| Stamp::of(&about));
        if seen.is_ok_and(|seen| !kept.stamp.fresh && seen == kept.stamp) {
            return kept.header.clone();
        }
        match read(&self.path) {
            Ok((header, stamp)) => {
                if header != kept.header {
                    tracing::info!(file = %self.path.display(), "the token file has changed; its token is in use");
                }
                *kept = Kept {
                    looked: kept.looked,
                    header,
                    stamp,
                    fault: None,
                };
            }
            Err(fault) => {
                if kept.fault.as_ref() != Some(&fault) {
                    tracing::warn!(file = %self.path.display(), %fault, "the token file cannot be used; the token read before stays in use");
                    kept.fault = Some(fault);
                }
            }
        }
        kept.header.clone()
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Stamp {
    fn of(about: &std::fs::Metadata) -> Self {
        let modified = about.modified().ok();
        let age = modified.and_then(|at| at.elapsed().ok());
        Self {
            modified,
            length: about.len(),
            place: place(about),
            fresh: age.is_none_or(|age| age < TIME_GRAIN),
        }
    }
}

/// The content of the file at `path`: the header for the first token in it.
fn read(path: &Path) -> Result<(HeaderValue, Stamp), TokenFileFault> {
    let unreadable = |error: std::io::Error| TokenFileFault::Unreadable(error.to_string());
    // Asked before it is opened: opening a pipe would wait for someone to write.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TokenFileFault::Unreadable("it is not a file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if is_exposed(&about) {
        return Err(TokenFileFault::Exposed);
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => TokenFileFault::NotAToken,
            _ => unreadable(error),
        })?;
    let token = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .ok_or(TokenFileFault::Empty)?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFileFault::NotAToken);
    }
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut header = HeaderValue::from_str(&value).map_err(|_| TokenFileFault::NotAToken)?;
    header.set_sensitive(true);
    Ok((header, Stamp::of(&about)))
}

#[cfg(unix)]
fn is_exposed(about: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(about) & 0o077 != 0
}

/// Elsewhere, a file's mode does not say who may read it.
#[cfg(not(unix))]
fn is_exposed(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn place(about: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (about.dev(), about.ino())
}

#[cfg(not(unix))]
fn place(_: &std::fs::Metadata) -> (u64, u64) {
    (0, 0)
}
