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
    api.needed(&state, "id")?;
    if args.server.json {
        return output::document(&state);
    }
    let word = if approved { "approved" } else { "rejected" };
    // The id that was decided on, also if the command named less than the id.
    let decided = [
        output::text(&state, "id"),
        word.to_owned(),
        output::text(&state, "kind"),
        output::account_label(match state["account"].is_object() {
            true => &state["account"],
            false => &state["preview"],
        }),
    ];
    let decided = decided.into_iter().filter(|part| !part.is_empty());
    output::line(&decided.collect::<Vec<_>>().join("  "));
    Ok(())
}
