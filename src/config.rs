//! Settings: flags over environment over file over defaults, checked once.
//!
//! Nothing else in the product reads the environment. Every problem is reported at
//! the same time, so that a start does not fail once per mistake.

mod azure;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_enrollment::decision::MAX_APPROVALS;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::duration;

pub use azure::AzureConfig;

/// Where the front door listens unless told otherwise. The port is the one of a
/// local Azure Functions host.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7071";
/// Where the embedded scheduler listens: the port of the Durable Task Scheduler emulator.
pub const DEFAULT_SCHEDULER_LISTEN: &str = "127.0.0.1:8080";
/// Where the dashboard listens: the emulator's port for it.
pub const DEFAULT_DASHBOARD_LISTEN: &str = "127.0.0.1:8082";
/// Where the data is kept.
pub const DEFAULT_DATA_DIR: &str = "./.countersign";

/// Whether callers have to say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Every request carries a token, a key or a session cookie.
    Token,
    /// Everybody may do everything. Loopback addresses only.
    None,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines appear, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Everything that the parts of the product need to know, checked.
#[derive(Clone)]
pub struct Config {
    /// The folder for everything that is kept.
    pub data_dir: PathBuf,
    /// Where the front door listens. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where the embedded scheduler listens; always a loopback address.
    pub scheduler_listen: SocketAddr,
    /// Where the dashboard listens, if at all; always a loopback address.
    pub dashboard_listen: Option<SocketAddr>,
    /// Where metrics are told, if at all. Anybody who reaches it may read them.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the task hub's dashboard shows an instance, with `{id}` in the place of its
    /// id; none means the dashboard of this process, if it has one.
    pub instance_link: Option<String>,
    /// How long an enrollment waits for a decision.
    pub approval_timeout: Duration,
    /// Whether every enrollment needs a decision, asked for or not.
    pub require_approval: bool,
    /// How many people have to agree where approval is needed: 1 to 10.
    pub approvals: u8,
    /// Whether a decision counts that was raised past the front door.
    pub dashboard_approvals: bool,
    /// Whether callers have to say who they are.
    pub auth: AuthMode,
    /// The task hub's name.
    pub task_hub: String,
    /// The task hub to connect to, for parts that do not bring their own.
    pub connection_string: Option<String>,
    /// Key Vault, and who this process is to Azure.
    pub azure: AzureConfig,
    /// The administrator's token, if it is given instead of made.
    pub admin_token: Option<Zeroizing<String>>,
    /// What is logged and how.
    pub log: LogConfig,
}

// Written by hand because a token and a connection string may not be shown.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("scheduler_listen", &self.scheduler_listen)
            .field("dashboard_listen", &self.dashboard_listen)
            .field("metrics_listen", &self.metrics_listen)
            .field("instance_link", &self.instance_link)
            .field("approval_timeout", &self.approval_timeout)
            .field("require_approval", &self.require_approval)
            .field("approvals", &self.approvals)
            .field("dashboard_approvals", &self.dashboard_approvals)
            .field("auth", &self.auth)
            .field("task_hub", &self.task_hub)
            .field("azure", &self.azure)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults on the data folder `data_dir`, with every port chosen by the system.
    /// For tests and for programs that embed the product.
    #[must_use]
    pub fn embedded(data_dir: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data_dir: data_dir.to_owned(),
            listen: any,
            scheduler_listen: any,
            dashboard_listen: Some(any),
            metrics_listen: None,
            instance_link: None,
            approval_timeout: Duration::from_secs(72 * 3600),
            require_approval: false,
            approvals: 1,
            dashboard_approvals: false,
            auth: AuthMode::Token,
            task_hub: "default".to_owned(),
            connection_string: None,
            azure: AzureConfig::default(),
            admin_token: None,
            log: LogConfig {
                format: LogFormat::Text,
                filter: "info".to_owned(),
            },
        }
    }

    /// Checks what flags, the process's environment and the file named by either say.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem that was found.
    pub fn load(flags: &Settings) -> Result<Self, ConfigError> {
        Self::resolve(flags, |name| std::env::var(name).ok())
    }

    /// As [`Config::load`] with an environment given in.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem that was found.
    pub fn resolve(
        flags: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = match flags
            .config
            .clone()
            .or_else(|| environment("COUNTERSIGN_CONFIG"))
        {
            Some(path) => read_file(&path, &mut problems),
            None => Settings::default(),
        };
        let surroundings = Settings::from_environment(&environment, &mut problems);
        let merged = flags.clone().or(surroundings).or(file);
        let admin_token = environment("COUNTERSIGN_ADMIN_TOKEN").map(Zeroizing::new);
        let config = merged.check(admin_token, &environment, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// Where a command finds its server, from the environment.
pub(crate) struct ClientEnvironment {
    /// `COUNTERSIGN_SERVER`: the front door's base URL.
    pub(crate) server: Option<String>,
    /// `COUNTERSIGN_TOKEN`: the token or key to present.
    pub(crate) token: Option<Zeroizing<String>>,
    /// `COUNTERSIGN_DATA_DIR`: the data folder.
    pub(crate) data_dir: Option<PathBuf>,
}

impl ClientEnvironment {
    /// Reads the process's environment.
    pub(crate) fn read() -> Self {
        let var = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            server: var("COUNTERSIGN_SERVER"),
            token: var("COUNTERSIGN_TOKEN").map(Zeroizing::new),
            data_dir: var("COUNTERSIGN_DATA_DIR").map(PathBuf::from),
        }
    }
}

/// Why the settings cannot be used: one line for each problem.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// What is wrong and what to write instead, one sentence each.
    pub problems: Vec<String>,
}

