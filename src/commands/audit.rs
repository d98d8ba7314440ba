//! `countersign audit`: the audit log in the data folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use countersign_enrollment::ids::{EnrollmentId, ImportId, RequestId};
use data_encoding::HEXLOWER;
use serde_json::json;

use super::client::Api;
use super::find::Among;
use super::folder::{data_dir, existing_folder};
use super::output;
use super::shared::{self, Shared, audit_fault as fault};
use super::{Exit, Fault, Outcome};
use crate::access::ServerKeys;
use crate::app::SERVER_KEY;
use crate::audit::{
    AUDIT_DATABASE, AUDIT_HEAD, AUDIT_SENT, Action, AuditError, AuditQuery, AuditStore, ChainCheck,
    Entry, Event, Head, PostgresAudit, cef, json_line, sent,
};
use crate::cli::{AuditCommand, AuditFormat, KeyPlace};
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;
use crate::duration;

/// How many entries are read at a time.
const PAGE: usize = 1_000;

/// The caller of commands on the data folder.
pub(super) const LOCAL: &str = "local";

pub(super) async fn run(command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::Verify {
            head,
            archives,
            place,
        } => verify(head.as_deref(), &archives, &place).await,
        AuditCommand::Archive {
            file,
            older_than,
            place,
        } => archive(&file, &older_than, &place).await,
        AuditCommand::AcceptLoss { reason, place } => accept_loss(&reason, &place).await,
        AuditCommand::Export {
            format,
            caller,
            subject,
            since,
            until,
            action,
            after,
            place,
        } => {
            let now = Utc::now();
            let moment =
                |flag, text: Option<String>| text.map(|text| moment(flag, &text, now)).transpose();
            let (since, until) = (moment("--since", since)?, moment("--until", until)?);
            let record = open(&place).await?;
            let subject = match subject {
                Some(text) => Some(record.subject(&text, &place).await?),
                None => None,
            };
            let query = AuditQuery {
                caller,
                subject,
                action,
                since,
                until,
                after: Some(after),
                limit: PAGE,
                ..AuditQuery::default()
            };
            export(&record, query, format, place.json).await
        }
    }
}

async fn verify(head: Option<&str>, archives: &[PathBuf], place: &KeyPlace) -> Outcome {
    let kept = head
        .map(|text| {
            Head::parse(text).ok_or_else(|| {
                Fault::new(
                    Exit::Usage,
                    "--head: write it as SEQUENCE:HASH, as `audit verify` prints it",
                )
            })
        })
        .transpose()?;
    let checked = match open(place).await {
        Ok(record) => record.verify(kept.as_ref(), archives).await,
        Err(fault) => Err(fault),
    };
    let (problem, fault) = match checked {
        Ok(ChainCheck::Intact(head)) => {
            if place.json {
                return output::document(&json!({
                    "intact": true,
                    "entries": head.sequence,
                    "head": HEXLOWER.encode(&head.hash),
                }));
            }
            output::line(&format!("intact  {} entries  head {head}", head.sequence));
            return Ok(());
        }
        Ok(ChainCheck::Broken { sequence }) => (
            json!({"intact": false, "problem": "changed", "brokenAt": sequence}),
            Fault::new(
                Exit::Failed,
                format!(
                    "the audit log is not intact from entry {sequence} on: it was changed, or \
                     {SERVER_KEY} is not the key that it was written with"
                ),
            ),
        ),
        Ok(ChainCheck::Incomplete(loss)) => (
            json!({"intact": false, "problem": loss.code()}),
            fault(AuditError::Incomplete(loss)),
        ),
        Err(fault) => {
            let problem = match fault.exit {
                Exit::RecordIncomplete => "incomplete",
                Exit::NotFound => "nothing-here",
                _ => "unreadable",
            };
            let detail = fault.message.as_deref().unwrap_or_default();
            let problem = json!({"intact": false, "problem": problem, "detail": detail});
            (problem, fault)
        }
    };
    if place.json {
        output::document(&problem)?;
        return Err(Fault::quiet(fault.exit));
    }
    Err(fault)
}

