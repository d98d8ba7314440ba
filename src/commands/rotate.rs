//! `countersign rotate`: new values for secrets of the data folder, while it is in use.

mod server_key;

use std::fs::File;

use chrono::{DateTime, SecondsFormat, Utc};
use countersign_activities::vault::{self, RotationError, SharedRotation, SharedRotationError};
use countersign_azure::Identity;
use serde_json::json;

use super::audit::{self, Recorder};
use super::folder::{existing_folder, folder_fault, folder_of_keys};
use super::key::from_now;
use super::output::{self, Progress};
use super::shared::Shared;
use super::{Exit, Fault, Outcome, load, wrapping};
use crate::access::secret;
use crate::audit::{Action, FieldChange};
use crate::cli::{KeyPlace, RotateCommand, ServeArgs};
use crate::data_dir::DataDir;
use crate::keys::{self, KeyStorage, SealRotation, WEBHOOK_SECRET, until_read};
use crate::private_file;

/// The lock of the rotating process.
const LOCK: &str = "rotate.lock";

pub(super) async fn run(command: RotateCommand) -> Outcome {
    match command {
        RotateCommand::VaultKey {
            copied,
            in_clear,
            place,
        } => vault_key(copied, in_clear, &place).await,
        RotateCommand::SealKey { copied, args } => seal_key(copied, &args).await,
        RotateCommand::ServerKey {
            overlap,
            copied,
            args,
        } => server_key::rotate(&overlap, copied, &args).await,
        RotateCommand::AdminToken { overlap, place } => {
            let (data, _lock) = take(&place)?;
            if data.existing_admin_token().map_err(folder_fault)?.is_none() {
                return Err(Fault::new(
                    Exit::NotFound,
                    "there is no admin-token in the data folder: where COUNTERSIGN_ADMIN_TOKEN gives \
                     it, set another one there and restart the front door",
                ));
            }
            let until = until(&overlap)?;
            let recorder = Recorder::beside(&data).await?;
            let token = data.rotate_admin_token(until).map_err(folder_fault)?;
            rotated(recorder, "admin-token", until, &token, &place).await
        }
        RotateCommand::WebhookSecret { overlap, place } => {
            let (data, _lock) = take(&place)?;
            if data
                .read_secret(WEBHOOK_SECRET)
                .map_err(folder_fault)?
                .is_none()
            {
                return Err(Fault::new(
                    Exit::NotFound,
                    "there is no webhook-secret in the data folder: no notices were sent, or \
                     --webhook-secret-file names another file",
                ));
            }
            let until = until(&overlap)?;
            let recorder = Recorder::beside(&data).await?;
            let key = secret::random_token("cs_hook_").map_err(Fault::failed)?;
            data.rotate_secret(WEBHOOK_SECRET, &key, until)
                .map_err(folder_fault)?;
            rotated(recorder, "webhook-secret", until, &key, &place).await
        }
    }
}

/// When the old value stops being valid; none for immediately.
fn until(overlap: &str) -> Result<Option<DateTime<Utc>>, Fault> {
    match overlap {
        "0" | "0s" => Ok(None),
        time => from_now("--overlap", time, Utc::now()).map(Some),
    }
}

/// Records and prints a secret that has another value.
async fn rotated(
    recorder: Option<Recorder>,
    name: &str,
    until: Option<DateTime<Utc>>,
    value: &str,
    place: &KeyPlace,
) -> Outcome {
    let until = until.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    if let Some(recorder) = recorder {
        let change = FieldChange::new("beforeCountsUntil", None, until.as_deref());
        let event = audit::local(Action::RotateSecret, name).changing(vec![change]);
        recorder.record(&event).await?;
    }
    if place.json {
        return output::document(&json!({
            "secret": name,
            "value": value,
            "beforeCountsUntil": until,
        }));
    }
    output::line(value);
    output::note(&match until {
        Some(until) => format!("This is the new {name}. The one before works until {until}."),
        None => format!("This is the new {name}. The previous one no longer works."),
    });
    Ok(())
}

async fn seal_key(copied: bool, args: &ServeArgs) -> Outcome {
    let config = load(&args.settings)?;
    let data = folder_of_keys(&config)?;
    let (_lock, shared) = match data.path().exists() {
        true => (Some(lock(&data)?), Shared::of(&data).await?),
        false => (None, None),
    };
    let identity = Identity::new(&config.azure.identity);
    let place = KeyStorage::new(&data, &config.azure, &identity).map_err(Fault::failed)?;
    let recorder = Recorder::beside(&data).await?;
    let again = |error| Fault::new(Exit::Failed, format!("{error}; run it again to continue"));
    let rotation = SealRotation::begin(&place).await.map_err(again)?;
    let (key, resumed) = (rotation.key().to_owned(), rotation.resumed);
    let has_copies = shared.is_some() && matches!(place, KeyStorage::Folder(_));
    if has_copies && !(copied && resumed) {
        let copies = Copies {
            secret: "seal-key",
            files: "seal.key",
            machines: "with a worker",
            command: "rotate seal-key",
        };
        return copies.first(&key, args.json);
    }
    output::note("waiting until all workers open with the new key");
    until_read(&place).await;
    rotation.finish().await.map_err(again)?;
    if let Some(recorder) = recorder {
        let change = FieldChange::new("key", None, Some(&key));
        let event = audit::local(Action::RotateSecret, "seal-key").changing(vec![change]);
        recorder.record(&event).await?;
    }
    if args.json {
        return output::document(&json!({"secret": "seal-key", "key": key, "resumed": resumed}));
    }
    output::line(&format!("seal-key  {key}  seals from now on"));
    if has_copies {
        output::note(
            "Copy seal.key, or seal.pub to a machine without a worker, once more: their front doors \
             seal with the old key until then, which workers still open.",
        );
    }
    Ok(())
}

