//! Creates a backup.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use age::Identity;
use chrono::Utc;
use countersign_database::Database as Shared;
use durabletask_scheduler::kept_elsewhere;
use durabletask_sqlite::{CopyError, Database, keep_log, snapshot};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use zeroize::Zeroizing;

use super::BackupError;
use super::archive::{self, Digesting, Staged};
use super::check::check;
use super::contents::{Contents, Unwrapping};
use super::parts::{
    DATABASES, FILES, HUB_DATABASE, LEDGER_NOTE, MAX_FILE, VAULT_KEY, database_in, strangers,
};
use super::protection::Protection;
use super::restore::verify;
use crate::audit::{AUDIT_HEAD, AUDIT_SENT};
use crate::data_dir::DataDir;
use crate::keys::{DOOR_FILES, WORKER_FILES};
use crate::migrate::{KeyPlaces, Moment};
use crate::private_file;

/// How long write locks on some databases are held while waiting for others:
/// less than writers wait.
const HELD: Duration = Duration::from_secs(2);
/// How long it tries to lock all of them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait between two attempts, and how often to retry within one.
const PAUSE: Duration = Duration::from_millis(250);
const ASK: Duration = Duration::from_millis(1);

/// A finished backup.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its contents.
    pub contents: Contents,
    /// Its size in bytes.
    pub bytes: u64,
    /// For how long writes were blocked.
    pub paused: Duration,
    /// Files in the data folder that were left out.
    pub left_out: Vec<String>,
    /// The database in which the task hub is kept, which is not in the backup.
    pub hub_database: Option<String>,
    /// Whether the whole file was opened and checked, which needs an identity. Otherwise
    /// its contents were checked before encryption, and the file was read back.
    pub opened: bool,
}

/// Who can open a backup, and with what it is checked.
pub struct Opening<'a> {
    /// Who can open it.
    pub protection: &'a Protection,
    /// If there are any, the finished file is opened with them and checked.
    pub identities: &'a [Box<dyn Identity>],
    /// What unwraps the vault's key, where that is wrapped.
    pub unwrapping: &'a Unwrapping,
}

/// The shared database of an installation, and its keys.
pub(crate) struct SharedSource {
    /// The database.
    pub(crate) database: Shared,
    /// The keys, of which the files are in the data folder.
    pub(crate) keys: KeyPlaces,
}

/// Writes a backup of the installation in `data` to the new file `to`, while it runs. Blocks.
///
/// # Errors
///
/// [`BackupError`]; then the file `to` does not exist, unless it did before.
pub fn create(data: &DataDir, to: &Path, opening: &Opening<'_>) -> Result<Made, BackupError> {
    let target = Target::reserve(to)?;
    let staging = Staging::make(data)?;
    let cut = cut(data)?;
    target.fill(data, cut, &staging, opening)
}

/// As [`create`], of an installation whose servers share a database: what is in there, and in the
/// data folder of this machine its keys and its task hub, if that is here.
///
/// # Errors
///
/// As [`create`].
pub(crate) async fn create_shared(
    data: &DataDir,
    source: &SharedSource,
    to: &Path,
    opening: &Opening<'_>,
) -> Result<Made, BackupError> {
    let target = Target::reserve(to)?;
    let staging = Staging::make(data)?;
    let cut = cut_shared(data, source, &staging).await?;
    target.fill(data, cut, &staging, opening)
}

/// The file for a backup, which is removed unless it is finished.
struct Target<'a> {
    path: &'a Path,
    partial: PathBuf,
    finished: bool,
}

impl<'a> Target<'a> {
    /// Creates the file first, so that no other can appear there in the meantime.
    fn reserve(path: &'a Path) -> Result<Self, BackupError> {
        private_file::create(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
            _ => BackupError::folder("write", path, error),
        })?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        Ok(Self {
            path,
            partial: PathBuf::from(partial),
            finished: false,
        })
    }

    fn fill(
        mut self,
        data: &DataDir,
        cut: Cut,
        staging: &Staging,
        opening: &Opening<'_>,
    ) -> Result<Made, BackupError> {
        let failed = |source| BackupError::folder("write", self.path, source);
        let made = write(data, cut, staging, &self.partial, opening)?;
        fs::rename(&self.partial, self.path).map_err(failed)?;
        let parent = self.path.parent();
        let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        self.finished = true;
        Ok(made)
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if !self.finished {
            for leftover in [self.partial.as_path(), self.path] {
                // Best effort: the error that matters is another one.
                let _ = fs::remove_file(leftover);
            }
        }
    }
}

