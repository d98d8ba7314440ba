//! `countersign list`: accounts, enrollments or requests, all of them.

use serde_json::{Value, json};

use super::client::{Api, encode};
use super::find::Among;
use super::output::{self, account_label, text};
use super::table::{self, Cell, Tone, plain};
use super::{Exit, Fault, Outcome};
use crate::cli::ListArgs;
use crate::hub::{RequestStage, Stage};

/// Rows on one page: the most that the server gives.
const LIMIT: usize = 200;
/// Turns a listed item into a row.
type MakeRow = fn(&Value) -> Vec<Cell>;

/// The similarity from which a misspelt word is suggested, from 0 to 1.
const ALIKE: f64 = 0.6;

pub(super) async fn run(args: ListArgs) -> Outcome {
    let (path, member) = asked(&args)?;
    let api = Api::find(&args.server)?;
    let account = match &args.account {
        Some(name) => format!("&account={}", api.account(name, Among::InUse).await?),
        None => String::new(),
    };
    let rows = api.every(&format!("{path}{account}"), member).await?;
    if args.server.json {
        return output::document(&json!({ (member): rows }));
    }
    if rows.is_empty() {
        let removed = if args.removed { "removed " } else { "" };
        output::note(&format!("No {removed}{member}."));
        return Ok(());
    }
    let (heads, row): (&[&str], MakeRow) = match member {
        "enrollments" => (
            &["ID", "STAGE", "STARTED", "REQUESTED BY", "ACCOUNT"],
            enrollment,
        ),
        "requests" => (
            &[
                "ID",
                "STAGE",
                "STARTED",
                "KIND",
                "REQUESTED BY",
                "ACCOUNT ID",
                "ACCOUNT",
            ],
            request,
        ),
        _ if args.removed => (&["ID", "REMOVED", "ACCOUNT"], removed),
        _ => (&["ID", "STATE", "ADDED", "ACCOUNT"], account_row),
    };
    let rows: Vec<Vec<Cell>> = rows.iter().map(row).collect();
    table::print(heads, &rows);
    Ok(())
}

/// The list's path, and the member of the answer that has the rows.
fn asked(args: &ListArgs) -> Result<(String, &'static str), Fault> {
    let asked = |text: &Option<String>| encode(text.as_deref().unwrap_or_default());
    let stage = args.stage.as_deref();
    Ok(if args.enrollments {
        let stage = one_of(stage, Stage::ALL.iter().map(|stage| stage.as_str()))?;
        let path = format!("/api/enrollments?limit={LIMIT}&stage={stage}");
        (path, "enrollments")
    } else if args.requests {
        let stage = one_of(stage, RequestStage::ALL.iter().map(|stage| stage.as_str()))?;
        let path = format!("/api/requests?limit={LIMIT}&stage={stage}");
        (path, "requests")
    } else {
        let path = format!(
            "/api/accounts?limit={LIMIT}&search={}&group={}&tag={}&removed={}",
            asked(&args.search),
            asked(&args.group),
            asked(&args.tag),
            args.removed
        );
        (path, "accounts")
    })
}

/// The stage with this name, in any case.
fn one_of(
    given: Option<&str>,
    stages: impl Iterator<Item = &'static str> + Clone,
) -> Result<&'static str, Fault> {
    let Some(given) = given else { return Ok("") };
    if let Some(stage) = stages
        .clone()
        .find(|stage| stage.eq_ignore_ascii_case(given))
    {
        return Ok(stage);
    }
    let alike = |stage: &str| strsim::jaro_winkler(&stage.to_lowercase(), &given.to_lowercase());
    let meant = stages
        .clone()
        .filter(|stage| alike(stage) > ALIKE)
        .max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let meant = meant.map_or_else(String::new, |stage| format!(" (did you mean {stage}?)"));
    let names: Vec<&str> = stages.collect();
    Err(Fault::new(
        Exit::Usage,
        format!(
            "--stage: unknown stage{meant}; the stages are {}",
            names.join(", ")
        ),
    ))
}

fn stage(row: &Value) -> Cell {
    let stage = text(row, "stage");
    let tone = match stage.as_str() {
        "Enrolled" | "Granted" | "Done" => Tone::Good,
        "Pending" | "Decoding" | "Validating" | "Storing" | "Acting" | "AwaitingApproval"
        | "Removing" => Tone::Waiting,
        _ => Tone::Bad,
    };
    (stage, tone)
}

fn id(row: &Value) -> Cell {
    (text(row, "id"), Tone::Faint)
}

fn enrollment(row: &Value) -> Vec<Cell> {
    let (started, by) = (text(row, "createdAt"), text(row, "requestedBy"));
    let account = account_label(&row["preview"]);
    vec![
        id(row),
        stage(row),
        plain(started),
        plain(by),
        plain(account),
    ]
}

fn request(row: &Value) -> Vec<Cell> {
    let (started, kind) = (text(row, "createdAt"), text(row, "kind"));
    let by = text(row, "requestedBy");
    vec![
        id(row),
        stage(row),
        plain(started),
        plain(kind),
        plain(by),
        id(&row["account"]),
        plain(account_label(&row["account"])),
    ]
}

fn removed(row: &Value) -> Vec<Cell> {
    vec![
        id(row),
        plain(text(row, "removedAt")),
        plain(account_label(row)),
    ]
}

fn account_row(row: &Value) -> Vec<Cell> {
    let tags = row["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let filed = [&row["group"]].into_iter().chain(tags);
    let filed: Vec<String> = filed.filter_map(Value::as_str).map(output::clean).collect();
    let filed = match filed.as_slice() {
        [] => String::new(),
        some => format!("  [{}]", some.join(", ")),
    };
    let state = match (row["state"].as_str(), row["readApproval"].as_bool()) {
        (Some("pending"), _) => ("waiting for proof".to_owned(), Tone::Waiting),
        (_, Some(true)) => ("needs approval".to_owned(), Tone::Waiting),
        _ => ("active".to_owned(), Tone::Good),
    };
    vec![
        id(row),
        state,
        plain(text(row, "createdAt")),
        plain(format!("{}{filed}", account_label(row))),
    ]
}
