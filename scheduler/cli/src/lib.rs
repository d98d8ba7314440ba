//! The command line of `durabletask-scheduler`, as a library so that a program that
//! embeds the scheduler can offer the same commands.
//!
//! [`run`] does what a [`Cli`] says. [`serve`], [`backup`] and [`migrate`] are its commands.

mod args;
mod error;
mod migrate;
mod serve;
mod settings;

use std::io::Write as _;
use std::process::ExitCode;

pub use args::{BackupArgs, Cli, Command, MigrateArgs, MigrateCommand, PlacesArgs, ServeArgs};
pub use error::CliError;
pub use migrate::migrate;
pub use serve::{Listening, serve};
pub use settings::{ServeSettings, Weaker, default_node_name};

/// The stand-alone program's default data folder.
pub const DEFAULT_DATA_DIR: &str = "./.durabletask";

/// Runs the command and returns the process's exit code: 0 done,
/// 1 failed, 2 wrong settings.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "durabletask-scheduler: {error}");
            ExitCode::from(if matches!(error, CliError::Settings(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Some(Command::Backup(args)) => backup(&args, std::path::Path::new(DEFAULT_DATA_DIR)),
        Some(Command::Migrate(args)) => migrate(&args, &Weaker::stand_alone()),
        None => {
            let settings = ServeSettings::resolve(cli.serve, &Weaker::stand_alone())?;
            serve::init_log(&settings)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(CliError::Io)?;
            runtime.block_on(async {
                let stop = serve::stop_signal().map_err(CliError::Io)?;
                serve(settings, |_| (), stop).await
            })
        }
    }
}

/// Writes a backup and reports it. `folder` is the data folder if the arguments name none.
///
/// # Errors
/// [`CliError::Backup`], and [`CliError::Settings`] where the task hubs are in a database.
pub fn backup(args: &BackupArgs, folder: &std::path::Path) -> Result<(), CliError> {
    if args.database_url.is_some() {
        return Err(CliError::Settings(
            "the task hubs are in a PostgreSQL database (DURABLETASK_DATABASE_URL), which is backed up with its \
             own tools, such as `pg_dump --schema=durabletask`; leave the variable out to back up a data folder"
                .to_owned(),
        ));
    }
    let folder = args.data_dir.as_deref().unwrap_or(folder);
    let report = durabletask_scheduler::backup(folder, &args.file)?;
    let text = if args.json {
        serde_json::json!({"file": args.file, "bytes": report.bytes}).to_string()
    } else {
        format!(
            "{} holds a copy of {} ({} bytes). To restore it, put it as scheduler.sqlite3 into an empty data folder",
            args.file.display(),
            folder.display(),
            report.bytes
        )
    };
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    Ok(())
}
