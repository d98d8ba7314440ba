//! The task hub of a data folder: the token that it requires, its address, and the
//! one-time links to its dashboard.
//!
//! The first process that starts on a folder creates the token; scheduler, worker, front
//! door and commands on the same folder find it on their own.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::SystemTime;

use durabletask::Connection;
use durabletask::connection::AuthenticationKind;
use durabletask_scheduler::{Access, AccessError, login_path};
use durabletask_scheduler_cli::Listening;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access::secret;
use crate::data_dir::{DataDir, DataDirError};

/// The file in the data folder with the token that its task hub requires.
pub const HUB_TOKEN: &str = "hub-token";
/// The file in which `countersign scheduler` publishes its addresses.
const ADDRESSES: &str = "hub.json";

/// The answer to callers of the task hub without a valid token.
pub(crate) const PLACE: &str = "it is in the file hub-token of the scheduler's data folder, and \
     Countersign's parts on that folder present it automatically (connection string: \
     Authentication=Token;TokenFile=PATH)";
/// What a browser at the dashboard without a session shows.
pub(crate) const HOW: &str = "Open the dashboard from Countersign's page, as an administrator \
     under Operations, or with the link that the command \"countersign dashboard\" prints. Scripts \
     send the header \"authorization: Bearer TOKEN\" with the token in the file hub-token of the \
     data folder.";

/// The addresses of a separate scheduler on a folder, as written to `hub.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HubAddresses {
    scheduler: String,
    dashboard: Option<String>,
    pid: u32,
}

/// The file with the token of the folder's hub, which is created if there is none.
///
/// # Errors
///
/// [`DataDirError`] when it cannot be created, or others can read it.
pub(crate) fn token_file(data: &DataDir) -> Result<PathBuf, DataDirError> {
    data.secret_file(HUB_TOKEN, || secret::random_token("cs_hub_"))?;
    let path = data.path().join(HUB_TOKEN);
    // An absolute path: it goes into connection strings.
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// The access control of the folder's hub and its dashboard.
///
/// # Errors
///
/// [`AccessError`] when the file holds no token.
pub(crate) fn access(token_file: &std::path::Path) -> Result<Access, AccessError> {
    let access = Access::default().with_token_file(token_file)?;
    Ok(access.found_at(PLACE).with_tickets(HOW))
}

/// The connection, with the folder's token if that applies: for a hub on this
/// machine for which the settings name no other credential. The token is sent to no other machine.
///
/// # Errors
///
/// [`DataDirError`] when there is no token and none can be created, or others can read it.
pub(crate) fn presenting(
    data: &DataDir,
    connection: Connection,
) -> Result<Connection, DataDirError> {
    if connection.authentication().kind != AuthenticationKind::None || !connection.is_local() {
        return Ok(connection);
    }
    let file = token_file(data)?;
    Ok(connection
        .clone()
        .with_token_file(file)
        .unwrap_or(connection))
}

/// The dashboard of a data folder, for creating links to it.
#[derive(Clone, Debug)]
pub(crate) struct Dashboard {
    data: DataDir,
    /// The one of this process, if it has one.
    own: Option<String>,
    task_hub: String,
}

impl Dashboard {
    pub(crate) fn new(data: &DataDir, own: Option<String>, task_hub: &str) -> Self {
        Self {
            data: data.clone(),
            own,
            task_hub: task_hub.to_owned(),
        }
    }

    /// Its address: in this process, or in another on the same folder.
    pub(crate) fn base(&self) -> Option<String> {
        self.own.clone().or_else(|| dashboard(&self.data))
    }

    /// The address of an instance, with `{id}` in place of the id.
    pub(crate) fn instance_link(&self) -> Option<String> {
        self.base()
            .map(|base| format!("{base}/#/hubs/{}/instances/{{id}}", self.task_hub))
    }

    /// A link that opens it once, within a minute; at an instance, or at the list of them.
    /// None if there is no dashboard.
    ///
    /// # Errors
    ///
    /// [`DataDirError`] when the folder's token cannot be read.
    pub(crate) fn link(
        &self,
        instance: Option<&str>,
        now: SystemTime,
    ) -> Result<Option<String>, DataDirError> {
        let Some(base) = self.base() else {
            return Ok(None);
        };
        let Some(token) = self.data.read_secret(HUB_TOKEN)? else {
            return Ok(None);
        };
        let instance = instance.map_or_else(String::new, |id| format!("/instances/{id}"));
        let to = format!("/hubs/{}{instance}", self.task_hub);
        let path = login_path(first(&token), now, &to).map_err(|_| DataDirError::Random)?;
        Ok(Some(format!("{base}{path}")))
    }
}

/// The first token of a file: another one may stay valid for a while.
fn first(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default()
}

/// The dashboard's address of a separate scheduler on this folder, if one published it.
fn dashboard(data: &DataDir) -> Option<String> {
    let text = fs::read(data.path().join(ADDRESSES)).ok()?;
    let addresses: HubAddresses = serde_json::from_slice(&text).ok()?;
    addresses.dashboard
}

/// Publishes the addresses of a separate scheduler on this folder.
///
/// # Errors
///
/// [`DataDirError`] when the file cannot be written.
pub(crate) fn write_addresses(data: &DataDir, at: &Listening) -> Result<(), DataDirError> {
    data.replace(
        ADDRESSES,
        &HubAddresses {
            scheduler: at.scheduler.clone(),
            dashboard: at.dashboard.as_deref().map(reachable),
            pid: std::process::id(),
        },
    )
}

/// Removes the published addresses.
pub(crate) fn remove_addresses(data: &DataDir) {
    let path = data.path().join(ADDRESSES);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove the address file");
    }
}

