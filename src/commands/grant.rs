//! `countersign grant`: which accounts a key may read.

use chrono::{DateTime, SecondsFormat, Utc};
use countersign_enrollment::ids::EnrollmentId;
use serde_json::json;

use super::audit::{self, Recorder};
use super::client::{Api, existing_folder};
use super::find::Among;
use super::key::{fault, from_now, open};
use super::table::{self, Cell, Tone, plain};
use super::{Exit, Fault, Outcome, output};
use crate::access::{Grant, Granted, Grantee, NotAGroup, Reads, grant_change};
use crate::audit::Action;
use crate::cli::{GrantCommand, KeyPlace};

pub(super) async fn run(command: GrantCommand) -> Outcome {
    match command {
        GrantCommand::Add {
            name,
            account,
            time,
            reads,
            group,
            place,
        } => {
            let account = in_use(&account, &place).await?;
            let until = time
                .map(|text| from_now("for", &text, Utc::now()))
                .transpose()?;
            let grant = Grant {
                to: grantee(name, group)?,
                account: account.to_string(),
                until,
                reads: reads.map(Reads::new),
            };
            let recorder = Recorder::open(&place).await?;
            let granted = open(&place).await?.grant(&grant, false).await;
            let before = match granted.map_err(fault)? {
                Granted::Now(before) => before,
                Granted::Before(same) => Some(same),
            };
            let event = audit::local(Action::Grant, account.as_str())
                .because(&describe(&grant))
                .changing(grant_change(before.as_ref(), Some(&grant)));
            recorder.record(&event).await?;
            if place.json {
                return output::document(&json!({ "grant": grant }));
            }
            output::line(&line(&grant));
            Ok(())
        }
        GrantCommand::List { place } => {
            let grants = open(&place).await?.grants().await.map_err(fault)?;
            if place.json {
                return output::document(&json!({ "grants": grants }));
            }
            let rows: Vec<Vec<Cell>> = grants.iter().map(row).collect();
            table::print(&["TO", "ACCOUNT", "UNTIL", "READS LEFT"], &rows);
            Ok(())
        }
        GrantCommand::Remove {
            name,
            account,
            group,
            place,
        } => {
            let account = named(&account, &place).await?;
            let from = grantee(name, group)?;
            let recorder = Recorder::open(&place).await?;
            let before = open(&place)
                .await?
                .take_back(&from, account.as_str())
                .await
                .map_err(fault)?
                .ok_or_else(|| {
                    Fault::new(
                        Exit::NotFound,
                        format!("{account} is not granted to {from}: see `countersign grant list`"),
                    )
                })?;
            let event = audit::local(Action::Withdraw, account.as_str())
                .because(&format!("from {from}"))
                .changing(grant_change(Some(&before), None));
            recorder.record(&event).await?;
            if place.json {
                return output::document(
                    &json!({"from": from, "account": account.as_str(), "removed": true}),
                );
            }
            output::line(&format!("{account}  no longer granted to {from}"));
            Ok(())
        }
    }
}

/// The account that is called so, by the server that runs on the folder. Where none runs, nobody
/// can say whether there is an account with an id, which is taken as it is then.
async fn in_use(text: &str, place: &KeyPlace) -> Result<EnrollmentId, Fault> {
    let id = named(text, place).await?;
    let folder = existing_folder(place.data_dir.as_deref())?;
    if folder.addresses().is_none() {
        output::note("No server is running, so it was not checked that the account exists.");
        return Ok(id);
    }
    let api = Api::of_folder(place.data_dir.as_deref())?;
    let account = api.get(&format!("/api/accounts/{id}")).await?;
    if account["state"] == "removed" {
        let message = format!("{id} was removed: bring it back with `countersign restore {id}`");
        return Err(Fault::new(Exit::NotFound, message));
    }
    Ok(id)
}

/// The account with this id, or the one with this name at the folder's running server.
async fn named(text: &str, place: &KeyPlace) -> Result<EnrollmentId, Fault> {
    if let Ok(id) = text.trim().parse() {
        return Ok(id);
    }
    let api = Api::of_folder(place.data_dir.as_deref())?;
    let id = api.account(text, Among::InUse).await?;
    id.parse().map_err(Fault::failed)
}

fn grantee(name: String, group: bool) -> Result<Grantee, Fault> {
    if !group {
        return Ok(Grantee::Caller(name));
    }
    let group = name
        .parse()
        .map_err(|error: NotAGroup| Fault::new(Exit::Usage, error.to_string()))?;
    Ok(Grantee::Group(group))
}

fn line(grant: &Grant) -> String {
    format!("{}  {}", grant.account, describe(grant))
}

fn row(grant: &Grant) -> Vec<Cell> {
    let until = match grant.until {
        Some(at) if at <= Utc::now() => (moment(at), Tone::Bad),
        Some(at) => (moment(at), Tone::Waiting),
        None => plain("no end"),
    };
    let reads = match grant.reads.map(Reads::left) {
        Some(0) => ("0".to_owned(), Tone::Bad),
        Some(reads) => plain(reads.to_string()),
        None => plain("unlimited"),
    };
    vec![
        plain(grant.to.to_string()),
        (grant.account.clone(), Tone::Faint),
        until,
        reads,
    ]
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn describe(grant: &Grant) -> String {
    let until = match grant.until {
        Some(at) => format!("until {}", moment(at)),
        None => "no end".to_owned(),
    };
    match grant.reads.map(Reads::left) {
        Some(1) => format!("to {}  {until}  1 read left", grant.to),
        Some(reads) => format!("to {}  {until}  {reads} reads left", grant.to),
        None => format!("to {}  {until}", grant.to),
    }
}
