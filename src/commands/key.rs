//! `countersign key`: callers other than the administrator.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{json, to_value};

use super::audit::{self, Recorder};
use super::client::{data_dir, folder_fault};
use super::output;
use super::{Exit, Fault, Outcome};
use crate::access::{KeyError, KeyRecord, KeyStore, NewKey};
use crate::app::ACCESS_DATABASE;
use crate::audit::Action;
use crate::cli::{KeyCommand, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;
use crate::duration;

pub(super) fn run(command: KeyCommand) -> Outcome {
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
            let recorder = Recorder::open(&place)?;
            let (record, key) = open(&place)?.create(new, now).map_err(fault)?;
            recorder.record(&audit::local(Action::CreateKey, &name).changing(record.made()))?;
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
                let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
                let mut state = match (key.revoked_at, key.expires_at) {
                    (Some(at), _) => format!("revoked {}", time(at)),
                    (None, Some(at)) if at <= Utc::now() => format!("expired {}", time(at)),
                    (None, Some(at)) => format!("active until {}", time(at)),
                    (None, None) => "active".to_owned(),
                };
                if key.granted_only {
                    state.push_str("  granted accounts only");
                }
                for group in &key.groups {
                    state.push_str(&format!("  in {group}"));
                }
                if let Some(at) = key.former_key_until.filter(|at| *at > Utc::now()) {
                    state.push_str(&format!("  the one before works until {}", time(at)));
                }
                match key.last_used_at {
                    Some(at) => state.push_str(&format!("  used {}", time(at))),
                    None => state.push_str("  never used"),
                }
                output::line(&format!(
                    "{}  {:<8}  {}  made {made}  {state}",
                    key.id, key.role, key.name
                ));
            }
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
            let recorder = Recorder::open(&place)?;
            let (record, key) = open(&place)?
                .rotate(&name, None, until - now, now)
                .map_err(fault)?;
            let renewed =
                audit::local(Action::RotateKey, &name).changing(KeyRecord::renewed(until));
            recorder.record(&renewed)?;
            if place.json {
                let mut document = to_value(record).map_err(Fault::failed)?;
                document["key"] = json!(key.as_str());
                return output::document(&document);
            }
            output::line(&key);
            let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
            output::note(&format!(
                "This is the new key of {name}. The one before works until {until}."
            ));
            Ok(())
        }
        KeyCommand::Revoke { name, place } => {
            let (recorder, now) = (Recorder::open(&place)?, Utc::now());
            let before = open(&place)?.revoke(&name, now).map_err(fault)?;
            let revoked = audit::local(Action::RevokeKey, &name).changing(before.revoked(now));
            recorder.record(&revoked)?;
            if place.json {
                return output::document(&json!({"name": name, "revoked": true}));
            }
            output::line(&format!("{name}  revoked"));
            Ok(())
        }
    }
}

/// The moment that is a length of time from `now`.
pub(super) fn from_now(flag: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    let wrong = |reason: String| Fault::new(Exit::Usage, format!("{flag}: {reason}, not {text:?}"));
    let time = duration::parse(text).map_err(|reason| wrong(reason.to_string()))?;
    TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time))
        .ok_or_else(|| wrong("a time such as 30d".to_owned()))
}

pub(super) fn open(place: &KeyPlace) -> Result<KeyStore, Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let data = DataDir::create(&folder).map_err(folder_fault)?;
    KeyStore::open(&data.path().join(ACCESS_DATABASE)).map_err(fault)
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
