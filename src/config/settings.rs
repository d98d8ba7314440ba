//! Settings as written in flags, the environment and a file, and how they are layered.

use serde::Deserialize as _;

use super::file;
use crate::bounds::{self, within};

/// Passes the names of all settings to another macro.
macro_rules! every_setting {
    ($with:ident) => {
        $with! {
            config,
            data_dir,
            listen,
            scheduler_listen,
            dashboard_listen,
            metrics_listen,
            instance_link,
            approval_timeout,
            require_approval,
            require_proof,
            approvals,
            request_approvals,
            approvers,
            approval_reminders,
            webhook_url,
            webhook_secret_file,
            dashboard_approvals,
            auth,
            max_connections,
            max_connections_per_address,
            rate_per_address,
            rate_per_caller,
            concurrency_per_caller,
            header_timeout,
            body_timeout,
            tls_certificate,
            tls_key,
            trusted_proxies,
            cors_origins,
            public_url,
            oidc_issuer,
            oidc_audience,
            oidc_jwks_url,
            oidc_ca_file,
            oidc_subject_claim,
            oidc_name_claim,
            oidc_roles_claim,
            oidc_groups_claim,
            oidc_role_map,
            oidc_max_stale,
            task_hub,
            connection_string,
            hub_endpoint,
            key_vault,
            keys_vault,
            vault_key_wrapped_by,
            key_vault_emulator,
            key_vault_ca_file,
            key_vault_api_version,
            azure_identity,
            token_cache_age,
            token_cache_size,
            token_max_stale,
            worker_wait,
            single_front_door,
            database_url,
            database_identity,
            hub_database_url,
            hub_database_identity,
            retention,
            lock_memory,
            log_format,
            log,
            otlp_endpoint,
        }
    };
}

