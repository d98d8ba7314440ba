//! `countersign health`: whether a front door can do its work. For health checks of
//! containers, whose images contain no other HTTP client.

use reqwest::Method;
use serde_json::Value;

use super::client::Api;
use super::output::{self, text};
use super::{Exit, Fault, Outcome};
use crate::cli::ServerArgs;
use crate::problem;

pub(super) async fn run(args: ServerArgs) -> Outcome {
    let api = Api::find_open(&args)?;
    let request = api.request(Method::GET, "/readyz")?;
    let (ready, answer) = api.asked(request).await?;
    let refused = !ready && is_problem(&answer);
    if !refused && !is_readiness(&answer, ready) {
        return Err(Fault::new(
            Exit::NotOurServer,
            format!(
                "another program answers at {}: it is not a Countersign front door. Name its \
                 address with --server, or the server's folder with --data-dir",
                api.authority()
            ),
        ));
    }
    api.recognize().await?;
    if args.json {
        output::document(&answer)?;
    } else if refused {
        return Err(Fault::new(
            Exit::Failed,
            problem::sentence(&answer).map_or_else(String::new, |said| output::clean(&said)),
        ));
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

/// Whether an answer is a front door's problem document.
fn is_problem(answer: &Value) -> bool {
    let kind = answer["type"].as_str().unwrap_or_default();
    kind.starts_with("urn:countersign:problem:")
}

/// Whether an answer is a front door's status that claims to be ready only if it
/// is.
fn is_readiness(answer: &Value, ready: bool) -> bool {
    let part = |name: &str| match answer[name].as_str() {
        Some("ok") => Some(true),
        Some("unreachable") => Some(false),
        _ => None,
    };
    match (part("status"), part("hub"), part("vault")) {
        (Some(status), Some(hub), Some(vault)) => status == ready && status == (hub && vault),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_front_door_says_whether_it_is_ready() {
        let told = |status: &str, hub: &str, vault: &str| json!({"status": status, "hub": hub, "vault": vault});
        assert!(is_readiness(&told("ok", "ok", "ok"), true));
        assert!(is_readiness(
            &told("unreachable", "ok", "unreachable"),
            false
        ));
        for (answer, ready) in [
            (json!({}), true),
            (json!(null), false),
            (json!({"status": "ok"}), true),
            (told("ok", "ok", "ok"), false),
            (told("ok", "ok", "unreachable"), true),
            (told("UP", "UP", "UP"), true),
        ] {
            assert!(!is_readiness(&answer, ready), "{answer}");
        }
    }
}
