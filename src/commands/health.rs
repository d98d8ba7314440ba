//! `countersign health`: whether a front door can do its work. For health checks of
//! containers, whose images have no other program to ask with.

use reqwest::Method;

use super::client::Api;
use super::output::{self, text};
use super::{Exit, Fault, Outcome};
use crate::cli::ServerArgs;

pub(super) async fn run(args: ServerArgs) -> Outcome {
    let api = Api::find_open(&args)?;
    let request = api.request(Method::GET, "/readyz")?;
    let (ready, answer) = match api.try_send(request).await? {
        Ok(answer) => (true, answer),
        Err(refusal) => (false, refusal.problem),
    };
    if args.json {
        output::document(&answer)?;
    } else {
        output::line(&format!(
            "task hub: {}, vault: {}",
            text(&answer, "hub"),
            text(&answer, "vault")
        ));
    }
    if ready {
        Ok(())
    } else {
        Err(Fault::quiet(Exit::Failed))
    }
}
