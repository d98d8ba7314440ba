//! `countersign grant`: which accounts a key may read.

use chrono::{SecondsFormat, Utc};
use countersign_enrollment::ids::EnrollmentId;
use serde_json::json;

use super::audit::{self, Recorder};
use super::key::{fault, from_now, open};
use super::{Exit, Fault, Outcome, output};
use crate::access::{Grant, Grantee, NotAGroup, grant_change};
use crate::audit::Action;
use crate::cli::GrantCommand;

pub(super) fn run(command: GrantCommand) -> Outcome {
    match command {
        GrantCommand::Add {
            name,
            account,
            time,
            reads,
            group,
            place,
        } => {
            let account = id(&account)?;
            let until = time
                .map(|text| from_now("for", &text, Utc::now()))
                .transpose()?;
            let grant = Grant {
                to: grantee(name, group)?,
                account: account.to_string(),
                until,
                reads_left: reads,
            };
            let recorder = Recorder::open(&place)?;
            let before = open(&place)?.grant(&grant).map_err(fault)?;
            let event = audit::local(Action::Grant, account.as_str())
                .because(&describe(&grant))
                .changing(grant_change(before.as_ref(), Some(&grant)));
            recorder.record(&event)?;
            if place.json {
                return output::document(&json!({ "grant": grant }));
            }
            output::line(&line(&grant));
            Ok(())
        }
        GrantCommand::List { place } => {
            let grants = open(&place)?.grants().map_err(fault)?;
            if place.json {
                return output::document(&json!({ "grants": grants }));
            }
            for grant in &grants {
                output::line(&line(grant));
            }
            Ok(())
        }
        GrantCommand::Remove {
            name,
            account,
            group,
            place,
        } => {
            let account = id(&account)?;
            let from = grantee(name, group)?;
            let recorder = Recorder::open(&place)?;
            let before = open(&place)?
                .take_back(&from, account.as_str())
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
            recorder.record(&event)?;
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

fn id(text: &str) -> Result<EnrollmentId, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            Exit::Usage,
            "an account's id looks like totp-0f8b...: see `countersign list`",
        )
    })
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

fn describe(grant: &Grant) -> String {
    let until = match grant.until {
        Some(at) => format!("until {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None => "forever".to_owned(),
    };
    match grant.reads_left {
        Some(reads) => format!("to {}  {until}  {reads} reads left", grant.to),
        None => format!("to {}  {until}", grant.to),
    }
}
