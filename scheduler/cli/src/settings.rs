//! From what was typed to checked settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use durabletask_scheduler::{
    Access, ActivityPolicy, DatabaseStorage, DatabaseUrl, JwtRules, PasswordSource,
    PeerCertificates, PeerSettings, SchedulerConfig, Storage, Tls,
};

use crate::args::address;
use crate::{CliError, DEFAULT_DATA_DIR, ServeArgs};

/// Defaults for what the command line and the environment leave unset.
#[derive(Clone)]
pub struct Weaker {
    /// The address of the gRPC service.
    pub listen: SocketAddr,
    /// The address of the dashboard, if there is one.
    pub dashboard: Option<SocketAddr>,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The default task hub.
    pub task_hub: String,
    /// The filter for log lines.
    pub log: String,
    /// Whether callers must always present a token: the program adds one to the
    /// settings ([`ServeSettings::ask_for`]).
    pub asks: bool,
    /// The database with the task hubs, instead of the data folder.
    pub database: Option<DatabaseUrl>,
    /// Whether tokens of Microsoft Entra are that one's password.
    pub tokens: bool,
    /// Gives tokens of Microsoft Entra as passwords for a database of Azure.
    pub passwords: Option<Arc<dyn PasswordSource>>,
}

impl Weaker {
    /// The defaults of the stand-alone program: the ports are the emulator's.
    #[must_use]
    pub fn stand_alone() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            dashboard: Some(SocketAddr::from(([127, 0, 0, 1], 8082))),
            data_dir: PathBuf::from(DEFAULT_DATA_DIR),
            task_hub: "default".to_owned(),
            log: "info".to_owned(),
            asks: false,
            database: None,
            tokens: false,
            passwords: None,
        }
    }
}

/// Checked settings of a scheduler that runs as a program.
#[derive(Clone)]
pub struct ServeSettings {
    /// The address of the gRPC service. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// The address of the dashboard, `/healthz` and `/metrics`, if there is one.
    pub dashboard: Option<SocketAddr>,
    /// The scheduler's own settings.
    pub scheduler: SchedulerConfig,
    /// How the other schedulers on its database call it, if they can.
    pub peers: Option<PeerSettings>,
    /// The filter for log lines, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// Whether the addresses are printed as one JSON document.
    pub json: bool,
    /// The file with the token that clients on this machine present, if they must.
    pub token_file: Option<PathBuf>,
}

impl ServeSettings {
    /// Also requires a token of the file `path`, and lets browsers log in to the
    /// dashboard with tickets. `place` tells callers where to find the token, `how` tells
    /// people how to get a ticket.
    ///
    /// # Errors
    /// [`CliError::Settings`] where the file cannot be used.
    pub fn ask_for(mut self, path: &Path, place: &str, how: &str) -> Result<Self, CliError> {
        let access = self.scheduler.access.with_token_file(path);
        let access = access.map_err(|error| CliError::Settings(error.to_string()))?;
        self.scheduler.access = access.found_at(place).with_tickets(how);
        self.token_file = Some(path.to_owned());
        Ok(self)
    }