/// Settings as somebody wrote them, unchecked; what is absent is left to the next layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// TOML file with settings, named as the flags are [env: COUNTERSIGN_CONFIG]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<String>,
    /// Folder for everything that is kept [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of the front door [env: COUNTERSIGN_LISTEN] [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Loopback address of the embedded scheduler [env: COUNTERSIGN_SCHEDULER_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub scheduler_listen: Option<String>,
    /// Loopback address of the dashboard, or none [env: COUNTERSIGN_DASHBOARD_LISTEN] [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDRESS|none")]
    pub dashboard_listen: Option<String>,
    /// Address for Prometheus, which gets /metrics there without a token, or none [env: COUNTERSIGN_METRICS_LISTEN] [default: none]
    #[arg(long, value_name = "ADDRESS|none")]
    pub metrics_listen: Option<String>,
    /// Where another task hub's dashboard shows an instance, with {id} in the place of its id [env: COUNTERSIGN_INSTANCE_LINK]
    #[arg(long, value_name = "URL")]
    pub instance_link: Option<String>,
    /// How long an enrollment waits for a decision, such as 72h or 30m [env: COUNTERSIGN_APPROVAL_TIMEOUT] [default: 72h]
    #[arg(long, value_name = "TIME")]
    pub approval_timeout: Option<String>,
    /// Make every enrollment wait for a decision, asked for or not [env: COUNTERSIGN_REQUIRE_APPROVAL=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub require_approval: Option<bool>,
    /// How many people other than the requester have to agree, 1 to 10 [env: COUNTERSIGN_APPROVALS] [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub approvals: Option<u8>,
    /// Let decisions count that nobody has signed, such as events raised on the scheduler's dashboard [env: COUNTERSIGN_DASHBOARD_APPROVALS=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub dashboard_approvals: Option<bool>,
    /// token, or none on a loopback address [env: COUNTERSIGN_AUTH] [default: token]
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
    /// Name of the task hub [env: COUNTERSIGN_TASK_HUB] [default: default]
    #[arg(long, value_name = "NAME")]
    pub task_hub: Option<String>,
    /// Task hub to connect to, as "Endpoint=...;TaskHub=...;Authentication=..." [env: COUNTERSIGN_CONNECTION_STRING or DTS_CONNECTION_STRING]
    #[arg(long, value_name = "TEXT")]
    pub connection_string: Option<String>,
    /// Endpoint of the task hub, instead of a connection string, such as https://NAME.REGION.durabletask.io [env: COUNTERSIGN_HUB_ENDPOINT or DTS_ENDPOINT]
    #[allow(rustdoc::bare_urls, reason = "the help shows the text as it is")]
    #[arg(long, value_name = "URL")]
    pub hub_endpoint: Option<String>,
    /// Name or https URL of the Azure Key Vault that keeps the accounts, instead of the data folder [env: COUNTERSIGN_KEY_VAULT, KEY_VAULT_URL or KEY_VAULT_NAME]
    #[arg(long, value_name = "NAME|URL")]
    pub key_vault: Option<String>,
    /// The vault is an emulator: take its challenge for its own host [env: KEY_VAULT_EMULATOR=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub key_vault_emulator: Option<bool>,
    /// PEM file with certificates to trust for the vault, besides the system's [env: KEY_VAULT_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub key_vault_ca_file: Option<String>,
    /// Version of Key Vault's REST API, such as 7.6 for older emulators [env: KEY_VAULT_API_VERSION]
    #[arg(long, value_name = "VERSION")]
    pub key_vault_api_version: Option<String>,
    /// Identity for Key Vault and task hub: default, production, development, environment, workload-identity, managed-identity, azure-cli, azure-developer-cli or unsigned [env: COUNTERSIGN_AZURE_IDENTITY or AZURE_TOKEN_CREDENTIALS] [default: default]
    #[arg(long, value_name = "NAME")]
    pub azure_identity: Option<String>,
    /// How old an account from Key Vault may be to make a code without asking again; 0s asks always [env: COUNTERSIGN_TOKEN_CACHE_AGE] [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub token_cache_age: Option<String>,
    /// The most accounts from Key Vault that are kept in memory [env: COUNTERSIGN_TOKEN_CACHE_SIZE] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub token_cache_size: Option<usize>,
    /// How much older it may be while Key Vault does not answer; 0s means never [env: COUNTERSIGN_TOKEN_MAX_STALE] [default: 0s]
    #[arg(long, value_name = "TIME")]
    pub token_max_stale: Option<String>,
    /// text or json [env: COUNTERSIGN_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Which log lines appear, such as info or countersign=debug,warn [env: COUNTERSIGN_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl Settings {
    // Unknown COUNTERSIGN_ variables are let pass: container platforms add some of
    // their own for a service that has this name.
    fn from_environment(
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Self {
        let var = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut switch = |name: &str| {
            var(name).and_then(|value| match value.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => {
                    problems.push(format!("{name} is true or false"));
                    None
                }
            })
        };
        let require_approval = switch("COUNTERSIGN_REQUIRE_APPROVAL");
        let dashboard_approvals = switch("COUNTERSIGN_DASHBOARD_APPROVALS");
        let approvals = var("COUNTERSIGN_APPROVALS").and_then(|value| {
            let number = value.parse().ok();
            if number.is_none() {
                problems.push("COUNTERSIGN_APPROVALS is a number from 1 to 10".to_owned());
            }
            number
        });
        let mut settings = Self {
            config: None,
            data_dir: var("COUNTERSIGN_DATA_DIR"),
            listen: var("COUNTERSIGN_LISTEN"),
            scheduler_listen: var("COUNTERSIGN_SCHEDULER_LISTEN"),
            dashboard_listen: var("COUNTERSIGN_DASHBOARD_LISTEN"),
            metrics_listen: var("COUNTERSIGN_METRICS_LISTEN"),
            instance_link: var("COUNTERSIGN_INSTANCE_LINK"),
            approval_timeout: var("COUNTERSIGN_APPROVAL_TIMEOUT"),
            require_approval,
            approvals,
            dashboard_approvals,
            auth: var("COUNTERSIGN_AUTH"),
            task_hub: var("COUNTERSIGN_TASK_HUB"),
            connection_string: var("COUNTERSIGN_CONNECTION_STRING")
                .or_else(|| var("DTS_CONNECTION_STRING")),
            log_format: var("COUNTERSIGN_LOG_FORMAT"),
            log: var("COUNTERSIGN_LOG"),
            hub_endpoint: var("COUNTERSIGN_HUB_ENDPOINT").or_else(|| var("DTS_ENDPOINT")),
            ..Self::default()
        };
        settings.azure_from_environment(&var, problems);
        settings
    }

    fn or(self, weaker: Self) -> Self {
        // Either names the hub, so one of them goes before both of a weaker layer.
        let names_hub = self.connection_string.is_some() || self.hub_endpoint.is_some();
        let weaker = if names_hub {
            Self {
                connection_string: None,
                hub_endpoint: None,
                ..weaker
            }
        } else {
            weaker
        };
        Self {
            config: self.config.or(weaker.config),
            data_dir: self.data_dir.or(weaker.data_dir),
            listen: self.listen.or(weaker.listen),
            scheduler_listen: self.scheduler_listen.or(weaker.scheduler_listen),
            dashboard_listen: self.dashboard_listen.or(weaker.dashboard_listen),
            metrics_listen: self.metrics_listen.or(weaker.metrics_listen),
            instance_link: self.instance_link.or(weaker.instance_link),
            approval_timeout: self.approval_timeout.or(weaker.approval_timeout),
            require_approval: self.require_approval.or(weaker.require_approval),
            approvals: self.approvals.or(weaker.approvals),
            dashboard_approvals: self.dashboard_approvals.or(weaker.dashboard_approvals),
            auth: self.auth.or(weaker.auth),
            task_hub: self.task_hub.or(weaker.task_hub),
            connection_string: self.connection_string.or(weaker.connection_string),
            hub_endpoint: self.hub_endpoint.or(weaker.hub_endpoint),
            key_vault: self.key_vault.or(weaker.key_vault),
            key_vault_emulator: self.key_vault_emulator.or(weaker.key_vault_emulator),
            key_vault_ca_file: self.key_vault_ca_file.or(weaker.key_vault_ca_file),
            key_vault_api_version: self.key_vault_api_version.or(weaker.key_vault_api_version),
            azure_identity: self.azure_identity.or(weaker.azure_identity),
            token_cache_age: self.token_cache_age.or(weaker.token_cache_age),
            token_cache_size: self.token_cache_size.or(weaker.token_cache_size),
            token_max_stale: self.token_max_stale.or(weaker.token_max_stale),
            log_format: self.log_format.or(weaker.log_format),
            log: self.log.or(weaker.log),
        }
    }

    fn check(
        self,
        admin_token: Option<Zeroizing<String>>,
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Config {
        let data_dir = self.data_dir.as_deref().unwrap_or(DEFAULT_DATA_DIR);
        let mut config = Config::embedded(Path::new(data_dir));
        config.require_approval = self.require_approval.unwrap_or(false);
        config.dashboard_approvals = self.dashboard_approvals.unwrap_or(false);
        match self.approvals {
            None => {}
            Some(number @ 1..=MAX_APPROVALS) => config.approvals = number,
            Some(number) => problems.push(format!(
                "approvals is a number from 1 to {MAX_APPROVALS}, not {number}"
            )),
        }

        address(
            "listen",
            self.listen.as_deref().unwrap_or(DEFAULT_LISTEN),
            problems,
        )
        .into_iter()
        .for_each(|a| config.listen = a);
        let scheduler = self.scheduler_listen.as_deref();
        loopback(
            "scheduler-listen",
            scheduler.unwrap_or(DEFAULT_SCHEDULER_LISTEN),
            problems,
        )
        .into_iter()
        .for_each(|a| config.scheduler_listen = a);
        let dashboard = self.dashboard_listen.as_deref();
        config.dashboard_listen = match dashboard.unwrap_or(DEFAULT_DASHBOARD_LISTEN) {
            "none" => None,
            text => loopback("dashboard-listen", text, problems),
        };
        config.metrics_listen = match self.metrics_listen.as_deref() {
            None | Some("none") => None,
            Some(text) => address("metrics-listen", text, problems),
        };
        config.instance_link = self.instance_link.clone().filter(|link| {
            // A link of another scheme could be a script, run where it is clicked.
            let web = link.starts_with("https://") || link.starts_with("http://");
            if !web || !link.contains("{id}") {
                problems.push(format!(
                    "instance-link is an http:// or https:// address with {{id}} in it, not {link:?}"
                ));
            }
            web
        });
        if let Some(text) = &self.approval_timeout {
            match duration::parse(text) {
                Ok(time) if time >= Duration::from_secs(1) => config.approval_timeout = time,
                Ok(_) => problems.push(format!(
                    "approval-timeout must be at least 1s, not {text:?}"
                )),
                Err(reason) => problems.push(format!("approval-timeout: {reason}, not {text:?}")),
            }
        }
        match self.auth.as_deref() {
            None | Some("token") => {}
            Some("none") => config.auth = AuthMode::None,
            Some(_) => problems.push("auth is token or none".to_owned()),
        }
        if config.auth == AuthMode::None && !config.listen.ip().is_loopback() {
            problems.push(format!(
                "auth none would let the whole network read codes: {} is not a loopback address; \
                 use auth token, or listen on 127.0.0.1",
                config.listen
            ));
        }
        if let Some(name) = self.task_hub.clone() {
            let fits = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if fits {
                config.task_hub = name;
            } else {
                problems.push("task-hub has 1 to 64 of the characters A-Z a-z 0-9 - _".to_owned());
            }
        }
        config.connection_string = self.hub(&config, problems);
        config.azure = self.check_azure(environment, config.connection_string.as_deref(), problems);
        match self.log_format.as_deref() {
            None | Some("text") => {}
            Some("json") => config.log.format = LogFormat::Json,
            Some(_) => problems.push("log-format is text or json".to_owned()),
        }
        if let Some(filter) = self.log {
            if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
                problems.push(format!("log: {error}"));
            }
            config.log.filter = filter;
        }
        match admin_token {
            Some(token) if token.len() < 20 || !token.bytes().all(|b| b.is_ascii_graphic()) => {
                problems.push(
                    "COUNTERSIGN_ADMIN_TOKEN must have at least 20 printable characters and no \
                     spaces"
                        .to_owned(),
                );
            }
            token => config.admin_token = token,
        }
        config
    }
}

