//! `countersign rotate`: other values for secrets of the data folder, while it is in use.

use std::fs::File;

use countersign_activities::vault::{self, RotationError};
use serde_json::json;

use super::audit::{self, Recorder};
use super::client::{data_dir, folder_fault};
use super::output::{self, Progress};
use super::{Exit, Fault, Outcome};
use crate::audit::{Action, FieldChange};
use crate::cli::{KeyPlace, RotateCommand};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;
use crate::private_file;

/// Held by whoever rotates.
const LOCK: &str = "rotate.lock";

pub(super) fn run(command: RotateCommand) -> Outcome {
    match command {
        RotateCommand::VaultKey { place } => vault_key(&place),
    }
}

fn vault_key(place: &KeyPlace) -> Outcome {
    let (data, _lock) = take(place)?;
    let recorder = Recorder::beside(&data)?;
    let mut progress = Progress::new();
    let rotated = vault::rotate_key(data.path(), |now| {
        progress.show(&format!("{} of {} encrypted again", now.done, now.of));
    });
    progress.end();
    let rotated = rotated.map_err(|error| {
        let exit = match error {
            RotationError::NoVault(_) => Exit::NotFound,
            _ => Exit::Failed,
        };
        Fault::new(exit, format!("{error}; run it again, and it goes on"))
    })?;
    if let Some(recorder) = recorder {
        let before = rotated.before.join(", ");
        let change = FieldChange::new("key", Some(&before), Some(&rotated.key));
        let event = audit::local(Action::RotateSecret, "vault-key").changing(vec![change]);
        recorder.record(&event)?;
    }
    if place.json {
        return output::document(&json!({
            "secret": "vault-key",
            "key": rotated.key,
            "before": rotated.before,
            "resumed": rotated.resumed,
        }));
    }
    output::line(&format!(
        "vault-key  {}  encrypts all accounts",
        rotated.key
    ));
    Ok(())
}

/// The data folder, for one rotation at a time.
fn take(place: &KeyPlace) -> Result<(DataDir, File), Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    if !folder.is_dir() {
        return Err(Fault::new(
            Exit::NoFolder,
            format!("there is no data folder at {}", folder.display()),
        ));
    }
    let data = DataDir::open(&folder).map_err(folder_fault)?;
    let lock = private_file::open(&folder.join(LOCK)).map_err(Fault::failed)?;
    lock.try_lock().map_err(|_| {
        Fault::new(
            Exit::Failed,
            format!("another rotation runs in {}", folder.display()),
        )
    })?;
    Ok((data, lock))
}
