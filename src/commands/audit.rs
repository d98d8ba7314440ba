//! `countersign audit`: the record of who did what, read from the data folder.

use std::path::Path;

use chrono::Utc;
use serde_json::json;

use super::client::data_dir;
use super::output;
use super::{Exit, Fault, Outcome};
use crate::app::SERVER_KEY;
use crate::audit::{
    AUDIT_DATABASE, AuditError, AuditQuery, AuditStore, Event, Verdict, cef, json_line,
};
use crate::cli::{AuditCommand, AuditFormat, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;

/// How many entries are read at a time.
const PAGE: usize = 1_000;

/// Who does what commands on the data folder do.
pub(super) const LOCAL: &str = "local";

pub(super) fn run(command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::Verify { place } => verify(&place),
        AuditCommand::Export {
            format,
            caller,
            subject,
            action,
            after,
            place,
        } => {
            let query = AuditQuery {
                caller,
                subject,
                action,
                after: Some(after),
                limit: PAGE,
                ..AuditQuery::default()
            };
            export(&open(&place)?, query, format)
        }
    }
}

fn verify(place: &KeyPlace) -> Outcome {
    let store = open(place)?;
    match store.verify().map_err(fault)? {
        Verdict::Intact { entries, head } => {
            if place.json {
                return output::document(
                    &json!({"intact": true, "entries": entries, "head": head}),
                );
            }
            output::line(&format!("intact  {entries} entries  head {head}"));
            Ok(())
        }
        Verdict::Broken { sequence } => {
            if place.json {
                output::document(&json!({"intact": false, "brokenAt": sequence}))?;
                return Err(Fault::quiet(Exit::Failed));
            }
            Err(Fault::new(
                Exit::Failed,
                format!(
                    "the audit record does not hold from entry {sequence} on: it was changed, or \
                     {SERVER_KEY} is not the one that it was written with"
                ),
            ))
        }
    }
}

fn export(store: &AuditStore, mut query: AuditQuery, format: AuditFormat) -> Outcome {
    loop {
        let entries = store.query(&query).map_err(fault)?;
        for entry in &entries {
            let line = match format {
                AuditFormat::Jsonl => json_line(entry).map_err(Fault::failed)?,
                AuditFormat::Cef => cef(entry),
            };
            output::line(&line);
        }
        match entries.last() {
            Some(last) if entries.len() == query.limit => query.after = Some(last.sequence),
            _ => return Ok(()),
        }
    }
}

/// Records what a command on the data folder has done.
pub(super) fn record(place: &KeyPlace, event: &Event) -> Outcome {
    open(place)?.append([event]).map_err(fault)
}

/// Something that a command does now.
pub(super) fn local(action: crate::audit::Action, subject: &str) -> Event {
    Event::new(action, LOCAL, Utc::now()).to(subject)
}

fn open(place: &KeyPlace) -> Result<AuditStore, Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let data = DataDir::create(Path::new(&folder)).map_err(Fault::failed)?;
    let key = data.secret_key(SERVER_KEY).map_err(Fault::failed)?;
    AuditStore::open(&data.path().join(AUDIT_DATABASE), &key).map_err(fault)
}

fn fault(error: AuditError) -> Fault {
    Fault::failed(error)
}
