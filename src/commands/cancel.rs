//! `countersign cancel`: stops an enrollment, import or removal, and withdraws a request or
//! rejects another caller's.

use reqwest::Method;

use super::Outcome;
use super::client::{Api, is_request, path_of};
use super::find::Wanted;
use super::output::{self, text};
use crate::cli::CancelArgs;

pub(super) async fn run(args: CancelArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.matter(&args.id, Wanted::Open).await?;
    let path = path_of(&id);
    let removing = is_request(&id) && text(&api.get(&path).await?, "stage") == "Removing";
    let state = api.send(api.request(Method::DELETE, &path)?).await?;
    if args.server.json {
        return output::document(&state);
    }
    let word = if !is_request(&id) {
        "terminated"
    } else if removing {
        "stopped"
    } else if text(&state, "stage") == "Rejected" {
        // It was another caller's.
        "rejected"
    } else {
        "withdrawn"
    };
    output::line(&format!("{}  {word}", text(&state, "id")));
    Ok(())
}
