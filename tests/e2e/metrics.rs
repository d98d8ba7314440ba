//! The metrics for Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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

/// The names of our metrics in a text, without what Prometheus adds to them.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| {
            word.starts_with("countersign_") || word.starts_with("durabletask_scheduler_")
        })
        .map(|word| {
            let ending = ["_total", "_bucket", "_count", "_sum"];
            let base = ending.iter().find_map(|ending| word.strip_suffix(ending));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

/// The metrics in the first column of a document's table, in full.
fn documented(document: &str, header: &str, prefix: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with(header));
    let cells = rows
        .skip(2)
        .map_while(|line| line.strip_prefix('|')?.split('|').next());
    let listed: Vec<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| format!("{prefix}{name}"))
        .collect();
    names(&listed.join(" "))
}

fn of_front_door_and_worker() -> BTreeSet<String> {
    documented(
        "docs/OBSERVABILITY.md",
        "| Name | Labels | What |",
        "countersign_",
    )
}

fn of_scheduler() -> BTreeSet<String> {
    let readme = "scheduler/README.md";
    documented(readme, "| Metric | Labels | Is |", "durabletask_scheduler_")
}

#[tokio::test]
async fn every_metric_is_documented_and_no_other() {
    let app = App::start().await;
    let admin = app.admin();
    admin.ended(&admin.enroll(SEED_URI, false).await).await;
    // Some are there only where the vault is far away; tests/azure.rs reads them.
    let (remote, own): (BTreeSet<_>, BTreeSet<_>) =
        of_front_door_and_worker().into_iter().partition(|name| {
            let name = name.trim_start_matches("countersign_");
            name.starts_with("key_vault_")
        });
    assert_eq!(names(&app.metrics().await), own);
    assert_eq!(remote.len(), 3, "{remote:?}");
    // Some are there only over a database; the tests of the scheduler's nodes read them.
    let (shared, own): (BTreeSet<_>, BTreeSet<_>) = of_scheduler().into_iter().partition(|name| {
        let name = name.trim_start_matches("durabletask_scheduler_");
        name == "nodes" || name.starts_with("leases_")
    });
    assert_eq!(names(&app.scheduler_metrics().await), own);
    assert_eq!(shared.len(), 3, "{shared:?}");
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let mut exist = of_front_door_and_worker();
    exist.extend(of_scheduler());
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in [
        "prometheus/countersign.rules.yaml",
        "grafana/countersign.json",
    ] {
        let used = names(&fs::read_to_string(deploy.join(file)).unwrap());
        assert!(used.len() > 5, "{file} uses {used:?}");
        let missing: Vec<_> = used.difference(&exist).collect();
        assert!(missing.is_empty(), "{file} uses {missing:?}, of {exist:?}");
    }
}
