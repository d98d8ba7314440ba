//! `countersign scheduler`: the durable scheduler and its dashboard alone, and its backup.

use std::sync::Arc;

use countersign_azure::{DatabaseTokens, Identity};
use countersign_database::DatabaseUrl;
use durabletask_scheduler::Retention;
use durabletask_scheduler_cli::{self as cli, CliError, ServeSettings, Weaker};

use super::{Exit, Fault, Outcome};
use crate::cli::SchedulerArgs;
use crate::config::{DatabaseConfig, LogFormat, Settings, Written};
use crate::data_dir::DataDir;
use crate::{local_hub, shutdown, telemetry};

pub(super) async fn run(args: SchedulerArgs) -> Outcome {
    let flags = Settings {
        config: args.config,
        ..Settings::default()
    };
    let config = super::load(&flags)?;
    let written = Written::now(&flags);
    if let Some(cli::Command::Backup(backup)) = args.command {
        return tokio::task::spawn_blocking(move || cli::backup(&backup, &config.data_dir))
            .await
            .map_err(Fault::failed)?
            .map_err(fault);
    }
    let identity = Identity::new(&config.azure.identity);
    let weaker = Weaker {
        listen: config.scheduler_listen,
        dashboard: config.dashboard_listen,
        data_dir: config.data_dir.clone(),
        task_hub: config.task_hub,
        log: config.log.filter.clone(),
        asks: true,
        passwords: Some(Arc::new(DatabaseTokens::new(identity))),
    };
    let mut serve = args.serve;
    refuse_own_database(&serve, config.database.as_ref())?;
    let folder = serve.data_dir.clone().unwrap_or(config.data_dir);
    if serve.retention.is_none() && config.retention != Retention::default() {
        serve.retention = Some(config.retention.to_string());
    }
    let settings = ServeSettings::resolve(serve, &weaker).map_err(fault)?;
    let mut log = config.log;
    log.filter.clone_from(&settings.log);
    if settings.log_json {
        log.format = LogFormat::Json;
    }
    // The scheduler's own filter is kept, whatever the file says later.
    let follows = settings.log == weaker.log;
    let filter = telemetry::init(&log);
    // Payloads and the token are in there: only its owner may enter. A scheduler in memory, or over
    // a database, has its token there too.
    let folder = match &settings.scheduler.storage {
        durabletask_scheduler::Storage::Directory(folder) => folder,
        durabletask_scheduler::Storage::Memory | durabletask_scheduler::Storage::Database(_) => {
            &folder
        }
    };
    let data = DataDir::create(folder).map_err(Fault::failed)?;
    let token_file = local_hub::token_file(&data).map_err(Fault::failed)?;
    let settings = settings.ask_for(&token_file, local_hub::PLACE, local_hub::HOW);
    shutdown::reload_on_hangup(written, filter, follows).map_err(Fault::failed)?;
    let stop = shutdown::on_signal().map_err(Fault::failed)?;
    let _forgotten = Forgotten(data.clone());
    let ready = |at: &cli::Listening| {
        // If it cannot be written, only links to the dashboard are missing.
        if let Err(error) = local_hub::write_addresses(&data, at) {
            tracing::warn!(%error, "other parts on this data folder cannot find the dashboard");
        }
    };
    cli::serve(settings.map_err(fault)?, ready, stop)
        .await
        .map_err(fault)
}

/// Refuses the database and role of Countersign itself: the task hubs are not trusted with what is
/// in there.
fn refuse_own_database(serve: &cli::ServeArgs, own: Option<&DatabaseConfig>) -> Result<(), Fault> {
    // One that cannot be read is reported with the other settings.
    let hub: Option<DatabaseUrl> = serve
        .database_url
        .as_deref()
        .and_then(|url| url.parse().ok());
    match (hub, own) {
        (Some(hub), Some(own)) if hub.is_same_login(&own.url) => Err(Fault::new(
            Exit::Usage,
            "--database-url names the database and role that Countersign itself has \
             (COUNTERSIGN_DATABASE_URL): the task hubs need a role of their own, and better a \
             database of their own"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Removes the address file when the scheduler ends, unless it is killed.
struct Forgotten(DataDir);

impl Drop for Forgotten {
    fn drop(&mut self) {
        local_hub::remove_addresses(&self.0);
    }
}

fn fault(error: CliError) -> Fault {
    let exit = match error {
        CliError::Settings(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
