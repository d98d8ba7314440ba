//! `countersign grant`: which accounts a key may read.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use countersign_enrollment::ids::EnrollmentId;
use serde_json::json;

use super::audit::{self, Recorder};
use super::client::Api;
use super::folder::existing_folder;
use super::key::{fault, from_now, open};
use super::output::{account_label, text};
use super::table::{self, Cell, Tone, plain};
use super::{Exit, Fault, Outcome, output};
use crate::access::{Grant, Granted, Grantee, NotAGroup, Reads, grant_change};
use crate::audit::Action;
use crate::cli::{GrantCommand, KeyPlace, ServerArgs};

pub(super) async fn run(command: GrantCommand) -> Outcome {
    match command {
        GrantCommand::Add {
            name,
            account,
            time,
            reads,
            group,
            server,
        } => {
            let until = time
                .map(|text| from_now("--for", &text, Utc::now()))
                .transpose()?;
            let to = grantee(name, group)?;
            let at = KeyStorage::of(&server)?;
            let account = at.account_in_use(&account).await?;
            let grant = Grant {
                to,
                account: account.to_string(),
                until,
                reads: reads.map(Reads::new),
            };
            at.note_empty_group(&grant.to).await?;
            let before = at.grant(&grant).await?;
            if server.json {
                return output::document(&json!({ "grant": grant, "replaced": before }));
            }
            if let Some(before) = &before {
                output::note(&format!("It replaces an earlier grant: {}.", terms(before)));
            }
            output::line(&line(&grant));
            Ok(())
        }
        GrantCommand::List { server } => {
            let at = KeyStorage::of(&server)?;
            let grants = at.grants().await?;
            if server.json {
                return output::document(&json!({ "grants": grants }));
            }
            let names = at.names().await;
            let rows: Vec<Vec<Cell>> = grants.iter().map(|grant| row(grant, &names)).collect();
            let heads = ["TO", "ACCOUNT ID", "ACCOUNT", "UNTIL", "READS LEFT"];
            table::print(&heads, &rows);
            Ok(())
        }
        GrantCommand::Remove {
            name,
            account,
            group,
            server,
        } => {
            let from = grantee(name, group)?;
            let at = KeyStorage::of(&server)?;
            let account = at.account(&account).await?;
            at.withdraw(&from, &account).await?;
            if server.json {
                return output::document(
                    &json!({"from": from, "account": account.as_str(), "removed": true}),
                );
            }
            output::line(&format!("{account}  no longer granted to {from}"));
            Ok(())
        }
    }
}

/// Where the grants are.
enum KeyStorage {
    /// In a data folder, or in the database that its servers share.
    Folder(KeyPlace),
    /// At a server.
    Server(Box<Api>),
}

impl KeyStorage {
    fn of(args: &ServerArgs) -> Result<Self, Fault> {
        Ok(match Api::instead_of_folder(args)? {
            Some(api) => Self::Server(Box::new(api)),
            None => Self::Folder(args.into()),
        })
    }

    async fn grants(&self) -> Result<Vec<Grant>, Fault> {
        match self {
            Self::Folder(place) => open(place).await?.grants().await.map_err(fault),
            Self::Server(api) => api.grants().await,
        }
    }

    /// Grants an account; what was granted before instead.
    async fn grant(&self, grant: &Grant) -> Result<Option<Grant>, Fault> {
        let place = match self {
            Self::Folder(place) => place,
            Self::Server(api) => return api.grant(grant).await,
        };
        let recorder = Recorder::open(place).await?;
        let granted = open(place).await?.grant(grant, false).await;
        let before = match granted.map_err(fault)? {
            Granted::Now(before) => before,
            Granted::Before(same) => Some(same),
        };
        let event = audit::local(Action::Grant, &grant.account)
            .because(&describe(grant))
            .changing(grant_change(before.as_ref(), Some(grant)));
        recorder.record(&event).await?;
        Ok(before)
    }