async fn accept_loss(reason: &str, place: &KeyPlace) -> Outcome {
    if reason.trim().is_empty() {
        return Err(Fault::new(
            Exit::Usage,
            "--reason: give the reason for continuing without the missing entries",
        ));
    }
    let event = Event::new(Action::AcceptLoss, LOCAL, Utc::now()).because(reason);
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let shared = match folder.is_dir() {
        true => Shared::of(&DataDir::open(&folder).map_err(Fault::failed)?).await?,
        false => None,
    };
    let loss = match shared {
        Some(shared) => shared.accept_loss(event).await?,
        None => {
            let (path, key) = existing(place)?;
            AuditStore::accept_loss(&path, &key, event).map_err(fault)?
        }
    };
    if place.json {
        return output::document(&json!({"accepted": loss.code(), "detail": loss.to_string()}));
    }
    output::line(&format!("accepted: {loss}"));
    Ok(())
}

async fn archive(file: &Path, older_than: &str, place: &KeyPlace) -> Outcome {
    let age = duration::parse(older_than)
        .ok()
        .and_then(|age| TimeDelta::from_std(age).ok())
        .and_then(|age| Utc::now().checked_sub_signed(age))
        .ok_or_else(|| {
            Fault::new(
                Exit::Usage,
                format!("--older-than: a time such as 365d, not {older_than:?}"),
            )
        })?;
    // Only intact entries are moved, and only those that a collector has received.
    let mut record = open_to_archive(place).await?;
    match record.verify(None, &[]).await? {
        ChainCheck::Intact(_) => {}
        ChainCheck::Broken { sequence } => {
            return Err(Fault::new(
                Exit::Failed,
                format!(
                    "the audit log is not intact from entry {sequence} on: nothing was archived; \
                     see `countersign audit verify`"
                ),
            ));
        }
        ChainCheck::Incomplete(loss) => return Err(fault(AuditError::Incomplete(loss))),
    }
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let sent = sent(&folder.join(AUDIT_SENT)).map_err(Fault::failed)?;
    let sent = match &record {
        AuditSource::Folder(_) => sent,
        // Whichever front door has sent it.
        AuditSource::Shared(audit) => audit.sent().await.map_err(fault)?.max(sent),
    };
    let event = local(Action::ArchiveAudit, "audit");
    let archived = match &mut record {
        AuditSource::Folder(store) => store.archive(file, age, sent, &event).and_then(|archived| {
            store.flush()?;
            Ok(archived)
        }),
        AuditSource::Shared(audit) => audit.archive(file, age, sent, &event).await,
    };
    let archived = archived.map_err(|error| match &error {
        AuditError::File(source) if source.kind() == ErrorKind::AlreadyExists => Fault::new(
            Exit::Failed,
            format!(
                "{} exists already; an archive overwrites nothing, choose another name",
                file.display()
            ),
        ),
        _ => fault(error),
    })?;
    let Some(archived) = archived else {
        return Err(Fault::new(
            Exit::NotFound,
            "no entry of the audit log is that old, or none that the collector has",
        ));
    };
    if place.json {
        return output::document(&json!({
            "file": file.display().to_string(),
            "entries": archived.entries,
            "through": archived.through.to_string(),
        }));
    }
    output::line(&format!(
        "archived  {}  {} entries  through {}",
        file.display(),
        archived.entries,
        archived.through
    ));
    Ok(())
}

/// A moment as a person writes it: a date in UTC, a time, or how long ago.
fn moment(flag: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    let date = || {
        let date = text.parse::<NaiveDate>().ok()?;
        Some(date.and_time(NaiveTime::MIN).and_utc())
    };
    let ago = || {
        let age = TimeDelta::from_std(duration::parse(text).ok()?).ok()?;
        now.checked_sub_signed(age)
    };
    time.ok().or_else(date).or_else(ago).ok_or_else(|| {
        Fault::new(
            Exit::Usage,
            format!(
                "{flag}: write a date such as 2026-01-31, a time such as 2026-01-31T12:00:00Z, or \
                 how long ago such as 7d, not {text:?}"
            ),
        )
    })
}

