//! `countersign migrate`: from the data folder into the shared database and back, and the tables
//! of that database.

use std::path::Path;
use std::sync::Arc;

use countersign_azure::{DatabaseTokens, Identity};
use countersign_database::{Database, PasswordSource};
use serde_json::{Value, json};

use super::audit::LOCAL;
use super::folder::open_folder;
use super::output::{self, Progress};
use super::{Exit, Fault, Outcome, load};
use crate::causes::in_one_line;
use crate::cli::{MigrateCommand, SchemaArgs};
use crate::config::{Config, DatabaseConfig, Settings};
use crate::data_dir::DataDir;
use crate::keys::{self, KeyStorage};
use crate::migrate::{KeyPlaces, MigrateError, Moved, refuse_used, to_database, to_folder};

/// Where the settings of the servers are said to commands.
const SAID: [&str; 2] = ["COUNTERSIGN_DATABASE_URL", "COUNTERSIGN_CONFIG"];
/// How many connections it holds, besides the one that copies.
const CONNECTIONS: usize = 2;

pub(super) async fn run(command: MigrateCommand) -> Outcome {
    let (args, into_database) = match &command {
        MigrateCommand::Schema(args) => return schema(args).await,
        MigrateCommand::ToDatabase(args) => (args, true),
        MigrateCommand::ToFolder(args) => (args, false),
    };
    let config = load(&args.settings)?;
    refuse_apart(&config)?;
    let (data, database, keys) = open(&config).await?;
    let mut progress = Progress::new();
    let mut told = |text: &str| progress.show(text);
    let moved = match into_database {
        true => to_database(&data, &database, &keys, LOCAL, &mut told).await,
        false => to_folder(&data, &database, &keys, LOCAL, &mut told).await,
    };
    progress.end();
    let moved = moved.map_err(fault)?;
    match args.json {
        true => output::document(&document(&moved)),
        false => {
            told_in_words(&moved, into_database);
            Ok(())
        }
    }
}

/// Refuses an installation whose audit log cannot continue in another place.
fn refuse_apart(config: &Config) -> Result<(), Fault> {
    match &config.azure.key_vault {
        Some(_) => Err(fault(MigrateError::ChainedApart)),
        None => Ok(()),
    }
}

/// Creates the tables or brings them to this release, and lets other users work with them.
async fn schema(args: &SchemaArgs) -> Outcome {
    let config = load(&args.serve.settings)?;
    let found = database(&config)?;
    let passwords = passwords(found, &Identity::new(&config.azure.identity));
    let url = found.url.clone();
    let (_, before) = Database::look(url.clone(), passwords.clone())
        .await
        .map_err(Fault::failed)?;
    let database = Database::open(url, passwords, CONNECTIONS).await;
    let database = database.map_err(Fault::failed)?;
    for user in &args.grant_to {
        database.admit(user).await.map_err(Fault::failed)?;
    }
    if args.serve.json {
        return output::document(&json!({
            "schema": before.applied + i32::try_from(before.missing).unwrap_or_default(),
            "applied": before.missing,
            "grantedTo": args.grant_to,
        }));
    }
    output::line(&match before.missing {
        0 => "the schema is up to date".to_owned(),
        1 => "1 migration applied".to_owned(),
        some => format!("{some} migrations applied"),
    });
    for user in &args.grant_to {
        output::line(&format!("{user} may read and change what is in the tables"));
    }
    Ok(())
}

/// The database that the settings name.
fn database(config: &Config) -> Result<&DatabaseConfig, Fault> {
    config.database.as_ref().ok_or_else(|| {
        Fault::new(
            Exit::Usage,
            "name the database with --database-url or COUNTERSIGN_DATABASE_URL",
        )
    })
}

fn passwords(found: &DatabaseConfig, identity: &Identity) -> Option<Arc<dyn PasswordSource>> {
    found
        .tokens
        .then(|| Arc::new(DatabaseTokens::new(identity.clone())) as Arc<dyn PasswordSource>)
}

