//! Whether an installation is whole: every database, every account, the audit log.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use countersign_activities::vault::{self, KeyFile};
use countersign_ledger::LEDGER_DATABASE;
use data_encoding::HEXLOWER;
use rusqlite::{Connection, OpenFlags};

use super::BackupError;
use super::archive::Staged;
use super::contents::{Contents, Unwrapping};
use super::parts::{DATABASES, FOLDER_ID, HUB_DATABASE, LEDGER_NOTE, VAULT_DATABASE, VAULT_KEY};
use crate::access::{KeyStore, ServerKeys};
use crate::app::{ACCESS_DATABASE, SERVER_KEY};
use crate::audit::{AUDIT_DATABASE, AUDIT_HEAD, AuditStore, ChainCheck, Head};
use crate::private_file;

/// Checks everything and counts it. Shows no secret and no code.
///
/// # Errors
///
/// [`BackupError`]: the first problem.
pub(super) fn check(
    staged: &Staged,
    head: Option<&Head>,
    unwrapping: &Unwrapping,
) -> Result<Contents, BackupError> {
    for name in DATABASES {
        if let Some(path) = staged.database(name) {
            let failed = |source| BackupError::Database { name, source };
            let verdict: String = read_only(&path)
                .and_then(|it| it.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))
                .map_err(failed)?;
            if verdict != "ok" {
                return Err(BackupError::Damaged { name, verdict });
            }
        }
    }
    let mut contents = Contents::default();
    vault(staged, unwrapping, &mut contents)?;
    ledger(staged, &mut contents)?;
    audit(staged, head, &mut contents)?;
    if let Some(path) = staged.database(ACCESS_DATABASE) {
        (contents.api_keys, contents.grants) = KeyStore::contents(&path)?;
    }
    if let Some(path) = staged.database(HUB_DATABASE) {
        contents.embedded_hub = true;
        contents.instances = durabletask_scheduler::count_instances(&path)?;
    }
    Ok(contents)
}

fn vault(
    staged: &Staged,
    unwrapping: &Unwrapping,
    contents: &mut Contents,
) -> Result<(), BackupError> {
    let keys = staged.text(VAULT_KEY)?;
    let (path, keys) = match (staged.database(VAULT_DATABASE), keys) {
        (Some(path), Some(keys)) => (path, keys),
        (None, None) => return Ok(()),
        (Some(_), None) => return Err(missing(VAULT_DATABASE, VAULT_KEY)),
        (None, Some(_)) => return Err(missing(VAULT_KEY, VAULT_DATABASE)),
    };
    let file = KeyFile::from(path.with_file_name(VAULT_KEY)).wrapped_by(unwrapping.by.clone());
    let by = file.contents_of(keys).map_err(vault::CheckError::from)?;
    contents.vault_key_wrapped_by = by.wrapped_by.into_iter().next();
    let is_closed = contents.vault_key_wrapped_by.is_some() && unwrapping.by.is_none();
    let found = match is_closed && !unwrapping.required {
        true => vault::count(&path)?,
        false => vault::check(&path, &file, keys, staged.at)?,
    };
    contents.embedded_vault = true;
    contents.accounts = found.accounts;
    contents.removed_accounts = found.removed;
    let folder: Option<String> = read_only(&path)
        .and_then(|it| it.query_row("SELECT id FROM folder", [], |row| row.get(0)))
        .ok();
    if let (Some(folder), Some(id)) = (folder, staged.text(FOLDER_ID)?)
        && folder != id
    {
        return Err(BackupError::Mixed {
            part: VAULT_DATABASE,
            reason: "it belongs to another data folder",
        });
    }
    Ok(())
}

fn ledger(staged: &Staged, contents: &mut Contents) -> Result<(), BackupError> {
    let noted = staged.text(LEDGER_NOTE)?;
    let path = match (staged.database(LEDGER_DATABASE), noted) {
        (Some(path), _) => path,
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(missing(LEDGER_NOTE, LEDGER_DATABASE)),
    };
    let found = countersign_ledger::contents(&path)?;
    if noted.is_some_and(|noted| noted != found.id.as_str()) {
        return Err(BackupError::Mixed {
            part: LEDGER_DATABASE,
            reason: "it is not this folder's ledger",
        });
    }
    contents.mandates = found.mandates;
    contents.open_matters = found.open;
    Ok(())
}

fn audit(staged: &Staged, head: Option<&Head>, contents: &mut Contents) -> Result<(), BackupError> {
    let Some(path) = staged.database(AUDIT_DATABASE) else {
        return match staged.files.contains_key(AUDIT_HEAD) {
            true => Err(missing(AUDIT_HEAD, AUDIT_DATABASE)),
            false => Ok(()),
        };
    };
    let keys = staged
        .text(SERVER_KEY)?
        .ok_or_else(|| missing(AUDIT_DATABASE, SERVER_KEY))?;
    let keys = ServerKeys::parse(keys).ok_or(BackupError::Malformed {
        name: SERVER_KEY,
        reason: "expected server keys",
    })?;
    if let Some(note) = staged.files.get(AUDIT_HEAD) {
        // The audit log expects it beside the database. It may be there already, and is not a secret.
        let place = path.with_file_name(AUDIT_HEAD);
        let written = match private_file::create(&place) {
            Ok(mut file) => file.write_all(note),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        written.map_err(|source| BackupError::folder("write", &place, source))?;
    }
    match AuditStore::open_existing(&path, keys)?.verify(head)? {
        ChainCheck::Intact(end) => {
            contents.audit_entries = end.sequence;
            contents.audit_head = Some(format!("{}:{}", end.sequence, HEXLOWER.encode(&end.hash)));
            Ok(())
        }
        ChainCheck::Broken { sequence } => Err(BackupError::AuditBroken(sequence)),
        ChainCheck::Incomplete(loss) => Err(BackupError::AuditIncomplete(loss)),
    }
}

const fn missing(there: &'static str, missing: &'static str) -> BackupError {
    BackupError::Missing { there, missing }
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}
