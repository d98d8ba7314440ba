//! `countersign backup`: an installation in one file.

use std::path::Path;

use age::Identity;
use chrono::SecondsFormat;
use serde_json::{Value, json, to_value};

use super::audit::{self, LOCAL, Recorder};
use super::folder::{data_dir, folder_fault};
use super::output;
use super::shared::Shared;
use super::{Exit, Fault, Outcome, migrate, wrapping};
use crate::audit::{Action, FieldChange, Head};
use crate::backup::{self, BackupError, Contents, Manifest, Opening, Protection, Unwrapping};
use crate::causes::in_one_line;
use crate::cli::{BackupCommand, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;

/// Its name in the audit log.
const SUBJECT: &str = "installation";

pub(super) async fn run(command: BackupCommand) -> Outcome {
    match command {
        BackupCommand::Create {
            file,
            recipients,
            identity,
            unencrypted,
            clear,
            place,
        } => {
            let protection = match (recipients.is_empty(), unencrypted && clear) {
                (false, _) => Protection::recipients(&recipients).map_err(fault)?,
                (true, true) => Protection::None,
                (true, false) => {
                    return Err(Fault::new(
                        Exit::Usage,
                        "say who can open the backup with --recipient age1..., the public key that \
                         `age-keygen -o FILE` prints; keep FILE away from this machine",
                    ));
                }
            };
            create(Path::new(&file), &protection, identity.as_deref(), &place).await
        }
        BackupCommand::Verify {
            file,
            identity,
            head,
            json,
        } => verify(Path::new(&file), identity.as_deref(), head.as_deref(), json),
        BackupCommand::Restore {
            file,
            identity,
            place,
        } => restore(Path::new(&file), identity.as_deref(), &place).await,
    }
}

async fn create(
    file: &Path,
    protection: &Protection,
    identity: Option<&str>,
    place: &KeyPlace,
) -> Outcome {
    let identities = identities(identity)?;
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    if !folder.is_dir() {
        return Err(fault(BackupError::Nothing(folder)));
    }
    let data = DataDir::open(&folder).map_err(folder_fault)?;
    // Before it is made, so that it is in the backup, and that none is made unnoticed.
    if let Some(recorder) = Recorder::beside(&data).await? {
        let recipients = match protection {
            Protection::None => "nobody: in clear".to_owned(),
            Protection::For(_) => protection.named().join(", "),
        };
        let change = FieldChange::new("recipients", None, Some(&recipients));
        recorder
            .record(&audit::local(Action::Backup, SUBJECT).changing(vec![change]))
            .await?;
    }
    let unwrapping = Unwrapping {
        by: wrapping::named(Some(&folder))?,
        required: true,
    };
    let opening = Opening {
        protection,
        identities: &identities,
        unwrapping: &unwrapping,
    };
    let made = match Shared::of(&data).await? {
        Some(shared) => {
            let source = shared.into_backup_source(unwrapping.by.clone());
            backup::create_shared(&data, &source, file, &opening).await
        }
        None => backup::create(&data, file, &opening),
    };
    let made = made.map_err(fault)?;
    if let Some(key) = &made.contents.vault_key_wrapped_by {
        output::note(&format!(
            "Restoring it needs {key}: without that key it opens no account. Keep the key's own backup, \
             or protect it from being purged."
        ));
    }
    if let Some(hub) = &made.hub_database {
        output::note(&format!(
            "The task hub is in the database {hub}, which is not in this backup. Back it up with the \
             database's own tools, such as `pg_dump --schema=durabletask`. A hub that is older or newer than \
             the rest is safe: what it lacks is submitted again."
        ));
    }
    for name in &made.left_out {
        output::note(&format!(
            "left out: {name} in the data folder is not part of the installation"
        ));
    }
    if place.json {
        return output::document(&json!({
            "file": file.display().to_string(),
            "bytes": made.bytes,
            "recipients": protection.named(),
            "opened": made.opened,
            "pausedMilliseconds": u64::try_from(made.paused.as_millis()).unwrap_or(u64::MAX),
            "leftOut": made.left_out,
            "hubDatabase": made.hub_database,
            "contents": to_value(&made.contents).map_err(Fault::failed)?,
        }));
    }
    output::line(&format!(
        "made  {}  {} bytes  {}",
        file.display(),
        made.bytes,
        in_words(&made.contents)
    ));
    output::note(match (protection, made.opened) {
        (Protection::None, _) => {
            "It is not encrypted: anyone who reads it has the secrets of all accounts."
        }
        (_, true) => "It was opened again and checked.",
        (_, false) => {
            "What is in it was checked before it was encrypted, and it was read back. Open it with \
             `countersign backup verify` where the identity is."
        }
    });
    Ok(())
}

fn verify(file: &Path, identity: Option<&str>, head: Option<&str>, json: bool) -> Outcome {
    let head = head
        .map(|text| {
            Head::parse(text).ok_or_else(|| {
                Fault::new(
                    Exit::Usage,
                    "--head: write it as SEQUENCE:HASH, as `audit verify` prints it",
                )
            })
        })
        .transpose()?;
    let unwrapping = unwrapping()?;
    let found = backup::verify(file, &identities(identity)?, head.as_ref(), &unwrapping);
    let found = found.map_err(fault)?;
    say_if_closed(&found.contents, &unwrapping);
    if json {
        let mut document = about(&found.manifest)?;
        document["encrypted"] = json!(found.encrypted);
        document["whole"] = json!(true);
        return output::document(&document);
    }
    output::line(&format!(
        "whole  made {}  {}",
        made_at(&found.manifest),
        in_words(&found.contents)
    ));
    if !found.encrypted {
        output::note("It is not encrypted: anyone who reads it has the secrets of all accounts.");
    }
    Ok(())
}

async fn restore(file: &Path, identity: Option<&str>, place: &KeyPlace) -> Outcome {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let unwrapping = unwrapping()?;
    // Before anything is written: it may have an installation.
    let target = migrate::Target::named(&folder).await?;
    let restored = backup::restore(file, &identities(identity)?, &folder, LOCAL, &unwrapping).await;
    let restored = restored.map_err(|error| match (&error, &target) {
        (BackupError::Used { .. }, Some(_)) => fault(error).and(
            "If an earlier run has restored it and was interrupted then, `countersign migrate \
             to-database` finishes",
        ),
        _ => fault(error),
    })?;
    let moved = match target {
        Some(target) => Some(target.fill().await?),
        None => None,
    };
    say_if_closed(&restored.verified.contents, &unwrapping);
    let manifest = &restored.verified.manifest;
    if place.json {
        let mut document = about(manifest)?;
        document["dataDir"] = json!(folder.display().to_string());
        document["requestsWithdrawn"] = json!(restored.withdrawn);
        document["grantsTakenBack"] = json!(restored.grants);
        document["sessionsEnded"] = json!(restored.sessions);
        if let Some(moved) = &moved {
            document["movedToDatabase"] = migrate::document(moved);
        }
        return output::document(&document);
    }
    output::line(&format!(
        "restored  {}  as of {}  {}",
        folder.display(),
        made_at(manifest),
        in_words(&restored.verified.contents)
    ));
    if let Some(moved) = &moved {
        migrate::told_in_words(moved, true);
    }
    for id in &restored.withdrawn {
        output::note(&format!(
            "withdrawn: {id} had been granted; how often it was used since the backup is not known"
        ));
    }
    if restored.grants > 0 {
        output::note(&format!(
            "revoked: {} grants with a number of reads, since it is not known how many were used \
             after the backup; grant them again",
            restored.grants
        ));
    }
    output::note(
        "API keys and grants that were revoked after the backup work again: revoke them again before \
         you start the server. So do tokens and keys that were rotated since then, with their old values, \
         and accounts that were set to approval only since then can be read without one: rotate and \
         guard them again. The installation that this one replaces must not run any more.",
    );
    Ok(())
}

/// What unwraps the vault's key in a backup that is opened, if the environment names it.
fn unwrapping() -> Result<Unwrapping, Fault> {
    Ok(Unwrapping {
        by: wrapping::named(None)?,
        required: false,
    })
}

fn say_if_closed(contents: &Contents, unwrapping: &Unwrapping) {
    if let (Some(key), None) = (&contents.vault_key_wrapped_by, &unwrapping.by) {
        output::note(&format!(
            "Its accounts were counted and not decrypted: their key is wrapped by {key}. Set \
             COUNTERSIGN_VAULT_KEY_WRAPPED_BY to that key to decrypt them, and to start a server \
             on what is restored."
        ));
    }
}

fn identities(file: Option<&str>) -> Result<Vec<Box<dyn Identity>>, Fault> {
    match file {
        Some(file) => backup::identities(Path::new(file)).map_err(fault),
        None => Ok(Vec::new()),
    }
}

fn about(manifest: &Manifest) -> Result<Value, Fault> {
    Ok(json!({
        "madeAt": made_at(manifest),
        "release": manifest.release,
        "contents": to_value(&manifest.contents).map_err(Fault::failed)?,
    }))
}

fn made_at(manifest: &Manifest) -> String {
    manifest
        .created_at
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn in_words(contents: &Contents) -> String {
    let accounts = match contents.embedded_vault {
        true => format!(
            "{} accounts open ({} removed)",
            contents.accounts + contents.removed_accounts,
            contents.removed_accounts
        ),
        false => "accounts are in Key Vault".to_owned(),
    };
    let hub = match contents.embedded_hub {
        true => format!("{} instances", contents.instances),
        false => "task hub elsewhere".to_owned(),
    };
    let head = contents.audit_head.as_deref().unwrap_or("none");
    format!(
        "{accounts}  {} keys  {} grants  {} mandates ({} open)  {hub}  audit head {head}",
        contents.api_keys, contents.grants, contents.mandates, contents.open_matters
    )
}

fn fault(error: BackupError) -> Fault {
    let error = match error {
        BackupError::DataDir(error) => return folder_fault(error),
        BackupError::Rows(error) => return migrate::fault(error),
        other => other,
    };
    let exit = match &error {
        BackupError::Nothing(_) => Exit::NoFolder,
        BackupError::Recipient(_) => Exit::Usage,
        BackupError::NoIdentity(_) | BackupError::Used { .. } => Exit::NotAllowed,
        BackupError::NoKeyFile(_) => Exit::NotFound,
        BackupError::AuditIncomplete(_) => Exit::RecordIncomplete,
        BackupError::File { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Exit::NoPermission
        }
        _ => Exit::Failed,
    };
    Fault::new(exit, in_one_line(&error))
}
