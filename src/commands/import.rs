//! `countersign import`: sends files and images with accounts, and shows the result of
//! each.

use std::path::Path;

use countersign_enrollment::recovery::RecoveryCodes;
use countersign_enrollment::{otpauth, text as encodings};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use zeroize::Zeroizing;

use super::client::{Api, encode};
use super::import_parts::{self, ImportParts};
use super::output::{self, Progress, account_label, text};
use super::stages::import_has_ended;
use super::{Exit, Fault, Outcome, input};
use crate::cli::{ApprovalArg, ImportArgs};
use crate::intake::MAX_BODY;

/// What is added to a file's name for that of the recovery codes beside it.
pub(super) const RECOVERY_CODES: &str = ".recovery-codes";

/// How long one poll waits at the server, in seconds.
const POLL: u32 = 10;

pub(super) async fn run(args: ImportArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let mut form = Form::new();
    let mut contents = Vec::new();
    for file in &args.files {
        if of_another(file, &args.files) {
            continue;
        }
        // A URI instead of a file is a single account.
        let is_uri = otpauth::is_meant(file) && !Path::new(file).exists();
        let (content, name) = if is_uri {
            (Zeroizing::new(file.as_bytes().to_vec()), None)
        } else {
            let name = Path::new(file).file_name();
            let content = input::read(file, MAX_BODY as u64 + 1)?;
            let beside = format!("{file}{RECOVERY_CODES}");
            if args.files.contains(&beside) {
                let codes = input::read(&beside, MAX_BODY as u64 + 1)?;
                (with_codes(file, &content, &codes)?, name)
            } else {
                (content, name)
            }
        };
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let part = Part::bytes(content.to_vec()).file_name(name.unwrap_or_default());
        form = form.part("file", part);
        contents.push(content);
    }
    if contents.iter().map(|content| content.len()).sum::<usize>() > MAX_BODY {
        return Err(Fault::new(
            Exit::NotEnrolled,
            format!(
                "the files have more than {} MiB in total: send them one after the other",
                MAX_BODY / (1024 * 1024)
            ),
        ));
    }
    let password = args
        .password_file
        .as_deref()
        .map(input::password)
        .transpose()?;
    if let Some(password) = &password {
        form = form.text("password", password.as_str().to_owned());
    }
    let mut query = Vec::new();
    if args.dry_run {
        query.push("dryRun=true".to_owned());
    }
    if args.skip_duplicates {
        query.push("duplicates=skip".to_owned());
    }
    if args.approval == Some(ApprovalArg::Required) {
        query.push("approval=required".to_owned());
    }
    if let Some(pick) = &args.pick {
        query.push(format!("pick={}", encode(pick)));
    }
    let path = format!("/api/imports?{}", query.join("&"));
    let mut request = api.request(Method::POST, &path)?.multipart(form);
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let started = match api.try_send(request).await? {
        Ok(started) => started,
        Err(refusal) if refusal.problem["code"] == "import-too-many" && args.pick.is_none() => {
            let password = password.as_ref().map(|text| text.as_str());
            match ImportParts::of(&contents, password) {
                Some(parts) => return parts.import(&api, &args, &path).await,
                None => return Err(Fault::new(Exit::NotEnrolled, refusal.sentence())),
            }
        }
        Err(refusal) if matches!(refusal.status.as_u16(), 413 | 415 | 422) => {
            if args.server.json {
                output::document(&refusal.problem)?;
                return Err(Fault::quiet(Exit::NotEnrolled));
            }
            return Err(Fault::new(Exit::NotEnrolled, refusal.sentence()));
        }
        Err(refusal) => return Err(refusal.into_fault()),
    };
    let state = if args.no_wait {
        started
    } else {
        wait(&api, started).await?
    };
    report(&state, args.server.json)
}

/// Whether a file holds the recovery codes of the account in another one that is imported.
fn of_another(file: &str, files: &[String]) -> bool {
    let other = file.strip_suffix(RECOVERY_CODES);
    other.is_some_and(|other| files.iter().any(|file| file == other))
}

/// What `countersign export` wrote into two files, as one list.
fn with_codes(file: &str, account: &[u8], codes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let wrong = || {
        Fault::new(
            Exit::NotEnrolled,
            format!(
                "{file} and {file}{RECOVERY_CODES} are not an account and its recovery codes, as \
                 countersign export writes them"
            ),
        )
    };
    let account = encodings::decode(account).map_err(|_| wrong())?;
    let codes = encodings::decode(codes).map_err(|_| wrong())?;
    let recovery = RecoveryCodes::of_lines(&codes).map_err(|_| wrong())?;
    if otpauth::parse(&account).is_err() {
        return Err(wrong());
    }
    import_parts::document([(account.as_str(), &recovery)])
}