/// The folder, the database and the places of the keys that the settings name.
async fn open(config: &Config) -> Result<(DataDir, Database, KeyPlaces), Fault> {
    let found = database(config)?;
    let data = open_folder(&config.data_dir)?;
    let identity = Identity::new(&config.azure.identity);
    let tokens = passwords(found, &identity);
    let database = Database::open(found.url.clone(), tokens, CONNECTIONS).await;
    let database = database.map_err(Fault::failed)?;
    let place = KeyStorage::new(&data, &config.azure, &identity).map_err(Fault::failed)?;
    let wrapping = keys::vault_key_wrapping(&config.azure);
    let vault = keys::vault_key_file(data.path(), wrapping);
    Ok((data, database, KeyPlaces { place, vault }))
}

/// The database that a backup is restored into, once it is in a folder.
pub(super) struct Target(Config);

impl Target {
    /// The one that the settings name, if they name one; it has to be empty.
    pub(super) async fn named(folder: &Path) -> Result<Option<Self>, Fault> {
        let is_said = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !SAID.iter().any(is_said) {
            return Ok(None);
        }
        let settings = Settings {
            data_dir: Some(folder.display().to_string()),
            ..Settings::default()
        };
        let config = load(&settings)?;
        let Some(found) = &config.database else {
            return Ok(None);
        };
        refuse_apart(&config)?;
        let passwords = passwords(found, &Identity::new(&config.azure.identity));
        let database = Database::open(found.url.clone(), passwords, CONNECTIONS).await;
        let session = database.map_err(Fault::failed)?.transfer().await;
        let empty = refuse_used(&mut session.map_err(Fault::failed)?).await;
        empty.map_err(fault)?;
        Ok(Some(Self(config)))
    }

    /// Moves the installation that was restored into the folder.
    pub(super) async fn fill(self) -> Result<Moved, Fault> {
        let (data, database, keys) = open(&self.0).await?;
        let mut progress = Progress::new();
        let mut told = |text: &str| progress.show(text);
        let moved = to_database(&data, &database, &keys, LOCAL, &mut told).await;
        progress.end();
        moved.map_err(|error| {
            let folder = data.path().display();
            fault(error).and(&format!(
                "The backup is restored in {folder}: `countersign migrate to-database` moves it into \
                 the database"
            ))
        })
    }
}

pub(super) fn document(moved: &Moved) -> Value {
    let rows: Vec<Value> = moved
        .counts
        .iter()
        .map(|(rows, count)| json!({"of": rows, "count": count}))
        .collect();
    json!({
        "rows": rows,
        "auditHead": moved.head.to_string(),
        "finishedEarlierRun": moved.finished,
        "oldDatabases": moved.put_away.as_ref().map(|path| path.display().to_string()),
    })
}

pub(super) fn told_in_words(moved: &Moved, into_database: bool) {
    for (rows, count) in &moved.counts {
        output::line(&format!("{count:>10}  {rows}"));
    }
    let to = match into_database {
        true => "the database",
        false => "the data folder",
    };
    output::line(&format!("moved to {to}  audit head {}", moved.head));
    if moved.finished {
        output::note(
            "An earlier run had copied and compared everything. This one has finished it.",
        );
    }
    output::note(match into_database {
        true => {
            "Every row and every account's code was the same in both places. Start the servers with \
             --database-url from now on; before you start another machine, copy the key files to it."
        }
        false => {
            "Every row and every account's code was the same in both places. Start the server \
             without --database-url from now on. No process uses what is still in the database."
        }
    });
    if let Some(path) = &moved.put_away {
        output::note(&format!(
            "The old databases are in {}. Remove that folder when you no longer need them.",
            path.display()
        ));
    }
}

pub(super) fn fault(error: MigrateError) -> Fault {
    let exit = match &error {
        MigrateError::Nothing(_) => Exit::NoFolder,
        MigrateError::AlreadyShared(_)
        | MigrateError::AlreadyOwn(_)
        | MigrateError::UsedDatabase(_)
        | MigrateError::UsedFolder(_)
        | MigrateError::FolderInUse(_)
        | MigrateError::DatabaseInUse(_)
        | MigrateError::OtherDatabase { .. }
        | MigrateError::ChainedApart => Exit::NotAllowed,
        MigrateError::AuditBroken(_) | MigrateError::AuditIncomplete(_) => Exit::RecordIncomplete,
        _ => Exit::Failed,
    };
    Fault::new(exit, in_one_line(&error))
}