async fn vault_key(copied: bool, in_clear: bool, place: &KeyPlace) -> Outcome {
    let (data, _lock) = take(place)?;
    let wrapping = wrapping::named(Some(data.path()))?;
    if in_clear && wrapping.is_none() {
        return Err(Fault::new(
            Exit::Usage,
            "--in-clear: set COUNTERSIGN_VAULT_KEY_WRAPPED_BY to the key that wraps the present one",
        ));
    }
    let keys = keys::vault_key_file(data.path(), wrapping);
    let keys = match in_clear {
        true => keys.adding_in_clear(),
        false => keys,
    };
    let shared = Shared::of(&data).await?;
    let recorder = Recorder::beside(&data).await?;
    let mut progress = Progress::new();
    let told = |now: vault::Progress| {
        progress.show(&format!("{} of {} accounts re-encrypted", now.done, now.of));
    };
    let rotated = match &shared {
        Some(shared) => {
            let rotated = vault::rotate_shared_key(&shared.database, &keys, copied, told).await;
            progress.end();
            match rotated.map_err(shared_rotation_fault)? {
                SharedRotation::Done(rotated) => rotated,
                SharedRotation::Copy { key } => {
                    let copies = Copies {
                        secret: "vault-key",
                        files: "vault.key",
                        machines: "with a front door or worker",
                        command: "rotate vault-key",
                    };
                    return copies.first(&key, place.json);
                }
            }
        }
        None => {
            let rotated = vault::rotate_key(data.path(), &keys, told);
            progress.end();
            rotated.map_err(|error| {
                let exit = match error {
                    RotationError::NoVault(_) => Exit::NotFound,
                    _ => Exit::Failed,
                };
                Fault::new(exit, format!("{error}; run it again to continue"))
            })?
        }
    };
    if let Some(recorder) = recorder {
        let before = rotated.before.join(", ");
        let change = FieldChange::new("key", Some(&before), Some(&rotated.key));
        let event = audit::local(Action::RotateSecret, "vault-key").changing(vec![change]);
        recorder.record(&event).await?;
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
    if shared.is_some() {
        output::note(
            "Copy vault.key to every other machine once more: the old key is still in theirs.",
        );
    }
    Ok(())
}

/// Files with a new key that have to be on other machines before it is used.
pub(super) struct Copies {
    /// The key's name.
    pub(super) secret: &'static str,
    pub(super) files: &'static str,
    /// Which of the machines on the database need them.
    pub(super) machines: &'static str,
    /// The command that goes on.
    pub(super) command: &'static str,
}

impl Copies {
    /// Says that the new key has to be copied first.
    pub(super) fn first(&self, key: &str, json: bool) -> Outcome {
        let Self {
            secret,
            files,
            machines,
            command,
        } = self;
        if json {
            output::document(&json!({"secret": secret, "newKey": key, "next": "copy"}))?;
        } else {
            output::line(&format!(
                "{secret}  {key}  is in {files}, and is not used yet"
            ));
            output::note(&format!(
                "Copy {files} to every other machine {machines} on this database, then run \
                 `countersign {command} --copied` here. Running processes notice.",
            ));
        }
        Err(Fault::quiet(Exit::StillRunning))
    }
}

fn shared_rotation_fault(error: SharedRotationError) -> Fault {
    let exit = match error {
        SharedRotationError::NoVault => Exit::NotFound,
        _ => Exit::Failed,
    };
    Fault::new(exit, format!("{error}; run it again to continue"))
}

/// The data folder, for one rotation at a time.
fn take(place: &KeyPlace) -> Result<(DataDir, File), Fault> {
    let data = existing_folder(place.data_dir.as_deref())?;
    let lock = lock(&data)?;
    Ok((data, lock))
}

fn lock(data: &DataDir) -> Result<File, Fault> {
    let lock = private_file::open(&data.path().join(LOCK)).map_err(Fault::failed)?;
    lock.try_lock().map_err(|_| {
        Fault::new(
            Exit::Failed,
            format!("another rotation runs in {}", data.path().display()),
        )
    })?;
    Ok(lock)
}
