//! `countersign receive` and `countersign seal-key`: adding an account that another
//! installation has sealed for this one.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::Api;
use super::output::{self, text};
use super::{Exit, Fault, Outcome, input, stages, status};
use crate::cli::{ReceiveArgs, ServerArgs};

/// The longest package, in bytes: far more than any account needs.
const MAX_PACKAGE: u64 = 64 * 1024;

/// A transferred account, as `countersign export` writes it and the API accepts it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    /// The account's id, which it keeps.
    pub(super) id: String,
    /// The account, sealed.
    pub(super) package: String,
}

pub(super) async fn run(args: ReceiveArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let package = read(&args.source)?;
    let request = api.request(Method::POST, "/api/transfers")?.json(&package);
    // What is wrong with a package is not a mistake of the command line.
    let started = api.send(request).await.map_err(|fault| match fault.exit {
        Exit::Usage => Fault {
            exit: Exit::Failed,
            ..fault
        },
        _ => fault,
    })?;
    if args.no_wait && !stages::has_ended(&started) {
        return status::started(&started, args.server.json);
    }
    // A package that was received before is answered with what came of it then.
    let repeated = stages::has_ended(&started);
    let ended = status::wait(&api, &package.id, started, false).await?;
    let reported = status::report(&ended, args.server.json);
    if repeated && text(&ended, "stage") == "Enrolled" {
        note_repetition(&api, &text(&ended, "id")).await?;
    }
    reported
}

async fn note_repetition(api: &Api, account: &str) -> Result<(), Fault> {
    output::note("This package was received before, so nothing was added.");
    match api.get(&format!("/api/accounts/{account}")).await {
        Ok(found) if found["state"] == "removed" => {
            output::note(&format!(
                "The account was removed in the meantime; to bring it back: countersign restore {account}"
            ));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(fault) if fault.exit == Exit::NotFound => {
            output::note("The account was removed in the meantime and no longer exists.");
            Ok(())
        }
        // Not everyone who may receive an account may see it.
        Err(fault) if fault.exit == Exit::NotAllowed => Ok(()),
        Err(fault) => Err(fault),
    }
}

pub(super) async fn seal_key(args: ServerArgs) -> Outcome {
    let api = Api::find(&args)?;
    let system = api.get("/api/system").await?;
    if args.json {
        return output::document(&serde_json::json!({"sealKey": system["sealKey"]}));
    }
    output::line(&text(&system, "sealKey"));
    Ok(())
}

fn read(source: &str) -> Result<Package, Fault> {
    let bytes = input::read(source, MAX_PACKAGE)?;
    serde_json::from_slice(&bytes).map_err(|_| {
        Fault::new(
            Exit::Usage,
            format!("{source} is not a package of a transfer, as `countersign export` prints it"),
        )
    })
}
