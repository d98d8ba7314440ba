//! `countersign remove`, `restore` and `guard`: what becomes of an account.

use reqwest::Method;
use serde_json::json;

use super::Outcome;
use super::client::{Api, encode};
use super::output::{self, account_label, text};
use crate::cli::{GuardArgs, OneArgs};

pub(super) async fn remove(args: OneArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let request = api.request(Method::DELETE, &path(&args.id))?;
    api.send(request).await?;
    if args.server.json {
        return output::document(&json!({"id": args.id, "removed": true}));
    }
    output::line(&format!("{}  removed", args.id));
    output::note(&format!("Undo it with: countersign restore {}", args.id));
    Ok(())
}

pub(super) async fn restore(args: OneArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let account = api.post(&format!("{}/restore", path(&args.id))).await?;
    if args.server.json {
        return output::document(&account);
    }
    let label = account_label(&account);
    output::line(&format!("{}  restored  {label}", text(&account, "id")));
    Ok(())
}

pub(super) async fn guard(args: GuardArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let change = api
        .request(Method::PATCH, &path(&args.id))?
        .json(&json!({"readApproval": !args.off}));
    let account = api.send(change).await?;
    if args.server.json {
        return output::document(&account);
    }
    let word = if args.off {
        "read without an approval"
    } else {
        "read with an approval only"
    };
    output::line(&format!("{}  {word}", text(&account, "id")));
    if !args.off {
        output::note(&format!(
            "Ask for a code with: countersign request read {}",
            args.id
        ));
    }
    Ok(())
}

fn path(id: &str) -> String {
    format!("/api/accounts/{}", encode(id))
}
