//! `countersign config check`: prints the effective configuration, and checks whether task hub and vault
//! answer.

use std::error::Error as StdError;
use std::time::Duration;

use countersign_activities::vault::SecretVault as _;
use countersign_azure::{Identity, KeyVault};
use durabletask::{Client, Connection};
use serde_json::{Value, json};

use super::output;
use super::{Exit, Fault, Outcome};
use crate::config::{AuthMode, Config, LockMemory, OtlpConfig};
use crate::data_dir::DataDir;
use crate::duration;
use crate::local_hub::{self, HUB_TOKEN};

/// How long each may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn check(config: Config, json: bool) -> Outcome {
    let identity = Identity::new(&config.azure.identity);
    let (hub, vault) = tokio::join!(try_hub(&config, &identity), try_vault(&config, &identity));
    let settings = effective(&config);
    if json {
        output::document(&json!({
            "settings": settings,
            "identity": identity.source().await,
            "hub": told(&hub),
            "vault": told(&vault),
        }))?;
    } else {
        if let Value::Object(settings) = &settings {
            for (name, value) in settings {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                output::line(&format!("{name:<22} {value}"));
            }
        }
        if let Some(source) = identity.source().await {
            output::line(&format!("{:<22} {source}", "identity that works"));
        }
        for (name, outcome) in [("task hub", &hub), ("vault", &vault)] {
            match outcome {
                Ok(good) => output::line(&format!("{name:<22} {good}")),
                Err(bad) => output::line(&format!("{name:<22} FAILED: {bad}")),
            }
        }
    }
    if hub.is_ok() && vault.is_ok() {
        Ok(())
    } else {
        Err(Fault::quiet(Exit::Failed))
    }
}

type Tried = Result<String, String>;

fn told(tried: &Tried) -> Value {
    match tried {
        Ok(good) => json!({"ok": true, "detail": good}),
        Err(bad) => json!({"ok": false, "detail": bad}),
    }
}

/// The settings by the names of their flags, without secrets.
fn effective(config: &Config) -> Value {
    let azure = &config.azure;
    let auth = match config.auth {
        AuthMode::Token => "token",
        AuthMode::None => "none",
    };
    json!({
        "data-dir": config.data_dir.display().to_string(),
        "listen": config.listen.to_string(),
        "scheduler-listen": config.scheduler_listen.to_string(),
        "dashboard-listen": config
            .dashboard_listen
            .map_or_else(|| "none".to_owned(), |address| address.to_string()),
        "metrics-listen": config
            .metrics_listen
            .map_or_else(|| "none".to_owned(), |address| address.to_string()),
        "instance-link": config
            .instance_link
            .as_deref()
            .unwrap_or("the dashboard of this process"),
        "approval-timeout": duration::text(config.approval_timeout),
        "require-approval": config.require_approval,
        "require-proof": config.require_proof,
        "approvals": config.approvals,
        "request-approvals": config.request_approvals,
        "approvers": if config.approvers.is_empty() {
            "anyone with the role approver".to_owned()
        } else {
            config.approvers.join(",")
        },
        "approval-reminders": config
            .approval_reminders
            .iter()
            .map(|time| duration::text(*time))
            .collect::<Vec<_>>()
            .join(","),
        "webhook-url": if config.webhook.is_some() {
            "set (hidden)"
        } else {
            "none"
        },
        "auth": auth,
        "admin-token": if config.admin_token.is_some() {
            "set (hidden)"
        } else {
            "in the data folder"
        },
        "oidc-issuer": config
            .oidc
            .as_ref()
            .map_or("none: tokens of an issuer are not accepted", |oidc| oidc.issuer_text.as_str()),
        "oidc-audience": config
            .oidc
            .as_ref()
            .map(|oidc| oidc.audiences.join(", "))
            .unwrap_or_default(),
        "task-hub": config.task_hub,
        "connection-string": config
            .connection_string
            .as_deref()
            .unwrap_or("none: the embedded scheduler"),
        "key-vault": azure.key_vault.as_ref().map_or_else(
            || "none: the vault in the data folder".to_owned(),
            |vault| vault.address.to_string(),
        ),
        "keys-vault": azure.keys_vault.as_ref().map_or_else(
            || match azure.key_vault {
                Some(_) => "the vault of the accounts".to_owned(),
                None => "none: the keys in the data folder".to_owned(),
            },
            |vault| vault.address.to_string(),
        ),
        "key-vault-emulator": azure.key_vault.as_ref().is_some_and(|vault| vault.emulator),
        "azure-identity": azure.identity.selection.as_str(),
        "token-cache-age": duration::text(azure.cache.age),
        "token-cache-size": azure.cache.entries,
        "token-max-stale": duration::text(azure.cache.stale),
        "worker-wait": duration::text(config.worker_wait),
        "single-front-door": config.single_front_door,
        "database-url": config.database.as_ref().map_or_else(
            || "none: the data folder".to_owned(),
            |database| database.url.to_string(),
        ),
        "database-identity": config.database.as_ref().is_some_and(|database| database.tokens),
        "retention": config.retention.to_string(),
        "lock-memory": match config.lock_memory {
            LockMemory::Auto => "auto",
            LockMemory::On => "on",
            LockMemory::Off => "off",
        },
        "log": config.log.filter,
        "otlp-endpoint": otlp(&config.otlp),
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

async fn try_hub(config: &Config, identity: &Identity) -> Tried {
    let Some(text) = &config.connection_string else {
        return Ok("embedded; started by `countersign serve`".to_owned());
    };
    let connection = Connection::parse(text)
        .map_err(|error| chain(&error))?
        .with_credential(identity.clone());
    let data = DataDir::at(&config.data_dir);
    // A check creates nothing: if there is no token, it presents none.
    let connection = match data.read_secret(HUB_TOKEN).map_err(|error| chain(&error))? {
        Some(_) => local_hub::presenting(&data, connection).map_err(|error| chain(&error))?,
        None => connection,
    };
    let client = Client::new(&connection).map_err(|error| chain(&error))?;
    match tokio::time::timeout(PATIENCE, client.hello()).await {
        Ok(Ok(())) => Ok(format!(
            "{} answers, hub {}",
            connection.endpoint(),
            connection.task_hub()
        )),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(late(connection.endpoint())),
    }
}

async fn try_vault(config: &Config, identity: &Identity) -> Tried {
    let Some(settings) = &config.azure.key_vault else {
        return Ok("embedded; opened by front door and worker".to_owned());
    };
    let vault = KeyVault::new(settings, identity.clone()).map_err(|error| chain(&error))?;
    match tokio::time::timeout(PATIENCE, vault.check()).await {
        Ok(Ok(())) => Ok(format!("{} answers", settings.address)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(late(&settings.address.to_string())),
    }
}

fn late(who: &str) -> String {
    format!("{who} did not answer within {} s", PATIENCE.as_secs())
}

/// An error and its causes in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
