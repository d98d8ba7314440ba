//! What a start would open in the data folder: everything that it refuses is found here too, in the
//! same order, and nothing is created or changed.

use std::path::{Path, PathBuf};

use countersign_activities::vault::EmbeddedVault;
use rustix::fs::Access;

use crate::access::{KeyStore, ServerKeys, ServerRing, secret};
use crate::app::{ACCESS_DATABASE, AppError, Parts, parts};
use crate::audit::{self, AUDIT_DATABASE};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::keys;
use crate::ledger;
use crate::local_hub::{self, HUB_TOKEN};
use crate::verify::{FolderChecks, VERIFY_DATABASE};

/// Looks at the folder that the settings name.
pub(super) async fn check(config: &Config) -> Result<String, AppError> {
    let folder = &config.data_dir;
    // One that cannot be looked at is opened, which says why not.
    if let Ok(false) = folder.try_exists() {
        can_write(above(folder), "create the data folder in")?;
        return Ok(format!(
            "{} does not exist; it is created at the first start",
            folder.display()
        ));
    }
    let data = DataDir::open(folder)?;
    can_write(folder, "write to")?;
    let hub_is_here = config.connection_string.is_none();
    let starts = match hub_is_here {
        true => Parts::Everything,
        false => Parts::FrontDoor,
    };
    data.refuse_missing(&parts::needed(&data, config, starts)?)?;
    if hub_is_here {
        let folder = folder.clone();
        parts::blocking(move || durabletask_scheduler::look(&folder)).await??;
        if data.read_secret(HUB_TOKEN)?.is_some() {
            local_hub::access(&data.path().join(HUB_TOKEN))?;
        }
    }
    if config.admin_token.is_none() {
        data.existing_admin_token()?;
        data.admin_token_before()?;
    }
    if config.azure.key_vault.is_none() {
        keys::would_open(&data).await?;
    }
    if config.database.is_some() {
        // The rest is in the database.
        return Ok(format!("{} can be used", folder.display()));
    }
    let looked = data.clone();
    parts::blocking(move || ledger::would_open(&looked)).await??;
    if config.azure.key_vault.is_none() {
        let wrapping = keys::vault_key_wrapping(&config.azure);
        let file = keys::vault_key_file(data.path(), wrapping);
        let looked = data.clone();
        let owner =
            parts::blocking(move || EmbeddedVault::would_open(looked.path(), &file)).await??;
        keys::would_belong(&data, owner).await?;
    }
    parts::blocking(move || stores(&data)).await??;
    Ok(format!("{} can be used", folder.display()))
}

/// The front door's databases. Blocks.
fn stores(data: &DataDir) -> Result<(), AppError> {
    let file = |name: &str| data.path().join(name);
    let checks = FolderChecks::look(&file(VERIFY_DATABASE));
    checks.map_err(|error| AppError::Verify(error.to_string()))?;
    let keys = match ServerKeys::existing(data)? {
        Some(keys) => keys,
        // A start makes one, which does not fit to a log that is there already.
        None => made_up()?,
    };
    audit::look(&file(AUDIT_DATABASE), &keys)?;
    KeyStore::look(&file(ACCESS_DATABASE))?;
    Ok(())
}

fn made_up() -> Result<ServerKeys, AppError> {
    let random = secret::random_hex().ok();
    let ring = random.and_then(|text| ServerRing::parse(&text));
    Ok(ServerKeys::new(ring.ok_or(DataDirError::Random)?))
}

/// Where a folder that does not exist would be created.
fn above(folder: &Path) -> &Path {
    let mut there = folder.ancestors().skip(1);
    let found = there.find(|above| above.exists() || above.as_os_str().is_empty());
    match found {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

/// Refuses a folder in which this user can create nothing.
fn can_write(folder: &Path, action: &'static str) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Io {
        action,
        path: PathBuf::from(folder),
        source,
    };
    if !folder.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failed(error.into()))
}
