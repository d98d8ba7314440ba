//! What Prometheus is told.

use reqwest::StatusCode;

use crate::support::{App, SEED_URI};

/// The sample whose name and labels are these; Prometheus does not care for their order.
fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix('{')?;
        let (found, value) = rest.split_once("} ")?;
        let all = labels
            .iter()
            .all(|(key, value)| found.contains(&format!("{key}=\"{value}\"")));
        all.then(|| value.parse().ok()).flatten()
    })
}

#[tokio::test]
async fn requests_actions_and_activities_are_counted() {
    let app = App::start().await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    let read = admin.get(&format!("/api/tokens?id={account}")).await;
    assert_eq!(read.status, StatusCode::OK);
    let nowhere = "totp-00000000-0000-4000-8000-000000000000";
    let read = admin.get(&format!("/api/tokens?id={nowhere}")).await;
    read.assert_problem(404, "account-unknown");

    let text = app.metrics().await;
    let requests = |status| {
        let labels = [
            ("route", "/api/tokens"),
            ("method", "GET"),
            ("status", status),
        ];
        sample(&text, "countersign_http_requests_total", &labels)
    };
    assert_eq!(requests("200"), Some(1.0), "{text}");
    assert_eq!(requests("404"), Some(1.0), "{text}");
    let timed = [("route", "/api/tokens"), ("method", "GET")];
    let timed = sample(
        &text,
        "countersign_http_request_duration_seconds_count",
        &timed,
    );
    assert_eq!(timed, Some(2.0), "{text}");
    let read = [("action", "read-code"), ("outcome", "refused")];
    let read = sample(&text, "countersign_actions_total", &read);
    assert_eq!(read, Some(1.0), "{text}");
    for activity in ["validate-uri", "store-secret"] {
        let runs = [("activity", activity), ("outcome", "done")];
        let runs = sample(&text, "countersign_activity_duration_seconds_count", &runs);
        assert_eq!(runs, Some(1.0), "{text}");
    }
    assert!(!text.contains("totp-"), "ids are no labels: {text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}