fn write(
    data: &DataDir,
    cut: Cut,
    staging: &Staging,
    partial: &Path,
    opening: &Opening<'_>,
) -> Result<Made, BackupError> {
    let failed = |source| BackupError::folder("write", partial, source);
    let Opening {
        protection,
        identities,
        unwrapping,
    } = opening;
    let paused = cut.paused;
    let staged = cut.copy_to(&staging.path)?;
    let contents = check(&staged, None, unwrapping)?;
    // Left over from an interrupted backup.
    match fs::remove_file(partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = private_file::create(partial).map_err(failed)?;
    let out = Digesting::new(BufWriter::new(file));
    let write = |out: &mut dyn std::io::Write| archive::write(&staged, &contents, out);
    let mut out = protection.write_through(out, write, failed)?;
    out.flush().map_err(failed)?;
    let written = out.end();
    let mut back = File::open(partial).map_err(failed)?;
    back.sync_all().map_err(failed)?;
    let (bytes, read) = archive::digest(&mut back).map_err(failed)?;
    if read != written {
        return Err(BackupError::ReadBack(partial.to_owned()));
    }
    let opened = !identities.is_empty() || matches!(protection, Protection::None);
    if opened {
        verify(partial, identities, None, unwrapping)?;
    }
    Ok(Made {
        contents,
        bytes,
        paused,
        left_out: strangers(data.path())?,
        hub_database: kept_elsewhere(data.path())?,
        opened,
    })
}

/// A folder in the data folder for the copies of databases, removed when this is dropped, or by
/// the next backup if its process is killed.
struct Staging {
    path: PathBuf,
    /// Locked for as long as it is in use.
    _held: File,
}

impl Staging {
    fn make(data: &DataDir) -> Result<Self, BackupError> {
        for leftover in data.temporaries("backup") {
            remove_unused(&leftover);
        }
        loop {
            let path = data.temporary("backup")?;
            let failed = |source| BackupError::folder("make", &path, source);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(failed)?;
            let held = match File::open(&path) {
                // Another backup took it for a leftover before it was locked.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                held => held.map_err(failed)?,
            };
            held.lock().map_err(failed)?;
            if path.exists() {
                return Ok(Self { path, _held: held });
            }
        }
    }
}

/// Removes the copies of a backup that is not running any more.
fn remove_unused(path: &Path) {
    let removed = File::open(path).and_then(|folder| match folder.try_lock() {
        Ok(()) => fs::remove_dir_all(path),
        // It is in use.
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    });
    if let Err(error) = removed
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove the copies of an earlier backup");
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the copies of databases");
        }
    }
}

