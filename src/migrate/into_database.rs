//! From a data folder into the shared database.

use std::path::{Path, PathBuf};

use chrono::Utc;
use countersign_activities::vault::{KeyFile, transfer as vault};
use countersign_database::{Database, Transfer, others, tables};
use countersign_ledger::transfer as ledger_rows;
use futures_util::FutureExt as _;

use super::stores::{ACCESS, ALL, AUDIT, LEDGER, Stores, VAULT, VERIFY, count, flush, move_files};
use super::{KeyPlaces, MigrateError, Moved, event, intact, ledger_in, mark_of};
use crate::access::{KeyStore, ServerKeys};
use crate::audit::{AuditStore, PostgresAudit, transfer as audit};
use crate::data_dir::DataDir;
use crate::keys::{self, Installation};
use crate::ledger::{self, Noted, moved};
use crate::verify::{FolderChecks, transfer as verify};

/// Moves the installation in `data` into `database`, and records that it was done `by`. Says to
/// `told` how far it is.
///
/// # Errors
///
/// [`MigrateError`].
pub(crate) async fn to_database(
    data: &DataDir,
    database: &Database,
    keys: &KeyPlaces,
    by: &str,
    told: &mut dyn FnMut(&str),
) -> Result<Moved, MigrateError> {
    let _door = data.lock_front_door()?;
    let _hub = data.lock()?;
    let folder = || data.path().to_owned();
    let noted = ledger::noted(data)?;
    if noted == Noted::None {
        return Err(MigrateError::Nothing(folder()));
    }
    let server_keys = keys.server_keys().await?;
    let mut session = database.transfer().await?;
    let (id, finished) = match noted {
        Noted::Own(id) => {
            copy(data, &id, &mut session, database, keys, &server_keys, told).await?;
            (id, false)
        }
        Noted::Shared(id) | Noted::Both(id) => {
            let transaction = session.begin().await?;
            match mark_of(&transaction, &id).await? {
                Some(moved::Move::Arriving) => (id, true),
                Some(moved::Move::Left(at)) => {
                    let on = moved::on(at);
                    return Err(MigrateError::Left {
                        on,
                        folder: folder(),
                    });
                }
                None => return Err(MigrateError::AlreadyShared(folder())),
            }
        }
        Noted::None => return Err(MigrateError::Nothing(folder())),
    };
    told("switching to the database");
    ledger::note_shared(data, &id)?;
    flush(data.path())?;
    // From here on the database counts.
    ledger::forget_own(data)?;
    let put_away = put_away(data.path())?;
    let id = id
        .parse()
        .map_err(|_| countersign_ledger::LedgerError::Malformed)?;
    keys.place.follow(Installation::Database(&id)).await?;
    let counts = count(&session.begin().await?).await?;
    let record = PostgresAudit::open(database.clone(), data.path(), &server_keys).await?;
    let head = record
        .append_with(
            event(by, "data folder", "database", &counts),
            |transaction| moved::unmark(transaction).boxed(),
        )
        .await?;
    Ok(Moved {
        counts,
        head,
        finished,
        put_away,
    })
}

/// Refuses a database that has an installation, or had one.
///
/// # Errors
///
/// [`MigrateError`].
pub(crate) async fn refuse_used(session: &mut Transfer) -> Result<(), MigrateError> {
    let transaction = session.begin().await?;
    if moved::marked(&transaction).await? == Some(moved::Move::Arriving) {
        return Err(MigrateError::Arriving);
    }
    match tables::used(&transaction).await? {
        Some(table) => Err(MigrateError::UsedDatabase(table)),
        None => Ok(()),
    }
}