    /// Checks what was typed.
    ///
    /// # Errors
    /// [`CliError::Settings`] with every problem that was found, one line each.
    pub fn resolve(args: ServeArgs, weaker: &Weaker) -> Result<Self, CliError> {
        let mut problems = Vec::new();
        let (access, tls) = doors(&args, &mut problems);
        // The program's own token is meant for this machine: it may leave it only encrypted.
        let own = weaker.asks && tls.is_some();
        let guarded = access.asks() || own || args.allow_remote;
        let mut place = |flag: &str, text: Option<&str>, default: SocketAddr| {
            let Some(text) = text else { return default };
            match address(text) {
                Some(address) if address.ip().is_loopback() || guarded => return address,
                Some(address) => problems.push(format!(
                    "--{flag} {address} can be reached from other machines, and callers would \
                     not be authenticated; use --token-file or --jwt-keys (and encrypt with \
                     --tls-cert and --tls-key), use 127.0.0.1:{}, or add --allow-remote if only \
                     a private network can reach it",
                    address.port()
                )),
                None => problems.push(format!(
                    "--{flag} must be an address and port like {default}, not {text:?}"
                )),
            }
            default
        };
        let listen = place("listen", args.listen.as_deref(), weaker.listen);
        let dashboard = match args.dashboard.as_deref() {
            Some("none") => None,
            None => weaker.dashboard,
            Some(text) => {
                let like = Weaker::stand_alone().dashboard.or(weaker.dashboard);
                like.map(|like| place("dashboard", Some(text), like))
            }
        };
        let named = args.database_url.as_deref();
        let storage = match (named, &weaker.database) {
            (None, _) if args.memory => Storage::Memory,
            (Some(_), _) | (None, Some(_)) => database(named, &args, listen, weaker)
                .unwrap_or_else(|problem| {
                    problems.push(problem);
                    Storage::Memory
                }),
            (None, None) => {
                let folder = args.data_dir.clone();
                Storage::Directory(folder.unwrap_or_else(|| weaker.data_dir.clone()))
            }
        };
        let peers = peers(&args, weaker, &mut problems);
        let mut scheduler = SchedulerConfig::new(storage);
        scheduler.dynamic_task_hubs = args.dynamic_task_hubs || args.task_hub.is_empty();
        let mut hubs = args.task_hub.into_iter().map(|name| name.trim().to_owned());
        scheduler.default_hub = hubs.next().unwrap_or_else(|| weaker.task_hub.clone());
        scheduler.task_hubs = hubs.collect();
        scheduler.dashboard_hosts = args.dashboard_host;
        scheduler.access = access;
        scheduler.tls = tls;
        for text in &args.activity {
            match activity(text) {
                Ok((name, policy)) => drop(scheduler.activities.insert(name, policy)),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(text) = &args.retention {
            match text.parse() {
                Ok(retention) => scheduler.retention = retention,
                Err(error) => problems.push(format!("--retention: {error}")),
            }
        }
        if let Some(bytes) = args.max_payload {
            scheduler.max_payload_bytes = bytes;
        }
        if let Some(bytes) = args.max_message {
            scheduler.max_message_bytes = bytes;
        }
        if let Some(bytes) = args.max_history {
            scheduler.max_history_bytes = bytes;
        }
        if let Some(seconds) = args.drain {
            scheduler.drain_timeout = Duration::from_secs(seconds);
        }
        if let Err(problem) = scheduler.check() {
            problems.push(problem);
        }
        let log = args.log.unwrap_or_else(|| weaker.log.clone());
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log) {
            problems.push(format!("--log: {error}"));
        }
        if !problems.is_empty() {
            return Err(CliError::Settings(problems.join("\n")));
        }
        Ok(Self {
            listen,
            dashboard,
            scheduler,
            peers,
            log,
            log_json: args.log_json,
            json: args.json,
            token_file: args.token_file,
        })
    }
}

/// The longest name of a node, in bytes.
const MAX_NODE_NAME: usize = 100;

/// Reads where the database is, for a scheduler. Names no password.
fn database(
    text: Option<&str>,
    args: &ServeArgs,
    listen: SocketAddr,
    weaker: &Weaker,
) -> Result<Storage, String> {
    if args.data_dir.is_some() && !weaker.asks {
        return Err(
            "--data-dir and --database-url both say where the data is; leave one of them out"
                .to_owned(),
        );
    }
    let node = match &args.node_name {
        Some(name) => name.clone(),
        None => default_node_name(listen),
    };
    if !(1..=MAX_NODE_NAME).contains(&node.len()) || !node.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "--node-name must have 1 to {MAX_NODE_NAME} visible ASCII characters without spaces, not {node:?}"
        ));
    }
    match database_of(text, weaker)? {
        Some(storage) => Ok(Storage::Database(DatabaseStorage { node, ..storage })),
        None => Err("--node-name needs --database-url".to_owned()),
    }
}

/// The database that `text` or `weaker` names, if any: where it is, and how to log in there.
pub(crate) fn database_of(
    text: Option<&str>,
    weaker: &Weaker,
) -> Result<Option<DatabaseStorage>, String> {
    let url: DatabaseUrl = match (text, &weaker.database) {
        (Some(text), _) => text
            .parse()
            .map_err(|error| format!("--database-url: {error}"))?,
        (None, Some(url)) => url.clone(),
        (None, None) => return Ok(None),
    };
    let asks_for_tokens = match text {
        Some(_) => url.is_azure() && !url.has_password(),
        None => weaker.tokens,
    };
    if asks_for_tokens && weaker.passwords.is_none() {
        return Err(
            "--database-url has no password, and this program cannot get tokens of Microsoft Entra; \
             add a password, or run `countersign scheduler`, which can"
                .to_owned(),
        );
    }
    Ok(Some(DatabaseStorage {
        passwords: weaker.passwords.clone().filter(|_| asks_for_tokens),
        url,
        node: "migrate".to_owned(),
    }))
}

/// What a node that listens there is called, if nothing else was said: its host's name and its port.
#[must_use]
pub fn default_node_name(listen: SocketAddr) -> String {
    format!("{}:{}", host_name(), listen.port())
}

