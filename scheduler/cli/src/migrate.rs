//! Moves task hubs between a data folder and a database.

use std::io::{IsTerminal as _, Write as _};

use durabletask_scheduler::{Moved, move_to_database, move_to_folder};

use crate::args::{MigrateArgs, MigrateCommand, PlacesArgs};
use crate::{CliError, Weaker};

/// Moves all task hubs, and reports it. What the arguments leave unset is that of `weaker`.
///
/// # Errors
/// [`CliError::Migrate`], and [`CliError::Settings`] without a database.
pub fn migrate(args: &MigrateArgs, weaker: &Weaker) -> Result<(), CliError> {
    let (places, into_database) = match &args.command {
        MigrateCommand::ToDatabase(places) => (places, true),
        MigrateCommand::ToFolder(places) => (places, false),
    };
    let folder = places.data_dir.as_ref().unwrap_or(&weaker.data_dir);
    let storage = crate::settings::database_of(places.database_url.as_deref(), weaker);
    let Some(storage) = storage.map_err(CliError::Settings)? else {
        return Err(CliError::Settings(
            "name the database with --database-url or DURABLETASK_DATABASE_URL".to_owned(),
        ));
    };
    let shows = std::io::stderr().is_terminal();
    let mut told = |text: &str| {
        if shows {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
        }
    };
    let moved = match into_database {
        true => move_to_database(folder, &storage, &mut told),
        false => move_to_folder(folder, &storage, &mut told),
    };
    if shows {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
    report(&moved?, places, into_database);
    Ok(())
}

fn report(moved: &Moved, places: &PlacesArgs, into_database: bool) {
    let mut out = std::io::stdout().lock();
    let text = if places.json {
        let rows: serde_json::Map<_, _> = moved
            .counts
            .iter()
            .map(|(table, count)| ((*table).to_owned(), (*count).into()))
            .collect();
        serde_json::json!({
            "rows": rows,
            "finishedEarlierRun": moved.finished,
            "oldDatabase": moved.put_away.as_ref().map(|path| path.display().to_string()),
        })
        .to_string()
    } else {
        let mut lines: Vec<String> = moved
            .counts
            .iter()
            .map(|(table, count)| format!("{count:>10}  {table}"))
            .collect();
        lines.push(match into_database {
            true => "moved to the database. Start the scheduler with --database-url from now on.".to_owned(),
            false => "moved to the data folder. Start the scheduler without --database-url from now on. No \
                      scheduler uses what is still in the database."
                .to_owned(),
        });
        lines.push(match moved.finished {
            true => "An earlier run had copied and compared everything. This one has finished it."
                .to_owned(),
            false => "Every instance, entity and task hub is the same in both places.".to_owned(),
        });
        if let Some(path) = &moved.put_away {
            lines.push(format!(
                "The old database is {}. Remove it when you no longer need it.",
                path.display()
            ));
        }
        lines.join("\n")
    };
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
