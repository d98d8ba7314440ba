//! `countersign scheduler`: the durable scheduler and its dashboard alone, and its backup.

use durabletask_scheduler_cli::{self as cli, CliError, ServeSettings, Weaker};

use super::{Exit, Fault, Outcome};
use crate::cli::SchedulerArgs;
use crate::config::{LogFormat, Settings};
use crate::data_dir::DataDir;
use crate::{shutdown, telemetry};

pub(super) async fn run(args: SchedulerArgs) -> Outcome {
    let config = super::load(&Settings {
        config: args.config,
        ..Settings::default()
    })?;
    if let Some(cli::Command::Backup(backup)) = args.command {
        return tokio::task::spawn_blocking(move || cli::backup(&backup, &config.data_dir))
            .await
            .map_err(Fault::failed)?
            .map_err(fault);
    }
    let weaker = Weaker {
        listen: config.scheduler_listen,
        dashboard: config.dashboard_listen,
        data_dir: config.data_dir,
        task_hub: config.task_hub,
        log: config.log.filter.clone(),
    };
    let settings = ServeSettings::resolve(args.serve, &weaker).map_err(fault)?;
    let mut log = config.log;
    log.filter.clone_from(&settings.log);
    if settings.log_json {
        log.format = LogFormat::Json;
    }
    telemetry::init(&log);
    if let durabletask_scheduler::Storage::Directory(folder) = &settings.scheduler.storage {
        // Payloads are in there: only its owner may enter.
        DataDir::create(folder).map_err(Fault::failed)?;
    }
    let stop = shutdown::on_signal().map_err(Fault::failed)?;
    cli::serve(settings, stop).await.map_err(fault)
}

fn fault(error: CliError) -> Fault {
    let exit = match error {
        CliError::Settings(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
