//! From the shared database into a data folder.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use chrono::Utc;
use countersign_activities::vault::{KeyFile, transfer as vault};
use countersign_database::{Database, DatabaseError, Transaction, Transfer, others, tables};
use countersign_ledger::transfer as ledger_rows;

use super::stores::{
    ACCESS, ALL, AUDIT, LEDGER, Stores, VAULT, VERIFY, every_table, flush, move_files,
};
use super::{KeyPlaces, MigrateError, Moved, event, intact, ledger_in, stores};
use crate::access::{KeyStore, ServerKeys};
use crate::audit::{AUDIT_HEAD, AuditStore, Head, PostgresAudit, transfer as audit};
use crate::data_dir::DataDir;
use crate::keys::Installation;
use crate::ledger::{self, Noted, moved};
use crate::verify::FolderChecks;

/// Where the databases are until they count, in the data folder.
const BESIDE: &str = "moving";

/// Moves the installation in `database` into `data`, the folder of one of its front doors, and
/// records that it was done `by`. Says to `told` how far it is.
///
/// # Errors
///
/// [`MigrateError`].
pub(crate) async fn to_folder(
    data: &DataDir,
    database: &Database,
    keys: &KeyPlaces,
    by: &str,
    told: &mut dyn FnMut(&str),
) -> Result<Moved, MigrateError> {
    let _door = data.lock_front_door()?;
    let _hub = data.lock()?;
    let folder = || data.path().to_owned();
    let id = match ledger::noted(data)? {
        Noted::Shared(id) | Noted::Both(id) => id,
        Noted::Own(_) => return Err(MigrateError::AlreadyOwn(folder())),
        Noted::None => return Err(MigrateError::Nothing(folder())),
    };
    let server_keys = keys.server_keys().await?;
    let beside = data.path().join(BESIDE);
    let mut session = database.transfer().await?;
    let mark = {
        let transaction = session.begin().await?;
        let found = ledger_in(&transaction).await?;
        if found.as_ref() != Some(&id) {
            return Err(MigrateError::OtherDatabase {
                folder: folder(),
                noted: id,
                found: found.unwrap_or_else(|| "none".to_owned()),
            });
        }
        moved::marked(&transaction).await?
    };
    let finished = match mark {
        Some(moved::Move::Left(at)) if !is_beside(data.path()) => {
            let on = moved::on(at);
            return Err(MigrateError::Left {
                on,
                folder: folder(),
            });
        }
        Some(moved::Move::Left(_)) => true,
        Some(moved::Move::Arriving) => return Err(MigrateError::Arriving),
        None => {
            let used = ALL.iter().map(|store| data.path().join(store.file));
            if let Some(file) = used.into_iter().find(|file| file.exists()) {
                return Err(MigrateError::UsedFolder(file));
            }
            remove(&beside)?;
            make(&beside)?;
            let own = Keys {
                server: &server_keys,
                vault: &keys.vault,
            };
            let copied = copy(data, &beside, &mut session, database, &own, by, told).await;
            if let Err(error) = copied {
                // Best effort: the error that matters is the first one.
                let _ = std::fs::remove_dir_all(&beside);
                return Err(error);
            }
            false
        }
    };
    // From here on what is in the folder counts.
    told("switching to the data folder");
    ledger::note_own(data, &id)?;
    for store in ALL {
        move_files(store.file, &beside, data.path())?;
    }
    move_files(AUDIT_HEAD, &beside, data.path())?;
    flush(data.path())?;
    keys.place.follow(Installation::Folder(data)).await?;
    ledger::forget_shared(data)?;
    remove(&beside)?;
    let counts = stores::count(&session.begin().await?).await?;
    let record = AuditStore::open(&data.path().join(AUDIT.file), &server_keys)?;
    Ok(Moved {
        counts,
        head: intact(record.verify(None)?)?,
        finished,
        put_away: None,
    })
}

