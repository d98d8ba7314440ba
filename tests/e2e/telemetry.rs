//! The logs name the enrollment of each line.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{App, PATIENCE, SEED_URI};

/// Whether a line's own fields or one of its spans has `instance_id` = `id`.
fn names(line: &Value, id: &str) -> bool {
    let spans = line["spans"].as_array().into_iter().flatten();
    spans
        .chain([line])
        .any(|fields| fields["instance_id"] == id)
}

async fn until_logged(app: &App, messages: &[&str]) {
    let begun = Instant::now();
    loop {
        let logs = app.logs();
        if messages.iter().all(|message| logs.contains(message)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{messages:?}:\n{logs}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_log_line_of_an_enrollment_names_it() {
    let app = App::start_with(&["--log-format", "json"]).await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    // What the start says is about no enrollment; wait until all of it is said.
    until_logged(
        &app,
        &[
            "worker stream opened",
            "taking work items",
            "mandate keys read",
        ],
    )
    .await;
    let before = app.logs().lines().count();

    // One enrollment, and nothing else that asks the server for anything.
    let id = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&id, "AwaitingApproval").await;
    assert!(approver.decide(&id, true, "").await.status.is_success());
    admin.ended(&id).await;
    admin.get(&format!("/api/tokens?id={id}")).await;

    let logs = app.logs();
    let lines: Vec<Value> = logs
        .lines()
        .skip(before)
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| {
            // Ours; the libraries underneath know nothing of enrollments.
            let target = line["target"].as_str().unwrap_or_default();
            target.starts_with("countersign") || target.starts_with("durabletask")
        })
        .collect();
    for message in ["enrollment started", "secret stored", "answered"] {
        assert!(
            lines.iter().any(|line| line["message"] == message),
            "{message:?} is logged:\n{logs}"
        );
    }
    for line in &lines {
        assert!(names(line, &id), "this line does not name {id}: {line}");
    }
}