/// Copies everything, marks the database as not all there yet, and compares.
async fn copy(
    data: &DataDir,
    id: &str,
    session: &mut Transfer,
    database: &Database,
    keys: &KeyPlaces,
    server_keys: &ServerKeys,
    told: &mut dyn FnMut(&str),
) -> Result<(), MigrateError> {
    let folder = data.path();
    bring_up(folder, server_keys, &keys.vault)?;
    let stores = Stores::open(folder)?;
    settle_restore(&stores)?;
    let transaction = session.begin().await?;
    database.release();
    match others(&transaction).await? {
        0 => {}
        count => return Err(MigrateError::DatabaseInUse(count)),
    }
    if moved::marked(&transaction).await? == Some(moved::Move::Arriving) {
        // Another installation's attempt may have come so far that the database counts.
        if ledger_in(&transaction).await?.is_some_and(|it| it != id) {
            return Err(MigrateError::Arriving);
        }
        // An earlier attempt, which never counted.
        tables::clear(&transaction).await?;
    }
    if let Some(table) = tables::used(&transaction).await? {
        return Err(MigrateError::UsedDatabase(table));
    }
    moved::mark(&transaction, moved::Move::Arriving).await?;
    stores.copy_out(&transaction, told).await?;
    if let Some(ledger) = stores.get(LEDGER) {
        ledger_rows::end_in_database(&transaction, ledger).await?;
    }
    if let Some(accounts) = stores.get(VAULT) {
        vault::name_key(&transaction, accounts, &keys.vault).await?;
    }
    let end = match stores.get(AUDIT) {
        Some(entries) => Some(audit::end_in_database(&transaction, entries, server_keys).await?),
        None => None,
    };
    keys::note_keys(&transaction, &keys.place, server_keys).await?;
    transaction
        .commit()
        .await
        .map_err(countersign_database::DatabaseError::from)?;

    told("comparing every row and every code");
    let transaction = session.begin().await?;
    stores.compare(&transaction).await?;
    if let Some(accounts) = stores.get(VAULT) {
        vault::compare(accounts, &transaction, &keys.vault, Utc::now()).await?;
    }
    let record = PostgresAudit::open(database.clone(), folder, server_keys).await?;
    let head = intact(record.verify(None).await?)?;
    match end {
        Some(end) if end != head => Err(MigrateError::Differs {
            rows: "audit entries",
        }),
        _ => Ok(()),
    }
}

/// Brings the databases of an earlier release up to date, and checks the audit log.
fn bring_up(
    folder: &Path,
    server_keys: &ServerKeys,
    vault_keys: &KeyFile,
) -> Result<(), MigrateError> {
    let there = |file| folder.join(file).is_file();
    if there(VAULT.file) {
        vault::bring_up(folder, vault_keys)?;
    }
    if there(ACCESS.file) {
        KeyStore::open(&folder.join(ACCESS.file)).map(drop)?;
    }
    if there(VERIFY.file) {
        FolderChecks::open(&folder.join(VERIFY.file)).map(drop)?;
    }
    ledger_rows::bring_up(folder)?;
    // A log that is missing is noticed by the note beside it.
    let record = AuditStore::open(&folder.join(AUDIT.file), server_keys)?;
    intact(record.verify(None)?)?;
    Ok(())
}

/// What a restore has refused stays refused.
fn settle_restore(stores: &Stores) -> Result<(), MigrateError> {
    let periods = match stores.get(VAULT) {
        Some(accounts) => Some(vault::periods(accounts)?),
        None => None,
    };
    if let Some(checks) = stores.get(VERIFY) {
        let settled = verify::settle_restore(checks, periods.as_deref(), Utc::now());
        if !settled.map_err(stores.failed(VERIFY))? {
            return Err(MigrateError::Restored);
        }
    }
    if let Some(entries) = stores.get(AUDIT) {
        audit::bring_up(entries).map_err(stores.failed(AUDIT))?;
    }
    Ok(())
}

/// Puts the databases that do not count any more into a folder of their own; nothing if there are
/// none.
fn put_away(folder: &Path) -> Result<Option<PathBuf>, MigrateError> {
    if !ALL.iter().any(|store| folder.join(store.file).exists()) {
        return Ok(None);
    }
    let away = folder.join(format!(
        "moved-to-database-{}",
        Utc::now().format("%Y%m%dT%H%M%SZ")
    ));
    super::into_folder::make(&away)?;
    for store in ALL {
        move_files(store.file, folder, &away)?;
    }
    flush(folder)?;
    Ok(Some(away))
}
