//! `countersign mandate-key`: the keys that a front door signs mandates with.

use countersign_azure::Identity;
use serde_json::json;

use super::output;
use super::{Exit, Fault, Outcome, load};
use crate::cli::{MandateKeyCommand, ServeArgs};
use crate::data_dir::DataDir;
use crate::keys::{KeyMaterialError, MandateKeyFile, Place, State};

pub(super) async fn run(command: MandateKeyCommand) -> Outcome {
    match command {
        MandateKeyCommand::Rotate(args) => {
            let id = open(&args).await?.rotate().await.map_err(fault)?;
            if args.json {
                return output::document(&json!({"id": id, "state": "signs"}));
            }
            output::line(&format!("{id}  signs from now on"));
            Ok(())
        }
        MandateKeyCommand::Retire { id, args } => {
            open(&args).await?.retire(&id).await.map_err(fault)?;
            if args.json {
                return output::document(&json!({"id": id, "state": "retired"}));
            }
            output::line(&format!("{id}  retired"));
            Ok(())
        }
        MandateKeyCommand::List(args) => {
            let keys = open(&args).await?.list();
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
                output::line(&format!("{}  {}", key.id, word(key.state)));
            }
            Ok(())
        }
    }
}

async fn open(args: &ServeArgs) -> Result<MandateKeyFile, Fault> {
    let config = load(&args.settings)?;
    let data = DataDir::at(&config.data_dir);
    let identity = Identity::new(&config.azure.identity);
    let place = Place::new(&data, &config.azure, &identity).map_err(Fault::failed)?;
    MandateKeyFile::open(place).await.map_err(fault)
}

fn fault(error: KeyMaterialError) -> Fault {
    let exit = match error {
        KeyMaterialError::NoSuchMandateKey(_) => Exit::NotFound,
        KeyMaterialError::SignsStill(_) => Exit::NotAllowed,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