/// An address for links: an unspecified address cannot be opened.
fn reachable(base: &str) -> String {
    let everywhere = |url: &Url| {
        let ip = url
            .host_str()?
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .ok()?;
        ip.is_unspecified().then_some(())
    };
    match Url::parse(base) {
        Ok(mut url) if everywhere(&url).is_some() => {
            if url.set_ip_host(Ipv4Addr::LOCALHOST.into()).is_err() {
                return base.to_owned();
            }
            url.as_str().trim_end_matches('/').to_owned()
        }
        _ => base.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_token_goes_to_a_hub_on_this_machine_that_names_no_other_credential() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::create(folder.path()).unwrap();
        let kind = |text: &str| {
            let connection = Connection::parse(text).unwrap();
            let connection = presenting(&data, connection).unwrap();
            (
                connection.authentication().kind,
                connection.authentication().token_file.clone(),
            )
        };
        let ours = Some(std::path::absolute(folder.path().join(HUB_TOKEN)).unwrap());
        for near in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            let text = format!("Endpoint={near};TaskHub=h;Authentication=None");
            assert_eq!(
                kind(&text),
                (AuthenticationKind::Token, ours.clone()),
                "{near}"
            );
        }
        for far in ["http://hub:8080", "https://hub.example"] {
            let text = format!("Endpoint={far};TaskHub=h;Authentication=None");
            assert_eq!(kind(&text), (AuthenticationKind::None, None), "{far}");
        }
        let named = "Endpoint=http://127.0.0.1:1;TaskHub=h;Authentication=Token;TokenFile=/other";
        let other = Some(PathBuf::from("/other"));
        assert_eq!(kind(named), (AuthenticationKind::Token, other));
        let azure = "Endpoint=https://127.0.0.1:1;TaskHub=h;Authentication=DefaultAzure";
        assert_eq!(kind(azure), (AuthenticationKind::DefaultAzure, None));
    }

    #[test]
    fn links_lead_to_an_address_that_a_browser_on_this_machine_can_open() {
        for (base, link) in [
            ("http://0.0.0.0:8082", "http://127.0.0.1:8082"),
            ("https://[::]:8082", "https://127.0.0.1:8082"),
            ("http://127.0.0.1:8082", "http://127.0.0.1:8082"),
            ("http://10.0.0.1:1", "http://10.0.0.1:1"),
        ] {
            assert_eq!(reachable(base), link);
        }
    }
}
