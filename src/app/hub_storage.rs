//! Where the embedded task hub is kept: in the data folder, or in a database whose role cannot reach
//! what Countersign keeps.

use std::net::SocketAddr;

use countersign_azure::Identity;
use countersign_database::{Login, refuse_reach};
use durabletask_scheduler::{DatabaseStorage, Look, Storage, keep_elsewhere, look_database};
use durabletask_scheduler_cli::default_node_name;

use super::backends::passwords;
use super::{AppError, parts};
use crate::config::{Config, DatabaseConfig};
use crate::data_dir::DataDir;

/// The storage that the settings name, for a scheduler that listens at `address`. In the data folder it
/// is noted if that is elsewhere.
pub(super) async fn of(
    config: &Config,
    data: &DataDir,
    address: SocketAddr,
) -> Result<Storage, AppError> {
    let Some(hub) = &config.hub_database else {
        return Ok(Storage::Directory(data.path().to_owned()));
    };
    let identity = Identity::new(&config.azure.identity);
    refuse(config, hub, &identity).await?;
    let (folder, url) = (data.path().to_owned(), hub.url.clone());
    parts::blocking(move || keep_elsewhere(&folder, &url)).await??;
    Ok(Storage::Database(storage(hub, &identity, address)))
}

/// Looks at the task hub's database, and whether its role may be used: where it is, and what is there.
pub(super) async fn try_database(
    config: &Config,
    identity: &Identity,
) -> Option<Result<(String, Look), AppError>> {
    let hub = config.hub_database.as_ref()?;
    let looked = async {
        refuse(config, hub, identity).await?;
        let look = look_database(&storage(hub, identity, config.scheduler_listen)).await?;
        Ok((hub.url.to_string(), look))
    };
    Some(looked.await)
}

/// Refuses a role that can read or change what Countersign keeps.
async fn refuse(
    config: &Config,
    hub: &DatabaseConfig,
    identity: &Identity,
) -> Result<(), AppError> {
    let login = |of: &DatabaseConfig| Login {
        url: of.url.clone(),
        passwords: passwords(of, identity),
    };
    let own = config.database.as_ref().map(login);
    Ok(refuse_reach(own.as_ref(), &login(hub)).await?)
}

fn storage(hub: &DatabaseConfig, identity: &Identity, address: SocketAddr) -> DatabaseStorage {
    DatabaseStorage {
        url: hub.url.clone(),
        passwords: passwords(hub, identity),
        node: default_node_name(address),
    }
}
