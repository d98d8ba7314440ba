//! `countersign prove`: shows the codes that prove an account, and reports whether they were accepted.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::account::path;
use super::client::Api;
use super::find::Among;
use super::output::{self, account_label, text};
use super::{Exit, Fault, Outcome};
use crate::cli::ProveArgs;

pub(super) async fn run(args: ProveArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    let path = format!("{}/proof", path(&id));
    let body = match (args.refused, args.accepted.as_slice()) {
        (true, _) => json!({ "accepted": false }),
        (false, []) => return show(&api, &id, &path, args.server.json).await,
        (false, codes) => json!({ "accepted": true, "codes": codes }),
    };
    let request = api.request(Method::POST, &path)?.json(&body);
    let account = match api.try_send(request).await? {
        Ok(account) => account,
        Err(refusal) if refusal.status == StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(Fault::new(Exit::NotValid, refusal.sentence()));
        }
        Err(refusal) => return Err(refusal.into_fault()),
    };
    if args.server.json {
        return output::document(
            &json!({ "id": id, "accepted": !args.refused, "account": account }),
        );
    }
    match args.refused {
        true => output::line(&format!("{id}  removed")),
        false => output::line(&format!("{id}  in use  {}", account_label(&account))),
    }
    Ok(())
}

/// The current code and the next.
async fn show(api: &Api, id: &str, path: &str, json: bool) -> Outcome {
    let codes = api.get(path).await?;
    if json {
        return output::document(&codes);
    }
    let (first, second) = (text(&codes, "token"), text(&codes, "nextToken"));
    output::line(&format!(
        "{first}  now, for {} seconds",
        codes["timeRemaining"]
    ));
    output::line(&format!("{second}  from {}", text(&codes, "validUntil")));
    output::note(&format!(
        "Enter both at the other service, one after the other, then run: countersign prove {id} \
         --accepted {first} {second} (or --refused)"
    ));
    Ok(())
}
