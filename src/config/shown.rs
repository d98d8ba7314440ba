//! The effective settings by the names of their flags, as `config check` shows them. What is
//! secret is not among them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{AuthMode, Config, Limits, LockMemory, LogFormat, Networks, OtlpConfig};
use crate::access::{MappedRole, OidcSettings};
use crate::duration;

impl Config {
    /// What the settings come to, each by the name of its flag.
    pub(crate) fn shown(&self) -> Map<String, Value> {
        let parts = [
            self.shown_addresses(),
            self.shown_approvals(),
            self.shown_callers(),
            shown_limits(&self.limits),
            shown_oidc(self.oidc.as_ref()),
            self.shown_hub_and_vault(),
            self.shown_process(),
        ];
        let members = parts.into_iter().filter_map(|part| match part {
            Value::Object(members) => Some(members),
            _ => None,
        });
        members.flatten().collect()
    }

    fn shown_addresses(&self) -> Value {
        let or_none = |address: Option<std::net::SocketAddr>| {
            address.map_or_else(|| "none".to_owned(), |address| address.to_string())
        };
        json!({
            "data-dir": self.data_dir.display().to_string(),
            "listen": self.listen.to_string(),
            "scheduler-listen": self.scheduler_listen.to_string(),
            "dashboard-listen": or_none(self.dashboard_listen),
            "metrics-listen": or_none(self.metrics_listen),
            "instance-link": self
                .instance_link
                .as_deref()
                .unwrap_or("the dashboard of this process"),
            "tls-certificate": file(self.tls.as_ref().map(|tls| tls.certificate.as_path())),
            "tls-key": file(self.tls.as_ref().map(|tls| tls.key.as_path())),
            "trusted-proxies": list(networks(&self.trusted_proxies)),
            "cors-origins": list(self.cors_origins.iter().cloned()),
            "public-url": list(self.public_urls.iter().map(ToString::to_string)),
        })
    }

    fn shown_approvals(&self) -> Value {
        let webhook = self.webhook.as_ref();
        let key_file = webhook.and_then(|webhook| webhook.secret_file.as_deref());
        json!({
            "approval-timeout": duration::text(self.approval_timeout),
            "require-approval": self.require_approval,
            "require-proof": self.require_proof,
            "approvals": self.approvals,
            "request-approvals": self.request_approvals,
            "approvers": match self.approvers.as_slice() {
                [] => "anyone with the role approver".to_owned(),
                groups => groups.join(","),
            },
            "approval-reminders": list(
                self.approval_reminders.iter().map(|time| duration::text(*time)),
            ),
            // The address of a webhook is often all that it takes to write to it.
            "webhook-url": if webhook.is_some() { "set (hidden)" } else { "none" },
            "webhook-secret-file": match (webhook, key_file) {
                (None, _) => "none: no webhook-url".to_owned(),
                (Some(_), None) => "webhook-secret in the data folder".to_owned(),
                (Some(_), path) => file(path),
            },
        })
    }

    fn shown_callers(&self) -> Value {
        json!({
            "auth": match self.auth {
                AuthMode::Token => "token",
                AuthMode::None => "none",
            },
            "admin-token": match self.admin_token {
                Some(_) => "set (hidden)",
                None => "in the data folder",
            },
        })
    }

    fn shown_hub_and_vault(&self) -> Value {
        let azure = &self.azure;
        let vault = azure.key_vault.as_ref();
        json!({
            "task-hub": self.task_hub,
            "connection-string": self
                .connection_string
                .as_deref()
                .unwrap_or("none: the embedded scheduler"),
            "key-vault": vault.map_or_else(
                || "none: the vault in the data folder".to_owned(),
                |vault| vault.address.to_string(),
            ),
            "keys-vault": match (&azure.keys_vault, vault) {
                (Some(vault), _) => vault.address.to_string(),
                (None, Some(_)) => "the vault of the accounts".to_owned(),
                (None, None) => "none: the keys in the data folder".to_owned(),
            },
            "vault-key-wrapped-by": azure.vault_key_wrapping.as_ref().map_or_else(
                || "none: the key is in clear in the data folder".to_owned(),
                |wrapping| wrapping.key.to_string(),
            ),
            "key-vault-emulator": vault.is_some_and(|vault| vault.emulator),
            "key-vault-ca-file": file(vault.and_then(|vault| vault.ca_file.as_deref())),
            "key-vault-api-version": vault
                .and_then(|vault| vault.api_version.as_deref())
                .unwrap_or("that of the SDK"),
            "database-url": self.database.as_ref().map_or_else(
                || "none: the data folder".to_owned(),
                |database| database.url.to_string(),
            ),
            "database-identity": self.database.as_ref().is_some_and(|database| database.tokens),
            "hub-database-url": self.hub_database.as_ref().map_or_else(
                || "none: the embedded task hub is in the data folder".to_owned(),
                |database| database.url.to_string(),
            ),
            "hub-database-identity": self
                .hub_database
                .as_ref()
                .is_some_and(|database| database.tokens),
            "azure-identity": azure.identity.selection.as_str(),
            "token-cache-age": duration::text(azure.cache.age),
            "token-cache-size": azure.cache.entries,
            "token-max-stale": duration::text(azure.cache.stale),
        })
    }