/// All databases as they were at one moment, and the small files of that moment.
struct Cut {
    sources: Vec<(&'static str, Connection)>,
    staged: Staged,
    paused: Duration,
    /// Keeps other processes from checkpointing the databases when they close them.
    _open: Vec<Database>,
}

impl Cut {
    fn copy_to(self, folder: &Path) -> Result<Staged, BackupError> {
        for &(name, ref source) in &self.sources {
            let place = folder.join(name);
            let failed = |source| BackupError::folder("write", &place, source);
            private_file::create(&place).map_err(failed)?;
            durabletask_sqlite::copy(source, &place).map_err(|error| match error {
                CopyError::Sqlite(source) => BackupError::Database { name, source },
                CopyError::File(source) => failed(source),
                CopyError::Damaged(verdict) => BackupError::Damaged { name, verdict },
            })?;
        }
        Ok(Staged {
            folder: folder.to_owned(),
            ..self.staged
        })
    }
}

fn cut(data: &DataDir) -> Result<Cut, BackupError> {
    let places = places(data, &DATABASES)?;
    if places.is_empty() {
        return Err(BackupError::Nothing(data.path().to_owned()));
    }
    let held = Held::take(places)?;
    let at = Utc::now();
    let read = held
        .sources()
        .and_then(|sources| Ok((sources, small_files(data)?)));
    let (open, paused) = held.release();
    let (sources, files) = read?;
    Ok(Cut {
        sources,
        staged: Staged {
            folder: data.path().to_owned(),
            files,
            at,
        },
        paused,
        _open: open,
    })
}

/// What is in the shared database at one moment, as databases of a folder, and what is on this
/// machine at the same moment.
async fn cut_shared(
    data: &DataDir,
    source: &SharedSource,
    staging: &Staging,
) -> Result<Cut, BackupError> {
    let mut session = source.database.transfer().await?;
    // Another machine may have it: then the hub has a backup of its own.
    let held = Held::take(places(data, &[HUB_DATABASE])?)?;
    let at = Utc::now();
    let moment = async {
        let moment = Moment::begin(&mut session).await?;
        Ok::<_, BackupError>((moment, held.sources()?, small_files(data)?))
    };
    // Bounded, because the hub's writers wait for the database here.
    let read = tokio::time::timeout(HELD, moment).await;
    let (mut open, paused) = held.release();
    let (moment, mut sources, mut files) =
        read.map_err(|_| BackupError::NoAnswer(HELD.as_secs()))??;
    let rows = staging.path.join("rows");
    DirBuilder::new()
        .mode(0o700)
        .create(&rows)
        .map_err(|source| BackupError::folder("make", &rows, source))?;
    let copied = moment.copy(data, &source.keys, &rows).await?;
    // They are those of the database, not what this machine has noted of it.
    files.remove(AUDIT_SENT);
    files.insert(LEDGER_NOTE, Zeroizing::new(copied.ledger.into_bytes()));
    let head = fs::read(rows.join(AUDIT_HEAD));
    let head =
        head.map_err(|source| BackupError::folder("read", &rows.join(AUDIT_HEAD), source))?;
    files.insert(AUDIT_HEAD, Zeroizing::new(head));
    let needed = DOOR_FILES.iter().chain(&WORKER_FILES);
    let mut needed = needed.filter(|name| copied.has_vault || **name != VAULT_KEY);
    if let Some(missing) = needed.find(|name| !files.contains_key(**name)) {
        return Err(BackupError::NoKeyFile(data.path().join(missing)));
    }
    for name in DATABASES {
        if let Some(path) = database_in(&rows, name) {
            let failed = |source| BackupError::Database { name, source };
            sources.push((name, snapshot(&path).map_err(failed)?));
            open.push(Database::open(&path)?);
        }
    }
    Ok(Cut {
        sources,
        staged: Staged {
            folder: rows,
            files,
            at,
        },
        paused,
        _open: open,
    })
}

/// Those of these databases that are in the folder. What is left of the hub's file does not count, if the
/// hub is in a database.
fn places(
    data: &DataDir,
    names: &[&'static str],
) -> Result<Vec<(&'static str, PathBuf)>, BackupError> {
    let hub_is_here = kept_elsewhere(data.path())?.is_none();
    let places = names
        .iter()
        .filter(|name| hub_is_here || **name != HUB_DATABASE)
        .map(|name| (*name, data.path().join(name)));
    Ok(places
        .filter(|(_, path)| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() > 0))
        .collect())
}

/// Databases whose write locks are held.
struct Held {
    places: Vec<(&'static str, PathBuf)>,
    writers: Vec<Connection>,
    since: Instant,
    open: Vec<Database>,
}

impl Held {
    fn take(places: Vec<(&'static str, PathBuf)>) -> Result<Self, BackupError> {
        let open = places
            .iter()
            .map(|(_, path)| Database::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        // Opened before anything is locked: that takes longer than all the rest.
        let writers = places
            .iter()
            .map(|(name, path)| writer(path).map_err(failed(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        loop {
            let since = Instant::now();
            if hold_all(&places, &writers, since)? {
                return Ok(Self {
                    places,
                    writers,
                    since,
                    open,
                });
            }
            release(&writers);
            if begun.elapsed() > PATIENCE {
                return Err(BackupError::NoMoment(PATIENCE.as_secs()));
            }
            sleep(PAUSE);
        }
    }

    /// What reads each of them as it is now.
    fn sources(&self) -> Result<Vec<(&'static str, Connection)>, BackupError> {
        let places = self.places.iter();
        places
            .map(|(name, path)| Ok((*name, snapshot(path).map_err(failed(name))?)))
            .collect()
    }

    /// Lets the writers continue, and says how long they had to wait.
    fn release(self) -> (Vec<Database>, Duration) {
        release(&self.writers);
        (self.open, self.since.elapsed())
    }
}

fn failed(name: &'static str) -> impl Fn(rusqlite::Error) -> BackupError {
    move |source| BackupError::Database { name, source }
}

fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_log(&connection)?;
    // Retried here instead, more often than SQLite would.
    connection.busy_timeout(Duration::ZERO)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Takes the write lock of every database, in order; whether that succeeded in
/// time.
fn hold_all(
    places: &[(&'static str, PathBuf)],
    writers: &[Connection],
    since: Instant,
) -> Result<bool, BackupError> {
    for (&(name, _), writer) in places.iter().zip(writers) {
        loop {
            match writer.execute_batch("BEGIN IMMEDIATE") {
                Ok(()) => break,
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    if since.elapsed() > HELD {
                        return Ok(false);
                    }
                    sleep(ASK);
                }
                Err(source) => return Err(BackupError::Database { name, source }),
            }
        }
    }
    Ok(true)
}

fn release(writers: &[Connection]) {
    for writer in writers.iter().filter(|writer| !writer.is_autocommit()) {
        if let Err(error) = writer.execute_batch("ROLLBACK") {
            // Closing the connection soon ends it too.
            tracing::debug!(%error, "a transaction without writes could not be ended");
        }
    }
}

fn small_files(data: &DataDir) -> Result<BTreeMap<&'static str, Zeroizing<Vec<u8>>>, BackupError> {
    let mut files = BTreeMap::new();
    for name in FILES {
        let path = data.path().join(name);
        let failed = |source| BackupError::folder("read", &path, source);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        // Room for all of it, since growing would leave a copy of secrets behind.
        let size = file.metadata().map_err(failed)?.len();
        let room = usize::try_from(size.min(MAX_FILE)).unwrap_or(0) + 1;
        let mut content = Zeroizing::new(Vec::with_capacity(room));
        file.take(MAX_FILE + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        if content.len() as u64 > MAX_FILE {
            return Err(BackupError::Malformed {
                name,
                reason: "it is larger than any file that this program writes",
            });
        }
        files.insert(name, content);
    }
    Ok(files)
}