/// Settings as written, unchecked; an absent one is left to the next layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// TOML file with settings, named as the flags are [env: COUNTERSIGN_CONFIG]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<String>,
    /// The server's data folder: everything that it stores [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
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
    /// Address that serves /metrics to Prometheus without a token, or none [env: COUNTERSIGN_METRICS_LISTEN] [default: none]
    #[arg(long, value_name = "ADDRESS|none")]
    pub metrics_listen: Option<String>,
    /// Address of an instance on the dashboard of another task hub, with {id} in place of its id [env: COUNTERSIGN_INSTANCE_LINK]
    #[arg(long, value_name = "URL")]
    pub instance_link: Option<String>,
    /// How long an enrollment waits for a decision, such as 72h or 30m [env: COUNTERSIGN_APPROVAL_TIMEOUT] [default: 72h]
    #[arg(long, value_name = "TIME")]
    pub approval_timeout: Option<String>,
    /// Require approval for every enrollment [env: COUNTERSIGN_REQUIRE_APPROVAL=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub require_approval: Option<bool>,
    /// Require proof, for every new account, that the other service accepts its codes [env: COUNTERSIGN_REQUIRE_PROOF=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub require_proof: Option<bool>,
    /// How many people other than the requester must approve, 1 to 10 [env: COUNTERSIGN_APPROVALS] [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = bounds::number::<u8, 1, 10>)]
    #[serde(default, deserialize_with = "within::<_, _, 1, 10>")]
    pub approvals: Option<u8>,
    /// How many people must approve a request to read, export, transfer or delete an account, 0 to 10; with 0 no approval is needed [env: COUNTERSIGN_REQUEST_APPROVALS] [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = bounds::number::<u8, 0, 10>)]
    #[serde(default, deserialize_with = "within::<_, _, 0, 10>")]
    pub request_approvals: Option<u8>,
    /// Groups whose members must approve, separated by commas [env: COUNTERSIGN_APPROVERS] [default: anyone with the role approver]
    #[arg(long, value_name = "GROUPS")]
    pub approvers: Option<String>,
    /// When to send reminders of a pending decision, counted from the request, such as 4h,24h [env: COUNTERSIGN_APPROVAL_REMINDERS] [default: never]
    #[arg(long, value_name = "TIMES")]
    pub approval_reminders: Option<String>,
    /// Webhook that is notified of pending decisions and their outcome; the variable keeps it out of the process list [env: COUNTERSIGN_WEBHOOK_URL]
    #[allow(rustdoc::bare_urls, reason = "the help shows the text as it is")]
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// File with the key that notices are signed with [env: COUNTERSIGN_WEBHOOK_SECRET_FILE] [default: webhook-secret in the data folder]
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<String>,
    /// Removed, and refused with any value: decisions must be signed.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    #[serde(default, deserialize_with = "anything")]
    pub dashboard_approvals: Option<String>,
    /// How callers authenticate: token, or none on a loopback address [env: COUNTERSIGN_AUTH] [default: token]
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
    /// Concurrent connections to the front door [env: COUNTERSIGN_MAX_CONNECTIONS] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections: Option<String>,
    /// Concurrent connections from one address [env: COUNTERSIGN_MAX_CONNECTIONS_PER_ADDRESS] [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections_per_address: Option<String>,
    /// Sustained requests per second from one address, with bursts of twice as many, or none [env: COUNTERSIGN_RATE_PER_ADDRESS] [default: 2000]
    #[arg(long, value_name = "NUMBER|none")]
    pub rate_per_address: Option<String>,
    /// Sustained requests per second of one caller, with bursts of twice as many, or none [env: COUNTERSIGN_RATE_PER_CALLER] [default: 1000]
    #[arg(long, value_name = "NUMBER|none")]
    pub rate_per_caller: Option<String>,
    /// Concurrent requests of one caller [env: COUNTERSIGN_CONCURRENCY_PER_CALLER] [default: 256]
    #[arg(long, value_name = "NUMBER")]
    pub concurrency_per_caller: Option<String>,
    /// How long the headers of a request, and a TLS handshake, may take [env: COUNTERSIGN_HEADER_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub header_timeout: Option<String>,
    /// How long a client may send nothing of a body, or read nothing of a response [env: COUNTERSIGN_BODY_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub body_timeout: Option<String>,
    /// PEM file with the certificate chain; reloaded when it changes [env: COUNTERSIGN_TLS_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// PEM file with the certificate's private key [env: COUNTERSIGN_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Proxies whose X-Forwarded-For or Forwarded is trusted, such as 10.0.0.0/8, separated by commas [env: COUNTERSIGN_TRUSTED_PROXIES]
    #[arg(long, value_name = "LIST")]
    pub trusted_proxies: Option<String>,
    /// Origins whose pages may call the API, such as https://app.example, separated by commas [env: COUNTERSIGN_CORS_ORIGINS]
    #[arg(long, value_name = "LIST")]
    pub cors_origins: Option<String>,
    /// Addresses under which browsers reach the front door, such as https://codes.example, separated by commas: the page's cookie is accepted under these, localhost and the listening address [env: COUNTERSIGN_PUBLIC_URL]
    #[arg(long, value_name = "LIST")]
    pub public_url: Option<String>,
    /// OpenID Connect issuer whose tokens (JWT) are accepted, exactly as in the claim iss [env: COUNTERSIGN_OIDC_ISSUER]
    #[arg(long, value_name = "URL")]
    pub oidc_issuer: Option<String>,
    /// Accepted audiences (claim aud), separated by commas [env: COUNTERSIGN_OIDC_AUDIENCE]
    #[arg(long, value_name = "LIST")]
    pub oidc_audience: Option<String>,
    /// Address of the issuer's signing keys, if not that of its discovery document [env: COUNTERSIGN_OIDC_JWKS_URL]
    #[arg(long, value_name = "URL")]
    pub oidc_jwks_url: Option<String>,
    /// PEM file with certificates to trust for the issuer, in addition to the system's [env: COUNTERSIGN_OIDC_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<String>,
    /// Claim that identifies a caller and never changes [env: COUNTERSIGN_OIDC_SUBJECT_CLAIM] [default: sub]
    #[arg(long, value_name = "NAME")]
    pub oidc_subject_claim: Option<String>,
    /// Claim with a caller's display name [env: COUNTERSIGN_OIDC_NAME_CLAIM] [default: preferred_username]
    #[arg(long, value_name = "NAME")]
    pub oidc_name_claim: Option<String>,
    /// Claim with the caller's roles; a dot selects a member of a claim [env: COUNTERSIGN_OIDC_ROLES_CLAIM] [default: roles]
    #[arg(long, value_name = "NAME")]
    pub oidc_roles_claim: Option<String>,
    /// Claim with the caller's groups [env: COUNTERSIGN_OIDC_GROUPS_CLAIM] [default: groups]
    #[arg(long, value_name = "NAME")]
    pub oidc_groups_claim: Option<String>,
    /// Which values of that claim map to which role, as VALUE=ROLE, separated by commas; roles are enroller, approver, reader, granted-reader and admin [env: COUNTERSIGN_OIDC_ROLE_MAP] [default: their names]
    #[arg(long, value_name = "LIST")]
    pub oidc_role_map: Option<String>,
    /// How long the issuer's keys are used while it is unreachable [env: COUNTERSIGN_OIDC_MAX_STALE] [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub oidc_max_stale: Option<String>,
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
    /// Name or https URL of the Azure Key Vault that keeps the installation's own keys, apart from the accounts [env: COUNTERSIGN_KEYS_VAULT] [default: the vault of --key-vault]
    #[arg(long, value_name = "NAME|URL")]
    pub keys_vault: Option<String>,
    /// Key in Azure Key Vault or Managed HSM that wraps the key of the accounts in the data folder or the shared database, as https://NAME.vault.azure.net/keys/KEY[/VERSION] [env: COUNTERSIGN_VAULT_KEY_WRAPPED_BY]
    #[allow(
        rustdoc::bare_urls,
        rustdoc::broken_intra_doc_links,
        reason = "the help shows the text as it is"
    )]
    #[arg(long, value_name = "URL")]
    pub vault_key_wrapped_by: Option<String>,
    /// The vault is an emulator: accept an authentication challenge for its own host [env: KEY_VAULT_EMULATOR=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub key_vault_emulator: Option<bool>,
    /// PEM file with certificates to trust for the vault, in addition to the system's [env: KEY_VAULT_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub key_vault_ca_file: Option<String>,
    /// Version of Key Vault's REST API, such as 7.6 for older emulators [env: KEY_VAULT_API_VERSION]
    #[arg(long, value_name = "VERSION")]
    pub key_vault_api_version: Option<String>,
    /// Identity for Key Vault and task hub: default, production, development, environment, workload-identity, managed-identity, azure-cli, azure-developer-cli or unsigned [env: COUNTERSIGN_AZURE_IDENTITY or AZURE_TOKEN_CREDENTIALS] [default: default]
    #[arg(long, value_name = "NAME")]
    pub azure_identity: Option<String>,
    /// How long an account is cached in memory before it is read from the vault again; 0s reads it each time [env: COUNTERSIGN_TOKEN_CACHE_AGE] [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub token_cache_age: Option<String>,
    /// The most accounts that are cached [env: COUNTERSIGN_TOKEN_CACHE_SIZE] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub token_cache_size: Option<usize>,
    /// How much longer a cached account may be used while Key Vault is unreachable; 0s means not at all [env: COUNTERSIGN_TOKEN_MAX_STALE] [default: 0s]
    #[arg(long, value_name = "TIME")]
    pub token_max_stale: Option<String>,
    /// How long a starting front door waits for a worker to create the keys that it needs; 0s does not wait [env: COUNTERSIGN_WORKER_WAIT] [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub worker_wait: Option<String>,
    /// Confirm that no other front door serves this installation: required with a remote task hub or Key Vault, which several could use, each with its own counts and audit log [env: COUNTERSIGN_SINGLE_FRONT_DOOR=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub single_front_door: Option<bool>,
    /// PostgreSQL database that front doors and workers share, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE; the variable keeps it out of the process list [env: COUNTERSIGN_DATABASE_URL] [default: the data folder]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Log in to the database with tokens of --azure-identity instead of a password; on for Azure Database for PostgreSQL if the URL has no password [env: COUNTERSIGN_DATABASE_IDENTITY=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub database_identity: Option<bool>,
    /// PostgreSQL database that keeps the embedded task hub, with a role of its own, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE; the variable keeps it out of the process list [env: COUNTERSIGN_HUB_DATABASE_URL] [default: the data folder]
    #[arg(long, value_name = "URL")]
    pub hub_database_url: Option<String>,
    /// Log in to the task hub's database with tokens of --azure-identity instead of a password; on for Azure Database for PostgreSQL if the URL has no password [env: COUNTERSIGN_HUB_DATABASE_IDENTITY=true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub hub_database_identity: Option<bool>,
    /// How long the embedded task hub keeps finished instances, such as 30d or completed=7d,failed=90d, or none to keep them forever; accounts stay [env: COUNTERSIGN_RETENTION] [default: 30d]
    #[arg(long, value_name = "TIMES|none")]
    pub retention: Option<String>,
    /// Whether memory is kept out of swap: auto (if the system allows it), on (or refuse to start), or off [env: COUNTERSIGN_LOCK_MEMORY] [default: auto]
    #[arg(long, value_name = "MODE")]
    pub lock_memory: Option<String>,
    /// Format of log lines: text or json [env: COUNTERSIGN_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Which log lines appear, such as info or countersign=debug,warn [env: COUNTERSIGN_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// OpenTelemetry collector for traces, logs and audit entries (OTLP over gRPC), such as http://127.0.0.1:4317 [env: COUNTERSIGN_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT]
    #[allow(rustdoc::bare_urls, reason = "the help shows the text as it is")]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}