    async fn withdraw(&self, from: &Grantee, account: &EnrollmentId) -> Outcome {
        let place = match self {
            Self::Folder(place) => place,
            Self::Server(api) => return api.withdraw(from, account.as_str()).await,
        };
        let recorder = Recorder::open(place).await?;
        let before = open(place).await?.take_back(from, account.as_str()).await;
        let before = before.map_err(fault)?.ok_or_else(|| {
            Fault::new(
                Exit::NotFound,
                format!("{account} is not granted to {from}: see `countersign grant list`"),
            )
        })?;
        let event = audit::local(Action::Withdraw, account.as_str())
            .because(&format!("from {from}"))
            .changing(grant_change(Some(&before), None));
        recorder.record(&event).await
    }

    /// What accounts are called, by their ids, as far as a server can be asked and says so: it
    /// is for people alone, and the ids are there without it.
    async fn names(&self) -> HashMap<String, String> {
        let folder;
        let api = match self {
            Self::Server(api) => api.as_ref(),
            Self::Folder(place) => match Api::of_folder(place.data_dir.as_deref()) {
                Ok(api) => {
                    folder = api;
                    &folder
                }
                Err(_) => return HashMap::new(),
            },
        };
        let accounts = api.every("/api/accounts?limit=200", "accounts").await;
        let accounts = accounts.unwrap_or_default();
        let named = accounts.iter();
        named
            .map(|account| (text(account, "id"), account_label(account)))
            .collect()
    }

    /// The account with this id, or the one with this name at the server.
    async fn account(&self, text: &str) -> Result<EnrollmentId, Fault> {
        match (self, text.trim().parse()) {
            (_, Ok(id)) => Ok(id),
            (Self::Server(api), _) => api.account_named(text).await,
            (Self::Folder(place), _) => {
                let api = Api::of_folder(place.data_dir.as_deref())?;
                api.account_named(text).await
            }
        }
    }

    /// The same, if it exists and was not removed. Where no server runs on the folder, nobody can
    /// say whether there is an account with an id, which is used as it is then.
    async fn account_in_use(&self, text: &str) -> Result<EnrollmentId, Fault> {
        let id = self.account(text).await?;
        let place = match self {
            Self::Folder(place) => place,
            Self::Server(api) => return api.in_use(id).await,
        };
        let folder = existing_folder(place.data_dir.as_deref())?;
        if folder.addresses().is_none() {
            output::note("No server is running, so it was not checked that the account exists.");
            return Ok(id);
        }
        let api = Api::of_folder(place.data_dir.as_deref())?;
        api.in_use(id).await
    }

    /// A group that no key is in may be one of an issuer's, or a mistake.
    async fn note_empty_group(&self, to: &Grantee) -> Outcome {
        let Grantee::Group(group) = to else {
            return Ok(());
        };
        let keys = match self {
            Self::Folder(place) => open(place).await?.list().await.map_err(fault)?,
            Self::Server(api) => api.keys().await?,
        };
        let members = keys.iter().filter(|key| key.revoked_at.is_none());
        if !members
            .flat_map(|key| &key.groups)
            .any(|other| other == group)
        {
            output::note(&format!(
                "No key is in the group {group}: only callers that an issuer puts into it can use \
                 this grant."
            ));
        }
        Ok(())
    }
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

fn row(grant: &Grant, names: &HashMap<String, String>) -> Vec<Cell> {
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
        plain(names.get(&grant.account).cloned().unwrap_or_default()),
        until,
        reads,
    ]
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn describe(grant: &Grant) -> String {
    format!("to {}  {}", grant.to, terms(grant))
}

fn terms(grant: &Grant) -> String {
    let until = match grant.until {
        Some(at) => format!("until {}", moment(at)),
        None => "no end".to_owned(),
    };
    match grant.reads.map(Reads::left) {
        Some(1) => format!("{until}  1 read left"),
        Some(reads) => format!("{until}  {reads} reads left"),
        None => until,
    }
}