/// Follows an import until it has finished, or only approvals are missing.
pub(super) async fn wait(api: &Api, state: Value) -> Result<Value, Fault> {
    let mut progress = Progress::new();
    let mut state = state;
    let path = format!("/api/imports/{}", encode(&text(&state, "id")));
    while !import_has_ended(&state) && !waits_for_people(&state) {
        progress.show(&words(&state));
        let query = format!("wait={POLL}");
        state = api.follow(&path, &query, &mut progress).await?;
    }
    progress.end();
    Ok(state)
}

fn waits_for_people(state: &Value) -> bool {
    let progress = &state["progress"];
    state["approvalRequired"].as_bool() == Some(true)
        && progress.is_object()
        && progress["started"] == progress["total"]
}

fn words(state: &Value) -> String {
    let progress = &state["progress"];
    match state["stage"].as_str() {
        Some("Pending") => "waiting for a worker".to_owned(),
        Some("Reading") => "reading the images".to_owned(),
        Some("Planning") => "reading the accounts".to_owned(),
        _ => format!(
            "{} of {} accounts started",
            progress["started"], progress["total"]
        ),
    }
}

pub(super) fn report(state: &Value, json: bool) -> Outcome {
    if json {
        output::document(state)?;
    } else {
        describe(state);
    }
    match state["stage"].as_str() {
        Some("Done") if is_fine(state) => Ok(()),
        _ if import_has_ended(state) => Err(Fault::quiet(Exit::NotEnrolled)),
        _ => Err(Fault::quiet(Exit::StillRunning)),
    }
}

/// Whether every account is where it should be, and nothing is missing.
fn is_fine(state: &Value) -> bool {
    let accounts = state["accounts"].as_array();
    state["problems"].as_array().is_none_or(Vec::is_empty)
        && accounts.into_iter().flatten().all(|account| {
            matches!(
                account["result"].as_str(),
                Some("new" | "not-picked" | "enrolled" | "already-there" | "repeated")
            )
        })
}

fn describe(state: &Value) {
    output::line(&format!("{}  {}", text(state, "id"), text(state, "stage")));
    for account in state["accounts"].as_array().into_iter().flatten() {
        let mut label = account_label(&account["preview"]);
        if label.is_empty() {
            label = text(account, "name");
        }
        output::line(&format!(
            "{:>4}  {:<13}  {label}  {}",
            account["position"],
            text(account, "result"),
            text(account, "id")
        ));
        if let Some(count) = account["recoveryCodes"].as_u64().filter(|count| *count > 0) {
            let codes = if count == 1 { "code" } else { "codes" };
            output::line(&format!("      with      {count} recovery {codes}"));
        }
        for warning in account["warnings"].as_array().into_iter().flatten() {
            output::line(&format!("      warning   {}", text(warning, "detail")));
        }
        complain(&account["problem"]);
    }
    for problem in state["problems"].as_array().into_iter().flatten() {
        if let Some(source) = problem["source"].as_u64() {
            let name = problem["name"]
                .as_str()
                .map(|name| format!(", {}", output::clean(name)));
            output::line(&format!("file {source}{}", name.unwrap_or_default()));
        }
        complain(problem);
    }
    if state["dryRun"].as_bool() == Some(true) && state["stage"] == "Done" {
        output::note("Nothing was changed: this was a dry run.");
    } else if waits_for_people(state) && !import_has_ended(state) {
        output::note(
            "Another person must approve each account: countersign list --enrollments --stage AwaitingApproval",
        );
    } else if let Some(accounts) = state["accounts"].as_array() {
        let count = |result: &str| accounts.iter().filter(|it| it["result"] == result).count();
        output::note(&summary(
            accounts.len() - count("not-picked"),
            count("enrolled"),
            count("already-there"),
            count("not-picked"),
        ));
    }
}

/// The result of an import as a sentence.
fn summary(all: usize, enrolled: usize, there: usize, unpicked: usize) -> String {
    let mut said = format!("{enrolled} of {all} enrolled");
    if there > 0 {
        said.push_str(&format!(", {there} existed already"));
    }
    let rest = all.saturating_sub(enrolled + there);
    if rest > 0 {
        said.push_str(&format!(", {rest} not; see the list for the reasons"));
    }
    if unpicked > 0 {
        said.push_str(&format!("; {unpicked} not picked"));
    }
    said
}

fn complain(problem: &Value) {
    if problem.is_object() {
        output::line(&format!(
            "      problem   {} {}",
            text(problem, "detail"),
            text(problem, "nextStep")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_only_what_there_was() {
        assert_eq!(summary(1, 1, 0, 0), "1 of 1 enrolled");
        assert_eq!(summary(3, 0, 3, 0), "0 of 3 enrolled, 3 existed already");
        assert_eq!(
            summary(4, 1, 1, 0),
            "1 of 4 enrolled, 1 existed already, 2 not; see the list for the reasons"
        );
        assert_eq!(summary(1, 1, 0, 4), "1 of 1 enrolled; 4 not picked");
    }
}
