//! The stand-alone program: starts, says where, answers, stops, complains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use durabletask_proto::*;
use support::*;

#[tokio::test]
async fn what_it_acknowledged_is_there_after_a_graceful_stop() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let client = process.client();
    assert_eq!(start(&client, "default", "a").await.unwrap(), "a");
    assert!(process.terminate().success());

    let process = Process::start(folder.path(), &[]);
    assert!(exists(&process.client(), "default", "a").await);
}

/// Payloads are in the database.
#[test]
fn what_it_keeps_is_its_owners_only() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    // One folder it makes itself, the other is there and open to all.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for data in [made.as_path(), folder.path()] {
        let process = Process::start(data, &[]);
        for name in [
            "scheduler.sqlite3",
            "scheduler.sqlite3-wal",
            "scheduler.lock",
        ] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
        process.kill();
    }
    let mode = std::fs::metadata(&made).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
}

#[tokio::test]
async fn it_tells_its_health_and_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--task-hub", "orders"]);
    let client = process.client();
    start(&client, "orders", "a").await.unwrap();
    start(&client, "orders", "b").await.unwrap();
    let ask = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        ..Default::default()
    };
    let mut stream = client
        .clone()
        .get_work_items(to_hub("orders", ask))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().unwrap().request.is_some());

    let (status, text) = http_as(&process.http, None, "/healthz").await;
    assert_eq!((status, text.as_str()), (200, "ok\n"));
    let (status, text) = http_as(&process.http, None, "/metrics").await;
    assert_eq!(status, 200);
    let labels = r#"task_hub="orders",kind="orchestration""#;
    for line in [
        format!("durabletask_scheduler_work_items_dispatched_total{{{labels}}} 1"),
        format!("durabletask_scheduler_queue_depth{{{labels}}} 1"),
        format!("durabletask_scheduler_work_items_held{{{labels}}} 1"),
        format!("durabletask_scheduler_work_item_wait_seconds_count{{{labels}}} 1"),
        r#"durabletask_scheduler_connected_workers{task_hub="orders"} 1"#.to_owned(),
        r#"durabletask_scheduler_instances{task_hub="orders",status="PENDING"} 2"#.to_owned(),
    ] {
        assert!(text.lines().any(|each| each == line), "{line} in\n{text}");
    }
    assert!(
        text.contains("durabletask_scheduler_commit_batch_size_bucket"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// The fields of a line of the log that are written as `name=value`, values without spaces.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let from = line.find(&format!(" {name}="))? + name.len() + 2;
    line.get(from..)?.split(' ').next()
}

#[tokio::test]
async fn the_log_follows_a_work_item_from_its_queue_to_its_completion() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--log", "durabletask_scheduler=debug"]);
    let client = process.client();
    start(&client, "default", "a").await.unwrap();
    let mut stream = client
        .clone()
        .get_work_items(to_hub("default", GetWorkItemsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let first = stream.message().await.unwrap().unwrap().completion_token;
    let abandon = AbandonOrchestrationTaskRequest {
        completion_token: first,
    };
    client
        .clone()
        .abandon_task_orchestrator_work_item(to_hub("default", abandon))
        .await
        .unwrap();
    let second = stream.message().await.unwrap().unwrap().completion_token;
    let done = OrchestratorResponse {
        instance_id: "a".to_owned(),
        completion_token: second,
        ..OrchestratorResponse::default()
    };
    client
        .clone()
        .complete_orchestrator_task(to_hub("default", done))
        .await
        .unwrap();
    drop(stream);
    let log = process.log();
    let about: Vec<&str> = log.lines().filter(|l| l.contains("work item ")).collect();
    let said: Vec<&str> = about
        .iter()
        .map(|line| line.split("work item ").nth(1).unwrap())
        .map(|rest| rest.split(" task_hub=").next().unwrap())
        .collect();
    let expected = [
        "queued",
        "handed out",
        "returned",
        "queued",
        "handed out",
        "completed",
    ];
    assert_eq!(said, expected, "{log}");
    assert!(
        about.iter().all(|line| line.contains("name=\"Hello\"")),
        "{log}"
    );
    let given: Vec<&str> = about
        .iter()
        .filter_map(|line| field(line, "stream"))
        .collect();
    assert_eq!(given.len(), 4, "{log}");
    assert!(given.iter().all(|stream| *stream == given[0]), "{log}");
    let opened = log
        .lines()
        .find(|l| l.contains("worker stream opened"))
        .unwrap();
    assert_eq!(field(opened, "stream"), Some(given[0]));
    assert!(log.contains("the worker abandoned it"), "{log}");
}

#[tokio::test]
async fn the_dashboard_is_not_served_under_a_foreign_name() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--dashboard-host", "hub.example"]);
    for (host, expected) in [
        (None, 200),
        (Some("hub.example"), 200),
        (Some("evil.example"), 403),
    ] {
        let (status, text) = http_as(&process.http, host, "/").await;
        assert_eq!(status, expected, "{host:?}: {text}");
    }
    for path in ["/healthz", "/metrics", "/api/hubs"] {
        let (status, _) = http_as(&process.http, Some("evil.example"), path).await;
        assert_eq!(status, 403, "{path}");
    }
}

#[tokio::test]
async fn only_the_listed_task_hubs_are_there_unless_others_may_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--task-hub", "a,b"]);
    let client = process.client();
    start(&client, "b", "1").await.unwrap();
    let refused = start(&client, "c", "1").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(
        refused.message().starts_with("Task hub not found"),
        "{refused}"
    );
    assert!(process.terminate().success());

    let process = Process::start(folder.path(), &["--task-hub", "a", "--dynamic-task-hubs"]);
    start(&process.client(), "c", "1").await.unwrap();
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let path = folder.path().to_str().unwrap();

    let locked = output(&[
        "--listen",
        "127.0.0.1:0",
        "--dashboard",
        "none",
        "--data-dir",
        path,
    ]);
    assert_eq!(locked.status.code(), Some(1));
    assert!(
        stderr(&locked).contains("in use by another process"),
        "{}",
        stderr(&locked)
    );

    let taken = process.grpc.strip_prefix("http://").unwrap();
    let busy = output(&["--listen", taken, "--memory", "--dashboard", "none"]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(
        stderr(&busy).contains("choose another address with --listen"),
        "{}",
        stderr(&busy)
    );

    let open = output(&["--listen", "0.0.0.0:0", "--memory"]);
    assert_eq!(open.status.code(), Some(2));
    assert!(
        stderr(&open).contains("--allow-remote"),
        "{}",
        stderr(&open)
    );

    let newer = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(newer.path().join("scheduler.sqlite3")).unwrap();
    database
        .pragma_update(None, "user_version", 1_000_000)
        .unwrap();
    drop(database);
    let path = newer.path().to_str().unwrap();
    let refused = output(&[
        "--listen",
        "127.0.0.1:0",
        "--dashboard",
        "none",
        "--data-dir",
        path,
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("use the newer program"),
        "{}",
        stderr(&refused)
    );
}
