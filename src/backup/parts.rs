//! Which files of a data folder belong to the installation.

use std::path::{Path, PathBuf};

use countersign_ledger::LEDGER_DATABASE;

use super::BackupError;
use crate::app::{ACCESS_DATABASE, SERVER_KEY};
use crate::audit::{AUDIT_DATABASE, AUDIT_HEAD, AUDIT_SENT};
use crate::data_dir::{NOTED, NotedFile};
use crate::ledger::SHARED_NOTE;
use crate::local_hub::HUB_TOKEN;
use crate::verify::VERIFY_DATABASE;

/// The database with the accounts.
pub(super) const VAULT_DATABASE: &str = "vault.sqlite3";
/// The key file of the vault.
pub(super) const VAULT_KEY: &str = "vault.key";
/// The database of the embedded hub.
pub(super) const HUB_DATABASE: &str = NotedFile::Hub.name();
/// The file that says that the hub is kept in a database.
const HUB_NOTE: &str = "scheduler.elsewhere";
/// The file with the ledger's id.
pub(super) const LEDGER_NOTE: &str = "installation.ledger";
/// The file with the folder's id.
pub(super) const FOLDER_ID: &str = "installation.id";

/// The databases, in the order in which their write locks are taken: those that are written
/// most come last, and are locked for the shortest time.
pub(super) const DATABASES: [&str; 6] = [
    VAULT_DATABASE,
    ACCESS_DATABASE,
    VERIFY_DATABASE,
    LEDGER_DATABASE,
    AUDIT_DATABASE,
    HUB_DATABASE,
];

/// The small files: keys, tokens, ids, and notes beside a database.
pub(super) const FILES: [&str; 17] = [
    VAULT_KEY,
    "seal.key",
    "seal.pub",
    "fingerprint.key",
    SERVER_KEY,
    "mandate.key",
    "mandate.pub",
    FOLDER_ID,
    LEDGER_NOTE,
    AUDIT_HEAD,
    AUDIT_SENT,
    "admin-token",
    "admin-token.before",
    HUB_TOKEN,
    HUB_NOTE,
    "webhook-secret",
    "webhook-secret.before",
];

/// Files that a running process publishes for others on the machine, or is just writing, the note
/// that names the shared database, and the one that a start writes of what is there.
const OF_A_PROCESS: [&str; 5] = ["serve.json", "hub.json", "audit.next", SHARED_NOTE, NOTED];

/// The largest small file, in bytes. A seal key file holds a few keys.
pub(super) const MAX_FILE: u64 = 1024 * 1024;

/// The database with this name in a folder, if it is part of the installation there.
pub(super) fn database_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = folder.join(name);
    path.is_file().then_some(path)
}

/// The names of files in a data folder that are not part of the installation: an operator's
/// own files, which a backup leaves out and names.
///
/// # Errors
///
/// [`BackupError::Folder`] when the folder cannot be read.
pub(super) fn strangers(folder: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |source| BackupError::folder("read", folder, source);
    let mut strangers = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if !is_known(&name) {
            strangers.push(name.into_owned());
        }
    }
    strangers.sort();
    Ok(strangers)
}

pub(super) fn is_known(name: &str) -> bool {
    let beside = ["-wal", "-shm", "-lock", "-journal"];
    let of_a_database = beside
        .iter()
        .filter_map(|end| name.strip_suffix(end))
        .any(|database| DATABASES.contains(&database));
    DATABASES.contains(&name)
        || FILES.contains(&name)
        || OF_A_PROCESS.contains(&name)
        || of_a_database
        || name.ends_with(".lock")
        || (name.starts_with('.') && name.ends_with(".tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_own_files_are_distinguished_from_the_installations() {
        for known in [
            "vault.sqlite3",
            "vault.sqlite3-wal",
            "ledger.sqlite3-lock",
            "serve.lock",
            ".seal.key.0123456789abcdef.tmp",
            "hub.json",
        ] {
            assert!(is_known(known), "{known}");
        }
        for own in [
            "tls.pem",
            "vault.sqlite3.bak",
            "other.sqlite3-wal",
            "backup.age",
        ] {
            assert!(!is_known(own), "{own}");
        }
    }
}
