//! The data folder: where it is, who may read it, and the small files in it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::access::secret;
use crate::private_file;

pub use self::error::DataDirError;
pub(crate) use self::noted::{NOTED, NotedFile};

mod error;
mod noted;

/// How long to wait for another process that holds the folder to end.
const ENDING: Duration = Duration::from_secs(1);

/// The file in which a running server publishes its addresses.
const ADDRESSES: &str = "serve.json";
/// The lock of the process that owns the folder's task hub.
const LOCK: &str = "serve.lock";
/// The age from which no process can still be writing a temporary file.
const ABANDONED: Duration = Duration::from_secs(3_600);
/// The token that the administrator logs in with.
const ADMIN_TOKEN: &str = "admin-token";

/// In a folder into which a backup is being restored. Nothing starts on it.
pub(crate) const UNFINISHED: &str = "restore-unfinished";
/// The suffix of the file with a secret's previous value.
const BEFORE: &str = ".before";

/// A secret's previous value, and until when that is valid.
pub(crate) type Before = (Zeroizing<String>, DateTime<Utc>);

/// A folder that only its owner can enter.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Keeps other processes from owning the same folder. Released when dropped, and
/// by the operating system when the process ends in any other way.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

/// The addresses of a running server, as kept in `serve.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// The front door, as a base URL for programs on this machine.
    pub server: String,
    /// The SHA-256 digests, in hexadecimal, of the certificates that it presents; none without
    /// TLS. Programs on this machine recognize it by them, whatever names they are for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// The task hub's gRPC endpoint, as a base URL.
    pub scheduler: Option<String>,
    /// The dashboard, as a base URL.
    pub dashboard: Option<String>,
    /// The base URL of the metrics.
    #[serde(default)]
    pub metrics: Option<String>,
    /// The process that serves them.
    pub pid: u32,
}

