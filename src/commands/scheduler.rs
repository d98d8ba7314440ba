//! `countersign scheduler`: the durable scheduler and its dashboard alone, and its backup.

use durabletask_scheduler::Retention;
use durabletask_scheduler_cli::{self as cli, CliError, ServeSettings, Weaker};

use super::{Exit, Fault, Outcome};
use crate::cli::SchedulerArgs;
use crate::config::{LogFormat, Settings, Written};
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
    let weaker = Weaker {
        listen: config.scheduler_listen,
        dashboard: config.dashboard_listen,
        data_dir: config.data_dir.clone(),
        task_hub: config.task_hub,
        log: config.log.filter.clone(),
        asks: true,
    };
    let mut serve = args.serve;
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
    // Payloads and the token are in there: only its owner may enter. A scheduler in memory
    // has its token there too.
    let folder = match &settings.scheduler.storage {
        durabletask_scheduler::Storage::Directory(folder) => folder,
        durabletask_scheduler::Storage::Memory => &config.data_dir,
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
