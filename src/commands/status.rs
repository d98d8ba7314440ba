//! `countersign status`: shows or follows an enrollment or a request.

use serde_json::Value;

use super::client::{Api, another_than, is_request, path_of};
use super::find::Wanted;
use super::output::{self, Progress, account_label, text};
use super::{Exit, Fault, Outcome, request};
use crate::cli::StatusArgs;

const ENDED: [&str; 6] = [
    "Enrolled",
    "Invalid",
    "Rejected",
    "Expired",
    "Failed",
    "Terminated",
];
const AWAITING: &str = "AwaitingApproval";

pub(super) async fn run(args: StatusArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.matter(&args.id, Wanted::Any).await?;
    let mut state = api.get(&path_of(&id)).await?;
    let waits = args.wait || args.follow;
    if is_request(&id) {
        if waits {
            state = request::wait(&api, state, args.follow).await?;
        }
        return request::report(&state, args.server.json);
    }
    if waits {
        state = wait(&api, &id, state, args.follow).await?;
    }
    report(&state, args.server.json)
}

/// Follows an enrollment until it has finished; or, unless people are waited for too, until it
/// waits for a person.
pub(super) async fn wait(api: &Api, id: &str, state: Value, follow: bool) -> Result<Value, Fault> {
    let mut progress = Progress::new();
    let mut state = state;
    loop {
        let stage = text(&state, "stage");
        progress.show(words(&stage));
        let settled = ENDED.contains(&stage.as_str()) || (stage == AWAITING && !follow);
        if settled && state["createdAt"].is_string() {
            progress.end();
            return Ok(state);
        }
        let query = another_than(&stage);
        state = api.follow(&path_of(id), &query, &mut progress).await?;
    }
}

/// Prints what was started without waiting for it.
pub(super) fn started(state: &Value, json: bool) -> Outcome {
    if json {
        output::document(state)?;
    } else {
        output::line(&text(state, "id"));
    }
    Err(Fault::quiet(Exit::StillRunning))
}

/// Prints an enrollment and ends with the exit code that belongs to its stage.
pub(super) fn report(state: &Value, json: bool) -> Outcome {
    let stage = text(state, "stage");
    if json {
        output::document(state)?;
    } else {
        describe(state, &stage);
    }
    if stage == "Enrolled" {
        Ok(())
    } else if ENDED.contains(&stage.as_str()) {
        Err(Fault::quiet(Exit::NotEnrolled))
    } else {
        Err(Fault::quiet(Exit::StillRunning))
    }
}

/// Whether it has finished.
pub(super) fn has_ended(state: &Value) -> bool {
    ENDED.contains(&state["stage"].as_str().unwrap_or_default())
}

fn describe(state: &Value, stage: &str) {
    let id = text(state, "id");
    output::line(&format!("{id}  {stage}"));
    let label = account_label(&state["preview"]);
    if !label.is_empty() {
        output::line(&format!("  account   {label}"));
    }
    for warning in state["warnings"].as_array().into_iter().flatten() {
        output::line(&format!("  warning   {}", text(warning, "detail")));
    }
    let asked_by = text(state, "requestedBy");
    if !asked_by.is_empty() {
        output::line(&format!("  asked by  {asked_by}"));
    }
    describe_decision(&state["approval"]["decision"]);
    match stage {
        "Enrolled" if state["proofRequired"].as_bool() == Some(true) => output::note(&format!(
            "Its codes are withheld until it is proved, on the page or with: countersign prove {id}"
        )),
        "Enrolled" => output::note(&format!("Next: countersign token {id}")),
        "Invalid" => {
            let problem = &state["problem"];
            output::line(&format!(
                "  problem   {} {}",
                text(problem, "detail"),
                text(problem, "nextStep")
            ));
        }
        AWAITING => {
            let deadline = text(&state["approval"], "deadline");
            output::note(&format!(
                "Another person must approve it by {deadline}: countersign approve {id}"
            ));
        }
        _ => {}
    }
}

/// The decision and its comment, if there is one.
pub(super) fn describe_decision(decision: &Value) {
    if !decision.is_object() {
        return;
    }
    let word = if decision["approved"].as_bool() == Some(true) {
        "approved"
    } else {
        "rejected"
    };
    let comment = text(decision, "comment");
    let comment = if comment.is_empty() {
        String::new()
    } else {
        format!(": {comment}")
    };
    output::line(&format!("  {word}  by {}{comment}", text(decision, "by")));
}

fn words(stage: &str) -> &'static str {
    match stage {
        "Pending" => "waiting for a worker",
        "Decoding" => "reading the image",
        "Validating" => "checking the URI",
        "AwaitingApproval" => "waiting for approval",
        "Storing" => "storing the secret",
        "Enrolled" => "enrolled",
        "Invalid" => "invalid",
        "Rejected" => "rejected",
        "Expired" => "expired",
        "Terminated" => "terminated",
        _ => "failed",
    }
}
