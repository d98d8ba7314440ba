//! `countersign ledger`: the ledger in the data folder.

use serde_json::json;

use super::audit::{self, Recorder};
use super::folder::existing_folder;
use super::output;
use super::shared;
use super::{Exit, Fault, Outcome};
use crate::audit::Action;
use crate::cli::{KeyPlace, LedgerCommand};
use crate::ledger;

/// Its name in the audit log.
const SUBJECT: &str = "ledger";

pub(super) async fn run(command: LedgerCommand) -> Outcome {
    match command {
        LedgerCommand::AcceptLoss { reason, place } => accept_loss(&reason, &place).await,
    }
}

async fn accept_loss(reason: &str, place: &KeyPlace) -> Outcome {
    if reason.trim().is_empty() {
        return Err(Fault::new(
            Exit::Usage,
            "--reason: give the reason for continuing without the ledger",
        ));
    }
    let data = existing_folder(place.data_dir.as_deref())?;
    shared::refuse(&data, "restore the database if its ledger is lost")?;
    if ledger::loss(&data).map_err(Fault::failed)?.is_none() {
        let nothing = format!("no ledger is missing from {}", data.path().display());
        return Err(Fault::new(Exit::NotFound, nothing));
    }
    let recorder = Recorder::beside(&data).await?;
    ledger::accept_loss(&data).map_err(Fault::failed)?;
    if let Some(recorder) = recorder {
        recorder
            .record(&audit::local(Action::AcceptLoss, SUBJECT).because(reason))
            .await?;
    }
    if place.json {
        return output::document(&json!({"accepted": SUBJECT}));
    }
    output::line(
        "accepted: the parts start again; what was in progress is refused and has to be \
         submitted again. Recovery codes that were given out before are given out again: set new \
         ones for those accounts",
    );
    Ok(())
}
