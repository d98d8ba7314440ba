//! Checks settings and turns them into a configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_activities::webhook;
use countersign_database::DatabaseUrl;
use countersign_enrollment::decision::{MAX_APPROVALS, MAX_APPROVER_GROUPS, MAX_REMINDERS};
use durabletask_scheduler::Retention;
use zeroize::Zeroizing;

use super::{
    AuthMode, Config, DEFAULT_DASHBOARD_LISTEN, DEFAULT_DATA_DIR, DEFAULT_LISTEN,
    DEFAULT_SCHEDULER_LISTEN, DatabaseConfig, LockMemory, LogFormat, Settings, WebhookConfig,
};
use crate::access::Group;
use crate::duration;

/// The longest that a front door waits for a worker.
const LONGEST_WORKER_WAIT: Duration = Duration::from_secs(3_600);
/// The error for installations that still set it, by flag, variable or file.
const DASHBOARD_APPROVALS_REMOVED: &str = "dashboard-approvals (COUNTERSIGN_DASHBOARD_APPROVALS) \
     was removed: decisions must be signed. Approve on the page or with `countersign approve`, \
     and delete this setting";

impl Settings {
    /// Checks every setting, and adds what is wrong to `problems`.
    pub(super) fn check(
        self,
        admin_token: Option<Zeroizing<String>>,
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Config {
        let data_dir = self.data_dir.as_deref().unwrap_or(DEFAULT_DATA_DIR);
        let mut config = Config::embedded(Path::new(data_dir));
        self.check_listeners(&mut config, problems);
        self.check_approvals(&mut config, problems);
        self.check_approvers(&mut config, problems);
        self.check_webhook(&mut config, problems);
        self.check_callers(admin_token, &mut config, problems);
        if let Some(name) = &self.task_hub {
            let fits = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if fits {
                config.task_hub.clone_from(name);
            } else {
                problems.push(
                    "task-hub must have 1 to 64 of the characters A-Z a-z 0-9 - _".to_owned(),
                );
            }
        }
        config.connection_string = self.hub(&config, problems);
        config.otlp = self.check_otlp(&environment, problems);
        config.azure = self.check_azure(environment, config.connection_string.as_deref(), problems);
        self.check_process(&mut config, problems);
        config
    }

    fn check_listeners(&self, config: &mut Config, problems: &mut Vec<String>) {
        let listen = self.listen.as_deref().unwrap_or(DEFAULT_LISTEN);
        if let Some(address) = address("listen", listen, problems) {
            config.listen = address;
        }
        let scheduler = self.scheduler_listen.as_deref();
        let scheduler = scheduler.unwrap_or(DEFAULT_SCHEDULER_LISTEN);
        if let Some(address) = loopback("scheduler-listen", scheduler, problems) {
            config.scheduler_listen = address;
        }
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
            // A link of another scheme could be a script, run when it is clicked.
            let web = link.starts_with("https://") || link.starts_with("http://");
            if !web || !link.contains("{id}") {
                problems.push(format!(
                    "instance-link must be an http:// or https:// address that contains {{id}}, not {link:?}"
                ));
            }
            web
        });
    }

    fn check_approvals(&self, config: &mut Config, problems: &mut Vec<String>) {
        config.require_approval = self.require_approval.unwrap_or(false);
        config.require_proof = self.require_proof.unwrap_or(false);
        if self.dashboard_approvals.is_some() {
            problems.push(DASHBOARD_APPROVALS_REMOVED.to_owned());
        }
        match self.approvals {
            None => {}
            Some(number @ 1..=MAX_APPROVALS) => config.approvals = number,
            Some(number) => problems.push(format!(
                "approvals must be a number from 1 to {MAX_APPROVALS}, not {number}"
            )),
        }
        match self.request_approvals {
            None => {}
            Some(number @ 0..=MAX_APPROVALS) => config.request_approvals = number,
            Some(number) => problems.push(format!(
                "request-approvals must be a number from 0 to {MAX_APPROVALS}, not {number}"
            )),
        }
        if let Some(text) = &self.approval_timeout {
            match duration::parse(text) {
                Ok(time) if time >= Duration::from_secs(1) => config.approval_timeout = time,
                Ok(_) => problems.push(format!(
                    "approval-timeout must be at least 1s, not {text:?}"
                )),
                Err(reason) => problems.push(format!("approval-timeout: {reason}, not {text:?}")),
            }
        }
    }

    fn check_approvers(&self, config: &mut Config, problems: &mut Vec<String>) {
        for name in list(self.approvers.as_deref()) {
            match name.parse::<Group>() {
                Ok(group) => config.approvers.push(group.to_string()),
                Err(reason) => problems.push(format!("approvers: {reason}, not {name:?}")),
            }
        }
        if config.approvers.len() > MAX_APPROVER_GROUPS {
            problems.push(format!("approvers: at most {MAX_APPROVER_GROUPS} groups"));
        }
        for text in list(self.approval_reminders.as_deref()) {
            match duration::parse(text) {
                Ok(time) if time >= Duration::from_secs(1) => config.approval_reminders.push(time),
                Ok(_) => problems.push(format!(
                    "approval-reminders: at least 1s each, not {text:?}"
                )),
                Err(reason) => problems.push(format!("approval-reminders: {reason}, not {text:?}")),
            }
        }
        if config.approval_reminders.len() > MAX_REMINDERS {
            problems.push(format!("approval-reminders: at most {MAX_REMINDERS} times"));
        }
    }

    fn check_webhook(&self, config: &mut Config, problems: &mut Vec<String>) {
        let secret_file = self.webhook_secret_file.as_ref().map(PathBuf::from);
        match &self.webhook_url {
            None if secret_file.is_some() => problems.push(
                "webhook-secret-file has no effect without webhook-url; set both or neither"
                    .to_owned(),
            ),
            None if !config.approval_reminders.is_empty() => problems
                .push("approval-reminders are sent to a webhook; set webhook-url".to_owned()),
            None => {}
            Some(url) => match webhook::check_address(url) {
                Ok(_) => {
                    config.webhook = Some(WebhookConfig {
                        url: Zeroizing::new(url.clone()),
                        secret_file,
                    });
                }
                Err(reason) => problems.push(format!("webhook-url: {reason}")),
            },
        }
    }

    fn check_callers(
        &self,
        admin_token: Option<Zeroizing<String>>,
        config: &mut Config,
        problems: &mut Vec<String>,
    ) {
        match self.auth.as_deref() {
            None | Some("token") => {}
            Some("none") => config.auth = AuthMode::None,
            Some(_) => problems.push("auth must be token or none".to_owned()),
        }
        config.oidc = self.check_oidc(problems);
        config.limits = self.check_limits(problems);
        config.tls = self.check_tls(problems);
        config.trusted_proxies = self.check_proxies(problems);
        config.cors_origins = self.check_origins(problems);
        config.public_urls = self.check_public_urls(problems);
        if config.auth == AuthMode::None && !config.listen.ip().is_loopback() {
            problems.push(format!(
                "with auth none the whole network could read codes: {} is not a loopback \
                 address. Use auth token, or listen on 127.0.0.1",
                config.listen
            ));
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
    }

    fn check_databases(&self, config: &mut Config, problems: &mut Vec<String>) {
        let (url, identity) = (self.database_url.as_deref(), self.database_identity);
        config.database = database("database", url, identity, problems);
        let (url, identity) = (self.hub_database_url.as_deref(), self.hub_database_identity);
        config.hub_database = database("hub-database", url, identity, problems);
        let Some(hub) = &config.hub_database else {
            return;
        };
        if config.connection_string.is_some() {
            problems.push(
                "hub-database-url is for the embedded task hub, and connection-string or hub-endpoint \
                 names another task hub: leave one of them out"
                    .to_owned(),
            );
        }
        if config
            .database
            .as_ref()
            .is_some_and(|own| own.url.is_same_login(&hub.url))
        {
            problems.push(
                "hub-database-url names the database and role of database-url: the task hub is not \
                 trusted, so give it a role of its own, and better a database of its own"
                    .to_owned(),
            );
        }
    }

    fn check_process(&self, config: &mut Config, problems: &mut Vec<String>) {
        match self.lock_memory.as_deref() {
            None | Some("auto") => {}
            Some("on") => config.lock_memory = LockMemory::On,
            Some("off") => config.lock_memory = LockMemory::Off,
            Some(_) => problems.push("lock-memory must be auto, on or off".to_owned()),
        }
        match self.worker_wait.as_deref() {
            None => {}
            Some("0" | "0s") => config.worker_wait = Duration::ZERO,
            Some(text) => match duration::parse(text) {
                Ok(time) if time <= LONGEST_WORKER_WAIT => config.worker_wait = time,
                Ok(_) => problems.push(format!("worker-wait must be at most 1h, not {text:?}")),
                Err(reason) => problems.push(format!("worker-wait: {reason}, not {text:?}")),
            },
        }
        config.single_front_door = self.single_front_door.unwrap_or(false);
        self.check_databases(config, problems);
        match self.retention.as_deref() {
            None => {}
            Some("none") => config.retention = Retention::default(),
            Some(text) => match text.parse() {
                Ok(retention) => config.retention = retention,
                Err(error) => problems.push(format!("retention: {error}, or none")),
            },
        }
        match self.log_format.as_deref() {
            None | Some("text") => {}
            Some("json") => config.log.format = LogFormat::Json,
            Some(_) => problems.push("log-format must be text or json".to_owned()),
        }
        if let Some(filter) = &self.log {
            if let Err(error) = tracing_subscriber::EnvFilter::try_new(filter) {
                problems.push(format!("log: {error}"));
            }
            config.log.filter.clone_from(filter);
        }
    }
}

/// A database that the setting `NAME-url` names, and how to log in there.
fn database(
    name: &str,
    text: Option<&str>,
    tokens: Option<bool>,
    problems: &mut Vec<String>,
) -> Option<DatabaseConfig> {
    let Some(text) = text else {
        if tokens == Some(true) {
            problems.push(format!("{name}-identity needs {name}-url"));
        }
        return None;
    };
    let url: DatabaseUrl = match text.parse() {
        Ok(url) => url,
        Err(error) => {
            problems.push(format!("{name}-url: {error}"));
            return None;
        }
    };
    if tokens == Some(true) && url.has_password() {
        problems.push(format!(
            "{name}-url has a password, but {name}-identity logs in with a token: leave one of them \
             out"
        ));
    }
    let tokens = tokens.unwrap_or(url.is_azure() && !url.has_password());
    Some(DatabaseConfig { url, tokens })
}

/// The items of a comma-separated list; none if there is no list.
fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
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
            "{name}: {address} can be reached from other machines, and this part does not \
             encrypt; use a loopback address such as 127.0.0.1:{}, or run `countersign \
             scheduler` with a certificate",
            address.port()
        ));
        return None;
    }
    Some(address)
}