/// Reads how the other schedulers call this one.
fn peers(args: &ServeArgs, weaker: &Weaker, problems: &mut Vec<String>) -> Option<PeerSettings> {
    let text = args.peer_listen.as_deref()?;
    if args.database_url.is_none() && weaker.database.is_none() {
        problems.push(
            "--peer-listen is for schedulers that share a database: add --database-url".to_owned(),
        );
    }
    let Some(listen) = address(text) else {
        problems.push(format!(
            "--peer-listen must be an address and port like 10.0.0.7:8083, not {text:?}"
        ));
        return None;
    };
    let mut settings = PeerSettings::new(listen);
    settings.address.clone_from(&args.peer_address);
    if let (Some(certificate), Some(key), Some(authority)) =
        (&args.peer_cert, &args.peer_key, &args.peer_ca)
    {
        settings.certificates = PeerCertificates::Files {
            certificate: certificate.clone(),
            key: key.clone(),
            authority: authority.clone(),
        };
    }
    Some(settings)
}

/// What this machine calls itself.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").ok());
    let name = told.map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "scheduler".to_owned())
}

/// Reads the files for authentication and TLS.
fn doors(args: &ServeArgs, problems: &mut Vec<String>) -> (Access, Option<Tls>) {
    let mut access = Access::default();
    if let Some(path) = &args.token_file {
        match access.clone().with_token_file(path) {
            Ok(asking) => access = asking,
            Err(error) => problems.push(format!("--token-file: {error}")),
        }
    }
    if let (Some(keys), Some(issuer), Some(audience)) =
        (&args.jwt_keys, &args.jwt_issuer, &args.jwt_audience)
    {
        let rules = JwtRules {
            keys: keys.clone(),
            issuer: issuer.clone(),
            audience: audience.clone(),
        };
        match access.clone().with_jwt(&rules) {
            Ok(asking) => access = asking,
            Err(error) => problems.push(format!("--jwt-keys: {error}")),
        }
    }
    let tls = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    let tls = tls.and_then(|(certificate, key)| {
        Tls::from_files(certificate, key)
            .map_err(|error| problems.push(format!("--tls-cert, --tls-key: {error}")))
            .ok()
    });
    (access, tls)
}

/// Reads `NAME:POLICY`. A name may contain colons, a policy cannot.
fn activity(text: &str) -> Result<(String, ActivityPolicy), String> {
    let (name, policy) = text
        .rsplit_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("--activity {text:?} names no activity; use NAME:POLICY"))?;
    let policy = policy
        .parse()
        .map_err(|error| format!("--activity {name}: {error}"))?;
    Ok((name.to_owned(), policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: ServeArgs) -> Result<ServeSettings, CliError> {
        ServeSettings::resolve(args, &Weaker::stand_alone())
    }

    #[test]
    fn the_defaults_are_the_emulators_ports_on_loopback() {
        let settings = resolve(ServeArgs::default()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.dashboard.unwrap().to_string(), "127.0.0.1:8082");
        assert_eq!(settings.scheduler.default_hub, "default");
        assert!(settings.scheduler.dynamic_task_hubs);
    }

    #[test]
    fn a_list_of_task_hubs_is_all_there_is_unless_others_are_allowed() {
        let args = ServeArgs {
            task_hub: vec!["a".to_owned(), " b".to_owned()],
            ..ServeArgs::default()
        };
        let settings = resolve(args.clone()).unwrap().scheduler;
        assert_eq!(
            (settings.default_hub.as_str(), settings.task_hubs),
            ("a", vec!["b".to_owned()])
        );
        assert!(!settings.dynamic_task_hubs);
        let args = ServeArgs {
            dynamic_task_hubs: true,
            ..args
        };
        assert!(resolve(args).unwrap().scheduler.dynamic_task_hubs);
    }

    #[test]
    fn policies_and_retention_reach_the_scheduler() {
        let args = ServeArgs {
            activity: vec!["urn:mail:rate=2/s,priority=-1".to_owned()],
            retention: Some("completed=1h".to_owned()),
            ..ServeArgs::default()
        };
        let settings = resolve(args).unwrap().scheduler;
        assert_eq!(settings.activities["urn:mail"].priority, -1);
        assert_eq!(
            settings.retention.completed,
            Some(Duration::from_secs(3600))
        );
    }

    #[test]
    fn every_problem_is_reported_and_other_machines_are_kept_out() {
        let args = ServeArgs {
            listen: Some("0.0.0.0:8080".to_owned()),
            dashboard: Some("here".to_owned()),
            task_hub: vec![String::new()],
            activity: vec![":rate=1/s".to_owned(), "mail:rate=fast".to_owned()],
            retention: Some("soon".to_owned()),
            log: Some("a=b=c".to_owned()),
            ..ServeArgs::default()
        };
        let Err(CliError::Settings(text)) = resolve(args) else {
            panic!("refused")
        };
        assert_eq!(text.lines().count(), 7, "{text}");
        let args = ServeArgs {
            listen: Some("0.0.0.0:8080".to_owned()),
            allow_remote: true,
            dashboard: Some("none".to_owned()),
            ..ServeArgs::default()
        };
        let settings = resolve(args).unwrap();
        assert_eq!((settings.listen.port(), settings.dashboard), (8080, None));
    }
}