impl DataDir {
    /// The folder at `path`, created with mode 0700 if it does not exist, and without what
    /// processes that were killed while writing a file have left behind.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Io`] when it cannot be created, and as [`DataDir::open`].
    pub fn create(path: &Path) -> Result<Self, DataDirError> {
        refuse_file(path)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| DataDirError::Io {
                action: "create the data folder",
                path: path.to_owned(),
                source,
            })?;
        let data = Self::open(path)?;
        data.sweep();
        Ok(data)
    }

    /// The existing folder at `path`, in which no one else can change anything:
    /// anyone who can write or replace a database decides who may do what.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Writable`] and [`DataDirError::Foreign`] when someone else can write
    /// there, [`DataDirError::Unfinished`] when a restore into it has not ended,
    /// [`DataDirError::NoFolder`] when it is a file, [`DataDirError::Io`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let data = Self::open_unfinished(path)?;
        if path.join(UNFINISHED).exists() {
            return Err(DataDirError::Unfinished(path.to_owned()));
        }
        Ok(data)
    }

    /// As [`DataDir::open`], for the restore itself.
    ///
    /// # Errors
    ///
    /// As [`DataDir::open`], but for [`DataDirError::Unfinished`].
    pub(crate) fn open_unfinished(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        refuse_file(path)?;
        refuse_shared(path, &fs::metadata(path).map_err(failed)?)?;
        for file in fs::read_dir(path).map_err(failed)? {
            let file = file.map_err(failed)?.path();
            // A link's target is checked. A file that has disappeared in the meantime needs no check.
            match fs::metadata(&file) {
                Ok(about) => refuse_shared(&file, &about)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(DataDirError::Io {
                        action: "read",
                        path: file,
                        source,
                    });
                }
            }
        }
        Ok(Self::at(path))
    }

    /// Removes abandoned temporary files: there may be a key in them. One
    /// that cannot be removed now is left to the next start.
    fn sweep(&self) {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for file in files.filter(|file| is_temporary(&file.file_name())) {
            let modified = file.metadata().and_then(|about| about.modified());
            let age = modified.ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > ABANDONED)
                && let Err(error) = remove(&file.path())
            {
                tracing::warn!(path = %file.path().display(), %error, "cannot remove a temporary file");
            }
        }
    }

    /// The folder at `path`, whether or not it exists and unchecked: for reading what is not a
    /// secret.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the administrator's token.
    #[must_use]
    pub fn admin_token_path(&self) -> PathBuf {
        self.path.join(ADMIN_TOKEN)
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    ///
    /// [`DataDirError::InUse`] when another process holds it.
    pub fn lock(&self) -> Result<DataDirLock, DataDirError> {
        let path = self.path.join(LOCK);
        let file = private_file::open(&path);
        self.locked(file, path)
    }

    /// Makes this process the folder's front door: a second one would take over its address file,
    /// and count uses and guesses on its own. The folder itself is locked: a front door that
    /// waits for its worker creates no file.
    ///
    /// # Errors
    ///
    /// [`DataDirError::InUse`] when another process is.
    pub fn lock_front_door(&self) -> Result<DataDirLock, DataDirError> {
        let begun = Instant::now();
        loop {
            match self.locked(File::open(&self.path), self.path.clone()) {
                // One that was just asked to stop, or killed, holds it for another moment.
                Err(DataDirError::InUse(_)) if begun.elapsed() < ENDING => {
                    std::thread::sleep(ENDING / 20);
                }
                locked => return locked,
            }
        }
    }

    fn locked(&self, file: io::Result<File>, path: PathBuf) -> Result<DataDirLock, DataDirError> {
        let file = file.map_err(|source| DataDirError::Io {
            action: "open",
            path: path.clone(),
            source,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(DataDirError::InUse(self.path.clone())),
            Err(fs::TryLockError::Error(source)) => Err(DataDirError::Io {
                action: "lock",
                path,
                source,
            }),
        }
    }

    /// The administrator's token, created on first use.
    ///
    /// # Errors
    ///
    /// As [`DataDir::secret_file`].
    pub fn admin_token(&self) -> Result<Zeroizing<String>, DataDirError> {
        self.secret_file(ADMIN_TOKEN, || secret::random_token("cs_admin_"))
    }

    /// The administrator's token if there is one.
    ///
    /// # Errors
    ///
    /// As [`DataDir::read_secret`].
    pub fn existing_admin_token(&self) -> Result<Option<Zeroizing<String>>, DataDirError> {
        self.read_secret(ADMIN_TOKEN)
    }

    /// The administrator's previous token, and until when it is valid.
    ///
    /// # Errors
    ///
    /// As [`DataDir::read_secret`], and [`DataDirError::Malformed`].
    pub(crate) fn admin_token_before(&self) -> Result<Option<Before>, DataDirError> {
        self.secret_before(ADMIN_TOKEN)
    }

    /// Replaces the administrator's token; the previous one stays valid `until` then, if at all.
    ///
    /// # Errors
    ///
    /// As [`DataDir::secret_file`].
    pub(crate) fn rotate_admin_token(
        &self,
        until: Option<DateTime<Utc>>,
    ) -> Result<Zeroizing<String>, DataDirError> {
        let token = secret::random_token("cs_admin_").map_err(|_| DataDirError::Random)?;
        self.rotate_secret(ADMIN_TOKEN, &token, until)?;
        Ok(token)
    }

    /// Writes `text` to the secret file `name`, and its previous content to one beside it, with the
    /// time until which that is valid.
    pub(crate) fn rotate_secret(
        &self,
        name: &str,
        text: &str,
        until: Option<DateTime<Utc>>,
    ) -> Result<(), DataDirError> {
        let beside = format!("{name}{BEFORE}");
        match (self.read_secret(name)?, until) {
            (Some(before), Some(until)) => {
                let line = Zeroizing::new(format!("{} {}", until.timestamp(), before.as_str()));
                self.replace_secret_file(&beside, &line)?;
            }
            _ => {
                let path = self.path.join(&beside);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(DataDirError::Io {
                            action: "remove",
                            path,
                            source,
                        });
                    }
                    _ => {}
                }
            }
        }
        self.replace_secret_file(name, text)
    }

    /// The previous content of the secret file `name`, and until when it is valid.
    pub(crate) fn secret_before(&self, name: &str) -> Result<Option<Before>, DataDirError> {
        let beside = format!("{name}{BEFORE}");
        let Some(line) = self.read_secret(&beside)? else {
            return Ok(None);
        };
        let malformed = || DataDirError::Malformed {
            path: self.path.join(&beside),
            reason: "expected a time in seconds and the value that is valid until then",
        };
        let (until, text) = line.split_once(' ').ok_or_else(malformed)?;
        let until = until
            .parse()
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or_else(malformed)?;
        Ok(Some((Zeroizing::new(text.to_owned()), until)))
    }

    /// The key in the file `name` as [`DataDir::secret_key`] keeps it, if there is one.
    ///
    /// # Errors
    ///
    /// As [`DataDir::read_secret`], and [`DataDirError::Malformed`].
    pub fn existing_key(&self, name: &str) -> Result<Option<Zeroizing<[u8; 32]>>, DataDirError> {
        let Some(text) = self.read_secret(name)? else {
            return Ok(None);
        };
        self.key(name, &text).map(Some)
    }

    fn key(&self, name: &str, text: &str) -> Result<Zeroizing<[u8; 32]>, DataDirError> {
        secret::key_from_hex(text).ok_or_else(|| DataDirError::Malformed {
            path: self.path.join(name),
            reason: "expected 64 hexadecimal digits",
        })
    }

    /// The text of the secret file `name`, which `make` provides if there is none. Of
    /// several processes that start at once exactly one creates it and all read the same.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Exposed`] when other users can read the file,
    /// [`DataDirError::Io`] when it cannot be read or written.
    pub fn secret_file(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Zeroizing<String>, secret::RandomUnavailable>,
    ) -> Result<Zeroizing<String>, DataDirError> {
        if let Some(text) = self.read_secret(name)? {
            return Ok(text);
        }
        let text = make().map_err(|_| DataDirError::Random)?;
        self.publish(name, text.as_bytes())?;
        self.read_secret(name)?
            .ok_or_else(|| DataDirError::Malformed {
                path: self.path.join(name),
                reason: "it is empty",
            })
    }

    /// Replaces the secret file `name`. Other processes see either the old or the
    /// new content as a whole.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Io`] when it cannot be written.
    pub fn replace_secret_file(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        let failed = |source| DataDirError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let temporary = self.temporary(name)?;
        let mut line = Zeroizing::new(text.as_bytes().to_vec());
        line.push(b'\n');
        write_private(&temporary, &line).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
        // What depends on the new content must not outlive it when the power fails.
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }

    /// Thirty-two secret bytes kept as hexadecimal text in the file `name`.
    ///
    /// # Errors
    ///
    /// As [`DataDir::secret_file`], and [`DataDirError::Malformed`] when the file holds
    /// anything else.
    pub fn secret_key(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, DataDirError> {
        let text = self.secret_file(name, secret::random_hex)?;
        self.key(name, &text)
    }

    /// Publishes the server's addresses.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Io`] when the file cannot be written.
    pub fn write_addresses(&self, addresses: &Addresses) -> Result<(), DataDirError> {
        self.replace(ADDRESSES, addresses)
    }

    /// Writes the file `name` as JSON.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Io`] when the file cannot be written.
    pub(crate) fn replace(&self, name: &str, says: &impl Serialize) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        let failed = |source| DataDirError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec_pretty(says).map_err(|e| failed(e.into()))?;
        let temporary = self.temporary(name)?;
        write_private(&temporary, &text).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)
    }

    /// Where the server on this folder listens, if one runs or died without cleaning up.
    #[must_use]
    pub fn addresses(&self) -> Option<Addresses> {
        let text = fs::read(self.path.join(ADDRESSES)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Removes the server's published addresses.
    pub fn remove_addresses(&self) {
        let path = self.path.join(ADDRESSES);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the address file");
        }
    }

    /// The text of the secret file `name`, or of one elsewhere if it is an absolute path;
    /// none if it does not exist or is empty.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Exposed`] when other users can read the file,
    /// [`DataDirError::Io`] when it cannot be read.
    pub fn read_secret(
        &self,
        name: impl AsRef<Path>,
    ) -> Result<Option<Zeroizing<String>>, DataDirError> {
        let path = self.path.join(name);
        let failed = |source| DataDirError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(DataDirError::Exposed(path));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        let trimmed = text.trim();
        Ok((!trimmed.is_empty()).then(|| Zeroizing::new(trimmed.to_owned())))
    }

    /// Makes the file appear with its full content or not at all, and does not
    /// replace one that another process created first.
    fn publish(&self, name: &str, content: &[u8]) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        let failed = |source| DataDirError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let temporary = self.temporary(name)?;
        let mut line = Zeroizing::new(content.to_vec());
        line.push(b'\n');
        write_private(&temporary, &line).map_err(failed)?;
        let linked = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary).map_err(failed)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// What has such a name for `name`: in use, or left over.
    pub(crate) fn temporaries(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let begins = format!(".{name}.");
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        files.filter_map(move |file| {
            let name = file.file_name();
            let found = is_temporary(&name) && name.to_str()?.starts_with(&begins);
            found.then(|| file.path())
        })
    }

    /// A temporary name for a file that is being written; the next start removes leftovers.
    pub(crate) fn temporary(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let tag = secret::random_hex().map_err(|_| DataDirError::Random)?;
        Ok(self.path.join(format!(".{name}.{}.tmp", &tag[..16])))
    }
}