    fn shown_process(&self) -> Value {
        json!({
            "worker-wait": duration::text(self.worker_wait),
            "single-front-door": self.single_front_door,
            "retention": self.retention.to_string(),
            "lock-memory": match self.lock_memory {
                LockMemory::Auto => "auto",
                LockMemory::On => "on",
                LockMemory::Off => "off",
            },
            "log-format": match self.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "log": self.log.filter,
            "otlp-endpoint": otlp(&self.otlp),
        })
    }
}

fn shown_limits(limits: &Limits) -> Value {
    let rate = |rate: Option<std::num::NonZeroU32>| {
        rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string())
    };
    json!({
        "max-connections": limits.connections,
        "max-connections-per-address": limits.connections_per_address,
        "rate-per-address": rate(limits.rate_per_address),
        "rate-per-caller": rate(limits.rate_per_caller),
        "concurrency-per-caller": limits.concurrency_per_caller,
        "header-timeout": duration::text(limits.header_timeout),
        "body-timeout": duration::text(limits.body_timeout),
    })
}

fn shown_oidc(oidc: Option<&OidcSettings>) -> Value {
    let Some(oidc) = oidc else {
        return json!({ "oidc-issuer": "none: tokens of an issuer are not accepted" });
    };
    let roles = oidc.roles.iter().map(|(value, role)| {
        let named = MappedRole::NAMES.iter().find(|(_, known)| known == role);
        format!("{value}={}", named.map_or("", |(name, _)| name))
    });
    json!({
        "oidc-issuer": oidc.issuer_text,
        "oidc-audience": list(oidc.audiences.iter().cloned()),
        "oidc-jwks-url": oidc.jwks_url.as_ref().map_or_else(
            || "that of the issuer's discovery document".to_owned(),
            ToString::to_string,
        ),
        "oidc-ca-file": file(oidc.ca_file.as_deref()),
        "oidc-subject-claim": oidc.subject_claim,
        "oidc-name-claim": oidc.name_claim,
        "oidc-roles-claim": oidc.roles_claim,
        "oidc-groups-claim": oidc.groups_claim,
        "oidc-role-map": list(roles),
        "oidc-max-stale": duration::text(oidc.max_stale.to_std().unwrap_or(Duration::MAX)),
    })
}

/// Where traces and logs go.
fn otlp(config: &OtlpConfig) -> String {
    let to = |endpoint: &Option<String>| endpoint.clone().unwrap_or_else(|| "none".to_owned());
    if config.traces == config.logs {
        return to(&config.traces);
    }
    format!(
        "traces to {}, logs to {}",
        to(&config.traces),
        to(&config.logs)
    )
}

fn file(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

fn networks(networks: &Networks) -> impl Iterator<Item = String> {
    let all = networks.0.iter();
    all.map(|(address, bits)| format!("{address}/{bits}"))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.as_slice() {
        [] => "none".to_owned(),
        some => some.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    /// What other settings show: the file with settings itself, one that is refused, and one that
    /// becomes a connection string.
    const ELSEWHERE: [&str; 3] = ["config", "dashboard-approvals", "hub-endpoint"];

    #[test]
    fn every_setting_is_shown_and_no_secret() {
        let settings = Settings {
            oidc_issuer: Some("https://login.example".to_owned()),
            oidc_audience: Some("api".to_owned()),
            webhook_url: Some("https://chat.example/hooks/T0K3N".to_owned()),
            ..Settings::default()
        };
        let token = "an-administrators-token";
        let config = Config::resolve(&settings, |name| {
            (name == "COUNTERSIGN_ADMIN_TOKEN").then(|| token.to_owned())
        });
        let shown = config.unwrap().shown();
        let names = Settings::names();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            let elsewhere = ELSEWHERE.contains(&name.as_str());
            assert_ne!(shown.contains_key(&name), elsewhere, "{name}");
        }
        let text = Value::Object(shown).to_string();
        for secret in [token, "T0K3N"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
