//! `countersign receive` and `countersign seal-key`: adding an account that another
//! installation has sealed for this one.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::Api;
use super::output::{self, text};
use super::{Exit, Fault, Outcome, input, status};
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
    let started = api.send(request).await?;
    if args.no_wait && !status::has_ended(&started) {
        return status::started(&started, args.server.json);
    }
    let ended = status::wait(&api, &package.id, started, false).await?;
    status::report(&ended, args.server.json)
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
