//! `countersign key`: callers other than the administrator.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{json, to_value};

use super::audit::{self, Recorder};
use super::client::{data_dir, existing_folder, folder_fault};
use super::output;
use super::shared::Shared;
use super::table::{self, Cell, Tone, plain};
use super::{Exit, Fault, Outcome};
use crate::access::{
    AccessStore, FolderAccess, KeyError, KeyRecord, KeyStore, NewKey, PostgresAccess,
};
use crate::app::ACCESS_DATABASE;
use crate::audit::Action;
use crate::cli::{KeyCommand, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;
use crate::duration;

pub(super) async fn run(command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Create {
            name,
            role,
            expires,
            granted_only,
            groups,
            place,
        } => {
            let now = Utc::now();
            let new = NewKey {
                expires_at: expires
                    .map(|text| from_now("expires", &text, now))
                    .transpose()?,
                granted_only,
                groups,
                ..NewKey::new(&name, role)
            };
            // This works before the server's first start, too.
            let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
            DataDir::create(&folder).map_err(folder_fault)?;
            let recorder = Recorder::open(&place).await?;
            let (record, key) = open(&place)
                .await?
                .create(new, None, now)
                .await
                .map_err(fault)?;
            recorder
                .record(&audit::local(Action::CreateKey, &name).changing(record.made()))
                .await?;
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
            let keys = open(&place).await?.list().await.map_err(fault)?;
            if place.json {
                return output::document(&json!({"keys": keys}));
            }
            let rows: Vec<Vec<Cell>> = keys.iter().map(|key| row(key, Utc::now())).collect();
            let heads = [
                "NAME",
                "ROLE",
                "STATE",
                "LAST USED",
                "CREATED",
                "GROUPS",
                "ID",
            ];
            table::print(&heads, &rows);
            Ok(())
        }
        KeyCommand::Rotate {
            name,
            overlap,
            place,
        } => {
            let now = Utc::now();
            let until = match overlap.as_deref().unwrap_or("1h") {
                "0" | "0s" => now,
                time => from_now("--overlap", time, now)?,
            };
            let recorder = Recorder::open(&place).await?;
            let (record, key) = open(&place)
                .await?
                .rotate(&name, None, until - now, now)
                .await
                .map_err(fault)?;
            let renewed =
                audit::local(Action::RotateKey, &name).changing(KeyRecord::renewed(until));
            recorder.record(&renewed).await?;
            if place.json {
                let mut document = to_value(record).map_err(Fault::failed)?;
                document["key"] = json!(key.as_str());
                return output::document(&document);
            }
            output::line(&key);
            output::note(&format!(
                "This is the new key of {name}. The old one is valid until {}.",
                time(until)
            ));
            Ok(())
        }
        KeyCommand::Revoke { name, place } => {
            let (recorder, now) = (Recorder::open(&place).await?, Utc::now());
            let before = open(&place)
                .await?
                .revoke(&name, now)
                .await
                .map_err(fault)?;
            let revoked = audit::local(Action::RevokeKey, &name).changing(before.revoked(now));
            recorder.record(&revoked).await?;
            if place.json {
                return output::document(&json!({"name": name, "revoked": true}));
            }
            output::line(&format!("{name}  revoked"));
            Ok(())
        }
    }
}

/// A key in a table.
fn row(key: &KeyRecord, now: DateTime<Utc>) -> Vec<Cell> {
    let role = match key.granted_only {
        true => format!("{}, granted accounts only", key.role),
        false => key.role.to_string(),
    };
    let (mut state, tone) = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {}", time(at)), Tone::Bad),
        (None, Some(at)) if at <= now => (format!("expired {}", time(at)), Tone::Bad),
        (None, Some(at)) => (format!("active until {}", time(at)), Tone::Good),
        (None, None) => ("active".to_owned(), Tone::Good),
    };
    if let Some(at) = key.former_key_until.filter(|at| *at > now)
        && key.revoked_at.is_none()
    {
        state.push_str(&format!(", the old one until {}", time(at)));
    }
    let groups: Vec<String> = key.groups.iter().map(ToString::to_string).collect();
    vec![
        plain(&key.name),
        plain(role),
        (state, tone),
        plain(key.last_used_at.map_or("never".to_owned(), time)),
        plain(time(key.created_at)),
        plain(groups.join(", ")),
        (key.id.clone(), Tone::Faint),
    ]
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The moment that is the given time after `now`.
pub(super) fn from_now(flag: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    let wrong = |reason: String| Fault::new(Exit::Usage, format!("{flag}: {reason}, not {text:?}"));
    let time = duration::parse(text).map_err(|reason| wrong(reason.to_string()))?;
    TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time))
        .ok_or_else(|| wrong("a time such as 30d".to_owned()))
}

/// The keys and grants of a folder, or of the database that its servers share.
pub(super) async fn open(place: &KeyPlace) -> Result<Arc<dyn AccessStore>, Fault> {
    let data = existing_folder(place.data_dir.as_deref())?;
    if let Some(shared) = Shared::of(&data).await? {
        return Ok(Arc::new(PostgresAccess::new(shared.database)));
    }
    let keys = KeyStore::open(&data.path().join(ACCESS_DATABASE)).map_err(fault)?;
    Ok(Arc::new(FolderAccess::new(keys)))
}

pub(super) fn fault(error: KeyError) -> Fault {
    let exit = match error {
        KeyError::Unknown(_) => Exit::NotFound,
        KeyError::BadName
        | KeyError::ReadersOnly
        | KeyError::NotLimited(_)
        | KeyError::TooManyGroups => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
