//! Checks what a start would open of the settings, for `countersign config check`: nothing is
//! created and nothing runs.

mod folder;

use std::net::SocketAddr;

use chrono::Utc;
use countersign_activities::webhook::Webhook;
use countersign_azure::Identity;
use countersign_database::{Database, Look};
use zeroize::Zeroizing;

use super::backends::passwords;
use super::certificate::Certificate;
use super::parts::{self, bind};
use super::{AppError, Parts, hub_storage};
use crate::access::Oidc;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::keys;
use crate::ledger;
use crate::telemetry;

/// How many seconds clocks may differ without a word.
const CLOCKS: i64 = 5;

/// One thing that was tried, and what it is or why it cannot be used.
pub(crate) struct SettingsCheck {
    pub(crate) name: &'static str,
    pub(crate) outcome: Result<String, AppError>,
}

/// Opens what the settings name, besides task hub and vault.
pub(crate) async fn check_settings(config: &Config, identity: &Identity) -> Vec<SettingsCheck> {
    let taken = addresses(config).await;
    let free = taken.as_ref().is_ok_and(Vec::is_empty);
    let mut settings_checks = vec![
        SettingsCheck {
            name: "data folder",
            outcome: folder::check(config).await,
        },
        SettingsCheck {
            name: "addresses",
            outcome: taken.map(|taken| in_use(&taken)),
        },
        SettingsCheck {
            name: "front door",
            outcome: front_door(config, free),
        },
    ];
    let mut add = |name, outcome: Option<Result<String, AppError>>| {
        settings_checks.extend(outcome.map(|outcome| SettingsCheck { name, outcome }));
    };
    add("database", database(config, identity).await);
    let hub = hub_storage::try_database(config, identity).await;
    add(
        "task hub's database",
        hub.map(|tried| tried.map(|(at, look)| told(&at, &look))),
    );
    add("TLS", certificate(config).await);
    add("issuer", issuer(config).await);
    add("webhook", webhook(config));
    add("OpenTelemetry", collector(config));
    settings_checks
}

/// Looks at the shared database, and whether the data folder and its keys belong to it.
async fn database(config: &Config, identity: &Identity) -> Option<Result<String, AppError>> {
    let settings = config.database.as_ref()?;
    let looked = async {
        let passwords = passwords(settings, identity);
        let (database, look) = Database::look(settings.url.clone(), passwords).await?;
        if look.missing == 0 {
            let data = DataDir::at(&config.data_dir);
            ledger::would_share(&data, &database).await?;
            keys::would_agree(&database, &data).await?;
        }
        Ok(told(&settings.url.to_string(), &look))
    };
    Some(looked.await)
}

fn told(at: &str, look: &Look) -> String {
    let tls = match look.encrypted {
        true => "encrypted",
        false => "not encrypted",
    };
    let schema = match (look.applied, look.missing) {
        (0, _) => "no schema; the first start creates it".to_owned(),
        (applied, 0) => format!("schema {applied}"),
        (applied, missing) => {
            format!("schema {applied}; the first start applies {missing} migrations")
        }
    };
    let clock = match look.clock_off.abs() {
        0..=CLOCKS => String::new(),
        _ => format!(
            ", its clock differs by {} s, which has no effect",
            look.clock_off
        ),
    };
    format!("{at}: PostgreSQL {}, {tls}, {schema}{clock}", look.server)
}

/// Listens at each address for a moment. Those that are in use, which may be by a server that runs
/// with these settings.
async fn addresses(config: &Config) -> Result<Vec<String>, AppError> {
    let embedded = config.connection_string.is_none();
    let wanted: [(&str, Option<SocketAddr>); 4] = [
        ("--listen", Some(config.listen)),
        (
            "--scheduler-listen",
            embedded.then_some(config.scheduler_listen),
        ),
        (
            "--dashboard-listen",
            config.dashboard_listen.filter(|_| embedded),
        ),
        ("--metrics-listen", config.metrics_listen),
    ];
    let mut taken = Vec::new();
    for (flag, address) in wanted {
        let Some(address) = address else { continue };
        match bind(flag, address).await {
            Ok(_) => {}
            Err(AppError::AddressInUse { .. }) => taken.push(address.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

fn in_use(taken: &[String]) -> String {
    match taken {
        [] => "free".to_owned(),
        taken => format!(
            "{} in use: by this server, if it is running, or by another program",
            taken.join(", ")
        ),
    }
}

/// Whether a front door would start with these settings.
fn front_door(config: &Config, free: bool) -> Result<String, AppError> {
    let parts = match config.connection_string {
        Some(_) => Parts::FrontDoor,
        None => Parts::Everything,
    };
    parts::refuse_half(config, parts)?;
    Ok(match free {
        true => "would start".to_owned(),
        false => "would start once its addresses are free".to_owned(),
    })
}

async fn certificate(config: &Config) -> Option<Result<String, AppError>> {
    let opened = Certificate::open(config.tls.clone()?).await;
    let opened = opened.map(|_| "certificate and key can be used".to_owned());
    Some(opened.map_err(AppError::from))
}

async fn issuer(config: &Config) -> Option<Result<String, AppError>> {
    let settings = config.oidc.clone()?;
    let tried = async {
        let keys = Oidc::new(settings)?.try_issuer(Utc::now()).await?;
        Ok(format!("answers, with {keys} usable signing keys"))
    };
    Some(tried.await)
}

/// Sends nothing: people would read it.
fn webhook(config: &Config) -> Option<Result<String, AppError>> {
    let settings = config.webhook.as_ref()?;
    let data = DataDir::at(&config.data_dir);
    let key = match &settings.secret_file {
        Some(file) => parts::webhook_secret(&data, file),
        // The worker's own, which it makes itself.
        None => Ok(Zeroizing::new("0".repeat(32))),
    };
    let made = key.and_then(|key| Ok(Webhook::new(&settings.url, key)?));
    Some(made.map(|_| "address and key can be used; nothing was sent".to_owned()))
}

fn collector(config: &Config) -> Option<Result<String, AppError>> {
    let endpoint = config.otlp.traces.as_ref().or(config.otlp.logs.as_ref())?;
    let made = telemetry::otlp::log_exporter(endpoint);
    Some(match made {
        Ok(_) => Ok(format!("{endpoint} can be used; it was not contacted")),
        Err(error) => Err(error.into()),
    })
}
