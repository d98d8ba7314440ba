//! The administrator's token, which may be replaced while the server runs.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use super::secret;

/// How long a replaced token may stay unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_millis(1);

/// The token in a file, and the previous one with the time until which it is valid.
type Read = (
    Option<Zeroizing<String>>,
    Option<(Zeroizing<String>, DateTime<Utc>)>,
);

/// A file in which the token may be replaced.
struct Source {
    file: PathBuf,
    read: Box<dyn Fn() -> Result<Read, Box<dyn Error>> + Send + Sync>,
}

/// The administrator's token.
pub struct AdminToken {
    /// The file that is watched; none if the environment gave the token.
    source: Option<Source>,
    known: RwLock<KnownToken>,
    looked: Mutex<Looked>,
}

#[derive(Clone, Copy, Debug)]
struct KnownToken {
    hash: [u8; 32],
    /// The previous one, and until when it is valid.
    before: Option<([u8; 32], DateTime<Utc>)>,
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    /// Distinguishes the file from one that replaces it.
    file: Option<(u64, i64, i64, u64)>,
}

impl AdminToken {
    /// A fixed token, as long as the process runs.
    #[must_use]
    pub fn fixed(token: &str) -> Self {
        Self::of(secret::hash(token))
    }

    /// The token in `file`, which is `token` at first, and its replacements, as `read`
    /// reads them.
    pub(crate) fn following<E: Error + 'static>(
        token: &str,
        file: &Path,
        read: impl Fn() -> Result<Read, E> + Send + Sync + 'static,
    ) -> Self {
        let source = Source {
            file: file.to_owned(),
            read: Box::new(move || read().map_err(Into::into)),
        };
        Self {
            source: Some(source),
            ..Self::of(secret::hash(token))
        }
    }

    /// The token with this hash.
    pub(super) fn of(hash: [u8; 32]) -> Self {
        Self {
            source: None,
            known: RwLock::new(KnownToken { hash, before: None }),
            looked: Mutex::new(Looked {
                at: Instant::now(),
                file: None,
            }),
        }
    }

    /// Whether a presented token has this hash, or that of the previous token while it is valid.
    pub(super) fn accepts(&self, presented: &[u8; 32], now: DateTime<Utc>) -> bool {
        let known = self.now();
        let before = known
            .before
            .is_some_and(|(hash, until)| now < until && secret::same(presented, &hash));
        secret::same(presented, &known.hash) || before
    }

    /// The hash of the current token.
    pub(super) fn hash(&self) -> [u8; 32] {
        self.now().hash
    }

    fn now(&self) -> KnownToken {
        if let Some(source) = &self.source {
            self.look(source);
        }
        *self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again if it was replaced. One that cannot be read is
    /// ignored.
    fn look(&self, source: &Source) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.file.is_some() && looked.at.elapsed() < NOTICED_WITHIN {
            return;
        }
        looked.at = Instant::now();
        let about = std::fs::metadata(&source.file);
        let file = about
            .ok()
            .map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.size()));
        if file.is_none() || file == looked.file {
            return;
        }
        looked.file = file;
        match (source.read)() {
            Ok((Some(token), before)) => {
                let known = KnownToken {
                    hash: secret::hash(&token),
                    before: before.map(|(token, until)| (secret::hash(&token), until)),
                };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
            }
            Ok((None, _)) => {
                tracing::warn!("the file admin-token is empty; keeping the previous token")
            }
            Err(error) => tracing::warn!(%error, "keeping the administrator's previous token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::{DataDir, DataDirError};

    #[test]
    fn a_new_token_is_valid_at_once_and_the_previous_one_for_its_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::create(folder.path()).unwrap();
        let first = data.admin_token().unwrap();
        let folder = data.clone();
        let admin = AdminToken::following(&first, &data.admin_token_path(), move || {
            let token = folder.existing_admin_token()?;
            Ok::<_, DataDirError>((token, folder.admin_token_before()?))
        });
        let now = Utc::now();
        let accepts = |token: &str, now| admin.accepts(&secret::hash(token), now);
        assert!(accepts(&first, now));

        let until = now + chrono::TimeDelta::minutes(5);
        let second = data.rotate_admin_token(Some(until)).unwrap();
        std::thread::sleep(NOTICED_WITHIN);
        assert!(accepts(&second, now) && accepts(&first, now));
        assert!(accepts(&second, until) && !accepts(&first, until));

        let third = data.rotate_admin_token(None).unwrap();
        std::thread::sleep(NOTICED_WITHIN);
        assert!(accepts(&third, now));
        assert!(!accepts(&second, now) && !accepts(&first, now));

        std::fs::write(data.admin_token_path(), "").unwrap();
        std::thread::sleep(NOTICED_WITHIN);
        assert!(accepts(&third, now), "an empty file changes nothing");
        assert!(!accepts("", now));
    }
}