impl Settings {
    pub(super) fn from_environment(
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Self {
        let var = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut switch = |name: &str| {
            var(name).and_then(|value| match value.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => {
                    problems.push(format!("{name} must be true or false"));
                    None
                }
            })
        };
        let require_approval = switch("COUNTERSIGN_REQUIRE_APPROVAL");
        let require_proof = switch("COUNTERSIGN_REQUIRE_PROOF");
        let single_front_door = switch("COUNTERSIGN_SINGLE_FRONT_DOOR");
        let database_identity = switch("COUNTERSIGN_DATABASE_IDENTITY");
        let hub_database_identity = switch("COUNTERSIGN_HUB_DATABASE_IDENTITY");
        let mut count = |name: &str, range: &str| {
            var(name).and_then(|value| {
                let number = value.parse().ok();
                if number.is_none() {
                    problems.push(format!("{name} must be a number from {range}"));
                }
                number
            })
        };
        let approvals = count("COUNTERSIGN_APPROVALS", "1 to 10");
        let request_approvals = count("COUNTERSIGN_REQUEST_APPROVALS", "0 to 10");
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
            require_proof,
            approvals,
            request_approvals,
            approvers: var("COUNTERSIGN_APPROVERS"),
            approval_reminders: var("COUNTERSIGN_APPROVAL_REMINDERS"),
            webhook_url: var("COUNTERSIGN_WEBHOOK_URL"),
            webhook_secret_file: var("COUNTERSIGN_WEBHOOK_SECRET_FILE"),
            // Also if it is set to an empty text: the operator expects an effect.
            dashboard_approvals: environment("COUNTERSIGN_DASHBOARD_APPROVALS"),
            auth: var("COUNTERSIGN_AUTH"),
            task_hub: var("COUNTERSIGN_TASK_HUB"),
            connection_string: var("COUNTERSIGN_CONNECTION_STRING")
                .or_else(|| var("DTS_CONNECTION_STRING")),
            worker_wait: var("COUNTERSIGN_WORKER_WAIT"),
            single_front_door,
            database_url: var("COUNTERSIGN_DATABASE_URL"),
            database_identity,
            hub_database_url: var("COUNTERSIGN_HUB_DATABASE_URL"),
            hub_database_identity,
            retention: var("COUNTERSIGN_RETENTION"),
            lock_memory: var("COUNTERSIGN_LOCK_MEMORY"),
            log_format: var("COUNTERSIGN_LOG_FORMAT"),
            log: var("COUNTERSIGN_LOG"),
            otlp_endpoint: var("COUNTERSIGN_OTLP_ENDPOINT")
                .or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT")),
            hub_endpoint: var("COUNTERSIGN_HUB_ENDPOINT").or_else(|| var("DTS_ENDPOINT")),
            ..Self::default()
        };
        settings.exposure_from_environment(&var);
        settings.oidc_from_environment(&var);
        settings.azure_from_environment(&var, problems);
        settings
    }

    /// These flags, over the environment, over the file that either names.
    pub(super) fn merged(
        &self,
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Self {
        let file = match self.file(&environment) {
            Some(path) => file::read(&path, problems),
            None => Self::default(),
        };
        let surroundings = Self::from_environment(&environment, problems);
        self.clone().or(surroundings).or(file)
    }

    /// The settings file, if a flag or variable names one.
    pub(super) fn file(&self, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
        let named = self.config.clone();
        named.or_else(|| environment("COUNTERSIGN_CONFIG"))
    }

    /// This layer's settings, completed by those of a weaker one.
    pub(super) fn or(self, weaker: Self) -> Self {
        // Each names the hub, so either of them overrides both of a weaker layer.
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
        macro_rules! first_of_both {
            ($($setting:ident),* $(,)?) => {
                Self { $($setting: self.$setting.or(weaker.$setting)),* }
            };
        }
        every_setting!(first_of_both)
    }

    /// The names of all settings, as flags and in the file.
    #[cfg(test)]
    pub(super) fn names() -> Vec<String> {
        macro_rules! named {
            ($($setting:ident),* $(,)?) => {
                vec![$(stringify!($setting).replace('_', "-")),*]
            };
        }
        every_setting!(named)
    }

    /// The names of the settings that `other` writes differently, as flags and in the file.
    pub(super) fn differing(&self, other: &Self) -> Vec<String> {
        let mut names = Vec::new();
        macro_rules! note_differing {
            ($($setting:ident),* $(,)?) => {
                $(if self.$setting != other.$setting {
                    names.push(stringify!($setting).replace('_', "-"));
                })*
            };
        }
        every_setting!(note_differing);
        names
    }
}

/// Any value, for a setting that is refused whatever its value.
fn anything<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    serde::de::IgnoredAny::deserialize(from).map(|_| Some(String::new()))
}
