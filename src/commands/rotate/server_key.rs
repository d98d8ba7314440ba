//! `countersign rotate server-key`: first every front door learns another key, then the audit log
//! continues with it, then it is the one in use.

use chrono::{SecondsFormat, Utc};
use countersign_azure::Identity;
use serde_json::json;

use super::{Copies, lock, until};
use crate::audit::{Action, FieldChange, KEY_FIELD, SERVER_KEY_SUBJECT};
use crate::cli::ServeArgs;
use crate::commands::audit::{self, Recorder};
use crate::commands::folder::open_folder;
use crate::commands::output;
use crate::commands::shared::Shared;
use crate::commands::{Exit, Fault, Outcome, load};
use crate::keys::{KeyMaterialError, KeyStorage, ServerRotation, until_read};

pub(super) async fn rotate(overlap: &str, copied: bool, args: &ServeArgs) -> Outcome {
    let config = load(&args.settings)?;
    let data = open_folder(&config.data_dir)?;
    let _lock = lock(&data)?;
    let until = until(overlap)?.unwrap_or_else(Utc::now);
    let shared = Shared::of(&data).await?;
    let identity = Identity::new(&config.azure.identity);
    let place = KeyStorage::new(&data, &config.azure, &identity).map_err(Fault::failed)?;
    // With Key Vault the folder has keys of its own: they prove this server to commands and, without
    // a shared database, chain the audit log.
    let folder = KeyStorage::Folder(data.clone());
    let is_apart = matches!(place, KeyStorage::KeyVault(_));

    let installation = ServerRotation::begin(&place).await.map_err(fault)?;
    let own = match is_apart {
        true => Some(ServerRotation::begin(&folder).await.map_err(fault)?),
        false => None,
    };
    let chained = match (&own, &shared) {
        (Some(own), None) => own,
        _ => &installation,
    };
    let (key, before) = (chained.key().to_owned(), chained.before().to_owned());
    let resumed = chained.resumed;
    if shared.is_some() && !is_apart && !(copied && resumed) {
        let copies = Copies {
            secret: SERVER_KEY_SUBJECT,
            files: "server.key",
            machines: "with a front door",
            command: "rotate server-key",
        };
        return copies.first(&key, args.json);
    }
    output::note("waiting until all front doors know the new key");
    until_read(&place).await;

    let shown = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let again = |fault: Fault| fault.and("Run it again to continue");
    if let Some(recorder) = Recorder::beside(&data).await.map_err(again)? {
        let changes = vec![
            FieldChange::new(KEY_FIELD, Some(&before), Some(&key)),
            FieldChange::new("sessionsValidUntil", None, Some(&shown)),
        ];
        let event = audit::local(Action::RotateSecret, SERVER_KEY_SUBJECT).changing(changes);
        recorder.change_key(&event).await.map_err(again)?;
    }
    installation.finish(until).await.map_err(fault)?;
    if let Some(own) = own {
        own.finish(until).await.map_err(fault)?;
    }
    if args.json {
        return output::document(&json!({
            "secret": SERVER_KEY_SUBJECT,
            "key": key,
            "before": before,
            "sessionsValidUntil": shown,
            "resumed": resumed,
        }));
    }
    output::line(&format!(
        "server-key  {key}  chains the audit log and signs sessions from now on"
    ));
    if shared.is_some() && !is_apart {
        output::note(&format!(
            "Copy server.key to every other machine once more, before {shown}: their front doors \
             sign sessions with the old key until then."
        ));
    }
    Ok(())
}

fn fault(error: KeyMaterialError) -> Fault {
    let exit = match error {
        KeyMaterialError::NoServerKey(_) => Exit::NotFound,
        _ => Exit::Failed,
    };
    Fault::new(exit, format!("{error}; run it again to continue"))
}
