//! Values that are read from files, and reloaded when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// The least time between two checks of the files, which happen when the value is used.
const PAUSE: Duration = Duration::from_secs(1);
/// The same if the caller was refused with the current value. The caller may be a stranger, so
/// this is limited too.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// An error type for files that cannot be used.
pub(crate) trait FileError: std::error::Error {
    /// A file could not be read: the n-th, counted from 0.
    fn unreadable(at: usize, path: &Path, source: std::io::Error) -> Self;
}

type Make<T, E> = dyn Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync;

/// A value that is read from files.
///
/// Contents are compared, not times: those are too coarse to detect a file that was written
/// twice, and the files are small. Files that cannot be used are ignored: the value
/// is kept, and the log says why.
pub(crate) struct FromFiles<T, E> {
    paths: Vec<PathBuf>,
    make: Box<Make<T, E>>,
    current: RwLock<Arc<T>>,
    looked: Mutex<Looked>,
}

struct Looked {
    at: Instant,
    /// The digest of the contents behind the value.
    digest: [u8; 32],
    /// Why the current contents are not in use; logged once.
    problem: Option<String>,
}

impl<T, E> std::fmt::Debug for FromFiles<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FromFiles")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl<T, E: FileError> FromFiles<T, E> {
    /// Reads the files; `make` gets their contents in this order.
    pub(crate) fn read(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let contents = contents(&paths)?;
        let value = make(&contents)?;
        Ok(Self {
            paths,
            make: Box::new(make),
            current: RwLock::new(Arc::new(value)),
            looked: Mutex::new(Looked {
                at: Instant::now(),
                digest: digest(&contents),
                problem: None,
            }),
        })
    }

    /// The current value. Checks the files unless that was done just before; they are
    /// small and on a local disk, so this needs no other thread.
    pub(crate) fn current(&self) -> Arc<T> {
        self.after(PAUSE)
    }

    /// The same for a caller that [`FromFiles::current`] did not satisfy: the files may have changed
    /// since they were checked.
    pub(crate) fn newest(&self) -> Arc<T> {
        self.after(SHORT_PAUSE)
    }

    fn after(&self, pause: Duration) -> Arc<T> {
        // Callers that arrive during a check use the current value.
        if let Some(mut looked) = free(&self.looked)
            && looked.at.elapsed() >= pause
        {
            self.look(&mut looked);
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    fn look(&self, looked: &mut Looked) {
        looked.at = Instant::now();
        let changed = contents(&self.paths).and_then(|contents| {
            let digest = digest(&contents);
            if digest == looked.digest {
                return Ok(None);
            }
            (self.make)(&contents).map(|value| Some((digest, value)))
        });
        match changed {
            Ok(None) => looked.problem = None,
            Ok(Some((digest, value))) => {
                looked.digest = digest;
                looked.problem = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!(files = ?self.paths, "changed files reloaded");
            }
            Err(error) => {
                let problem = error.to_string();
                if looked.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        problem,
                        "changed files cannot be used; keeping the previous ones"
                    );
                    looked.problem = Some(problem);
                }
            }
        }
    }
}

fn free(looked: &Mutex<Looked>) -> Option<MutexGuard<'_, Looked>> {
    match looked.try_lock() {
        Ok(looked) => Some(looked),
        Err(TryLockError::Poisoned(looked)) => Some(looked.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn contents<E: FileError>(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, E> {
    paths
        .iter()
        .enumerate()
        .map(|(at, path)| std::fs::read(path).map_err(|source| E::unreadable(at, path, source)))
        .collect()
}

fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut all = Sha256::new();
    for content in contents {
        // With the lengths, so that content that moves between files is detected.
        all.update(content.len().to_be_bytes());
        all.update(content);
    }
    all.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Problem {
        #[error("unreadable")]
        Unreadable,
        #[error("not alike")]
        Unlike,
    }

    impl FileError for Problem {
        fn unreadable(_: usize, _: &Path, _: std::io::Error) -> Self {
            Self::Unreadable
        }
    }

    /// Both files must have the same content.
    fn open(paths: &[PathBuf]) -> Result<FromFiles<String, Problem>, Problem> {
        FromFiles::read(paths.to_vec(), |contents| {
            if contents[0] != contents[1] {
                return Err(Problem::Unlike);
            }
            Ok(String::from_utf8_lossy(&contents[0]).into_owned())
        })
    }

    /// Checks immediately.
    fn look(value: &FromFiles<String, Problem>) -> (String, Option<String>) {
        let mut looked = value.looked.lock().unwrap();
        value.look(&mut looked);
        let problem = looked.problem.clone();
        (value.current.read().unwrap().to_string(), problem)
    }

    #[test]
    fn a_change_is_taken_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        assert_eq!(open(&paths).unwrap_err(), Problem::Unreadable);
        let write = |at: usize, text: &str| std::fs::write(&paths[at], text).unwrap();
        write(0, "one");
        write(1, "two");
        assert_eq!(open(&paths).unwrap_err(), Problem::Unlike);
        write(1, "one");
        let value = open(&paths).unwrap();
        assert_eq!(look(&value), ("one".to_owned(), None));

        write(0, "two");
        let unlike = Some(Problem::Unlike.to_string());
        assert_eq!(look(&value), ("one".to_owned(), unlike));
        write(1, "two");
        assert_eq!(look(&value), ("two".to_owned(), None));

        std::fs::remove_file(&paths[0]).unwrap();
        let unreadable = Some(Problem::Unreadable.to_string());
        assert_eq!(look(&value), ("two".to_owned(), unreadable));
        write(0, "two");
        assert_eq!(look(&value), ("two".to_owned(), None));
    }

    #[test]
    fn callers_get_what_the_files_say_before_long() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        for path in &paths {
            std::fs::write(path, "one").unwrap();
        }
        let value = open(&paths).unwrap();
        let before = value.current();
        for path in &paths {
            std::fs::write(path, "two").unwrap();
        }
        let begun = Instant::now();
        while *value.current() != "two" {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is noticed");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(*before, "one", "who has the old one keeps it");
    }
}
