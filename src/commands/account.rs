//! Commands that change an account: `remove`, `restore`, `guard`, `rename`, `group` and `tag`.

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Api, encode};
use super::find::Among;
use super::output::{self, account_label, text};
use super::{Exit, Fault, Outcome};
use crate::cli::{AccountArgs, GroupArgs, GuardArgs, RenameArgs, ServerArgs, TagArgs};

pub(super) async fn remove(args: AccountArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    // Its old name is shown to people only.
    let account = match args.server.json {
        true => Value::Null,
        false => api.get(&path(&id)).await.unwrap_or_default(),
    };
    let request = api.request(Method::DELETE, &path(&id))?;
    api.send(request).await?;
    if args.server.json {
        return output::document(&json!({"id": id, "removed": true}));
    }
    output::line(format!("{id}  removed  {}", account_label(&account)).trim_end());
    output::note(&format!("Undo it with: countersign restore {id}"));
    Ok(())
}

pub(super) async fn restore(args: AccountArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::Removed).await?;
    let account = api.post(&format!("{}/restore", path(&id))).await?;
    told(&account, "restored", &args.server)
}

pub(super) async fn guard(args: GuardArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    let account = change(&api, &id, &json!({"readApproval": !args.off})).await?;
    if args.server.json {
        return output::document(&account);
    }
    let word = if args.off {
        "readable without a request"
    } else {
        "each reading needs an approved request"
    };
    output::line(format!("{id}  {word}  {}", account_label(&account)).trim_end());
    if !args.off {
        output::note(&format!(
            "Request a code with: countersign request read {id}"
        ));
    }
    Ok(())
}

pub(super) async fn rename(args: RenameArgs) -> Outcome {
    let mut wanted = json!({});
    if let Some(name) = &args.name {
        wanted["accountName"] = json!(name);
    }
    if args.no_issuer {
        wanted["issuer"] = Value::Null;
    } else if let Some(issuer) = &args.issuer {
        wanted["issuer"] = json!(issuer);
    }
    if wanted == json!({}) {
        return Err(Fault::new(
            Exit::Usage,
            "give a new NAME, --issuer ISSUER or --no-issuer",
        ));
    }
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    told(&change(&api, &id, &wanted).await?, "renamed", &args.server)
}

pub(super) async fn group(args: GroupArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    let account = change(&api, &id, &json!({"group": args.group})).await?;
    let word = match args.group {
        Some(_) => "filed",
        None => "in no group",
    };
    told(&account, word, &args.server)
}

pub(super) async fn tag(args: TagArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.id, Among::InUse).await?;
    let present = api.get(&path(&id)).await?;
    let tags = present["tags"].as_array().into_iter().flatten();
    let mut tags: Vec<String> = tags.filter_map(Value::as_str).map(str::to_owned).collect();
    let is_same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    tags.retain(|tag| !args.remove.iter().any(|gone| is_same(gone, tag)));
    for tag in &args.tags {
        if !tags.iter().any(|known| is_same(known, tag)) {
            tags.push(tag.clone());
        }
    }
    told(
        &change(&api, &id, &json!({"tags": tags})).await?,
        "tagged",
        &args.server,
    )
}

async fn change(api: &Api, id: &str, wanted: &Value) -> Result<Value, Fault> {
    let request = api.request(Method::PATCH, &path(id))?.json(wanted);
    api.send(request).await
}

/// Prints an account as it is now.
fn told(account: &Value, word: &str, server: &ServerArgs) -> Outcome {
    if server.json {
        return output::document(account);
    }
    let label = account_label(account);
    let tags = account["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let filed = [&account["group"]].into_iter().chain(tags);
    let filed: Vec<String> = filed.filter_map(Value::as_str).map(output::clean).collect();
    let filed = match filed.as_slice() {
        [] => String::new(),
        some => format!("  [{}]", some.join(", ")),
    };
    output::line(&format!("{}  {word}  {label}{filed}", text(account, "id")));
    Ok(())
}

/// An account's path in the API.
pub(super) fn path(id: &str) -> String {
    format!("/api/accounts/{}", encode(id))
}
