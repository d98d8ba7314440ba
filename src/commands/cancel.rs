//! `countersign cancel`: stops an enrollment or import, and withdraws a request.

use reqwest::Method;

use super::Outcome;
use super::client::{Api, path_of};
use super::find::Wanted;
use super::output::{self, text};
use crate::cli::OneArgs;

pub(super) async fn run(args: OneArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.matter(&args.id, Wanted::Any).await?;
    let request = api.request(Method::DELETE, &path_of(&id))?;
    let state = api.send(request).await?;
    if args.server.json {
        return output::document(&state);
    }
    output::line(&format!("{}  canceled", text(&state, "id")));
    Ok(())
}