fn read_file(path: &str, problems: &mut Vec<String>) -> Settings {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("cannot read the settings file {path}: {error}"));
            return Settings::default();
        }
    };
    match toml::from_str(&text) {
        Ok(settings) => settings,
        Err(error) => {
            // The whole display would quote the line, which may hold a connection string.
            problems.push(format!("{path}: {}", error.message()));
            Settings::default()
        }
    }
}

fn address(name: &str, text: &str, problems: &mut Vec<String>) -> Option<SocketAddr> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse()
        .inspect_err(|_| {
            problems.push(format!(
                "{name}: write an address and port like 127.0.0.1:7071"
            ));
        })
        .ok()
}

fn loopback(name: &str, text: &str, problems: &mut Vec<String>) -> Option<SocketAddr> {
    let address = address(name, text, problems)?;
    if !address.ip().is_loopback() {
        problems.push(format!(
            "{name}: {address} can be reached from other machines, and this part asks nobody who \
             they are; use a loopback address such as 127.0.0.1:{}",
            address.port()
        ));
        return None;
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: Settings, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::resolve(&flags, |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.toml");
        std::fs::write(
            &file,
            "listen = '127.0.0.1:1'\ntask-hub = 'file'\napproval-timeout = '1h'\n",
        )
        .unwrap();
        let flags = Settings {
            config: file.to_str().map(str::to_owned),
            listen: Some("127.0.0.1:3".to_owned()),
            ..Settings::default()
        };
        let config = resolve(
            flags,
            &[
                ("COUNTERSIGN_LISTEN", "127.0.0.1:2"),
                ("COUNTERSIGN_TASK_HUB", "environment"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.task_hub, "environment");
        assert_eq!(config.approval_timeout, Duration::from_secs(3600));
    }

    #[test]
    fn all_problems_are_reported_together() {
        let flags = Settings {
            listen: Some("nowhere".to_owned()),
            scheduler_listen: Some("0.0.0.0:8080".to_owned()),
            dashboard_listen: Some("none".to_owned()),
            instance_link: Some("javascript:alert('{id}')".to_owned()),
            approval_timeout: Some("soon".to_owned()),
            auth: Some("maybe".to_owned()),
            log_format: Some("xml".to_owned()),
            ..Settings::default()
        };
        let error = resolve(flags, &[("COUNTERSIGN_ADMIN_TOKEN", "short")]).unwrap_err();
        assert_eq!(error.problems.len(), 7, "{error}");
        assert!(!error.to_string().contains("short\""));
    }

    #[test]
    fn a_key_vault_is_named_or_has_a_url() {
        let vault = |variables: &[(&str, &str)]| {
            let config = resolve(Settings::default(), variables)?;
            Ok::<_, ConfigError>(
                config
                    .azure
                    .key_vault
                    .map(|vault| vault.address.to_string()),
            )
        };
        assert_eq!(vault(&[]), Ok(None));
        assert_eq!(
            vault(&[("KEY_VAULT_NAME", "team-codes")]),
            Ok(Some("https://team-codes.vault.azure.net".to_owned()))
        );
        assert_eq!(
            vault(&[
                ("KEY_VAULT_NAME", "team-codes"),
                ("KEY_VAULT_URL", "https://x.vault.usgovcloudapi.net/"),
            ]),
            Ok(Some("https://x.vault.usgovcloudapi.net".to_owned()))
        );
        for wrong in [
            "a",
            "http://x.vault.azure.net",
            "https://x.vault.azure.net/secrets",
        ] {
            let error = vault(&[("KEY_VAULT_URL", wrong)]).unwrap_err();
            assert!(error.to_string().contains("key-vault"), "{error}");
        }
        let error = vault(&[("KEY_VAULT_EMULATOR", "true")]).unwrap_err();
        assert!(error.to_string().contains("names none"), "{error}");
    }

    #[test]
    fn the_hub_is_named_by_a_connection_string_or_an_endpoint() {
        let hub = |flags: Settings, variables: &[(&str, &str)]| {
            resolve(flags, variables).map(|config| config.connection_string)
        };
        assert_eq!(
            hub(
                Settings::default(),
                &[
                    ("DTS_ENDPOINT", "https://x.westeurope.durabletask.io"),
                    ("COUNTERSIGN_TASK_HUB", "totp"),
                ]
            )
            .unwrap()
            .unwrap(),
            "Endpoint=https://x.westeurope.durabletask.io;TaskHub=totp;Authentication=DefaultAzure"
        );
        let flags = Settings {
            hub_endpoint: Some("http://127.0.0.1:8080".to_owned()),
            ..Settings::default()
        };
        let variables = [(
            "DTS_CONNECTION_STRING",
            "Endpoint=x;TaskHub=y;Authentication=None",
        )];
        assert_eq!(
            hub(flags.clone(), &variables).unwrap().unwrap(),
            "Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None"
        );
        let both = Settings {
            connection_string: Some("Endpoint=x;TaskHub=y;Authentication=None".to_owned()),
            ..flags
        };
        assert!(hub(both, &[]).unwrap_err().to_string().contains("not both"));
    }

    #[test]
    fn one_identity_is_for_vault_and_hub() {
        use countersign_azure::{Selection, Source};
        let hub = "Endpoint=https://x;TaskHub=y;Authentication=ManagedIdentity;ClientID=abc";
        let config = resolve(Settings::default(), &[("DTS_CONNECTION_STRING", hub)]).unwrap();
        let identity = &config.azure.identity;
        assert_eq!(identity.selection, Selection::Only(Source::ManagedIdentity));
        assert_eq!(identity.client_id.as_deref(), Some("abc"));
        let error = resolve(
            Settings::default(),
            &[
                ("DTS_CONNECTION_STRING", hub),
                ("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential"),
            ],
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("different identities"),
            "{error}"
        );
        let error = resolve(
            Settings::default(),
            &[
                ("KEY_VAULT_NAME", "team-codes"),
                ("COUNTERSIGN_AZURE_IDENTITY", "unsigned"),
            ],
        )
        .unwrap_err();
        assert!(error.to_string().contains("emulator"), "{error}");
    }

    #[test]
    fn no_access_control_only_where_nobody_else_comes() {
        let flags = |listen: &str| Settings {
            listen: Some(listen.to_owned()),
            auth: Some("none".to_owned()),
            ..Settings::default()
        };
        assert!(resolve(flags("0.0.0.0:7071"), &[]).is_err());
        assert!(resolve(flags("[::1]:7071"), &[]).is_ok());
        assert!(resolve(flags("localhost:7071"), &[]).is_ok());
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.toml");
        std::fs::write(&file, "lisen = '127.0.0.1:1'\n").unwrap();
        let flags = Settings {
            config: file.to_str().map(str::to_owned),
            ..Settings::default()
        };
        let error = resolve(flags, &[]).unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
    }
}