/// Whether everything is in the folder, in its place or beside it.
fn is_beside(folder: &Path) -> bool {
    let there =
        |file: &str| folder.join(file).is_file() || folder.join(BESIDE).join(file).is_file();
    there(LEDGER.file) && there(AUDIT.file)
}

/// What opens both places.
struct Keys<'a> {
    server: &'a ServerKeys,
    vault: &'a KeyFile,
}

/// Copies everything into the folder `beside`, compares, and marks the database as left.
async fn copy(
    data: &DataDir,
    beside: &Path,
    session: &mut Transfer,
    database: &Database,
    keys: &Keys<'_>,
    by: &str,
    told: &mut dyn FnMut(&str),
) -> Result<(), MigrateError> {
    let record = PostgresAudit::open(database.clone(), data.path(), keys.server).await?;
    let end = intact(record.verify(None).await?)?;
    drop(record);
    let transaction = session.begin().await?;
    tables::lock(&transaction, &every_table()).await?;
    let has_vault = vault::has_vault(&transaction, keys.vault).await?;
    make_stores(beside, has_vault, keys.server)?;
    let stores = Stores::open(beside)?;
    if let Some(entries) = stores.get(AUDIT) {
        audit::bring_up(entries).map_err(stores.failed(AUDIT))?;
    }
    stores.copy_in(&transaction, told).await?;
    if let Some(ledger) = stores.get(LEDGER) {
        ledger_rows::end_in_folder(&transaction, ledger).await?;
    }
    told("comparing every row and every code");
    let counts = stores.compare(&transaction).await?;
    if let Some(accounts) = stores.get(VAULT) {
        vault::compare(accounts, &transaction, keys.vault, Utc::now()).await?;
    }
    drop(stores);
    record_move(
        beside,
        keys.server,
        &end,
        event(by, "database", "data folder", &counts),
    )?;
    for store in ALL {
        let path = beside.join(store.file);
        if path.exists() {
            flush(&path)?;
        }
    }
    flush(beside)?;
    leave(transaction, database).await
}

/// Marks the database as left, unless another process uses it.
async fn leave(transaction: Transaction<'_>, database: &Database) -> Result<(), MigrateError> {
    database.release();
    match others(&transaction).await? {
        0 => {}
        count => return Err(MigrateError::DatabaseInUse(count)),
    }
    moved::mark(&transaction, moved::Move::Left(0)).await?;
    Ok(transaction.commit().await.map_err(DatabaseError::from)?)
}

/// Makes empty databases.
pub(super) fn make_stores(
    folder: &Path,
    has_vault: bool,
    server_keys: &ServerKeys,
) -> Result<(), MigrateError> {
    if has_vault {
        vault::make(folder)?;
    }
    KeyStore::open(&folder.join(ACCESS.file)).map(drop)?;
    FolderChecks::open(&folder.join(VERIFY.file)).map(drop)?;
    ledger_rows::bring_up(folder)?;
    AuditStore::open(&folder.join(AUDIT.file), server_keys).map(drop)?;
    Ok(())
}

/// Checks that the audit log in the folder ends where the one in the database did, and records
/// the move in it.
fn record_move(
    folder: &Path,
    server_keys: &ServerKeys,
    end: &Head,
    event: crate::audit::Event,
) -> Result<(), MigrateError> {
    let mut record = AuditStore::open(&folder.join(AUDIT.file), server_keys)?;
    if intact(record.verify(None)?)? != *end {
        return Err(MigrateError::Differs {
            rows: "audit entries",
        });
    }
    record.append([&event])?;
    Ok(record.flush()?)
}

/// Makes a folder for its owner only.
pub(super) fn make(folder: &Path) -> Result<(), MigrateError> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|source| MigrateError::File {
            action: "make",
            path: folder.to_owned(),
            source,
        })
}

/// Removes a folder with what is in it, if it is there.
fn remove(folder: &Path) -> Result<(), MigrateError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(MigrateError::File {
            action: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
