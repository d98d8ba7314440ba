//! `countersign key`: callers other than the administrator.

use std::path::Path;

use chrono::{SecondsFormat, Utc};
use serde_json::{json, to_value};

use super::audit;
use super::client::data_dir;
use super::output;
use super::{Exit, Fault, Outcome};
use crate::access::{KeyError, KeyStore};
use crate::app::ACCESS_DATABASE;
use crate::audit::Action;
use crate::cli::{KeyCommand, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;

pub(super) fn run(command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Create { name, role, place } => {
            let (record, key) = open(&place)?
                .create(&name, role, Utc::now())
                .map_err(fault)?;
            audit::record(&place, &audit::local(Action::CreateKey, &name))?;
            if place.json {
                let mut document = to_value(record).map_err(Fault::failed)?;
                document["key"] = json!(key.as_str());
                return output::document(&document);
            }
            output::line(&key);
            output::note(&format!(
                "This is the key of {name} ({role}). It is not shown again."
            ));
            Ok(())
        }
        KeyCommand::List { place } => {
            let keys = open(&place)?.list().map_err(fault)?;
            if place.json {
                return output::document(&json!({"keys": keys}));
            }
            for key in keys {
                let made = key.created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
                let state = match key.revoked_at {
                    Some(at) => {
                        format!("revoked {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
                    }
                    None => "active".to_owned(),
                };
                output::line(&format!(
                    "{}  {:<8}  {}  made {made}  {state}",
                    key.id, key.role, key.name
                ));
            }
            Ok(())
        }
        KeyCommand::Revoke { name, place } => {
            open(&place)?.revoke(&name, Utc::now()).map_err(fault)?;
            audit::record(&place, &audit::local(Action::RevokeKey, &name))?;
            if place.json {
                return output::document(&json!({"name": name, "revoked": true}));
            }
            output::line(&format!("{name}  revoked"));
            Ok(())
        }
    }
}

fn open(place: &KeyPlace) -> Result<KeyStore, Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let data = DataDir::create(Path::new(&folder)).map_err(Fault::failed)?;
    KeyStore::open(&data.path().join(ACCESS_DATABASE)).map_err(fault)
}

fn fault(error: KeyError) -> Fault {
    let exit = match error {
        KeyError::Unknown(_) => Exit::NotFound,
        KeyError::BadName => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
