//! `countersign key`: callers other than the administrator.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json, to_value};

use super::audit::{self, Recorder};
use super::client::Api;
use super::folder::{data_dir, existing_folder, folder_fault};
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
use crate::data_dir::{DataDir, NotedFile};
use crate::duration;

pub(super) async fn run(command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Create {
            name,
            role,
            expires,
            granted_only,
            groups,
            server,
        } => {
            let now = Utc::now();
            let new = NewKey {
                expires_at: expires
                    .map(|text| from_now("--expires", &text, now))
                    .transpose()?,
                granted_only,
                groups,
                ..NewKey::new(&name, role)
            };
            let made = match Api::instead_of_folder(&server)? {
                Some(api) => api.create_key(&new).await?,
                None => create(new, &(&server).into(), now).await?,
            };
            let note = format!("This is the key of {name} ({role}). It is not shown again.");
            show(&made, &note, server.json)
        }
        KeyCommand::List { server } => {
            let keys = match Api::instead_of_folder(&server)? {
                Some(api) => api.keys().await?,
                None => {
                    let keys = open(&(&server).into()).await?;
                    keys.list().await.map_err(fault)?
                }
            };
            if server.json {
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
            server,
        } => {
            let now = Utc::now();
            let until = match overlap.as_deref().unwrap_or("1h") {
                "0" | "0s" => now,
                time => from_now("--overlap", time, now)?,
            };
            let overlap = until - now;
            let made = match Api::instead_of_folder(&server)? {
                Some(api) => api.rotate_key(&name, overlap.num_seconds()).await?,
                None => rotate(&name, overlap, &(&server).into(), now).await?,
            };
            let note = format!(
                "This is the new key of {name}. The old one is valid until {}.",
                time(until)
            );
            show(&made, &note, server.json)
        }
        KeyCommand::Revoke { name, server } => {
            match Api::instead_of_folder(&server)? {
                Some(api) => api.revoke_key(&name).await?,
                None => revoke(&name, &(&server).into()).await?,
            }
            if server.json {
                return output::document(&json!({"name": name, "revoked": true}));
            }
            output::line(&format!("{name}  revoked"));
            Ok(())
        }
    }
}

/// Prints a key that was made.
fn show(made: &Value, note: &str, json: bool) -> Outcome {
    if json {
        return output::document(made);
    }
    output::line(&output::text(made, "key"));
    output::note(note);
    Ok(())
}

/// Creates a key in the data folder, also before the server's first start.
async fn create(new: NewKey, place: &KeyPlace, now: DateTime<Utc>) -> Result<Value, Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let is_new = matches!(folder.try_exists(), Ok(false));
    DataDir::create(&folder).map_err(folder_fault)?;
    if is_new {
        let shown = folder.display();
        output::note(&format!(
            "created the data folder {shown}; no server has run on it yet, and the key is for one that will"
        ));
    }
    let recorder = Recorder::open(place).await?;
    let (record, key) = open(place)
        .await?
        .create(new, None, now)
        .await
        .map_err(fault)?;
    let event = audit::local(Action::CreateKey, &record.name).changing(record.made());
    recorder.record(&event).await?;
    with_key(&record, &key)
}

async fn rotate(
    name: &str,
    overlap: TimeDelta,
    place: &KeyPlace,
    now: DateTime<Utc>,
) -> Result<Value, Fault> {
    let recorder = Recorder::open(place).await?;
    let (record, key) = open(place)
        .await?
        .rotate(name, None, overlap, now)
        .await
        .map_err(fault)?;
    let renewed = KeyRecord::renewed(now + overlap);
    let event = audit::local(Action::RotateKey, name).changing(renewed);
    recorder.record(&event).await?;
    with_key(&record, &key)
}

async fn revoke(name: &str, place: &KeyPlace) -> Outcome {
    let (recorder, now) = (Recorder::open(place).await?, Utc::now());
    let before = open(place).await?.revoke(name, now).await.map_err(fault)?;
    let revoked = audit::local(Action::RevokeKey, name).changing(before.revoked(now));
    recorder.record(&revoked).await
}

fn with_key(record: &KeyRecord, key: &str) -> Result<Value, Fault> {
    let mut document = to_value(record).map_err(Fault::failed)?;
    document["key"] = json!(key);
    Ok(document)
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
    data.refuse_missing(&[NotedFile::Access])
        .map_err(folder_fault)?;
    let keys = KeyStore::open(&data.path().join(ACCESS_DATABASE)).map_err(fault)?;
    data.note_files().map_err(folder_fault)?;
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
