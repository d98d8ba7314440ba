//! Settings: flags over environment over file over defaults, checked once.
//!
//! Nothing else in the product reads the environment. Every problem is reported at
//! the same time, so that a start does not fail once per mistake.

mod azure;
mod check;
mod client;
mod exposure;
mod file;
mod known;
mod oidc;
mod otlp;
mod reload;
mod settings;
mod shown;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_database::DatabaseUrl;
use durabletask_scheduler::Retention;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::access::OidcSettings;

pub use azure::{AzureConfig, WrappingConfig};
pub(crate) use client::ClientEnvironment;
pub use exposure::{Limits, Networks, TlsFiles};
pub(crate) use known::unknown_variables;
pub use otlp::OtlpConfig;
pub(crate) use reload::{Changes, Written};
pub use settings::Settings;

/// Where the front door listens by default. The port is that of a
/// local Azure Functions host.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7071";
/// Where the embedded scheduler listens: the port of the Durable Task Scheduler emulator.
pub const DEFAULT_SCHEDULER_LISTEN: &str = "127.0.0.1:8080";
/// Where the dashboard listens: the emulator's port for it.
pub const DEFAULT_DASHBOARD_LISTEN: &str = "127.0.0.1:8082";
/// Where the data is kept.
pub const DEFAULT_DATA_DIR: &str = "./.countersign";
/// How long the embedded task hub keeps finished instances.
const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Whether callers must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Every request carries a token, a key or a session cookie.
    Token,
    /// Everyone may do everything. Loopback addresses only.
    None,
}

/// Whether the process keeps its memory out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMemory {
    /// If the system allows that for as much as it will ever need.
    Auto,
    /// It does, or it does not start.
    On,
    /// It does not.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// The webhook for decisions. Checked.
#[derive(Clone)]
pub struct WebhookConfig {
    /// The address; it may hold a key.
    pub url: Zeroizing<String>,
    /// The file with the key that notices are signed with; one in the data folder by default.
    pub secret_file: Option<PathBuf>,
}

/// A PostgreSQL database: the one that front doors and workers share, or that of the task hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Whether tokens of the process's identity are the password.
    pub tokens: bool,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// The filter for lines, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Every setting, checked.
#[derive(Clone)]
pub struct Config {
    /// The folder for everything that is kept.
    pub data_dir: PathBuf,
    /// Where the front door listens. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where the embedded scheduler listens; always a loopback address.
    pub scheduler_listen: SocketAddr,
    /// Where the dashboard listens, if anywhere; always a loopback address.
    pub dashboard_listen: Option<SocketAddr>,
    /// The address that serves metrics, if any. Anyone who reaches it may read them.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the task hub's dashboard shows an instance, with `{id}` in place of its
    /// id; none means this process's dashboard, if it has one.
    pub instance_link: Option<String>,
    /// How long an enrollment waits for a decision.
    pub approval_timeout: Duration,
    /// Whether every enrollment needs a decision, requested or not.
    pub require_approval: bool,
    /// Whether every new account must be proved before it is in use, requested
    /// or not. Imported accounts are in use already.
    pub require_proof: bool,
    /// How many people must approve where approval is needed: 1 to 10.
    pub approvals: u8,
    /// How many people must approve a request on an account: 0 to 10.
    pub request_approvals: u8,
    /// The groups whose members must approve; any approver if there are none.
    pub approvers: Vec<String>,
    /// When to send reminders of a pending decision, counted from its request.
    pub approval_reminders: Vec<Duration>,
    /// The webhook for pending decisions and their outcome, if any.
    pub webhook: Option<WebhookConfig>,
    /// Whether callers must authenticate.
    pub auth: AuthMode,
    /// Limits per caller, per address and in total.
    pub limits: Limits,
    /// Certificate and key of the front door; without, it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Networks,
    /// Origins whose pages may call the API in browsers.
    pub cors_origins: Vec<String>,
    /// Addresses under which browsers reach the front door, besides this machine's.
    pub public_urls: Vec<url::Url>,
    /// The OpenID Connect issuer whose tokens are accepted, and what their claims mean.
    pub oidc: Option<OidcSettings>,
    /// The task hub's name.
    pub task_hub: String,
    /// The task hub to connect to, for parts without an embedded one.
    pub connection_string: Option<String>,
    /// Key Vault, and this process's identity for Azure.
    pub azure: AzureConfig,
    /// The administrator's token, if it is given rather than generated.
    pub admin_token: Option<Zeroizing<String>>,
    /// How long a starting front door waits for a worker to create the keys that it needs.
    pub worker_wait: Duration,
    /// Whether the operator has confirmed that no other front door serves this installation.
    pub single_front_door: bool,
    /// The database that front doors and workers share, if any.
    pub database: Option<DatabaseConfig>,
    /// The database in which the embedded task hub is kept, if not in the data folder: another one, or
    /// at least another role, than Countersign's own.
    pub hub_database: Option<DatabaseConfig>,
    /// How long the embedded task hub keeps what has ended.
    pub retention: Retention,
    /// Whether memory is kept out of swap.
    pub lock_memory: LockMemory,
    /// What is logged and how.
    pub log: LogConfig,
    /// Where traces and logs are sent, if configured.
    pub otlp: OtlpConfig,
}