fn is_id(text: &str) -> bool {
    text.parse::<EnrollmentId>().is_ok()
        || text.parse::<ImportId>().is_ok()
        || text.parse::<RequestId>().is_ok()
}

/// With `whole`, as one JSON document instead of lines.
async fn export(
    record: &AuditSource,
    mut query: AuditQuery,
    format: AuditFormat,
    whole: bool,
) -> Outcome {
    if whole && matches!(format, AuditFormat::Cef) {
        let message = "--json prints JSON: leave out --format cef";
        return Err(Fault::new(Exit::Usage, message));
    }
    // Entry by entry, however many there are.
    let mut first = true;
    loop {
        let entries = record.query(&query).await?;
        for entry in &entries {
            let line = match format {
                AuditFormat::Jsonl => json_line(entry).map_err(Fault::failed)?,
                AuditFormat::Cef => cef(entry),
            };
            let begins = match (whole, std::mem::take(&mut first)) {
                (false, _) => "",
                (true, true) => "{\"entries\":[",
                (true, false) => ",",
            };
            output::line(&format!("{begins}{line}"));
        }
        match entries.last() {
            Some(last) if entries.len() == query.limit => query.after = Some(last.sequence),
            _ => break,
        }
    }
    if whole {
        output::line(if first { "{\"entries\":[]}" } else { "]}" });
    } else if first {
        output::note("No entries.");
    }
    Ok(())
}

/// The record for a command that changes something in the data folder. It is opened before
/// that, so that what could not be recorded is not done.
pub(super) enum Recorder {
    /// In the folder.
    Folder(Box<AuditStore>),
    /// In the database that the folder's servers share.
    Shared(Box<PostgresAudit>),
}

impl Recorder {
    pub(super) async fn open(place: &KeyPlace) -> Result<Self, Fault> {
        let data = existing_folder(place.data_dir.as_deref())?;
        match Shared::of(&data).await? {
            Some(shared) => Ok(Self::Shared(Box::new(shared.audit().await?))),
            None => Self::of(&data),
        }
    }

    /// The record of a data folder, if there is one or should be.
    pub(super) async fn beside(data: &DataDir) -> Result<Option<Self>, Fault> {
        if let Some(shared) = Shared::of(data).await? {
            return Ok(Some(Self::Shared(Box::new(shared.audit().await?))));
        }
        let mut files = [AUDIT_DATABASE, AUDIT_HEAD].iter();
        let there = files.any(|file| data.path().join(file).exists());
        there.then(|| Self::of(data)).transpose()
    }

    fn of(data: &DataDir) -> Result<Self, Fault> {
        let keys = ServerKeys::in_folder(data).map_err(Fault::failed)?;
        let store = AuditStore::open(&data.path().join(AUDIT_DATABASE), keys).map_err(fault)?;
        Ok(Self::Folder(Box::new(store)))
    }

    /// Records that the server key was rotated, after which the audit log continues with the next
    /// one; once, however often it is run.
    pub(super) async fn change_key(self, event: &Event) -> Outcome {
        let changed = match self {
            Self::Folder(mut store) => store.change_key(event),
            Self::Shared(audit) => audit.change_key(event).await,
        };
        changed.map(drop).map_err(fault)
    }

    /// Records what a command has done.
    pub(super) async fn record(self, event: &Event) -> Outcome {
        match self {
            Self::Folder(mut store) => {
                store.append([event]).map_err(fault)?;
                store.flush().map_err(fault)
            }
            Self::Shared(audit) => {
                let written = audit.append(std::slice::from_ref(event)).await;
                written.map(drop).map_err(fault)
            }
        }
    }
}