/// Removes a file, or a folder with its content.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Refuses a file in a folder's place.
fn refuse_file(path: &Path) -> Result<(), DataDirError> {
    match path.exists() && !path.is_dir() {
        true => Err(DataDirError::NoFolder(path.to_owned())),
        false => Ok(()),
    }
}

/// Refuses a file that anyone other than this process's user and root can change.
fn refuse_shared(path: &Path, about: &fs::Metadata) -> Result<(), DataDirError> {
    let own = rustix::process::geteuid().as_raw();
    if about.uid() != own && about.uid() != 0 {
        return Err(DataDirError::Foreign {
            path: path.to_owned(),
            owner: about.uid(),
            own,
        });
    }
    // Devices are harmless, and sockets decide themselves whom they accept.
    let counts = about.is_dir() || about.is_file();
    if counts && about.permissions().mode() & 0o022 != 0 {
        return Err(DataDirError::Writable(path.to_owned()));
    }
    Ok(())
}

/// Whether a file's name is one that [`DataDir::temporary`] or the vault creates:
/// `.NAME.TAG.tmp`, with a tag of hexadecimal digits.
fn is_temporary(name: &OsStr) -> bool {
    let tag = name
        .to_str()
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp"))
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, tag)| tag.as_bytes());
    tag.is_some_and(|tag| {
        matches!(tag.len(), 16 | 32) && tag.iter().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::create(&folder.path().join("data")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(data.path()), 0o700);

        let first = data.admin_token().unwrap();
        assert!(first.starts_with("cs_admin_"));
        assert_eq!(*first, *data.admin_token().unwrap());
        assert_eq!(mode(&data.admin_token_path()), 0o600);
        assert_eq!(
            *data.secret_key("k").unwrap(),
            *data.secret_key("k").unwrap()
        );
        let left: Vec<_> = fs::read_dir(data.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "temporary files stay behind: {left:?}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::create(folder.path()).unwrap();
        data.admin_token().unwrap();
        fs::set_permissions(data.admin_token_path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            data.admin_token(),
            Err(DataDirError::Exposed(path)) if path == data.admin_token_path()
        ));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_and_so_is_one_with_such_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        DataDir::create(&path).unwrap();
        let database = path.join("access.sqlite3");
        File::create(&database).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (place, usual) in [(&path, 0o755), (&database, 0o644)] {
            for wrong in [0o020, 0o002] {
                set(place, usual | wrong);
                for refused in [DataDir::create(&path), DataDir::open(&path)] {
                    let error = refused.unwrap_err();
                    assert!(
                        matches!(&error, DataDirError::Writable(named) if named == place),
                        "{error}"
                    );
                    let advice = format!("chmod go-w '{}'", place.display());
                    assert!(error.to_string().contains(&advice), "{error}");
                }
                set(place, usual);
            }
            DataDir::create(&path).unwrap();
        }
        assert!(DataDir::open(&folder.path().join("nowhere")).is_err());
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn what_a_killed_process_was_writing_is_removed_once_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let tag = "0123456789abcdef";
        let (new, old, other) = (
            format!(".seal.key.{tag}.tmp"),
            format!(".vault.key.{tag}{tag}.tmp"),
            ".somebody-elses.tmp".to_owned(),
        );
        for name in [&new, &old, &other] {
            let file = File::create(folder.path().join(name)).unwrap();
            if name != &new {
                let then = std::time::SystemTime::now() - 2 * ABANDONED;
                file.set_modified(then).unwrap();
            }
        }
        DataDir::create(folder.path()).unwrap();
        let there = |name: &str| folder.path().join(name).exists();
        assert_eq!(
            [there(&new), there(&old), there(&other)],
            [true, false, true]
        );
    }

    #[test]
    fn one_process_at_a_time_owns_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::create(folder.path()).unwrap();
        let lock = data.lock().unwrap();
        assert!(matches!(data.lock(), Err(DataDirError::InUse(_))));
        drop(lock);
        data.lock().unwrap();
    }
}