// Written by hand because tokens and connection strings must not be shown.
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
            .field("require_proof", &self.require_proof)
            .field("approvals", &self.approvals)
            .field("request_approvals", &self.request_approvals)
            .field("approvers", &self.approvers)
            .field("approval_reminders", &self.approval_reminders)
            .field("webhook", &self.webhook.is_some())
            .field("auth", &self.auth)
            .field("limits", &self.limits)
            .field("tls", &self.tls)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("cors_origins", &self.cors_origins)
            .field("public_urls", &self.public_urls)
            .field("oidc", &self.oidc)
            .field("task_hub", &self.task_hub)
            .field("azure", &self.azure)
            .field("worker_wait", &self.worker_wait)
            .field("single_front_door", &self.single_front_door)
            .field("database", &self.database)
            .field("hub_database", &self.hub_database)
            .field("retention", &self.retention)
            .field("lock_memory", &self.lock_memory)
            .field("otlp", &self.otlp)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults on the data folder `data_dir`, with every port chosen by the operating system.
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
            require_proof: false,
            approvals: 1,
            request_approvals: 1,
            approvers: Vec::new(),
            approval_reminders: Vec::new(),
            webhook: None,
            auth: AuthMode::Token,
            limits: Limits::default(),
            tls: None,
            trusted_proxies: Networks::default(),
            cors_origins: Vec::new(),
            public_urls: Vec::new(),
            oidc: None,
            task_hub: "default".to_owned(),
            connection_string: None,
            azure: AzureConfig::default(),
            admin_token: None,
            worker_wait: Duration::from_secs(30),
            single_front_door: false,
            database: None,
            hub_database: None,
            retention: Retention::all(DEFAULT_RETENTION),
            lock_memory: LockMemory::Auto,
            log: LogConfig {
                format: LogFormat::Text,
                filter: "info".to_owned(),
            },
            otlp: OtlpConfig::default(),
        }
    }

    /// Checks the settings from flags, the process's environment and the file that either names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem that was found.
    pub fn load(flags: &Settings) -> Result<Self, ConfigError> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut problems = unknown_variables(names);
        match Self::resolve(flags, |name| std::env::var(name).ok()) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(ConfigError { problems }),
            Err(error) => {
                problems.extend(error.problems);
                Err(ConfigError { problems })
            }
        }
    }

    /// As [`Config::load`], with the given environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem that was found.
    pub fn resolve(
        flags: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let merged = flags.merged(&environment, &mut problems);
        let admin_token = environment("COUNTERSIGN_ADMIN_TOKEN").map(Zeroizing::new);
        let config = merged.check(admin_token, &environment, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// Why the settings cannot be used: one line for each problem.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// Each problem, with what to write instead.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests;