/// An event of a command, now.
pub(super) fn local(action: Action, subject: &str) -> Event {
    Event::new(action, LOCAL, Utc::now()).to(subject)
}

/// The record to be read.
enum AuditSource {
    Folder(Box<AuditStore>),
    Shared(Box<PostgresAudit>),
}

impl AuditSource {
    async fn verify(&self, kept: Option<&Head>, archives: &[PathBuf]) -> Result<ChainCheck, Fault> {
        match self {
            Self::Folder(store) => store.verify_with(kept, archives).map_err(fault),
            Self::Shared(audit) => audit.verify_with(kept, archives).await.map_err(fault),
        }
    }

    /// The subject of entries that `text` means: an id, or a key's name, as they are recorded; or
    /// the account with this name at the server that runs on the data folder.
    async fn subject(&self, text: &str, place: &KeyPlace) -> Result<String, Fault> {
        let recorded = AuditQuery {
            subject: Some(text.to_owned()),
            limit: 1,
            ..AuditQuery::default()
        };
        if is_id(text) || !self.query(&recorded).await?.is_empty() {
            return Ok(text.to_owned());
        }
        let api = Api::of_folder(place.data_dir.as_deref()).map_err(|fault| {
            let why = fault.message.unwrap_or_default();
            let message = format!(
                "--subject: no entry is about {text:?}, and only a running server knows accounts \
                 by name: {why}"
            );
            Fault::new(fault.exit, message)
        })?;
        match api.account(text, Among::InUse).await {
            Err(fault) if fault.exit == Exit::NotFound => api.account(text, Among::Removed).await,
            found => found,
        }
    }

    async fn query(&self, query: &AuditQuery) -> Result<Vec<Entry>, Fault> {
        match self {
            Self::Folder(store) => store.query(query).map_err(fault),
            Self::Shared(audit) => audit.query(query).await.map_err(fault),
        }
    }
}

/// The record for a command that changes it.
async fn open_to_archive(place: &KeyPlace) -> Result<AuditSource, Fault> {
    match open(place).await? {
        AuditSource::Folder(_) => {
            let (path, key) = existing(place)?;
            let store = AuditStore::open(&path, &key).map_err(fault)?;
            Ok(AuditSource::Folder(Box::new(store)))
        }
        shared @ AuditSource::Shared(_) => Ok(shared),
    }
}

/// The record to be read. Makes nothing.
async fn open(place: &KeyPlace) -> Result<AuditSource, Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    if folder.is_dir() {
        let data = DataDir::open(&folder).map_err(Fault::failed)?;
        if let Some(shared) = Shared::of(&data).await? {
            return Ok(AuditSource::Shared(Box::new(shared.audit().await?)));
        }
    }
    let (path, key) = existing(place)?;
    let store = AuditStore::open_existing(&path, &key).map_err(fault)?;
    Ok(AuditSource::Folder(Box::new(store)))
}

/// Where the audit log is or was, and the server's keys. Creates nothing.
fn existing(place: &KeyPlace) -> Result<(PathBuf, ServerKeys), Fault> {
    let folder = data_dir(place.data_dir.as_deref(), &ClientEnvironment::read());
    let path = folder.join(AUDIT_DATABASE);
    if !folder.try_exists().map_err(Fault::failed)? {
        return Err(fault(AuditError::Nothing(folder)));
    }
    let data = DataDir::open(&folder).map_err(Fault::failed)?;
    shared::refuse(&data, "`audit verify` and `audit export` read it there")?;
    match ServerKeys::existing(&data).map_err(Fault::failed)? {
        Some(keys) => Ok((path, keys)),
        None if path.exists() || folder.join(AUDIT_HEAD).exists() => Err(Fault::new(
            Exit::Failed,
            format!(
                "{SERVER_KEY} is missing from {}: the audit log cannot be checked without it",
                folder.display()
            ),
        )),
        None => Err(fault(AuditError::Nothing(folder))),
    }
}
