//! `countersign token`: an account's present code.

use std::io::IsTerminal as _;

use super::Outcome;
use super::client::{Api, encode, is_request, path_of};
use super::output::{self, text};
use crate::cli::TokenArgs;

pub(super) async fn run(args: TokenArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let code = if is_request(&args.id) {
        api.post(&format!("{}/code", path_of(&args.id))).await?
    } else {
        let path = format!("/api/accounts/{}/token", encode(&args.id));
        api.get(&path).await?
    };
    if args.server.json {
        return output::document(&code);
    }
    output::line(&text(&code, "token"));
    if std::io::stderr().is_terminal() {
        output::note(&format!("good for {} seconds", code["timeRemaining"]));
    }
    Ok(())
}
