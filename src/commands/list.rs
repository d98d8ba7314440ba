//! `countersign list`: accounts, enrollments or requests.

use serde_json::Value;

use super::Outcome;
use super::client::{Api, encode};
use super::output::{self, account_label, text};
use crate::cli::ListArgs;

/// Rows on one page: the most that the server gives.
const LIMIT: usize = 200;

pub(super) async fn run(args: ListArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let asked = |text: &Option<String>| encode(text.as_deref().unwrap_or_default());
    let (path, member) = if args.enrollments {
        let stage = asked(&args.stage);
        (
            format!("/api/enrollments?limit={LIMIT}&stage={stage}"),
            "enrollments",
        )
    } else if args.requests {
        let (stage, account) = (asked(&args.stage), asked(&args.account));
        (
            format!("/api/requests?limit={LIMIT}&stage={stage}&account={account}"),
            "requests",
        )
    } else {
        (
            format!(
                "/api/accounts?limit={LIMIT}&search={}&group={}&tag={}",
                asked(&args.search),
                asked(&args.group),
                asked(&args.tag)
            ),
            "accounts",
        )
    };
    let page = api.get(&path).await?;
    if args.server.json {
        return output::document(&page);
    }
    let rows = page[member].as_array().map_or(&[][..], Vec::as_slice);
    for row in rows {
        output::line(&row_line(row, member));
    }
    if rows.is_empty() {
        output::note(&format!("No {member}."));
    }
    if page["next"].is_string() {
        output::note("There are more; narrow the search, or page through the API.");
    }
    Ok(())
}

fn row_line(row: &Value, member: &str) -> String {
    let id = text(row, "id");
    let started = || {
        format!(
            "{id}  {:<16}  {}",
            text(row, "stage"),
            text(row, "createdAt")
        )
    };
    match member {
        "enrollments" => format!("{}  {}", started(), account_label(&row["preview"])),
        "requests" => {
            let account = &row["account"];
            format!(
                "{}  {:<8}  {}  {}",
                started(),
                text(row, "kind"),
                text(account, "id"),
                account_label(account)
            )
        }
        _ => account_line(row, &id),
    }
}

fn account_line(row: &Value, id: &str) -> String {
    let tags = row["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let filed = [&row["group"]].into_iter().chain(tags);
    let filed: Vec<&str> = filed.filter_map(Value::as_str).collect();
    let filed = match filed.as_slice() {
        [] => String::new(),
        some => format!("  [{}]", some.join(", ")),
    };
    let pending = match row["state"].as_str() {
        Some("pending") => "  (not proved yet)",
        _ => "",
    };
    format!("{id}  {}{filed}{pending}", account_label(row))
}
