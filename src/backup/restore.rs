//! Opens a backup: to check it, or to restore the installation.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use age::Identity;
use chrono::{DateTime, SecondsFormat, Utc};
use countersign_ledger::{LEDGER_DATABASE, SqliteLedger};

use super::archive::{self, Manifest, Staged};
use super::check::check;
use super::contents::{Contents, Unwrapping};
use super::parts::database_in;
use super::{BackupError, protection};
use crate::access::{KeyStore, ServerKeys};
use crate::app::{ACCESS_DATABASE, SERVER_KEY};
use crate::audit::{AUDIT_DATABASE, AUDIT_HEAD, Action, AuditStore, Event, FieldChange, Head};
use crate::data_dir::{DataDir, DataDirLock, UNFINISHED};
use crate::private_file;
use crate::verify::{FolderChecks, VERIFY_DATABASE};

/// A backup that was opened and is complete.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its manifest.
    pub manifest: Manifest,
    /// What was found in it, which matches the manifest.
    pub contents: Contents,
    /// Whether it was encrypted.
    pub encrypted: bool,
}

/// A restored installation.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup that it was restored from.
    pub verified: Verified,
    /// Granted requests that were withdrawn, since how often they were used after the backup is
    /// not known.
    pub withdrawn: Vec<String>,
    /// How many grants with a number of reads were removed, for the same reason.
    pub grants: usize,
    /// How many browser sessions were ended.
    pub sessions: usize,
}

/// Opens the backup at `path` with these identities and checks everything in it, including a
/// head of the audit log that was kept elsewhere. Leaves nothing behind: databases are in a
/// temporary folder in the meantime, without the keys that open them. Blocks.
///
/// # Errors
///
/// [`BackupError`]: the first problem.
pub fn verify(
    path: &Path,
    identities: &[Box<dyn Identity>],
    head: Option<&Head>,
    unwrapping: &Unwrapping,
) -> Result<Verified, BackupError> {
    let folder = tempfile::tempdir()
        .map_err(|source| BackupError::folder("write", &std::env::temp_dir(), source))?;
    opened(path, identities, folder.path(), head, unwrapping).map(|(verified, _)| verified)
}

fn opened(
    path: &Path,
    identities: &[Box<dyn Identity>],
    folder: &Path,
    head: Option<&Head>,
    unwrapping: &Unwrapping,
) -> Result<(Verified, Staged), BackupError> {
    let (archive, encrypted) = protection::open(path, identities)?;
    let (manifest, staged) = archive::read(path, archive, folder)?;
    let contents = check(&staged, head, unwrapping)?;
    if contents != manifest.contents {
        let reason = "its contents do not match its manifest";
        return Err(BackupError::spoilt(path, reason));
    }
    let verified = Verified {
        manifest,
        contents,
        encrypted,
    };
    Ok((verified, staged))
}

/// Restores the installation in the backup at `path` into the folder `to`, which is new or
/// empty, and records that. It revokes what may have been used up since: see [`Restored`].
///
/// # Errors
///
/// [`BackupError`]; then the folder is as it was.
pub async fn restore(
    path: &Path,
    identities: &[Box<dyn Identity>],
    to: &Path,
    by: &str,
    unwrapping: &Unwrapping,
) -> Result<Restored, BackupError> {
    let (made, _lock) = make_empty(to)?;
    let mark = to.join(UNFINISHED);
    let restored = fill(path, identities, to, by, unwrapping)
        .await
        .and_then(|restored| {
            fs::remove_file(&mark)
                .and_then(|()| File::open(to)?.sync_all())
                .map_err(|source| BackupError::folder("write", &mark, source))?;
            Ok(restored)
        });
    if restored.is_err() {
        archive::remove_from(to);
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&mark);
        if made {
            let _ = fs::remove_dir(to);
        }
    }
    restored
}

/// Prepares an empty folder, marked so that nothing starts on it; whether it was created, and the
/// lock that keeps other restores and front doors out of it.
fn make_empty(to: &Path) -> Result<(bool, DataDirLock), BackupError> {
    let failed = |source| BackupError::folder("make", to, source);
    let made = match DirBuilder::new().mode(0o700).create(to) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    let mark = to.join(UNFINISHED);
    if !mark.exists() {
        // Checked before the lock: a folder in use is never empty, and this message says more.
        refuse_used(to)?;
    }
    let lock = DataDir::open_unfinished(to)?.lock_front_door()?;
    if mark.exists() {
        // An interrupted restore: all of it is in the backup.
        archive::remove_from(to);
    }
    refuse_used(to)?;
    private_file::ensure(&mark).map_err(|source| BackupError::folder("write", &mark, source))?;
    Ok((made, lock))
}

/// Refuses a folder that contains anything but the mark of a restore.
fn refuse_used(folder: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::folder("read", folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != UNFINISHED && name != "lost+found" {
            return Err(BackupError::Used {
                folder: folder.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

async fn fill(
    path: &Path,
    identities: &[Box<dyn Identity>],
    to: &Path,
    by: &str,
    unwrapping: &Unwrapping,
) -> Result<Restored, BackupError> {
    let (verified, staged) = opened(path, identities, to, None, unwrapping)?;
    for (name, content) in &staged.files {
        let place = to.join(name);
        let failed = |source| BackupError::folder("write", &place, source);
        match private_file::create(&place) {
            Ok(mut file) => file
                .write_all(content)
                .and_then(|()| file.sync_all())
                .map_err(failed)?,
            // The audit log's head, which was written for the check.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && *name == AUDIT_HEAD => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let now = Utc::now();
    let mut restored = Restored {
        withdrawn: Vec::new(),
        grants: 0,
        sessions: 0,
        verified,
    };
    if database_in(to, LEDGER_DATABASE).is_some() {
        let ledger = SqliteLedger::open(to)?;
        restored.withdrawn = ledger.withdraw_granted().await?;
    }
    if let Some(database) = database_in(to, ACCESS_DATABASE) {
        let keys = KeyStore::open(&database)?;
        (restored.grants, restored.sessions) = keys.end_counted()?;
    }
    FolderChecks::open(&to.join(VERIFY_DATABASE))
        .and_then(|checks| checks.restart(now))
        .map_err(|error| BackupError::Verify(error.to_string()))?;
    record(to, &restored, by, now)?;
    Ok(restored)
}

fn record(to: &Path, restored: &Restored, by: &str, now: DateTime<Utc>) -> Result<(), BackupError> {
    let data = DataDir::open_unfinished(to)?;
    let missing = || {
        let place = to.join(SERVER_KEY);
        BackupError::folder("read", &place, ErrorKind::NotFound.into())
    };
    let keys = ServerKeys::existing(&data)?.ok_or_else(missing)?;
    let made = restored.verified.manifest.created_at;
    let made = made.to_rfc3339_opts(SecondsFormat::Secs, true);
    let count = |field: &str, count: usize| FieldChange::new(field, None, Some(&count.to_string()));
    let event = Event::new(Action::RestoreBackup, by, now)
        .to("installation")
        .changing(vec![
            FieldChange::new("backupOf", None, Some(&made)),
            count("requestsWithdrawn", restored.withdrawn.len()),
            count("grantsTakenBack", restored.grants),
            count("sessionsEnded", restored.sessions),
        ]);
    let mut store = AuditStore::open(&to.join(AUDIT_DATABASE), keys)?;
    store.append([&event])?;
    store.flush()?;
    Ok(())
}
