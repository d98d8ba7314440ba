//! `countersign mandate-key`: the keys that a front door signs mandates with.

use countersign_azure::Identity;
use serde_json::json;

use super::audit::{self, Recorder};
use super::folder::folder_of_keys;
use super::output;
use super::rotate::Copies;
use super::shared::Shared;
use super::{Exit, Fault, Outcome, load};
use crate::audit::Action;
use crate::cli::{MandateKeyCommand, ServeArgs};
use crate::data_dir::DataDir;
use crate::keys::{KeyMaterialError, KeyStorage, MandateKeyFile, State, add_mandate_key};

pub(super) async fn run(command: MandateKeyCommand) -> Outcome {
    match command {
        MandateKeyCommand::Rotate { copied, args } => rotate(copied, &args).await,
        MandateKeyCommand::Retire { id, args } => {
            let (keys, data) = open(&args).await?;
            let recorder = Recorder::beside(&data).await?;
            keys.retire(&id).await.map_err(fault)?;
            record(recorder, Action::RetireMandateKey, &id).await?;
            if args.json {
                return output::document(&json!({"id": id, "state": "retired"}));
            }
            output::line(&format!("{id}  retired"));
            Ok(())
        }
        MandateKeyCommand::List(args) => {
            let keys = open(&args).await?.0.list();
            let word = |state| match state {
                State::Signs => "signs",
                State::Counts => "counts",
                State::Retired => "retired",
            };
            if args.json {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|key| json!({"id": key.id, "state": word(key.state)}))
                    .collect();
                return output::document(&json!({"keys": keys}));
            }
            for key in keys {
                let word = match key.state {
                    State::Signs => "signing",
                    State::Counts => "valid",
                    State::Retired => "retired",
                };
                output::line(&format!("{}  {word}", key.id));
            }
            Ok(())
        }
    }
}

async fn rotate(copied: bool, args: &ServeArgs) -> Outcome {
    let (keys, data) = open(args).await?;
    let recorder = Recorder::beside(&data).await?;
    let shared = shared(&data).await?;
    let Some(shared) = shared else {
        let id = keys.rotate().await.map_err(fault)?;
        return rotated(recorder, &id, args).await;
    };
    if keys.has_copies() {
        let begun = keys.introduce().await.map_err(fault)?;
        // Before any front door signs with it.
        let added = add_mandate_key(&shared.database, &begun.id).await;
        added.map_err(fault)?;
        if !(copied && begun.resumed) {
            let copies = Copies {
                secret: "mandate-key",
                files: "mandate.pub and, where there is a front door, mandate.key",
                machines: "with a front door or worker",
                command: "mandate-key rotate",
            };
            return copies.first(&begun.id, args.json);
        }
        let id = open(args).await?.0.rotate().await.map_err(fault)?;
        rotated(recorder, &id, args).await?;
        if !args.json {
            output::note(
                "Copy mandate.key to every other machine with a front door once more: they sign with \
                 the old key until then, which is valid until you retire it.",
            );
        }
        return Ok(());
    }
    let id = keys.rotate().await.map_err(fault)?;
    let added = add_mandate_key(&shared.database, &id).await;
    added.map_err(fault)?;
    rotated(recorder, &id, args).await
}

async fn rotated(recorder: Option<Recorder>, id: &str, args: &ServeArgs) -> Outcome {
    record(recorder, Action::RotateMandateKey, id).await?;
    if args.json {
        return output::document(&json!({"id": id, "state": "signs"}));
    }
    output::line(&format!("{id}  signs from now on"));
    Ok(())
}

/// What the servers of the folder share, if it is there.
async fn shared(data: &DataDir) -> Result<Option<Shared>, Fault> {
    match data.path().exists() {
        true => Shared::of(data).await,
        false => Ok(None),
    }
}

/// Records what was done, unless the audit log is in another data folder.
async fn record(recorder: Option<Recorder>, action: Action, key: &str) -> Outcome {
    match recorder {
        Some(recorder) => recorder.record(&audit::local(action, key)).await,
        None => Ok(()),
    }
}

async fn open(args: &ServeArgs) -> Result<(MandateKeyFile, DataDir), Fault> {
    let config = load(&args.settings)?;
    let data = folder_of_keys(&config)?;
    let identity = Identity::new(&config.azure.identity);
    let place = KeyStorage::new(&data, &config.azure, &identity).map_err(Fault::failed)?;
    let keys = MandateKeyFile::open(place).await.map_err(fault)?;
    Ok((keys, data))
}

fn fault(error: KeyMaterialError) -> Fault {
    let exit = match error {
        KeyMaterialError::NoSuchMandateKey(_) => Exit::NotFound,
        KeyMaterialError::SignsStill(_) => Exit::NotAllowed,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
