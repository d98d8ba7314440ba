//! What the stages of enrollments and requests mean for commands.

use serde_json::Value;

use super::Exit;
use super::client::is_request;

/// The stages after which nothing more happens to an enrollment.
const ENDED: [&str; 6] = [
    "Enrolled",
    "Invalid",
    "Rejected",
    "Expired",
    "Failed",
    "Terminated",
];

/// Whether nothing more happens to an enrollment.
pub(super) fn has_ended(state: &Value) -> bool {
    ENDED.contains(&state["stage"].as_str().unwrap_or_default())
}

/// Whether nothing more happens to an import.
pub(super) fn import_has_ended(state: &Value) -> bool {
    matches!(
        state["stage"].as_str(),
        Some("Done" | "Failed" | "Terminated")
    )
}

/// With which code a command on a request in this stage ends; none if all is well.
pub(super) fn exit(stage: &str) -> Option<Exit> {
    match stage {
        "Granted" | "Done" => None,
        "Pending" | "AwaitingApproval" | "Acting" | "Removing" => Some(Exit::StillRunning),
        _ => Some(Exit::NotEnrolled),
    }
}

/// Whether an enrollment or a request can still be ended.
pub(super) fn is_open(matter: &Value) -> bool {
    if !is_request(matter["id"].as_str().unwrap_or_default()) {
        return !has_ended(matter);
    }
    let stage = matter["stage"].as_str().unwrap_or_default();
    stage == "Granted" || exit(stage) == Some(Exit::StillRunning)
}
