//! `countersign config check`: what the settings come to, and whether what a start would open can
//! be opened and answers.

use std::time::Duration;

use countersign_activities::vault::SecretVault as _;
use countersign_azure::{Identity, KeyVault, KeyVaultSettings, WrappingKey};
use durabletask::{Client, Connection};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output;
use super::{Exit, Fault, Outcome};
use crate::app::{SettingsCheck, check_settings};
use crate::causes::in_one_line;
use crate::config::{Config, WrappingConfig};
use crate::data_dir::DataDir;
use crate::local_hub::{self, HUB_TOKEN};

/// How long each may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is said of the front door as a whole.
const FRONT_DOOR: &str = "front door";
/// How wide names are: as the longest.
const WIDTH: usize = 27;

pub(super) async fn check(config: Config, json: bool) -> Outcome {
    let identity = Identity::new(&config.azure.identity);
    let (settings_checks, hub, vault, keys_vault) = tokio::join!(
        check_settings(&config, &identity),
        try_hub(&config, &identity),
        try_vault(&config, &identity),
        try_keys_vault(&config, &identity)
    );
    let of_a_setting = settings_checks
        .iter()
        .any(|check| matches!(&check.outcome, Err(error) if error.is_of_a_setting()));
    let blocking: Vec<&str> = settings_checks
        .iter()
        .filter(|check| is_needed_to_start(check))
        .map(|check| check.name)
        .collect();
    let mut tried: Vec<(&str, Tried)> = settings_checks.into_iter().map(told_of).collect();
    if let (Some((_, front_door @ Ok(_))), false) = (
        tried.iter_mut().find(|(name, _)| *name == FRONT_DOOR),
        blocking.is_empty(),
    ) {
        *front_door = Err(format!("would not start: see {}", blocking.join(", ")));
    }
    tried.push(("task hub", hub));
    tried.push(("vault", vault));
    tried.extend(keys_vault.map(|tried| ("keys vault", tried)));
    let source = identity.source().await;
    match json {
        true => output::document(&document(&config, source, &tried))?,
        false => print(&config, source, &tried),
    }
    match tried.iter().all(|(_, outcome)| outcome.is_ok()) {
        true => Ok(()),
        false if of_a_setting => Err(Fault::quiet(Exit::Usage)),
        false => Err(Fault::quiet(Exit::Failed)),
    }
}

/// Whether a failed trial keeps a front door from starting. What is only not reachable now does
/// not: it starts, and is ready once that answers.
fn is_needed_to_start(check: &SettingsCheck) -> bool {
    match &check.outcome {
        Ok(_) => false,
        Err(error) => check.name != "issuer" || error.is_of_a_setting(),
    }
}

fn told_of(check: SettingsCheck) -> (&'static str, Tried) {
    (
        check.name,
        check.outcome.map_err(|error| in_one_line(&error)),
    )
}

fn document(config: &Config, identity: Option<&str>, tried: &[(&str, Tried)]) -> Value {
    let mut document = json!({
        "settings": config.shown(),
        "identity": identity,
        "warnings": config.warnings(),
    });
    for (name, outcome) in tried {
        let member = match *name {
            "task hub" => "hub",
            "vault" => "vault",
            _ => continue,
        };
        document[member] = told(outcome);
    }
    let checks = tried.iter().map(|(name, outcome)| {
        let mut check = told(outcome);
        check["name"] = json!(name);
        check
    });
    document["checks"] = checks.collect();
    document
}

fn print(config: &Config, identity: Option<&str>, tried: &[(&str, Tried)]) {
    let row = |name: &str, value: &str| output::line(&format!("{name:<WIDTH$} {value}"));
    for (name, value) in config.shown() {
        match value {
            Value::String(text) => row(&name, &text),
            other => row(&name, &other.to_string()),
        }
    }
    if let Some(source) = identity {
        row("identity that works", source);
    }
    for (name, outcome) in tried {
        match outcome {
            Ok(good) => row(name, good),
            Err(bad) => row(name, &format!("FAILED: {bad}")),
        }
    }
    for warning in config.warnings() {
        row("WARNING", &warning);
    }
}

type Tried = Result<String, String>;

fn told(tried: &Tried) -> Value {
    match tried {
        Ok(good) => json!({"ok": true, "detail": good}),
        Err(bad) => json!({"ok": false, "detail": bad}),
    }
}

async fn try_hub(config: &Config, identity: &Identity) -> Tried {
    let Some(text) = &config.connection_string else {
        return Ok("embedded; started by `countersign serve`".to_owned());
    };
    let connection = Connection::parse(text)
        .map_err(|error| in_one_line(&error))?
        .with_credential(identity.clone());
    let data = DataDir::at(&config.data_dir);
    // A check creates nothing: if there is no token, it presents none.
    let connection = match data
        .read_secret(HUB_TOKEN)
        .map_err(|error| in_one_line(&error))?
    {
        Some(_) => local_hub::presenting(&data, connection).map_err(|error| in_one_line(&error))?,
        None => connection,
    };
    let client = Client::new(&connection).map_err(|error| in_one_line(&error))?;
    match tokio::time::timeout(PATIENCE, client.hello()).await {
        Ok(Ok(())) => Ok(format!(
            "{} answers, hub {}",
            connection.endpoint(),
            connection.task_hub()
        )),
        Ok(Err(error)) => Err(in_one_line(&error)),
        Err(_) => Err(late(connection.endpoint())),
    }
}

async fn try_vault(config: &Config, identity: &Identity) -> Tried {
    let Some(settings) = &config.azure.key_vault else {
        let embedded = "embedded; opened by front door and worker".to_owned();
        return match &config.azure.vault_key_wrapping {
            Some(wrapping) => try_wrapping(wrapping, identity).await,
            None => Ok(embedded),
        };
    };
    try_key_vault(settings, identity).await
}

/// Wraps a key that is used for nothing, and unwraps it.
async fn try_wrapping(settings: &WrappingConfig, identity: &Identity) -> Tried {
    let key = WrappingKey::new(&settings.vault, settings.key.clone(), identity.clone());
    let key = key.map_err(|error| in_one_line(&error))?;
    let both_ways = async {
        let (by, wrapped) = key.wrap(&Zeroizing::new([0; 32])).await?;
        key.unwrap(&by, &wrapped).await.map(|_| by)
    };
    match tokio::time::timeout(PATIENCE, both_ways).await {
        Ok(Ok(by)) => Ok(format!("embedded; {by} wraps and unwraps its key")),
        Ok(Err(error)) => Err(in_one_line(&error)),
        Err(_) => Err(late(&settings.key.to_string())),
    }
}

/// The vault with the installation's keys, if it is another one.
async fn try_keys_vault(config: &Config, identity: &Identity) -> Option<Tried> {
    let settings = config.azure.keys_vault.as_ref()?;
    Some(try_key_vault(settings, identity).await)
}

async fn try_key_vault(settings: &KeyVaultSettings, identity: &Identity) -> Tried {
    let vault = KeyVault::new(settings, identity.clone()).map_err(|error| in_one_line(&error))?;
    match tokio::time::timeout(PATIENCE, vault.check()).await {
        Ok(Ok(())) => Ok(format!("{} answers", settings.address)),
        Ok(Err(error)) => Err(in_one_line(&error)),
        Err(_) => Err(late(&settings.address.to_string())),
    }
}

fn late(who: &str) -> String {
    format!("{who} did not answer within {} s", PATIENCE.as_secs())
}
