//! `countersign approve` and `countersign reject`.

use reqwest::Method;
use serde_json::json;

use super::Outcome;
use super::client::{Api, path_of};
use super::find::Wanted;
use super::output;
use crate::cli::DecideArgs;

pub(super) async fn run(args: DecideArgs, approved: bool) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.matter(&args.id, Wanted::Waiting).await?;
    let path = format!("{}/approval", path_of(&id));
    let request = api
        .request(Method::POST, &path)?
        .json(&json!({"approved": approved, "comment": args.comment}));
    let state = api.send(request).await?;
    if args.server.json {
        return output::document(&state);
    }
    let word = if approved { "approved" } else { "rejected" };
    output::line(&format!("{}  {word}", output::text(&state, "id")));
    Ok(())
}
