//! `countersign scheduler`: the durable scheduler and its dashboard alone, its backup, and the way of
//! its task hubs into a database and back.

use std::sync::Arc;

use countersign_azure::{DatabaseTokens, Identity};
use countersign_database::{DatabaseUrl, Login, refuse_reach};
use durabletask_scheduler::{PasswordSource, Retention, Storage, kept_elsewhere};
use durabletask_scheduler_cli::{self as cli, CliError, ServeSettings, Weaker};

use super::{Exit, Fault, Outcome};
use crate::causes::in_one_line;
use crate::cli::SchedulerArgs;
use crate::config::{DatabaseConfig, LogFormat, Settings, Written};
use crate::data_dir::{DataDir, NotedFile};
use crate::{local_hub, shutdown, telemetry};

pub(super) async fn run(args: SchedulerArgs) -> Outcome {
    let flags = Settings {
        config: args.config,
        ..Settings::default()
    };
    let config = super::load(&flags)?;
    let written = Written::now(&flags);
    let identity = Identity::new(&config.azure.identity);
    let tokens: Arc<dyn PasswordSource> = Arc::new(DatabaseTokens::new(identity.clone()));
    let weaker = Weaker {
        listen: config.scheduler_listen,
        dashboard: config.dashboard_listen,
        data_dir: config.data_dir.clone(),
        task_hub: config.task_hub,
        log: config.log.filter.clone(),
        asks: true,
        database: config.hub_database.as_ref().map(|hub| hub.url.clone()),
        tokens: config.hub_database.as_ref().is_some_and(|hub| hub.tokens),
        passwords: Some(Arc::clone(&tokens)),
    };
    if let Some(command) = args.command {
        let working = move || match command {
            cli::Command::Backup(backup) => cli::backup(&backup, &weaker.data_dir),
            cli::Command::Migrate(migrate) => cli::migrate(&migrate, &weaker),
        };
        let worked = tokio::task::spawn_blocking(working).await;
        return worked.map_err(Fault::failed)?.map_err(fault);
    }
    let mut serve = args.serve;
    refuse_own_database(&serve, config.database.as_ref())?;
    let folder = serve.data_dir.clone().unwrap_or(config.data_dir);
    if serve.retention.is_none() && config.retention != Retention::default() {
        serve.retention = Some(config.retention.to_string());
    }
    let settings = ServeSettings::resolve(serve, &weaker).map_err(fault)?;
    if let Storage::Database(hub) = &settings.scheduler.storage {
        let own = config.database.as_ref().map(|own| Login {
            url: own.url.clone(),
            passwords: own.tokens.then_some(tokens),
        });
        let hub = Login {
            url: hub.url.clone(),
            passwords: hub.passwords.clone(),
        };
        let refused = refuse_reach(own.as_ref(), &hub).await;
        refused.map_err(|error| Fault::new(Exit::Failed, in_one_line(&error)))?;
    }
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
        Storage::Directory(folder) => folder,
        Storage::Memory | Storage::Database(_) => &folder,
    };
    let data = DataDir::create(folder).map_err(Fault::failed)?;
    let is_here = matches!(settings.scheduler.storage, Storage::Directory(_));
    if is_here
        && kept_elsewhere(data.path())
            .map_err(Fault::failed)?
            .is_none()
    {
        data.refuse_missing(&[NotedFile::Hub])
            .map_err(Fault::failed)?;
    }
    let token_file = local_hub::token_file(&data).map_err(Fault::failed)?;
    let settings = settings.ask_for(&token_file, local_hub::PLACE, local_hub::HOW);
    shutdown::reload_on_hangup(written, filter, follows).map_err(Fault::failed)?;
    let stop = shutdown::on_signal().map_err(Fault::failed)?;
    let _forgotten = Forgotten(data.clone());
    let ready = |at: &cli::Listening| {
        if let Err(error) = data.note_files() {
            tracing::warn!(%error, "a start would not notice that a file of the data folder is missing");
        }
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
